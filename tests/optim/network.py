"""A small network for the tests of optimizers, and how it is trained."""

from __future__ import annotations

from typing import Any

import numpy as np

import bpgpu as bp
from bpgpu import nn


class Layer(nn.Module):
    """x @ weight + bias."""

    def __init__(self, rows: int, columns: int, dtype: str = "float64") -> None:
        super().__init__()
        rng = np.random.default_rng((rows, columns))
        self.weight = nn.Parameter(rng.normal(size=(rows, columns)).astype(dtype))
        self.bias = nn.Parameter(np.zeros(columns, dtype))
        self.register_buffer("calls", np.zeros((), dtype))

    def forward(self, x: Any) -> Any:
        return x @ self.weight + self.bias


class Net(nn.Module):
    def __init__(self, dtype: str = "float64") -> None:
        super().__init__()
        self.first = Layer(4, 3, dtype)
        self.second = Layer(3, 2, dtype)

    def forward(self, x: Any) -> Any:
        xp = bp.array_namespace(x)
        return self.second(xp.tanh(self.first(x)))


def loss(model: Any, x: Any) -> Any:
    xp = bp.array_namespace(x)
    return xp.mean((model(x) - 1) ** 2)


X = np.random.default_rng(0).normal(size=(8, 4))


def train(model: Any, optimizer: Any, steps: int = 5, x: np.ndarray = X) -> list[float]:
    values = []
    for _ in range(steps):
        value, grads = bp.value_and_grad(loss)(model, x)
        optimizer.step(grads)
        values.append(float(value))
    return values


def weights(model: Any) -> dict[str, np.ndarray]:
    return {k: np.asarray(v).copy() for k, v in model.named_parameters()}


def same(a: dict[str, Any], b: dict[str, Any], tolerance: float = 0.0) -> None:
    assert list(a) == list(b)
    for k, x in a.items():
        y = np.asarray(b[k])
        np.testing.assert_allclose(np.asarray(x), y, atol=tolerance, rtol=0, err_msg=k)
