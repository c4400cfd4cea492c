"""Arrays made from traced values keep the gradient of these values."""

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import errors
from gradients import check, numpy_of, to

R = np.random.default_rng(3)
X = R.normal(size=(3, 4))
V = R.normal(size=(3,))
A, B = np.asarray(0.7), np.asarray(-1.3)


def total(x):
    return bp.array_namespace(x).sum(x)


def traced(f, x):
    """Run `f(namespace, x)` inside a gradient, for its own assertions."""

    def loss(x):
        f(bp.array_namespace(x), x)
        return total(x)

    bp.grad(loss)(x)


# ---- asarray


def test_asarray_returns_the_same_handle(xp):
    def f(ns, x):
        c = ns.ones(3)
        for a in (x, c):
            assert ns.asarray(a) is a
            assert ns.asarray(a, copy=False) is a
            assert ns.asarray(a, dtype=a.dtype, device=a.device) is a
            assert ns.asarray(a, copy=True) is not a

    traced(f, to(xp, V))


def test_asarray_with_a_copy_is_another_array(xp):
    def f(x):
        ns = bp.array_namespace(x)
        y = ns.asarray(x, copy=True)
        y[0] = 0.0
        return total(x * y)

    np.testing.assert_allclose(numpy_of(bp.grad(f)(to(xp, V))), [0, *2 * V[1:]])


def test_asarray_casts_on_the_tape(xp):
    def f(x):
        ns = bp.array_namespace(x)
        y = ns.asarray(x, dtype=ns.float32)
        assert y.dtype == ns.float32
        return total(y * y)

    g = bp.grad(f)(to(xp, V))
    assert g.dtype == xp.float64
    np.testing.assert_allclose(numpy_of(g), 2 * V, rtol=1e-6)


def test_asarray_refuses_to_cast_without_a_copy(xp):
    with pytest.raises(ValueError, match="cannot change without a copy; pass copy=None"):
        traced(lambda ns, x: ns.asarray(x, dtype=ns.float32, copy=False), to(xp, V))


def test_asarray_of_nested_lists_of_traced_numbers(xp):
    def f(x):
        ns = bp.array_namespace(x)
        m = ns.asarray([[x[0], 2.0, x[1]], [3, x[2] ** 2, x[0]]])
        assert m.shape == (2, 3)
        assert m.dtype == x.dtype
        return total(m * m * m)

    expected = [6 * V[0] ** 2, 3 * V[1] ** 2, 6 * V[2] ** 5]
    np.testing.assert_allclose(numpy_of(bp.grad(f)(to(xp, V))), expected)


def test_asarray_of_a_list_of_rows(xp):
    def f(x):
        ns = bp.array_namespace(x)
        return total(ns.asarray([x, x * x, (1.0, 2.0, 3.0)]) ** 2)

    np.testing.assert_allclose(numpy_of(bp.grad(f)(to(xp, V))), 2 * V + 4 * V**3)


def test_numbers_in_a_list_take_the_dtype_of_the_arrays_beside_them(xp):
    def f(ns, x):
        assert ns.asarray([x[0], 1.5]).dtype == ns.float32
        assert ns.asarray([x[0], 1.5], dtype=ns.float64).dtype == ns.float64
        assert ns.asarray([x[0], 1j]).dtype == ns.complex64

    traced(f, to(xp, V.astype("float32")))


def test_asarray_of_lists_of_different_shapes_is_refused(xp):
    with pytest.raises(errors.ShapeError, match=r"must have equal shapes, got \(\) and \(3,\)"):
        traced(lambda ns, x: ns.asarray([x, 1.0]), to(xp, V))
    with pytest.raises(ValueError, match="a list cannot become an array without a copy"):
        traced(lambda ns, x: ns.asarray([x, x], copy=False), to(xp, V))


def test_asarray_of_plain_things_is_a_constant(xp):
    def f(ns, x):
        for obj in (1.5, [1.0, 2.0], to(xp, V), ns.asarray([ns.asarray(1), ns.asarray(2)])):
            c = ns.asarray(obj)
            assert type(c) is type(x)
            assert c.tape is None
        assert ns.asarray([]).shape == (0,)

    traced(f, to(xp, V))


def test_asarray_in_second_order(xp):
    check(
        xp,
        lambda xp, x: _listed(xp, x) ** 3,
        V,
        reference=lambda xp, x: xp.stack([x[0] * x[1], x[2], xp.asarray(2.0)]) ** 3,
    )


def _listed(xp, x):
    if not hasattr(x, "tape"):
        return xp.stack([x[0] * x[1], x[2], 0 * x[0] + 2.0])
    return xp.asarray([x[0] * x[1], x[2], 2.0])


# ---- from_dlpack and conversions


def test_from_dlpack_of_a_traced_array_keeps_the_trace(xp):
    def f(x):
        ns = bp.array_namespace(x)
        y = ns.from_dlpack(x)
        assert y is x
        assert ns.from_dlpack(x, copy=True) is not x
        return total(y * ns.from_dlpack(x * 1.0, device=x.device))

    np.testing.assert_allclose(numpy_of(bp.grad(f)(to(xp, V))), 2 * V)


