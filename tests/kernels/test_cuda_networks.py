"""Whole training steps on CUDA without one product of CuPy's: captured as a graph, which CuPy's would refuse."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import test_cuda_training as training

import bpgpu as bp
import cuda_on_cpu
import cupy_on_numpy
import fake_cublaslt
import fake_cudnn

nn = bp.nn

NETWORKS: dict[str, Any] = {
    **{name: made[:2] for name, made in training.NETWORKS.items()},
    "mlp": (
        lambda: nn.Sequential(
            nn.Flatten(),
            nn.Linear(128, 16),
            nn.ReLU(),
            nn.Linear(16, 8),
            nn.Tanh(),
            nn.Linear(8, 5),
        ),
        training.images,
    ),
    "rnn": (
        lambda: nn.Sequential(
            nn.Embedding(11, 8), training.Last(nn.RNN(8, 6, batch_first=True)), nn.Linear(6, 5)
        ),
        training.words,
    ),
    "projected": (
        lambda: nn.Sequential(
            nn.Embedding(11, 8),
            training.Last(nn.LSTM(8, 6, proj_size=3, batch_first=True)),
            nn.Linear(3, 5),
        ),
        training.words,
    ),
    "grouped": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(4, 4, 2, stride=2, groups=2),
            nn.Conv2d(4, 4, 3, groups=4),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 5),
        ),
        training.images,
    ),
}


@pytest.fixture(params=["products", "cudnn"])
def cupy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for cupy in cuda_on_cpu.installed(monkeypatch):
        monkeypatch.setattr(cupy_on_numpy.state, "products", False)
        cupy.products = fake_cublaslt.installed(monkeypatch, launch=cupy_on_numpy.launch)
        made = fake_cudnn.make(launch=cupy_on_numpy.launch) if request.param == "cudnn" else None
        monkeypatch.setitem(sys.modules, "cudnn", made)
        yield cupy


def trained(name: str, on: str, to: Any) -> Any:
    make, inputs = NETWORKS[name]
    bp.seed(0)
    model = make().to(on)
    rng = np.random.default_rng(0)
    batches = [(inputs(rng), rng.integers(0, 5, 6)) for _ in range(8)]
    optimizer = bp.optim.SGD(model, lr=0.05, momentum=0.9)  # Adam would make noise large

    @bp.compile
    def step(x: Any, y: Any) -> Any:
        loss, grads = bp.value_and_grad(lambda m: bp.functional.cross_entropy(m(x), y))(model)
        optimizer.step(grads)
        return loss

    losses = [step(to(x), to(y[: len(x)])) for x, y in batches]
    return step, [float(bp.to_numpy(v)) for v in losses], bp.to_numpy(model.state_dict())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_captured_step_trains_as_on_the_cpu(name: str, cupy: Any) -> None:
    _, losses, state = trained(name, "cpu", lambda x: x)
    step, got_losses, got = trained(name, "cuda", cupy.asarray)
    assert step.replays > 0, step.reason
    assert cupy.products.calls
    np.testing.assert_allclose(got_losses, losses, rtol=1e-4)
    for path, value in state.items():
        np.testing.assert_allclose(got[path], value, rtol=1e-3, atol=2e-4, err_msg=path)


@pytest.mark.parametrize(
    ("a", "b", "axes"),
    [
        ((2, 3, 4), (3, 4, 5), 2),
        ((2, 3), (4,), 0),
        ((3, 4, 2), (5, 2, 3), ((0, -1), (2, 1))),
        ((4,), (4,), 1),
        ((0, 3), (3, 2), 1),
        ((2, 0), (0, 3), 1),
    ],
    ids=str,
)
def test_tensordot_is_one_product(a: Any, b: Any, axes: Any, cupy: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=shape) for shape in (a, b))
    wanted, pull = bp.vjp(lambda x, y: bp.array_namespace(x).tensordot(x, y, axes=axes), x, y)
    gradients = pull(wanted)
    given = [cupy.asarray(v) for v in (x, y)]
    got, pull = bp.vjp(lambda x, y: bp.array_namespace(x).tensordot(x, y, axes=axes), *given)
    for u, v in zip((got, *pull(got)), (wanted, *gradients), strict=True):
        np.testing.assert_allclose(u.get(), v, rtol=1e-12, atol=1e-12)
    assert len(cupy.products.calls) == (0 if 0 in a + b else 3)
