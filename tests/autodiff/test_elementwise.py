"""Derivatives of elementwise functions of one operand."""

from __future__ import annotations

import numpy as np
import pytest

import bpgpu as bp
from gradients import check, numpy_of, to

R = np.random.default_rng(1)
ANY = R.normal(size=(2, 3))
POSITIVE = R.uniform(0.3, 3, size=(2, 3))
INSIDE = R.uniform(-0.9, 0.9, size=(2, 3))
ABOVE_ONE = R.uniform(1.2, 4, size=(2, 3))
COMPLEX = R.normal(size=(2, 3)) + 1j * R.normal(size=(2, 3))

SMOOTH = {
    "abs": ANY,
    "acos": INSIDE,
    "acosh": ABOVE_ONE,
    "asin": INSIDE,
    "asinh": ANY,
    "atan": ANY,
    "atanh": INSIDE,
    "conj": ANY,
    "cos": ANY,
    "cosh": ANY,
    "exp": ANY,
    "expm1": ANY,
    "log": POSITIVE,
    "log1p": INSIDE,
    "log2": POSITIVE,
    "log10": POSITIVE,
    "negative": ANY,
    "positive": ANY,
    "reciprocal": POSITIVE - 4,
    "sin": ANY,
    "sinh": ANY,
    "sqrt": POSITIVE,
    "square": ANY,
    "tan": INSIDE,
    "tanh": ANY,
}
STEPS = ("ceil", "floor", "round", "sign", "trunc")
LINEAR = ("conj", "imag", "negative", "positive", "real")
COMPLEX_TOO = (*SMOOTH, "imag", "real", "sign")


def gradient(xp, f, x):
    """The gradient of the sum of `f(xp, x)` (of its real part), as a NumPy array."""
    x = to(xp, np.asarray(x))

    def loss(x):
        ns = bp.array_namespace(x)
        y = f(ns, x)
        return ns.sum(ns.real(y) if "complex" in str(y.dtype) else y)

    return numpy_of(bp.grad(loss)(x))


@pytest.mark.parametrize("name", SMOOTH)
def test_derivative(xp, name):
    check(xp, lambda xp, x: getattr(xp, name)(x), SMOOTH[name], order=1 if name in LINEAR else 2)


@pytest.mark.parametrize("name", STEPS)
def test_steps_have_derivative_zero(xp, name):
    check(xp, lambda xp, x: getattr(xp, name)(x) * x, ANY)
    at_jumps = gradient(xp, lambda xp, x: getattr(xp, name)(x), [-1.0, 0.0, 0.5, 2.0])
    np.testing.assert_array_equal(at_jumps, np.zeros(4))


def test_steps_stop_an_infinite_gradient(xp):
    with np.errstate(divide="ignore"):
        g = gradient(xp, lambda xp, x: xp.sqrt(xp.floor(x)), [0.5, 4.5])
    np.testing.assert_array_equal(g, [0, 0])


@pytest.mark.parametrize("name", COMPLEX_TOO)
def test_complex_derivative(xp, name):
    order = 1 if name in LINEAR else 2
    reference = BETTER_REFERENCES.get(name)
    check(xp, lambda xp, x: getattr(xp, name)(x), COMPLEX, reference=reference, order=order)


BETTER_REFERENCES = {
    # JAX's own derivative has the wrong sign where the real part is negative
    "acosh": lambda xp, z: xp.log(z + xp.sqrt(z - 1) * xp.sqrt(z + 1)),
    # in JAX it is zero
    "sign": lambda xp, z: z / xp.abs(z),
}


