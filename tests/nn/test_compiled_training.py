"""Whole train steps inside `jax.jit`: what they compute is what the same lines compute on NumPy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import nn
from bpgpu.nn import functional as F  # noqa: N812 - as in torch

jax = pytest.importorskip("jax")

STEPS = 4
R = np.random.default_rng(0)


class Network(nn.Module):
    """Two linear layers with dropout between."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, 8), nn.Linear(8, 3)
        self.drop = nn.Dropout(0.4)

    def forward(self, x: Any) -> Any:
        return self.fc2(self.drop(F.gelu(self.fc1(x))))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(True),
        nn.MaxPool2d(2),
        nn.Dropout2d(0.3),
        nn.Conv2d(4, 4, 3, groups=2, bias=False),
        nn.BatchNorm2d(4, momentum=None),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(16, 3),
    )


class Tagger(nn.Module):
    """Embedding, two layers of LSTM with dropout, a label from the last states."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 4, padding_idx=0)
        self.lstm = nn.LSTM(4, 5, num_layers=2, dropout=0.2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(10, 3)

    def forward(self, x: Any) -> Any:
        y, _ = self.lstm(self.embed(x))
        return self.out(y[:, -1, :])


LABELS = R.integers(0, 3, 5)
MODELS: dict[str, tuple[Callable[[], nn.Module], np.ndarray]] = {
    "mlp": (Network, R.normal(size=(5, 6))),
    "cnn": (cnn, R.normal(size=(5, 2, 8, 8))),
    "lstm": (Tagger, R.integers(0, 9, (5, 6))),
}
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda params: bp.optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    "adamw": lambda params: bp.optim.AdamW(params, lr=1e-2, amsgrad=True),
}


def loss(model: Any, x: Any, labels: Any) -> Any:
    return F.cross_entropy(model(x), labels, label_smoothing=0.1)


def bind(model: nn.Module, arrays: dict[str, Any]) -> None:
    """Let a model hold these arrays."""
    for path, value in arrays.items():
        owner, name = model.locate(path)
        setattr(owner, name, value)


def held(model: nn.Module) -> dict[str, Any]:
    return {**model.parameters(), **model.buffers()}


def step(
    model: nn.Module, opt: Any, arrays: dict[str, Any], state: Any, x: Any, labels: Any
) -> tuple[Any, dict[str, Any], Any]:
    """One step of training as a pure function of arrays: running statistics and dropout's keys are among them."""
    bind(model, arrays)
    value, grads = bp.value_and_grad(loss)(model, x, labels)
    params, state = opt.update(grads, state, model.parameters())
    return value, {**held(model), **params}, state


def build(name: str) -> nn.Module:
    bp.seed(0)
    return MODELS[name][0]().to(dtype="float64").train()


@functools.cache
def eager(name: str, optimizer: str) -> tuple[list[float], dict[str, np.ndarray]]:
    """The same training on NumPy, with the optimizer writing in place."""
    model, x = build(name), MODELS[name][1]
    opt = OPTIMIZERS[optimizer](model)
    values = []
    for i in range(STEPS):
        value, grads = bp.value_and_grad(loss)(model, np.roll(x, i, axis=0), LABELS)
        opt.step(grads)
        values.append(float(value))
    return values, held(model)


def agrees(values: Any, arrays: Any, name: str, optimizer: str) -> None:
    expected, weights = eager(name, optimizer)
    np.testing.assert_allclose(np.asarray(values), expected, rtol=0, atol=1e-10)
    assert set(arrays) == set(weights)
    for k, w in weights.items():
        np.testing.assert_allclose(np.asarray(arrays[k]), w, rtol=0, atol=1e-9, err_msg=k)


def on_jax(arrays: Any) -> Any:
    return {k: jax.numpy.asarray(v) for k, v in arrays.items()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("closed_over", [True, False], ids=["closed over", "argument"])
def test_a_train_step_inside_jax_jit(name: str, optimizer: str, closed_over: bool) -> None:
    model, x = build(name), MODELS[name][1]
    arrays = on_jax(held(model))
    bind(model, arrays)
    opt = OPTIMIZERS[optimizer](model)
    state = opt.init(model.parameters())
    compiled = (
        jax.jit(functools.partial(step, model, opt))
        if closed_over
        else functools.partial(jax.jit(step, static_argnums=(0, 1)), model, opt)
    )
    values = []
    for i in range(STEPS):
        batch = jax.numpy.asarray(np.roll(x, i, axis=0)), jax.numpy.asarray(LABELS)
        value, arrays, state = compiled(arrays, state, *batch)
        bind(model, arrays)
        values.append(value)
    agrees(values, arrays, name, optimizer)
    assert len({float(v) for v in values}) == STEPS


@pytest.mark.parametrize("name", MODELS)
def test_a_whole_epoch_inside_one_jax_scan(name: str) -> None:
    model, x = build(name), MODELS[name][1]
    arrays = on_jax(held(model))
    bind(model, arrays)
    opt = OPTIMIZERS["adamw"](model)
    state = opt.init(model.parameters())
    batches = jax.numpy.asarray(np.stack([np.roll(x, i, axis=0) for i in range(STEPS)]))

    def body(carry: Any, batch: Any) -> Any:
        value, arrays, state = step(model, opt, *carry, batch, jax.numpy.asarray(LABELS))
        return (arrays, state), value

    (arrays, state), values = jax.lax.scan(body, (arrays, state), batches)
    agrees(values, arrays, name, "adamw")


@pytest.mark.parametrize("name", MODELS)
def test_a_compiled_step_may_load_the_weights_by_their_paths(name: str) -> None:
    model, x = build(name), MODELS[name][1]
    bind(model, on_jax(held(model)))
    weights = {k: v + 0.25 if "float" in str(v.dtype) else v for k, v in model.state_dict().items()}

    def gradients(weights: Any, x: Any, labels: Any) -> Any:
        model.load_state_dict(weights)
        return bp.grad(loss)(model.eval(), x, labels)

    found = jax.jit(gradients)(weights, jax.numpy.asarray(x), jax.numpy.asarray(LABELS))
    other = build(name).eval()
    other.load_state_dict({k: np.asarray(v) for k, v in weights.items()})
    for k, g in bp.grad(loss)(other, x, LABELS).items():
        np.testing.assert_allclose(np.asarray(found[k]), g, rtol=0, atol=1e-10, err_msg=k)
