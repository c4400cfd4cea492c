"""Derivatives of reductions: sums, products, extrema and statistics."""

from __future__ import annotations

import numpy as np
import pytest

import bpgpu as bp
from gradients import check, numpy_of, to

R = np.random.default_rng(3)
X = R.normal(size=(2, 3, 4))
Z = X + 1j * R.normal(size=X.shape)

REDUCTIONS = ("sum", "mean", "prod", "var", "std", "max", "min")
AXES = (None, 0, -1, (0, 2), (-1, 1), (), (0, 1, 2))


def gradient(xp, f, x):
    """The gradient of the sum of `f(xp, x)`, as a NumPy array."""
    y, pull = bp.vjp(lambda x: f(bp.array_namespace(x), x), to(xp, np.asarray(x)))
    return numpy_of(pull(xp.ones_like(y))[0])


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_derivative(xp, name, axis):
    if axis == () and name in ("var", "std"):
        pytest.skip("the deviation of one entry is zero; see below")

    def f(xp, x):
        # the square gives linear functions a second derivative, and a gradient that is not constant
        return getattr(xp, name)(x * x + x, axis=axis)

    check(xp, f, X, differences=axis in (None, -1))


@pytest.mark.parametrize("axis", [None, 1, (0, 2), ()], ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_axes_may_be_kept(xp, name, axis):
    kept = gradient(xp, lambda xp, x: getattr(xp, name)(x, axis=axis, keepdims=True), X)
    gone = gradient(xp, lambda xp, x: getattr(xp, name)(x, axis=axis), X)
    np.testing.assert_array_equal(kept, gone)


@pytest.mark.parametrize("name", ["sum", "mean", "prod"])
def test_complex_derivative(xp, name):
    check(xp, lambda xp, z: getattr(xp, name)(z * z, axis=1), Z)
    check(xp, lambda xp, z: getattr(xp, name)(z * z), Z)


@pytest.mark.parametrize("name", ["var", "std"])
def test_statistics_of_complex_numbers(xp, name):
    """The standard wants real numbers; libraries that take complex ones mean the squared distance from the mean."""
    if "strict" in xp.__name__:
        pytest.skip("array-api-strict takes real numbers only")
    check(xp, lambda xp, z: getattr(xp, name)(z, axis=1), Z)


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (3, 1)], ids=str)
def test_shape_and_dtype_of_the_gradient_are_those_of_the_operand(xp, name, shape):
    for dtype in ("float32", "float64"):
        for axis in (None, *range(-len(shape), len(shape))):
            g = gradient(
                xp,
                lambda xp, x, axis=axis: getattr(xp, name)(x, axis=axis),
                np.full(shape, 2, dtype=dtype),
            )
            assert g.shape == shape
            assert g.dtype == dtype
            assert np.isfinite(g).all()


@pytest.mark.parametrize("name", REDUCTIONS)
def test_half_precision(xp, name):
    if not hasattr(xp, "float16"):
        pytest.skip("the library has no float16")
    g = gradient(xp, lambda xp, x: getattr(xp, name)(x, axis=1), X.astype("float16"))
    assert g.dtype == np.float16
    exact = gradient(xp, lambda xp, x: getattr(xp, name)(x, axis=1), X)
    np.testing.assert_allclose(g, exact, rtol=3e-2, atol=3e-2)