@pytest.mark.parametrize("name", COMPLEX_TOO)
def test_complex_gradient_is_torchs(name):
    """The convention: the gradient is what `z -= lr * g` descends along."""
    torch = pytest.importorskip("torch")
    xp = pytest.importorskip("array_api_compat.torch")
    # in the other half torch's derivative of acosh has the wrong sign
    z = np.abs(COMPLEX.real) + 1j * COMPLEX.imag if name == "acosh" else COMPLEX
    t = torch.from_numpy(z).requires_grad_()
    y = getattr(xp, name)(t)
    weight = torch.from_numpy(R.normal(size=y.shape))
    (y.real * weight if y.is_complex() else y * weight).sum().backward()
    ours = gradient(xp, lambda xp, x: xp.real(getattr(xp, name)(x) + 0j) * xp.asarray(weight), z)
    np.testing.assert_allclose(ours, t.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [*SMOOTH, *STEPS])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0, 3), (4, 3)], ids=str)
def test_shape_and_dtype_of_the_gradient_are_those_of_the_operand(xp, name, shape):
    at = SMOOTH.get(name, ANY).flat[0]
    for dtype in ("float32", "float64"):
        g = gradient(xp, lambda xp, x: getattr(xp, name)(x), np.full(shape, at, dtype=dtype))
        assert g.shape == shape
        assert g.dtype == dtype


@pytest.mark.parametrize("name", COMPLEX_TOO)
def test_single_precision_complex_numbers_stay_so(xp, name):
    g = gradient(xp, lambda xp, x: getattr(xp, name)(x), COMPLEX.astype("complex64"))
    assert g.dtype == np.complex64
    exact = gradient(xp, lambda xp, x: getattr(xp, name)(x), COMPLEX)
    np.testing.assert_allclose(g, exact, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", [*SMOOTH, *STEPS])
def test_half_precision(xp, name):
    if not hasattr(xp, "float16"):
        pytest.skip("the library has no float16")
    x = SMOOTH.get(name, ANY)
    g = gradient(xp, lambda xp, x: getattr(xp, name)(x), x.astype("float16"))
    assert g.dtype == np.float16
    exact = gradient(xp, lambda xp, x: getattr(xp, name)(x), x)
    np.testing.assert_allclose(g, exact, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", ["exp", "abs", "sqrt"])
def test_operands_that_are_not_contiguous(xp, name):
    x = np.abs(R.normal(size=(6, 4))) + 0.2
    check(xp, lambda xp, x: getattr(xp, name)(x.T[::2, :]), x)
    check(xp, lambda xp, x: getattr(xp, name)(xp.flip(x, axis=0)[:, 1::2]), x)


def test_operators_of_one_operand(xp):
    check(xp, lambda xp, x: -x + abs(x) * +x, ANY)
    check(xp, lambda xp, x: -x + abs(x) * +x, COMPLEX)


# ---- kinks and ends of the domain


def test_the_derivative_of_abs_at_zero_is_zero(xp):
    np.testing.assert_array_equal(
        gradient(xp, lambda xp, x: xp.abs(x), [-2.0, 0, -0.0, 3]), [-1, 0, 0, 1]
    )
    z = np.asarray([0j, 3 + 4j])
    np.testing.assert_allclose(gradient(xp, lambda xp, x: xp.abs(x), z), [0, 0.6 + 0.8j])


def test_abs_of_complex_zero_has_finite_second_derivatives(xp):
    def slope(z):
        ns = bp.array_namespace(z)
        g = bp.grad(lambda z: bp.array_namespace(z).sum(bp.array_namespace(z).abs(z)))(z)
        return ns.sum(ns.real(g) + ns.imag(g))

    g = numpy_of(bp.grad(slope)(to(xp, np.asarray([0j, 1 + 1j]))))
    assert g[0] == 0
    assert np.isfinite(g).all()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # array-api-compat's sign of 0j
def test_the_derivative_of_the_complex_sign_at_zero_is_zero(xp):
    g = gradient(xp, lambda xp, z: xp.imag(xp.sign(z)), np.asarray([0j, 2 + 0j]))
    np.testing.assert_allclose(g, [0, 0.5j], atol=1e-15)


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "at"), [("sqrt", 0.0), ("log", 0.0), ("asin", 1.0), ("acosh", 1.0), ("atanh", 1.0)]
)
def test_infinite_derivatives_at_the_end_of_the_domain(xp, name, at):
    assert gradient(xp, lambda xp, x: getattr(xp, name)(x), [at])[0] == np.inf


