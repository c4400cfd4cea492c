"""Norms of vectors and matrices: gradients against JAX and central differences; kinks and ties."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from gradients import check, close
from linear_algebra import array, gradient

ORDERS = [0, 1, 2, 3, math.inf, -math.inf, 0.5, 2.5, -1, -2]


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("ord", ORDERS)
def test_norm_of_vectors(xp: Any, ord: float, complex: bool) -> None:
    x = array(2, 3, 4, complex=complex)
    for axis, keepdims in ((None, False), (1, True), ((0, -1), False), ((2, 0), True)):

        def f(xp: Any, x: Any, axis: Any = axis, keepdims: bool = keepdims) -> Any:
            y = xp.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)
            return y * y + xp.sum(xp.real(x) ** 3)  # depends on x where the norm is a count

        first = axis is None
        check(xp, f, x, order=2 if axis == (0, -1) else 1, differences=first and ord != 0)


@pytest.mark.parametrize("ord", [1, 2, 3, math.inf, 0.5, 2.5])
@pytest.mark.parametrize("dtype", ["float64", "complex128", "float32"])
def test_norm_of_zero_vectors_has_zero_gradient(xp: Any, ord: float, dtype: str) -> None:
    x = np.zeros((2, 3), dtype=dtype)

    def norms(xp: Any, x: Any) -> Any:
        return xp.linalg.vector_norm(x, axis=-1, ord=ord)

    g = gradient(xp, norms, x)
    assert g.dtype == x.dtype
    assert np.array_equal(g, x)

    def second(xp: Any, x: Any) -> Any:
        g = bp.grad(lambda x: xp.sum(norms(xp, x)))(x)
        return xp.real(g) + xp.sum(xp.real(x) ** 2) if "complex" in dtype else g + xp.sum(x**2)

    assert np.array_equal(gradient(xp, second, x), x)


@pytest.mark.filterwarnings("ignore:divide by zero")  # NumPy's own, in the value for ord = -1
@pytest.mark.parametrize("ord", [1, 2, 3, math.inf, -math.inf, 0.5, 1.5, -1])
def test_norm_of_vectors_with_zeros_is_finite(xp: Any, ord: float) -> None:
    x = np.asarray([[3.0, 0.0, -4.0], [0.0, 0.0, 2.0]])

    def f(xp: Any, x: Any) -> Any:
        return xp.linalg.vector_norm(x, axis=-1, ord=ord)

    g = gradient(xp, f, x)
    assert np.all(np.isfinite(g))
    if ord >= 1:
        assert np.all(g[x == 0] == 0)

    def second(xp: Any, x: Any) -> Any:
        return bp.grad(lambda x: xp.sum(f(xp, x)))(x) ** 2 + x * 0

    assert np.all(np.isfinite(gradient(xp, second, x)))


def test_entries_that_tie_for_the_largest_share_the_gradient(xp: Any) -> None:
    x = np.asarray([2.0, -2.0, 1.0, 2.0])
    g = gradient(xp, lambda xp, x: xp.linalg.vector_norm(x, ord=math.inf), x)
    close([g], [np.asarray([1, -1, 0, 1]) / 3], 1e-15, "inf")
    g = gradient(xp, lambda xp, x: xp.linalg.vector_norm(x, ord=-math.inf), x)
    close([g], [np.asarray([0, 0, 1.0, 0])], 1e-15, "-inf")


def test_norm_of_a_number_and_over_no_axis(xp: Any) -> None:
    check(xp, lambda xp, x: xp.linalg.vector_norm(x) ** 2, np.asarray(-3.0))
    x = array(2, 3)
    g = gradient(xp, lambda xp, x: xp.linalg.vector_norm(x, axis=()), x)
    close([g], [np.sign(x)], 1e-15, "axis=()")


def test_norm_is_scaled_before_it_is_raised(xp: Any) -> None:
    """|x|^(p - 1) alone would overflow."""
    x = np.asarray([3e200, 4e200])
    g = gradient(xp, lambda xp, x: xp.linalg.vector_norm(x / 1e200, ord=4) * 1e200, x)
    assert np.all(np.isfinite(g))
    tiny = gradient(xp, lambda xp, x: xp.linalg.vector_norm(x, ord=3), np.asarray([3e-90, 4e-90]))
    close([tiny], [np.asarray([9.0, 16.0]) / 91 ** (2 / 3)], 1e-12, "tiny")


MATRIX_ORDERS = ["fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf]


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("ord", MATRIX_ORDERS)
def test_norm_of_matrices(xp: Any, ord: Any, complex: bool) -> None:
    x = array(2, 3, 4, complex=complex)
    for keepdims in (False, True):
        check(
            xp,
            lambda xp, x, k=keepdims: xp.linalg.matrix_norm(x, ord=ord, keepdims=k) ** 2,
            x,
            order=1 if keepdims else 2,
            differences=not keepdims and not complex,
        )


@pytest.mark.parametrize("ord", MATRIX_ORDERS)
def test_norm_of_zero_matrices_has_zero_gradient(xp: Any, ord: Any) -> None:
    x = np.zeros((2, 3, 2))
    assert np.array_equal(gradient(xp, lambda xp, x: xp.linalg.matrix_norm(x, ord=ord), x), x)


def test_norms_by_equal_singular_values_share_the_gradient(xp: Any) -> None:
    eye = np.eye(3)
    for ord, expected in (("nuc", eye), (2, eye / 3), (-2, eye / 3), ("fro", eye / 3**0.5)):
        g = gradient(xp, lambda xp, x, o=ord: xp.linalg.matrix_norm(x, ord=o), eye)
        close([g], [expected], 1e-12, str(ord))


def test_nuclear_norm_of_low_rank_has_the_smallest_subgradient(xp: Any) -> None:
    """u v^H of the singular values that are not zero: what central differences give too."""
    x = np.outer([3.0, 4.0, 0.0], [0.6, 0.8])
    g = gradient(xp, lambda xp, x: xp.linalg.matrix_norm(x, ord="nuc"), x)
    close([g], [x / 5], 1e-12, "nuc")


def test_unknown_matrix_norm_is_refused(xp: Any) -> None:
    with pytest.raises(
        ValueError, match="ord must be 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got"
    ):
        gradient(xp, lambda xp, x: xp.linalg.matrix_norm(x, ord=3), array(2, 2))