def test_from_dlpack_of_a_plain_array_is_a_constant():
    def f(x):
        xp = bp.array_namespace(x)
        return total(x * xp.from_dlpack(V + 0))

    np.testing.assert_allclose(bp.grad(f)(V), V)


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: np.from_dlpack(x),
        lambda x: np.asarray(x),
        lambda x: np.array(x),
        lambda x: np.asarray([x, x]),
        lambda x: np.array([x[0], 1.0]),
        lambda x: np.array([[x[0]], [1.0]]),
        lambda x: np.zeros(3).__setitem__(slice(None), x),
        lambda x: np.full(3, x[0]),
        lambda x: np.full(3, x[0], dtype=float),
        lambda x: np.float64(x[0]),
        lambda x: float(x[0]),
        lambda x: complex(x[0]),
        lambda x: [*map(float, x)],
    ],
)
def test_conversions_that_would_lose_the_gradient_raise(convert):
    with pytest.raises((errors.ConversionError, errors.NotDifferentiableError)):
        bp.grad(lambda x: total(x * 2) + np.sum(convert(x)))(V)


@pytest.mark.parametrize("write", [lambda a, x: a.fill(x[0]), lambda a, x: a.__setitem__(0, x[0])])
def test_numpy_puts_an_error_of_its_own_before_ours_where_it_fills_one_entry(write):
    with pytest.raises(ValueError, match="setting an array element") as caught:
        bp.grad(lambda x: total(x) + np.sum(write(np.zeros(3), x)))(V)
    assert isinstance(caught.value.__cause__, errors.ConversionError)


# ---- full, full_like


def test_full_of_a_traced_number(xp):
    check(
        xp,
        lambda xp, a: (
            xp.broadcast_to(a, (2, 3)) ** 2 if not hasattr(a, "tape") else xp.full((2, 3), a) ** 2
        ),
        A,
    )

    def f(a):
        ns = bp.array_namespace(a)
        y = ns.full(4, a, dtype=ns.float32)
        assert y.dtype == ns.float32
        y[1] = 5.0
        return total(y)

    assert float(bp.grad(f)(to(xp, A))) == 3.0


def test_full_like(xp):
    def f(x, a):
        ns = bp.array_namespace(x)
        y = ns.full_like(x, a)
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        return total(y * ns.full_like(x, 2.0)) + total(x)

    gx, ga = bp.grad(f, (0, 1))(to(xp, X.astype("float32")), to(xp, A))
    np.testing.assert_array_equal(numpy_of(gx), np.ones_like(X))
    assert float(ga) == 24.0
    assert (gx.dtype, ga.dtype) == (xp.float32, xp.float64)


def test_full_like_integers_refuses_a_traced_float(xp):
    def f(ns, a):
        ns.full_like(ns.arange(3), a)

    with pytest.raises(
        errors.DtypeError, match=r"float64 cannot become .*int64.*dtype=fill_value.dtype"
    ):
        traced(f, to(xp, A))


# ---- linspace, arange


@pytest.mark.parametrize("endpoint", [True, False])
@pytest.mark.parametrize("num", [0, 1, 2, 5])
def test_linspace_between_traced_ends(xp, num, endpoint):
    def f(xp, a, b):
        return xp.linspace(a, b * b, num, endpoint=endpoint, dtype=xp.float64) ** 2

    check(xp, f, A, B)


def test_linspace_with_one_traced_end(xp):
    check(xp, lambda xp, a: xp.linspace(a, 2.0, 4, dtype=xp.float64) ** 2, A)
    check(xp, lambda xp, a: xp.linspace(-1, a, 4, dtype=xp.float64) ** 2, A)

    def f(a):
        ns = bp.array_namespace(a)
        y = ns.linspace(a, 3.0, 4, dtype=ns.float32)
        assert y.dtype == ns.float32
        return y[0] + y[3]

    assert float(bp.grad(f)(to(xp, A))) == 1.0


def test_linspace_hits_both_ends():
    def f(a, b):
        y = bp.array_namespace(a).linspace(a, b, 7)
        return total(y), (y[0], y[-1])

    _, (first, last) = bp.grad(f, has_aux=True)(np.asarray(1 / 3), np.asarray(2 / 7))
    assert (first, last) == (1 / 3, 2 / 7)


def test_arange_from_and_by_traced_numbers(xp):
    def f(a, s):
        ns = bp.array_namespace(a)
        y = ns.arange(a, a + 4 * s - 0.1, s)
        assert y.shape == (4,)
        return total(y)

    ga, gs = bp.grad(f, (0, 1))(to(xp, A), to(xp, np.asarray(0.5)))
    assert (float(ga), float(gs)) == (4.0, 6.0)

    def g(ns, a):
        assert ns.arange(a).dtype == xp.arange(0.7).dtype
        assert ns.arange(3, dtype=ns.float64).tape is None

    traced(g, to(xp, A))


# ---- the others


def test_new_arrays_like_a_traced_one_are_constants(xp):
    def f(ns, x):
        for name in ("zeros_like", "ones_like", "empty_like"):
            y = getattr(ns, name)(x)
            assert (y.shape, y.dtype, y.tape) == (x.shape, x.dtype, None)

    traced(f, to(xp, X.astype("float32")))


def test_triangles_of_zero_size_and_stacks(xp):
    check(xp, lambda xp, x: xp.tril(x, k=-1) ** 2, R.normal(size=(2, 3, 3)))
    check(xp, lambda xp, x: xp.triu(x, k=2) ** 2, R.normal(size=(2, 3)))
    check(xp, lambda xp, x: xp.tril(x) ** 2, R.normal(size=(0, 3)))
