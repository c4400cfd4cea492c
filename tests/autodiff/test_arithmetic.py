"""Derivatives of elementwise functions of two operands and more."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import bpgpu as bp
from gradients import check, numpy_of, to

R = np.random.default_rng(2)
X, Y = R.normal(size=(2, 3)), R.normal(size=(2, 3))
P, Q = R.uniform(0.4, 3, size=(2, 3)), R.uniform(0.4, 3, size=(2, 3))
Z, W = X + 1j * P, Q - 1j * Y

REAL = {
    "add": (X, Y),
    "atan2": (X, Y),
    "copysign": (X, Y),
    "divide": (X, Y),
    "floor_divide": (X, Y),
    "hypot": (X, Y),
    "logaddexp": (X, Y),
    "maximum": (X, Y),
    "minimum": (X, Y),
    "multiply": (X, Y),
    "pow": (P, Y),
    "remainder": (X, Y),
    "subtract": (X, Y),
}
COMPLEX = ("add", "divide", "multiply", "pow", "subtract")
OPERATORS = {
    "add": operator.add,
    "divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "multiply": operator.mul,
    "pow": operator.pow,
    "remainder": operator.mod,
    "subtract": operator.sub,
}


def gradients(xp, f, *arrays):
    """The gradients of the sum of `f(xp, *arrays)` for all floating operands, as NumPy arrays."""
    arrays = [to(xp, np.asarray(a)) for a in arrays]
    which = [i for i, a in enumerate(arrays) if "float" in str(a.dtype)]

    def of_floating(*xs):
        full = list(arrays)
        for i, x in zip(which, xs, strict=True):
            full[i] = x
        return f(bp.array_namespace(*xs), *full)

    y, pull = bp.vjp(of_floating, *[arrays[i] for i in which])
    return [numpy_of(g) for g in pull(xp.ones_like(y))]


@pytest.mark.parametrize("name", REAL)
def test_derivative(xp, name):
    # the product keeps linear functions from having no second derivative at all
    check(xp, lambda xp, x, y: getattr(xp, name)(x, y) * x * y, *REAL[name])


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_derivative(xp, name):
    def f(xp, x, y):
        return getattr(xp, name)(x, y) * x * y

    check(xp, f, Z, W)
    check(xp, f, P, W)
    check(xp, f, Z, Q)


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_gradient_is_torchs(name):
    torch = pytest.importorskip("torch")
    xp = pytest.importorskip("array_api_compat.torch")
    ts = [torch.from_numpy(a).requires_grad_() for a in (Z, W)]
    getattr(torch, name)(*ts).real.sum().backward()

    def loss(x, y):
        ns = bp.array_namespace(x)
        return ns.sum(ns.real(getattr(ns, name)(x, y)))

    ours = bp.grad(loss, (0, 1))(*[to(xp, a) for a in (Z, W)])
    for g, t in zip(ours, ts, strict=True):
        np.testing.assert_allclose(numpy_of(g), t.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(xp, name):
    op = OPERATORS[name]
    x, y = REAL[name]
    check(xp, lambda xp, x, y: op(x, y) * x * y, x, y)
    check(xp, lambda xp, x: op(x, 1.3) * x * x, x)
    check(xp, lambda xp, y: op(1.3, y) * y * y, y)


@pytest.mark.parametrize("name", REAL)
def test_numbers_on_either_side(xp, name):
    x, y = REAL[name]
    check(xp, lambda xp, x: getattr(xp, name)(x, 1.3) * x * x, x)
    check(xp, lambda xp, y: getattr(xp, name)(1.3, y) * y * y, y)


# ---- broadcasting


@st.composite
def operands(draw):
    """Two operands that broadcast: shape and dtype, and whether traced, constant or a Python number."""
    shapes = draw(
        mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3)
    ).input_shapes
    dtypes = draw(st.tuples(*[st.sampled_from(["float32", "float64"])] * 2))
    roles = draw(
        st.sampled_from(
            [
                ("traced", "traced"),
                ("traced", "constant"),
                ("constant", "traced"),
                ("traced", "number"),
                ("number", "traced"),
            ]
        )
    )
    return shapes, dtypes, roles, draw(st.integers(0, 2**32 - 1))


@pytest.mark.parametrize("name", REAL)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operands())
def test_broadcasting(xp, name, case):
    """Against torch in float64: every gradient has the shape and dtype of its operand, and the right values."""
    torch = pytest.importorskip("torch")
    shapes, dtypes, roles, seed = case
    r = np.random.default_rng(seed)
    arrays = [r.uniform(0.5, 2, size=s).astype(d) for s, d in zip(shapes, dtypes, strict=True)]
    values = [
        float(r.uniform(0.5, 2)) if role == "number" else a
        for a, role in zip(arrays, roles, strict=True)
    ]
    traced = tuple(i for i, role in enumerate(roles) if role == "traced")

    theirs = [torch.tensor(v, dtype=torch.float64) for v in values]
    for i in traced:
        theirs[i].requires_grad_()
    z = getattr(torch, name)(*theirs)
    weight = r.uniform(0.5, 2, size=tuple(z.shape))
    if name != "floor_divide":  # for which torch has no derivative
        (z * torch.from_numpy(weight)).sum().backward()

    given_ = [v if role == "number" else to(xp, v) for v, role in zip(values, roles, strict=True)]
    forms = [lambda ns, x, y: getattr(ns, name)(x, y)]
    if name in OPERATORS and not ("strict" in xp.__name__ and "constant" in roles):
        # arrays of array-api-strict refuse to stand beside a traced one under an operator
        forms.append(lambda ns, x, y: OPERATORS[name](x, y))
    for form in forms:

        def loss(*xs, form=form):
            ns = bp.array_namespace(*xs)
            full = list(given_)  # constants stay plain arrays
            for i, x in zip(traced, xs, strict=True):
                full[i] = x
            z = form(ns, *full)
            return ns.sum(z * ns.astype(ns.asarray(to(xp, weight)), z.dtype))

        ours = bp.grad(loss, tuple(range(len(traced))))(*[given_[i] for i in traced])
        for g, i in zip(map(numpy_of, ours), traced, strict=True):
            assert g.shape == arrays[i].shape
            assert g.dtype == arrays[i].dtype
            expected = theirs[i].grad
            expected = np.zeros(g.shape) if expected is None else expected.numpy()
            np.testing.assert_allclose(g, expected, rtol=1e-4, atol=1e-4)


# ---- powers


@pytest.mark.parametrize("n", [0, 1, 2, 3, -1, -2, 0.5, 2.5])
def test_powers_of_positive_numbers(xp, n):
    check(xp, lambda xp, x: x**n * x, P)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 0.0, 1.0, 2.0])
def test_whole_powers_at_zero_and_below(xp, n):
    x = np.asarray([-2.0, -1.0, 0.0, 1.5])

    def reference(xp, x):
        return x ** int(n) + x**2

    check(xp, lambda xp, x: x**n + x**2, x, reference=reference)
    check(xp, lambda xp, x: x ** (xp.zeros_like(x) + n) + x**2, x, reference=reference)


def test_the_power_at_zero(xp):
    base = np.asarray([0.0, 0.0, 0.0, 0.0])
    exponent = np.asarray([0.0, 1.0, 2.0, 3.0])
    by_base, by_exponent = gradients(xp, lambda xp, x, y: x**y, base, exponent)
    np.testing.assert_array_equal(by_base, [0, 1, 0, 0])
    np.testing.assert_array_equal(by_exponent, [0, 0, 0, 0])


def test_zero_to_a_traced_power(xp):
    (g,) = gradients(xp, lambda xp, y: 0.0**y + 2.0**y, [0.0, 0.5, 2.0])
    np.testing.assert_allclose(g, np.log(2) * 2.0 ** np.asarray([0.0, 0.5, 2.0]))


def test_the_mixed_second_derivative_of_a_power_at_exponent_zero(xp):
    """`d/dy (y x^(y-1)) = 1/x` at `y = 0`: what guards `0**0` must not reach there."""
    check(xp, lambda xp, x, y: x**y, np.asarray([2.0, 0.5]), np.asarray([0.0, 0.0]))


def test_negative_base_with_whole_exponent(xp):
    by_base = gradients(xp, lambda xp, x: x ** (xp.zeros_like(x) + 3), [-2.0, -1.0])[0]
    np.testing.assert_allclose(by_base, [12, 3])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_the_exponent_of_a_negative_base_has_no_derivative(xp):
    by_base, by_exponent = gradients(xp, lambda xp, x, y: x**y, [-2.0], [2.0])
    assert by_base == [-4]
    assert np.isnan(by_exponent).all()


def test_integer_arrays_as_exponent_and_base(xp):
    if "strict" in xp.__name__:
        pytest.skip("the standard does not mix integers and floating arrays")
    n = np.asarray([0, 1, 2, 3])
    x = np.asarray([0.0, 0.0, -1.0, 2.0])
    (g,) = gradients(xp, lambda xp, x, n: x**n, x, n)
    np.testing.assert_array_equal(g, [0, 1, -2, 12])
    (g,) = gradients(xp, lambda xp, y, n: n**y, [0.5, 1.0, 2.0, 0.0], n + 1)
    np.testing.assert_allclose(g, np.log(n + 1) * (n + 1) ** np.asarray([0.5, 1, 2, 0]))
    unsigned = n.astype("uint8")
    (g,) = gradients(xp, lambda xp, x, n: x**n, x, unsigned)
    np.testing.assert_array_equal(g, [0, 1, -2, 12])


def test_complex_powers(xp):
    for n in (0, 1, 2, 3, 0.5, 1 + 2j):
        check(xp, lambda xp, z, n=n: z**n * z, Z)
    check(xp, lambda xp, z: (1 + 2j) ** z, Z)
    check(xp, lambda xp, x: x ** (1 + 2j), P)


def test_complex_zero_to_a_power(xp):
    if "torch" in xp.__name__:
        pytest.skip("0j**0j of torch is NaN")
    z = np.asarray([0j, 0j, 0j])
    n = np.asarray([0j, 1 + 0j, 2 + 0j])

    def loss(z, n):
        ns = bp.array_namespace(z)
        return ns.sum(ns.real(z**n))

    by_base, by_exponent = bp.grad(loss, (0, 1))(to(xp, z), to(xp, n))
    np.testing.assert_array_equal(numpy_of(by_base), [0, 1, 0])
    np.testing.assert_array_equal(numpy_of(by_exponent), [0, 0, 0])


def test_negative_real_base_with_complex_exponent(xp):
    check(xp, lambda xp, x, w: x**w, -P, W)


# ---- division and remainders


def test_remainders_of_either_sign(xp):
    x = np.asarray([5.3, -5.3, 5.3, -5.3, 0.4])
    y = np.asarray([2.1, 2.1, -2.1, -2.1, 3.0])
    check(xp, lambda xp, x, y: xp.remainder(x, y) * x * y, x, y)
    check(xp, lambda xp, x, y: xp.floor_divide(x, y) * x * y, x, y)


def test_remainder_counts_turns_as_the_value_does(xp):
    """1.0 % 0.1 is 0.0999..., nine turns, though 1.0 / 0.1 rounds to ten."""
    _, by_y = gradients(xp, lambda xp, x, y: x % y, [1.0], [0.1])
    np.testing.assert_array_equal(by_y, [-np.floor((1.0 - 1.0 % 0.1) / 0.1 + 0.5)])


def test_floor_divide_stops_an_infinite_gradient(xp):
    with np.errstate(divide="ignore"):
        g, h = gradients(xp, lambda xp, x, y: xp.sqrt(x // y), [0.5], [2.0])
    np.testing.assert_array_equal([g, h], [[0], [0]])


# ---- length and angle


def test_the_origin_has_gradient_zero(xp):
    for name in ("hypot", "atan2"):

        def f(xp, x, y, name=name):
            return getattr(xp, name)(x, y)

        gx, gy = gradients(xp, f, [0.0, 3.0], [0.0, 4.0])
        assert gx[0] == 0
        assert gy[0] == 0
        assert np.isfinite(gx).all()
        assert np.isfinite(gy).all()
        second = gradients(
            xp, lambda xp, x, y, f=f: bp.grad(lambda x: xp.sum(f(xp, x, y)))(x), [0.0], [0.0]
        )
        np.testing.assert_array_equal(second, [[0], [0]])


def test_lengths_and_angles_do_not_overflow(xp):
    big = np.asarray([3e200])
    for f in ("hypot", "atan2"):
        gx, gy = gradients(xp, lambda xp, x, y, f=f: getattr(xp, f)(x, y), big, 4 * big / 3)
        expected = (0.6, 0.8) if f == "hypot" else (0.8 / 5e200, -0.6 / 5e200)
        np.testing.assert_allclose([gx[0], gy[0]], expected)


def test_a_point_at_infinity_does_not_turn(xp):
    gy, gx = gradients(xp, lambda xp, y, x: xp.atan2(y, x), [np.inf, 1.0], [1.0, -np.inf])
    np.testing.assert_array_equal([gy, gx], np.zeros((2, 2)))


def test_copysign_at_zero_has_gradient_zero(xp):
    gx, gy = gradients(xp, lambda xp, x, y: xp.copysign(x, y), [0.0, -2, 2], [-1.0, -1, -0.0])
    np.testing.assert_array_equal(gx, [0, 1, -1])
    np.testing.assert_array_equal(gy, [0, 0, 0])


# ---- selection


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_equal_operands_share_the_gradient(xp, name):
    x, y = np.asarray([1.0, 2.0, -0.0, np.inf]), np.asarray([1.0, 3.0, 0.0, np.inf])
    check(xp, lambda xp, x, y: getattr(xp, name)(x, y) * x, x[:3], y[:3], differences=False)
    gx, gy = gradients(xp, lambda xp, x, y: getattr(xp, name)(x, y), x, y)
    second = 0 if name == "maximum" else 1
    np.testing.assert_array_equal(gx, [0.5, second, 0.5, 0.5])
    np.testing.assert_array_equal(gy, [0.5, 1 - second, 0.5, 0.5])


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_beside_nan_both_operands_get_the_gradient(xp, name):
    nan = np.nan
    gx, gy = gradients(
        xp, lambda xp, x, y: getattr(xp, name)(x, y), [nan, 1.0, nan], [1.0, nan, nan]
    )
    np.testing.assert_array_equal([gx, gy], np.ones((2, 3)))


def test_logaddexp_at_infinity(xp):
    inf = np.inf
    x = np.asarray([-inf, -inf, inf, inf, 0.0, -inf])
    y = np.asarray([-inf, 0.0, inf, 0.0, inf, inf])
    gx, gy = gradients(xp, lambda xp, x, y: xp.logaddexp(x, y), x, y)
    np.testing.assert_array_equal(gx, [0.5, 0, 0.5, 1, 0, 0])
    np.testing.assert_array_equal(gy, [0.5, 1, 0.5, 0, 1, 1])


def test_logaddexp_of_equal_and_of_distant_numbers(xp):
    x, y = np.asarray([1.0, 50.0, -800.0, 3.0]), np.asarray([1.0, 0.0, 800.0, 3.0])
    check(xp, lambda xp, x, y: xp.logaddexp(x, y), x, y)
    gx, _ = gradients(xp, lambda xp, x, y: xp.logaddexp(x, y), [0.0], [700.0])
    np.testing.assert_allclose(gx, np.exp(-700.0))


# ---- clip


def test_clip_to_numbers(xp):
    check(xp, lambda xp, x: xp.clip(x, -0.5, 0.7) * x, X)
    check(xp, lambda xp, x: xp.clip(x, min=-0.5) * x, X)
    check(xp, lambda xp, x: xp.clip(x, max=0.5) * x, X)
    check(xp, lambda xp, x: xp.clip(x) * x, X)
    check(xp, lambda xp, x: xp.clip(x, min=-1, max=1) * x, X)


def test_clip_to_arrays(xp):
    low, high = -np.abs(Y), np.asarray([0.3, 0.5, 0.2])
    check(xp, lambda xp, x, a, b: xp.clip(x, a, b) * x, X, low, high)
    check(xp, lambda xp, x, a, b: xp.clip(x, min=a, max=b) * x, X, low, high)
    check(xp, lambda xp, x, b: xp.clip(x, max=b) * x, X, high)
    check(xp, lambda xp, a: xp.clip(xp.zeros_like(a), min=a) * a, Y)


def test_clip_at_the_limits_gives_the_gradient_to_x(xp):
    x, low, high = [0.0, 1.0, -1.0, 2.0], [0.0] * 4, [1.0] * 4
    gx, gl, gh = gradients(xp, lambda xp, x, a, b: xp.clip(x, a, b), x, low, high)
    np.testing.assert_array_equal(gx, [1, 1, 0, 0])
    np.testing.assert_array_equal(gl, [0, 0, 1, 0])
    np.testing.assert_array_equal(gh, [0, 0, 0, 1])


def test_clip_between_crossed_limits(xp):
    """The value is the upper limit everywhere, and there goes the gradient."""
    if "strict" in xp.__name__:
        pytest.skip("array-api-strict refuses crossed limits")
    x, low, high = [-1.0, 0.5, 2.0], [1.0] * 3, [0.0] * 3
    gx, gl, gh = gradients(xp, lambda xp, x, a, b: xp.clip(x, a, b), x, low, high)
    np.testing.assert_array_equal([gx, gl, gh], [[0] * 3, [0] * 3, [1] * 3])


def test_clip_agrees_with_torch():
    torch = pytest.importorskip("torch")
    xp = pytest.importorskip("array_api_compat.torch")
    grid = [(x, a, b) for x in (-1.0, 0.0, 1.0) for a in (-0.5, 0.0, 1.0) for b in (0.0, 0.5, 1.0)]
    # below two equal limits torch loses the gradient
    cases = np.asarray([(x, a, b) for x, a, b in grid if a != b or x >= a])
    ts = [torch.tensor(c, requires_grad=True) for c in cases.T]
    torch.clamp(*ts).sum().backward()
    ours = gradients(xp, lambda xp, x, a, b: xp.clip(x, a, b), *cases.T)
    np.testing.assert_array_equal(ours, [t.grad.numpy() for t in ts])


def test_clip_lets_nan_pass_with_its_gradient(xp):
    (g,) = gradients(xp, lambda xp, x: xp.clip(x, 0.0, 1.0), [np.nan])
    assert g == [1]


# ---- shapes and dtypes


@pytest.mark.parametrize("name", REAL)
def test_half_precision(xp, name):
    if not hasattr(xp, "float16"):
        pytest.skip("the library has no float16")
    exact = gradients(xp, lambda xp, x, y: getattr(xp, name)(x, y), *REAL[name])
    halves = [a.astype("float16") for a in REAL[name]]
    for g, e in zip(
        gradients(xp, lambda xp, x, y: getattr(xp, name)(x, y), *halves), exact, strict=True
    ):
        assert g.dtype == np.float16
        np.testing.assert_allclose(g, e, rtol=3e-2, atol=3e-2)


def test_integers_beside_floating_arrays(xp):
    if "strict" in xp.__name__:
        pytest.skip("the standard does not mix integers and floating arrays")
    n = np.asarray([1, 2, 4])
    for name in ("add", "subtract", "multiply", "divide", "remainder", "floor_divide"):
        (g,) = gradients(
            xp, lambda xp, x, n, name=name: getattr(xp, name)(x, n), X[0].astype("float32"), n
        )
        assert g.dtype == np.float32
        (exact,) = gradients(
            xp,
            lambda xp, x, name=name: getattr(xp, name)(x, xp.asarray(to(xp, n.astype(float)))),
            X[0],
        )
        np.testing.assert_allclose(g, exact, rtol=1e-6)


def test_operands_that_are_not_contiguous(xp):
    a, b = R.normal(size=(6, 4)), R.normal(size=(4, 3))
    check(xp, lambda xp, a, b: a[::2, ...].T * b + b / a[1::2, :].T, a, b)


def test_the_same_array_on_both_sides(xp):
    check(xp, lambda xp, x: x * x + x / x + xp.maximum(x, x) * x + x**x, P)
