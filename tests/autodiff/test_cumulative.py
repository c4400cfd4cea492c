"""Derivatives of running sums and products, and of differences."""

from __future__ import annotations

import numpy as np
import pytest

import bpgpu as bp
from gradients import check, numpy_of, to

R = np.random.default_rng(4)
X = R.normal(size=(3, 4))
Z = X + 1j * R.normal(size=X.shape)


def gradient(xp, f, x):
    """The gradient of the sum of `f(xp, x)`, as a NumPy array."""
    y, pull = bp.vjp(lambda x: f(bp.array_namespace(x), x), to(xp, np.asarray(x)))
    return numpy_of(pull(xp.ones_like(y))[0])


def products_of_others(x, g):
    """The gradient of a running product by its definition, one product at a time."""
    out = np.zeros_like(x)
    for k in range(len(x)):
        for i in range(k + 1):
            out[i] += g[k] * np.prod(np.delete(x[: k + 1], i))
    return out


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
def test_derivative(xp, name, axis):
    check(xp, lambda xp, x: getattr(xp, name)(x * x, axis=axis), X)


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
def test_complex_derivative(xp, name):
    check(xp, lambda xp, z: getattr(xp, name)(z * z, axis=1), Z)


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
def test_with_the_initial_value(xp, name):
    check(xp, lambda xp, x: getattr(xp, name)(x * x, axis=1, include_initial=True), X)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33])
def test_running_products_of_every_length(xp, n):
    x = R.uniform(0.5, 1.5, size=n)
    g = gradient(xp, lambda xp, x: xp.cumulative_prod(x), x)
    np.testing.assert_allclose(g, products_of_others(x, np.ones(n)), rtol=1e-12)
    g = gradient(xp, lambda xp, x: xp.cumulative_sum(x), x)
    np.testing.assert_array_equal(g, np.arange(n, 0, -1))


@pytest.mark.parametrize(
    "x",
    [
        [0.0],
        [0.0, 2.0, 3.0, 4.0],
        [2.0, 3.0, 4.0, 0.0],
        [2.0, 0.0, 3.0, 0.0, 5.0],
        [0.0, 0.0, 0.0, 0.0],
        [-1.0, 0.0, 0.0, 2.0, 0.0],
    ],
    ids=str,
)
def test_running_products_with_zeros(xp, x):
    x = np.asarray(x)
    check(xp, lambda xp, x: xp.cumulative_prod(x), x)
    g = gradient(xp, lambda xp, x: xp.cumulative_prod(x), x)
    np.testing.assert_allclose(g, products_of_others(x, np.ones(len(x))), rtol=1e-12)


def test_running_products_with_zeros_in_some_rows(xp):
    x = X.copy()
    x[0, 1] = x[1, 0] = x[1, 3] = 0
    check(xp, lambda xp, x: xp.cumulative_prod(x, axis=0), x)


def test_running_products_that_overflow_after_what_is_used(xp):
    def f(xp, x):
        return xp.cumulative_prod(x)[:2]

    g = gradient(xp, f, [2.0, 3.0, 1e300])
    np.testing.assert_array_equal(g, [4, 2, 0])


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
def test_the_dtype_of_the_result_may_be_asked_for(xp, name):
    exact = gradient(xp, lambda xp, x: getattr(xp, name)(x, axis=1), X)

    def f(xp, x):
        y = getattr(xp, name)(x, axis=1, dtype=xp.float64)
        assert str(y.dtype).endswith("float64")
        return y

    g = gradient(xp, f, X.astype("float32"))
    assert g.dtype == np.float32
    np.testing.assert_allclose(g, exact, rtol=1e-5)


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
@pytest.mark.parametrize("shape", [(0,), (1,), (0, 3), (3, 0), (2, 1)], ids=str)
def test_shape_and_dtype_of_the_gradient_are_those_of_the_operand(xp, name, shape):
    for dtype in ("float32", "float64"):
        for axis in range(len(shape)):
            for initial in (False, True):
                g = gradient(
                    xp,
                    lambda xp, x, axis=axis, initial=initial: getattr(xp, name)(
                        x, axis=axis, include_initial=initial
                    ),
                    np.full(shape, 2, dtype=dtype),
                )
                assert g.shape == shape
                assert g.dtype == dtype


def test_half_precision(xp):
    if not hasattr(xp, "float16"):
        pytest.skip("the library has no float16")
    for name in ("cumulative_sum", "cumulative_prod", "diff"):
        g = gradient(xp, lambda xp, x, name=name: getattr(xp, name)(x, axis=1), X.astype("float16"))
        assert g.dtype == np.float16


def test_operands_that_are_not_contiguous(xp):
    for name in ("cumulative_sum", "cumulative_prod", "diff"):
        check(xp, lambda xp, x, name=name: getattr(xp, name)((x * x).T[::2, ...], axis=1), X)


# ---- differences


@pytest.mark.parametrize(("n", "axis"), [(0, 0), (1, 0), (1, -1), (2, 1), (3, 0)])
def test_differences(xp, n, axis):
    check(xp, lambda xp, x: xp.diff(x * x, axis=axis, n=n), R.normal(size=(4, 5)))


def test_differences_between_what_is_put_before_and_after(xp):
    before, after = R.normal(size=(3, 2)), R.normal(size=(3, 1))

    def f(xp, x, a, b):
        return (
            xp.diff(x * x, prepend=a, append=b),
            xp.diff(x, prepend=a * a, n=2),
            xp.diff(x, append=b * b, axis=1),
        )

    check(xp, f, X, before, after)


def test_what_is_put_before_may_alone_carry_a_gradient(xp):
    fixed = to(xp, X)
    check_one = gradient(
        xp, lambda ns, a: ns.diff(ns.asarray(fixed), prepend=a), R.normal(size=(3, 1))
    )
    np.testing.assert_array_equal(check_one, -np.ones((3, 1)))


def test_differences_of_higher_order_than_there_are_entries(xp):
    for n in (4, 5):
        g = gradient(xp, lambda xp, x, n=n: xp.diff(x, n=n), X)
        np.testing.assert_array_equal(g, np.zeros(X.shape))
