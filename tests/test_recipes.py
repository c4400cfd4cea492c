"""The recipes of docs/recipes.md run as they are printed, and hold what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_gradients_of_examples_are_those_of_each_alone_and_sum_to_that_of_all(page):
    x, y, params, grads = (page[k] for k in ("x", "y", "params", "grads"))
    for i in range(len(x)):
        one = {k: p[None] for k, p in params.items()}
        alone = bp.grad(page["loss"])(one, x[i : i + 1], y[i : i + 1])
        for k, g in alone.items():
            np.testing.assert_allclose(grads[k][i], g[0], rtol=1e-12)
    whole = bp.grad(page["loss"])({k: p[None] for k, p in params.items()}, x, y)
    for k, g in whole.items():
        np.testing.assert_allclose(grads[k].sum(axis=0), g[0], rtol=1e-10, atol=1e-12)


def test_the_jacobian_of_the_losses_sums_to_the_gradient(page):
    model, x, y = page["model"], page["x"], page["y"]
    total = bp.grad(lambda m: bp.functional.mse_loss(m(x)[:, 0], y, reduction="sum"))(model)
    for name, g in total.items():
        np.testing.assert_allclose(page["each"][name].sum(axis=0), g, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["Adam", "SGD", "AdamW", "RMSprop"])
def test_an_ensemble_trains_as_its_networks_do_alone(page, optimizer):
    draw, x, target = np.random.default_rng(1), page["x"], page["target"]
    shapes = {"w": (3, 8), "b": (1, 8), "v": (8, 1)}
    weights = {k: 0.3 * draw.normal(size=(4, *s)) for k, s in shapes.items()}
    step = bp.value_and_grad(page["ensemble_loss"])

    def trained(p: dict[str, Any]) -> dict[str, Any]:
        made = getattr(bp.optim, optimizer)(p, lr=1e-2)
        for _ in range(20):
            p = made.step(step(p, x, target)[1])
        return p

    together = trained({k: v.copy() for k, v in weights.items()})
    for i in range(4):
        alone = trained({k: v[i : i + 1].copy() for k, v in weights.items()})
        for k, v in alone.items():
            np.testing.assert_allclose(together[k][i], v[0], rtol=1e-9, atol=1e-12)
