"""Determinants: gradients against JAX, central differences and the polynomial that a determinant is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import NotDifferentiableError
from gradients import check, close, numpy_of, to
from linear_algebra import array, gradient, ns_of


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 3)])
def test_determinant(xp: Any, shape: tuple[int, ...], complex: bool) -> None:
    check(xp, lambda xp, x: xp.linalg.det(x) ** 2, array(*shape, complex=complex))


def leibniz(xp: Any, x: Any) -> Any:
    """The determinant of a (3, 3) matrix as the polynomial that it is."""
    a, b, c = x[0, :], x[1, :], x[2, :]
    return (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - a[1] * (b[0] * c[2] - b[2] * c[0])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )


ROW = np.outer([1, 2, 3.0], [1, 0, 2.0])
SINGULAR = {
    "rank 2": ROW + np.outer([0, 1, 1.0], [1, 1, 1.0]),
    "rank 1": ROW,
    "zero": np.zeros((3, 3)),
    "identity": np.eye(3),
    "equal singular values": np.asarray([[0, 0, -2.0], [2, 0, 0], [0, 1, 0]]),
}


@pytest.mark.parametrize("x", SINGULAR.values(), ids=SINGULAR)
@pytest.mark.parametrize("complex", [False, True])
def test_determinant_of_singular_matrices(xp: Any, x: np.ndarray, complex: bool) -> None:
    """First and second order are finite and exact: minors of the matrix."""
    if complex:
        x = (0.6 + 0.8j) * x
    check(xp, lambda xp, x: xp.linalg.det(x) + xp.linalg.det(x) ** 2, x, reference=reference)


def reference(xp: Any, x: Any) -> Any:
    return leibniz(xp, x) + leibniz(xp, x) ** 2


def test_determinant_of_third_and_fourth_order(xp: Any) -> None:
    u, v, w = (to(xp, array(3, 3, salt=k)) for k in (1, 2, 3))

    def derivative(f: Any, x: Any) -> Any:
        def along(g: Any, direction: Any) -> Any:
            return lambda x: ns_of(x).sum(bp.grad(g)(x) * ns_of(x).asarray(direction))

        return bp.grad(along(along(along(f, u), v), w))(to(xp, x))

    for x in (array(3, 3), np.eye(3)):
        ours = derivative(lambda x: ns_of(x).linalg.det(x) ** 2, x)
        exact = derivative(lambda x: leibniz(None, x) ** 2, x)
        close([numpy_of(ours)], [numpy_of(exact)], 1e-8, "fourth order")


def test_third_derivative_of_the_determinant_needs_a_regular_matrix(xp: Any) -> None:
    def second(x: Any) -> Any:
        return ns_of(x).sum(bp.grad(lambda x: ns_of(x).sum(bp.grad(ns_of(x).linalg.det)(x)))(x))

    with pytest.raises(NotDifferentiableError, match=r"linalg\.det .* third derivative at a sing"):
        bp.grad(second)(to(xp, np.zeros((3, 3))))


@pytest.mark.parametrize("complex", [False, True])
def test_logarithm_of_the_determinant(xp: Any, complex: bool) -> None:
    check(xp, lambda xp, x: tuple(xp.linalg.slogdet(x)), array(2, 3, 3, complex=complex))


def test_real_sign_of_a_determinant_has_zero_gradient(xp: Any) -> None:
    for x in (array(3, 3), np.zeros((3, 3))):
        g = gradient(xp, lambda xp, x: xp.linalg.slogdet(x)[0], x)
        assert np.array_equal(g, np.zeros((3, 3)))


def test_logarithm_of_a_zero_determinant_is_refused(xp: Any) -> None:
    """log|det| is -inf there: no finite answer exists, and none is made up."""
    with pytest.raises(NotDifferentiableError, match=r"slogdet .* the matrix is singular"):
        gradient(xp, lambda xp, x: xp.linalg.slogdet(x)[1], np.zeros((2, 2)))
