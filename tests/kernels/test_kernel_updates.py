"""Updates of large parameters by kernels, within optimizers: in place, eager and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import kernels

MAKE = {
    "adam": lambda m: bp.optim.Adam(m, lr=1e-2),
    "adamw": lambda m: bp.optim.AdamW(m, lr=1e-2),
    "amsgrad": lambda m: bp.optim.Adam(m, lr=1e-2, amsgrad=True),
    "momentum": lambda m: bp.optim.SGD(m, lr=1e-2, momentum=0.9),
    "nesterov": lambda m: bp.optim.SGD(m, lr=1e-2, momentum=0.9, nesterov=True),
}


def trained(name: str, compiled: bool = False) -> Any:
    bp.seed(0)
    model = bp.nn.Sequential(bp.nn.Linear(130, 140), bp.nn.Tanh(), bp.nn.Linear(140, 3))
    weight = model[0].weight
    optimizer = MAKE[name](model)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 130)).astype(np.float32)
    y = rng.integers(0, 3, 8)

    def step(x: Any, y: Any) -> Any:
        loss, grads = bp.value_and_grad(lambda m: bp.functional.cross_entropy(m(x), y))(model)
        optimizer.step(grads)
        return loss

    run = bp.compile(step) if compiled else step
    for _ in range(8):
        run(x, y)
    assert model[0].weight is weight  # it was written to
    return bp.to_numpy(model.state_dict())


@pytest.mark.parametrize("name", MAKE)
def test_large_parameters_are_trained_as_without_kernels(name: str) -> None:
    fast = trained(name)
    with kernels.switched_off():
        plain = trained(name)
    for path, value in plain.items():
        np.testing.assert_allclose(fast[path], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MAKE)
def test_a_compiled_step_updates_as_an_eager_one(name: str) -> None:
    eager, compiled = trained(name), trained(name, compiled=True)
    for path, value in eager.items():
        np.testing.assert_array_equal(compiled[path], value)