def test_reductions_of_nothing(xp):
    empty = np.zeros((2, 0))
    for name in ("sum", "prod"):
        for axis in (None, 0, 1):
            g = gradient(
                xp, lambda xp, x, name=name, axis=axis: getattr(xp, name)(x, axis=axis), empty
            )
            assert g.shape == (2, 0)
    for name in ("sum", "mean", "prod", "max", "min"):
        g = gradient(xp, lambda xp, x, name=name: getattr(xp, name)(x, axis=0), empty)
        assert g.shape == (2, 0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
def test_statistics_of_nothing_have_an_empty_gradient(xp):
    for name in ("mean", "var", "std"):
        for axis in (None, 0, 1):
            g = gradient(
                xp,
                lambda xp, x, name=name, axis=axis: getattr(xp, name)(x, axis=axis),
                np.zeros((2, 0)),
            )
            assert g.shape == (2, 0)


def test_operands_that_are_not_contiguous(xp):
    x = R.normal(size=(4, 6))
    for name in REDUCTIONS:
        g = gradient(xp, lambda xp, x, name=name: getattr(xp, name)(x.T[::2, ...], axis=0), x)
        copied = gradient(xp, lambda xp, x, name=name: getattr(xp, name)(x, axis=1), x[:, ::2])
        np.testing.assert_allclose(g[:, ::2], copied, rtol=1e-12)
        np.testing.assert_array_equal(g[:, 1::2], 0)


# ---- sums and products


@pytest.mark.parametrize("name", ["sum", "prod"])
def test_the_dtype_of_the_result_may_be_asked_for(xp, name):
    x = X[0].astype("float32")
    for dtype in ("float64", "complex64", "complex128"):

        def f(xp, x, dtype=dtype):
            y = getattr(xp, name)(x, axis=0, dtype=getattr(xp, dtype))
            assert str(y.dtype).endswith(dtype)
            return xp.real(y) if "complex" in dtype else y

        g = gradient(xp, f, x)
        assert g.dtype == np.float32
        exact = gradient(xp, lambda xp, x: getattr(xp, name)(x, axis=0), X[0])
        np.testing.assert_allclose(g, exact, rtol=1e-5)


def test_a_sum_of_integers_is_a_constant(xp):
    def f(xp, x):
        return xp.astype(xp.sum(x, dtype=xp.int64), xp.float64) * x

    np.testing.assert_array_equal(gradient(xp, f, [1.0, 2.0]), [3, 3])


@pytest.mark.parametrize(
    "x",
    [
        [0.0, 2.0, 3.0],
        [2.0, 0.0, 0.0],
        [0.0, 0.0, 0.0],
        [0.0],
        [[1.0, 0.0, 2.0, 3.0], [0.0, 4.0, 0.0, 5.0], [1.0, 2.0, 3.0, 4.0]],
    ],
    ids=str,
)
def test_products_with_zeros(xp, x):
    check(xp, lambda xp, x: xp.prod(x), np.asarray(x))
    check(xp, lambda xp, x: xp.prod(x, axis=-1), np.asarray(x))


def test_the_third_derivative_of_a_product_with_zeros(xp):
    """d³(xyz) / dx dy dz = 1 wherever it is taken."""

    def third(v):
        def along(f, i):
            def derivative(v):
                ns = bp.array_namespace(v)
                return bp.grad(f)(v)[i] + 0 * ns.sum(v)

            return derivative

        return along(along(along(lambda v: bp.array_namespace(v).prod(v), 0), 1), 2)(v)

    for v in ([0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 2.0, 3.0]):
        assert numpy_of(third(to(xp, np.asarray(v)))) == 1


# ---- statistics


@pytest.mark.parametrize("name", ["var", "std"])
@pytest.mark.parametrize("correction", [1, 0.5, 2])
def test_correction(xp, name, correction):
    if "torch" in xp.__name__ and correction == 0.5:
        pytest.skip("torch takes whole corrections only")
    check(
        xp, lambda xp, x: getattr(xp, name)(x, axis=(0, 2), correction=correction, keepdims=True), X
    )


def test_the_derivative_of_std_at_zero_deviation_is_zero(xp):
    x = np.asarray([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]])
    g = gradient(xp, lambda xp, x: xp.std(x, axis=1), x)
    np.testing.assert_array_equal(g[0], [0, 0, 0])
    np.testing.assert_allclose(g[1], np.asarray([-1, 0, 1]) / (3 * np.std(x[1])))
    for f in (lambda xp, x: xp.std(x, axis=()), lambda xp, x: xp.var(x, axis=())):
        np.testing.assert_array_equal(gradient(xp, f, x), np.zeros(x.shape))


def test_std_at_zero_deviation_has_finite_second_derivatives(xp):
    def slope(x):
        ns = bp.array_namespace(x)
        g = bp.grad(lambda x: bp.array_namespace(x).std(x))(x)
        return ns.sum(g * ns.asarray(to(xp, np.asarray([1.0, 2.0, 3.0]))))

    np.testing.assert_array_equal(numpy_of(bp.grad(slope)(to(xp, np.ones(3)))), np.zeros(3))


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
def test_statistics_without_degrees_of_freedom_are_nan_and_so_is_their_gradient(xp):
    for name in ("var", "std"):
        g = gradient(
            xp, lambda xp, x, name=name: getattr(xp, name)(x, correction=1), np.asarray([2.0])
        )
        assert np.isnan(g).all()


# ---- extrema


@pytest.mark.parametrize("name", ["max", "min"])
def test_equal_extrema_share_the_gradient(xp, name):
    x = np.asarray([[3.0, 3.0, 3.0], [1.0, 3.0, 1.0], [3.0, 1.0, 3.0]])
    for axis in (None, 0, -1, (0, 1)):
        check(
            xp,
            lambda xp, x, axis=axis: getattr(xp, name)(x, axis=axis) * x,
            x,
            differences=False,
        )


@pytest.mark.parametrize("name", ["max", "min"])
def test_extrema_agree_with_torch(name):
    torch = pytest.importorskip("torch")
    xp = pytest.importorskip("array_api_compat.torch")
    x = np.asarray([[1.0, 2.0, 2.0], [0.0, -0.0, 0.0], [np.inf, np.inf, 1.0]])
    t = torch.tensor(x, requires_grad=True)
    getattr(torch, f"a{name}")(t, dim=1).sum().backward()
    g = gradient(xp, lambda xp, x: getattr(xp, name)(x, axis=1), x)
    np.testing.assert_array_equal(g, t.grad.numpy())


@pytest.mark.parametrize("name", ["max", "min"])
def test_the_gradient_of_an_extremum_that_is_nan_goes_to_the_nans(xp, name):
    nan = np.nan
    x = np.asarray([[nan, 1.0, 2.0], [nan, nan, 0.0], [3.0, 3.0, 3.0]])
    g = gradient(xp, lambda xp, x: getattr(xp, name)(x, axis=1), x)
    np.testing.assert_allclose(g, [[1, 0, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]])


def test_an_infinite_gradient_reaches_the_maximum_only(xp):
    with np.errstate(divide="ignore"):
        g = gradient(xp, lambda xp, x: xp.sqrt(xp.max(x)), [-1.0, 0.0])
    np.testing.assert_array_equal(g, [0, np.inf])