@pytest.mark.parametrize("name", ["asin", "acos"])
def test_derivatives_on_both_sides_of_a_branch_cut(xp, name):
    if "torch" in xp.__name__:
        pytest.skip("-z of torch forgets the sign of a zero imaginary part")
    z = np.asarray([complex(2, 0.0), complex(2, -0.0), complex(-2, 0.0), complex(-2, -0.0)])
    side = np.asarray([1, -1, 1, -1]) * 1e-7j
    near = gradient(xp, lambda xp, z: xp.imag(getattr(xp, name)(z)), z + side)
    g = gradient(xp, lambda xp, z: xp.imag(getattr(xp, name)(z)), z)
    np.testing.assert_allclose(g, near, atol=1e-6)


def test_saturated_functions_have_derivative_zero(xp):
    for name in ("tanh", "atan"):
        g = gradient(xp, lambda xp, x, name=name: getattr(xp, name)(x), [-np.inf, np.inf])
        np.testing.assert_array_equal(g, [0, 0])


# ---- dtypes and parts of complex numbers


def test_casts_pass_the_gradient_in_the_dtype_of_the_operand(xp):
    check(xp, lambda xp, x: xp.astype(x, xp.complex128) ** 2 * (1 + 2j), ANY)
    g = gradient(xp, lambda xp, x: xp.astype(x, xp.float64) ** 2, ANY.astype("float32"))
    assert g.dtype == np.float32
    g = gradient(xp, lambda xp, x: xp.astype(x, xp.complex64) ** 2, ANY.astype("float32"))
    assert g.dtype == np.float32


def test_a_cast_to_integers_is_a_constant(xp):
    x = np.asarray([1.5, -2.5, 3.0])
    g = gradient(xp, lambda xp, x: x * xp.astype(xp.astype(x, xp.int64), xp.float64), x)
    np.testing.assert_array_equal(g, [1, -2, 3])
    g = gradient(xp, lambda xp, x: x * xp.astype(xp.astype(x, xp.bool), xp.float64), x)
    np.testing.assert_array_equal(g, [1, 1, 1])


def test_a_cast_to_the_same_dtype_without_a_copy_is_the_same_array(xp):
    seen = []

    def loss(x):
        ns = bp.array_namespace(x)
        seen.append(ns.astype(x, x.dtype, copy=False) is x)
        seen.append(ns.astype(x, x.dtype) is not x)
        return ns.sum(ns.astype(x, x.dtype) * 2)

    bp.grad(loss)(to(xp, ANY))
    assert all(seen)


def test_a_cast_may_name_the_device(xp):
    def loss(x):
        ns = bp.array_namespace(x)
        return ns.sum(ns.astype(x, ns.float64, device=x.device) ** 2)

    g = bp.grad(loss)(to(xp, ANY.astype("float32")))
    np.testing.assert_allclose(numpy_of(g), 2 * ANY, rtol=1e-6)


def test_parts_of_real_numbers(xp):
    """The standard leaves it open whether `real` and `imag` take real arrays; where they do, the gradient is right."""
    for name, expected in (("real", 1), ("imag", 0)):
        try:
            getattr(xp, name)(to(xp, ANY))
        except (TypeError, RuntimeError):
            continue
        g = gradient(xp, lambda xp, x, name=name: getattr(xp, name)(x), ANY)
        np.testing.assert_array_equal(g, np.full(ANY.shape, expected))


def test_real_functions_of_complex_numbers(xp):
    check(xp, lambda xp, z: xp.real(z) * xp.imag(xp.conj(z)) + xp.abs(z * z) ** 3, COMPLEX)
    check(xp, lambda xp, x, z: xp.abs(x * z) + xp.imag(z / x), ANY, COMPLEX)
