"""Derivatives of choosing and sorting."""

from __future__ import annotations

import numpy as np
import pytest

import bpgpu as bp
from gradients import check, numpy_of, to

R = np.random.default_rng(5)
X, Y = R.normal(size=(3, 4)), R.normal(size=(3, 4))
Z = X + 1j * Y


def gradients(xp, f, *arrays):
    """The gradients of the sum of `f(xp, *arrays)`, as NumPy arrays."""
    y, pull = bp.vjp(
        lambda *xs: f(bp.array_namespace(*xs), *xs), *[to(xp, np.asarray(a)) for a in arrays]
    )
    return [numpy_of(g) for g in pull(xp.ones_like(y))]


# ---- where


def test_choosing(xp):
    check(xp, lambda xp, x, y: xp.where(x > y, x * x, y * x), X, Y)
    check(xp, lambda xp, x, y: xp.where(xp.real(x) > y, x * x, y * x), Z, Y)


def test_choosing_a_number(xp):
    check(xp, lambda xp, x: xp.where(x > 0, x * x, 0.0), X)
    check(xp, lambda xp, x: xp.where(x > 0, 1, x * x), X)
    check(xp, lambda xp, x: xp.where(x > 0, 1.5, x * x), X)


def test_choosing_with_broadcasting(xp):
    row, column = R.normal(size=(4,)), R.normal(size=(3, 1))
    check(xp, lambda xp, x, y: xp.where(x > y, x * x, y * y), row, column)
    check(xp, lambda xp, x, y: xp.where(xp.astype(x, xp.bool), x * y, y * y), X, np.asarray(0.5))
    check(xp, lambda xp, x: xp.where(x[:, :1] > 0, x[:1, :] ** 2, x[0, 0] ** 2), X)


def test_choosing_between_dtypes(xp):
    single, double = gradients(xp, lambda xp, x, y: xp.where(y > 0, x, y), X.astype("float32"), Y)
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(single, Y > 0)
    np.testing.assert_array_equal(double, Y <= 0)


def test_choosing_from_nothing(xp):
    g, h = gradients(xp, lambda xp, x, y: xp.where(x > y, x, y), np.zeros((0, 3)), np.zeros(3))
    assert g.shape == (0, 3)
    np.testing.assert_array_equal(h, np.zeros(3))


def test_what_was_not_chosen_gets_no_gradient_whatever_it_holds(xp):
    x = [np.nan, np.inf, 1.0]
    (g,) = gradients(xp, lambda xp, x: xp.where(xp.isfinite(x), x, 0.0), x)
    np.testing.assert_array_equal(g, [0, 0, 1])


def test_two_choices_keep_nan_out_of_the_gradient(xp):
    """The idiom for a function with a bad derivative at some places: choose before it and after it."""

    def f(xp, x):
        good = x > 0
        return xp.where(good, xp.sqrt(xp.where(good, x, 1.0)), 0.0)

    (g,) = gradients(xp, f, [0.0, 4.0])
    np.testing.assert_array_equal(g, [0, 0.25])


def test_choosing_by_a_condition_of_the_caller(xp):
    c = to(xp, X > 0)
    (g,) = gradients(xp, lambda ns, x: ns.where(c, x, 0.0), Y)
    np.testing.assert_array_equal(g, X > 0)
    (g,) = gradients(xp, lambda ns, x: ns.where(ns.asarray(c), x, -x), Y)
    np.testing.assert_array_equal(g, np.where(X > 0, 1, -1))


# ---- sort


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("stable", [False, True])
def test_sorting(xp, axis, descending, stable):
    def f(xp, x):
        return xp.sort(x, axis=axis, descending=descending, stable=stable) * x

    check(xp, f, X)


def test_sorting_nonlinear_functions(xp):
    check(xp, lambda xp, x: xp.sort(x * x, axis=0) ** 2, X)


@pytest.mark.parametrize("descending", [False, True])
def test_equal_entries_keep_their_order(xp, descending):
    x = np.asarray([2.0, 1.0, 2.0, 1.0, 2.0])
    weight = np.asarray([1.0, 2.0, 3.0, 4.0, 5.0])

    def f(xp_, x):
        return xp_.sort(x, descending=descending) * xp_.asarray(to(xp, weight))

    expected = [1, 4, 2, 5, 3] if descending else [3, 1, 4, 2, 5]
    np.testing.assert_array_equal(gradients(xp, f, x)[0], expected)


@pytest.mark.parametrize("shape", [(1,), (0,), (2, 0), (0, 2), (2, 1)], ids=str)
def test_shape_and_dtype_of_the_gradient_are_those_of_the_operand(xp, shape):
    for dtype in ("float32", "float64"):
        for axis in range(len(shape)):
            (g,) = gradients(
                xp, lambda xp, x, axis=axis: xp.sort(x, axis=axis), np.ones(shape, dtype)
            )
            assert g.shape == shape
            assert g.dtype == dtype


def test_sorting_nan(xp):
    (g,) = gradients(xp, lambda xp, x: xp.sort(x)[:2], [3.0, np.nan, 1.0])
    np.testing.assert_array_equal(g, [1, 0, 1])


def test_sorting_views_that_are_not_contiguous(xp):
    check(xp, lambda xp, x: xp.sort(x.T[::2, ...], axis=1) ** 2, X)


def test_a_median_by_sorting(xp):
    (g,) = gradients(xp, lambda xp, x: xp.sort(x, axis=1)[:, 1], X)
    np.testing.assert_array_equal(g, (np.argsort(np.argsort(X, axis=1), axis=1) == 1) * 1.0)


# ---- positions and counts


@pytest.mark.parametrize("name", ["argmax", "argmin", "argsort", "count_nonzero"])
def test_positions_and_counts_are_constants(xp, name):
    def f(xp, x):
        return xp.astype(getattr(xp, name)(x), xp.float64) * xp.sum(x)

    (g,) = gradients(xp, f, X[0])
    np.testing.assert_array_equal(
        g, np.full(4, np.sum(np.asarray(getattr(np, name)(X[0]), dtype=float)))
    )
