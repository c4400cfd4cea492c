"""Networks trained through our CUDA kernels, run on the CPU: the same as with the functions' own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import cuda_on_cpu
from bpgpu.kernels import registry

nn = bp.nn


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield from cuda_on_cpu.installed(monkeypatch)


def images(rng: Any) -> Any:
    return rng.normal(size=(6, 2, 8, 8)).astype("f4")


def words(rng: Any) -> Any:
    return rng.integers(0, 11, (4, 6))


class Last(nn.Module):
    """Of a recurrent layer, the output of the last step."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Any:
        return self.layer(x)[0][:, -1, :]


class Mean(nn.Module):
    def forward(self, x: Any) -> Any:
        return bp.array_namespace(x).mean(x, axis=1)


NETWORKS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], set[str]]] = {
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.GELU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.GELU("tanh"),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 5),
        ),
        images,
        {
            *("standardize", "moved", "gelu", "gelu_tanh", "maxima", "max_gradient"),
            "window_means",
        },
    ),
    "lstm": (
        lambda: nn.Sequential(
            nn.Embedding(11, 8, padding_idx=0),
            Last(nn.LSTM(8, 6, num_layers=2, batch_first=True)),
            nn.Linear(6, 5),
        ),
        words,
        {"take_rows", "add_rows", "lstm"},
    ),
    "gru": (
        lambda: nn.Sequential(
            nn.Embedding(11, 8),
            Last(nn.GRU(8, 6, batch_first=True, bidirectional=True)),
            nn.Linear(12, 5),
        ),
        words,
        {"take_rows", "add_rows", "gru"},
    ),
    "transformer": (
        lambda: nn.Sequential(
            nn.Embedding(11, 8),
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True),
            nn.LayerNorm(8),
            Mean(),
            nn.Linear(8, 5),
        ),
        words,
        {"take_rows", "add_rows", "standardize", "gelu"},
    ),
}


def trained(name: str, to: Callable[[Any], Any], compiled: bool = False) -> Any:
    make, inputs, _ = NETWORKS[name]
    bp.seed(0)
    model = make()
    rng = np.random.default_rng(0)
    batches = [(inputs(rng), rng.integers(0, 5, 6)) for _ in range(8)]
    model.to("cpu" if to is host else "cuda")
    optimizer = bp.optim.SGD(model, lr=0.05, momentum=0.9)  # Adam would make noise large

    def step(x: Any, y: Any) -> Any:
        loss, grads = bp.value_and_grad(lambda m: bp.functional.cross_entropy(m(x), y))(model)
        optimizer.step(grads)
        return loss

    run = bp.compile(step) if compiled else step
    losses = [run(to(x), to(y[: len(x)])) for x, y in batches]
    return [float(bp.to_numpy(loss)) for loss in losses], bp.to_numpy(model.state_dict())


def host(x: Any) -> Any:
    return x


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_trained_as_on_the_cpu(
    name: str, compiled: bool, cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[str] = set()
    find = registry.find

    def noting(function: str, xp: Any, *args: Any) -> Any:
        run = find(function, xp, *args)
        if run is not None and xp.__name__.endswith("cupy"):
            used.add(function)
        return run

    losses, state = trained(name, host)
    monkeypatch.setattr(registry, "find", noting)
    for module in ("activations", "attention", "normalization", "pool", "recurrent"):
        monkeypatch.setattr(f"bpgpu.functional.{module}.find", noting)
    got_losses, got = trained(name, cupy.asarray, compiled)
    assert NETWORKS[name][2] <= used
    np.testing.assert_allclose(got_losses, losses, rtol=1e-4)
    for path, value in state.items():
        np.testing.assert_allclose(got[path], value, rtol=1e-3, atol=2e-4, err_msg=path)
