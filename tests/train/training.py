"""Small trainings for the tests of `fit`."""

from __future__ import annotations

from typing import Any

import numpy as np

import bpgpu as bp
from bpgpu.functional import cross_entropy, mse_loss

VALIDATION = "val_"
"""What stands before the name of a column that was measured on the validation data."""


def line(n: int = 40) -> tuple[Any, Any]:
    """A line that can be fitted exactly: x (N, 3), y (N, 1)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3)).astype("float32")
    return x, (x @ np.asarray([[1.0], [-2.0], [0.5]], "float32") + 1).astype("float32")


def classes(n: int = 60, count: int = 3) -> tuple[Any, Any]:
    """Points about the corners of a simplex: x (N, count), y (N,) in [0, count)."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, count, n)
    x = np.eye(count)[y] * 2 + rng.normal(size=(n, count)) * 0.5
    return x.astype("float32"), y


def mlp(inputs: int = 3, outputs: int = 3, *between: Any) -> Any:
    """A small network; layers that draw at random are given as classes, so that the seed comes first."""
    bp.seed(0)
    between = tuple(layer() if isinstance(layer, type) else layer for layer in between)
    return bp.nn.Sequential(
        bp.nn.Linear(inputs, 8), *between, bp.nn.ReLU(), bp.nn.Linear(8, outputs)
    )


def fit_classes(model: Any = None, data: Any = None, **options: Any) -> Any:
    """A short training of a classifier, with options of `fit` to try."""
    model = mlp() if model is None else model
    if "optimizer" not in options:
        options["optimizer"] = bp.optim.SGD(model, lr=0.1)
    if not {"epochs", "stop"} & set(options):
        options["epochs"] = 2
    if "objective" not in options:
        options.setdefault("loss", cross_entropy)
    options = {"progress": False, "batch_size": 16, **options}
    return bp.fit(model, classes() if data is None else data, **options)


def fit_line(model: Any = None, data: Any = None, **options: Any) -> Any:
    """The same for a regression."""
    model = bp.nn.Linear(3, 1) if model is None else model
    return fit_classes(model, line() if data is None else data, **{"loss": mse_loss, **options})


def arrays(model: Any) -> dict[str, Any]:
    """Copies of all arrays of a model."""
    found = {**model.parameters(), **dict(model.named_buffers())}
    return {path: bp.to_numpy(x).copy() for path, x in found.items()}


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Bit for bit."""
    assert list(a) == list(b)
    for path, x in a.items():
        np.testing.assert_array_equal(x, b[path], err_msg=path)
