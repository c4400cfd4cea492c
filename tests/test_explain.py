"""`explain`: forward values and chain-rule products of a small network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp

PAGE = Path(__file__).parents[1] / "docs" / "look_inside.md"
PARAMS = {"w": np.asarray([[0.5, -1.0]]), "v": np.asarray([2.0])}
X = np.asarray([[1.0], [2.0]])


def loss(p: Any, x: Any) -> Any:
    xp = bp.array_namespace(x)
    return xp.mean(xp.tanh(x @ p["w"]) ** 2) + p["v"][0] * p["v"][0]


def final(text: str, name: str) -> np.ndarray:
    lines = [s for s in text.splitlines() if s.startswith(f"  dL/d{name} ")]
    return np.asarray(eval(lines[-1].rpartition("= ")[2]))


def test_the_last_products_are_the_gradient():
    text = bp.explain(loss, PARAMS, X)
    want = bp.grad(loss)(PARAMS, X)
    for name in PARAMS:
        np.testing.assert_allclose(final(text, name), want[name], rtol=1e-4)
    assert "x1 = [[1], [2]]" in text
    assert "h1 = matmul(x1, w)" in text
    assert "dL/dw = x1^T @ dL/dh1" in text
    assert "(way 1 of 2)" in text


def test_a_module_is_explained():
    bp.seed(0)
    model = bp.nn.Sequential(bp.nn.Linear(2, 2), bp.nn.Tanh(), bp.nn.Linear(2, 1))
    model = model.to(dtype="float64")
    x, y = np.ones((1, 2)), np.zeros((1, 1))

    def squares(m: Any, x: Any, y: Any) -> Any:
        return bp.functional.mse_loss(m(x), y)

    text = bp.explain(squares, model, x, y)
    want = bp.grad(squares)(model, x, y)
    for name, g in want.items():
        np.testing.assert_allclose(final(text, name), g, rtol=1e-4, atol=1e-6)
    assert type(model[0].weight) is np.ndarray


def test_cross_entropy_is_explained():
    weight, x, labels = np.asarray([[0.3, -0.2], [0.1, 0.4]]), np.ones((2, 2)), np.asarray([0, 1])

    def entropy(p: Any, x: Any, t: Any) -> Any:
        return bp.functional.cross_entropy(x @ p, t)

    text = bp.explain(entropy, weight, x, labels)
    np.testing.assert_allclose(final(text, "w"), bp.grad(entropy)(weight, x, labels), rtol=1e-4)


def test_the_derivative_at_a_kink_is_that_of_the_gradient():
    def rectified(p: Any) -> Any:
        return np.sum(bp.functional.relu(p["w"]) * 3)

    params = {"w": np.asarray([-1.0, 0.0, 2.0])}
    text = bp.explain(rectified, params)
    assert "h1 = relu(w) = [0, 0, 2]" in text
    np.testing.assert_array_equal(final(text, "w"), [0, 0, 3])


def test_methods_and_functions_of_numpy_are_explained():
    def plain(p: Any, x: Any) -> Any:
        return (np.tanh(x @ p["w"]) ** 2).mean() + np.sum(x * p["v"].reshape(1, 1))

    text = bp.explain(plain, PARAMS | {"v": np.asarray([2.0])}, X)
    want = bp.grad(plain)(PARAMS, X)
    for name in PARAMS:
        np.testing.assert_allclose(final(text, name), want[name], rtol=1e-4)


def test_latex_is_written():
    text = bp.explain(loss, PARAMS, X, form="latex")
    assert text.startswith(r"\begin{align*}")
    assert text.count("{") == text.count("}")
    assert r"\frac{\partial L}{\partial \mathrm{w}}" in text
    assert r"x_{1} &= \begin{pmatrix} 1 \\ 2 \end{pmatrix} \\" in text
    assert r"h_{1} &= x_{1}\, \mathrm{w} = \begin{pmatrix} 0.5 & -1 \\ 1 & -2 \end{pmatrix}" in text
    assert r"h_{2} &= \tanh(h_{1}) = " in text
    assert r"h_{3} &= {h_{2}}^{2} = " in text
    assert r"x_{1}^T\, \frac{\partial L}{\partial h_{1}}" in text
    small = bp.explain(lambda p: p["a_b"] * 1e-7, {"a_b": np.asarray(1e-7)}, form="latex")
    assert r"L &= \mathrm{a\_b} \cdot 1 \cdot 10^{-7} = 1 \cdot 10^{-14} \\" in small


@pytest.mark.parametrize(
    ("f", "error", "text"),
    [
        (lambda p: p["v"], bp.errors.NotDifferentiableError, "does not depend|scalar"),
        (lambda p: 3.0, bp.errors.NotDifferentiableError, "does not depend on params"),
        (3, bp.errors.ArgumentError, "explain"),
    ],
)
def test_what_cannot_be_explained_is_told(f, error, text):
    with pytest.raises((error, bp.errors.ShapeError), match=text):
        bp.explain(f, PARAMS)
    with pytest.raises(bp.errors.ArgumentError, match="form is"):
        bp.explain(loss, PARAMS, X, form="html")


def test_the_examples_of_the_page_run():
    names: dict[str, Any] = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
