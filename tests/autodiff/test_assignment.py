"""Writing at positions, in-place operators, and whose memory a gradient is."""

import numpy as np
import pytest
from hypothesis import given, settings

import bpgpu as bp
from bpgpu import errors
from gradients import check, numpy_of, to
from index_cases import (
    MASK,
    SHAPE,
    STANDARD,
    R,
    V,
    X,
    indices,
    skip_where_the_library_refuses,
    total,
)


def assigning(key, *, in_place="set"):
    """`f(x, v)` that writes `v` at `key` of `x`: by assignment, or in JAX's way."""

    def f(xp, x, v):
        parts = tuple(xp.asarray(k) if isinstance(k, np.ndarray) else k for k in key)
        parts = parts if len(parts) > 1 else parts[0]
        if "jax" in xp.__name__:
            y = getattr((x * x).at[parts], in_place)(v * v)
        else:
            y = x * x
            if in_place == "set":
                y[parts] = v * v
            else:
                y[parts] += v * v
        return y**2

    return f


def shape_at(key):
    return X[key if len(key) > 1 else key[0]].shape


SETTABLE = {k: v for k, v in STANDARD.items() if not k.startswith("array")}
SETTABLE_IN_NUMPY = {
    "leading array": (np.asarray([0, 2]),),
    "array between slices": (slice(None), np.asarray([3, 0]), slice(1, 4)),
    "array behind ellipsis": (..., np.asarray([[4, 2], [0, 1]])),
    "arrays": (np.asarray([0, 1, 2]), np.asarray([1, 1, 3]), np.asarray([0, 2, -1])),
    "leading mask": (MASK[:, :, 0],),
}


@pytest.mark.parametrize("in_place", ["set", "add"])
@pytest.mark.parametrize("name", SETTABLE)
def test_assignment(xp, name, in_place):
    skip_where_the_library_refuses(xp, name, writing=True)
    key = SETTABLE[name]
    check(xp, assigning(key, in_place=in_place), X, R.normal(size=shape_at(key)))


@pytest.mark.parametrize("in_place", ["set", "add"])
@pytest.mark.parametrize("name", SETTABLE_IN_NUMPY)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_assignment_as_numpy_allows(name, library, in_place):
    from conftest import load

    key = SETTABLE_IN_NUMPY[name]
    check(load(library), assigning(key, in_place=in_place), X, R.normal(size=shape_at(key)))


def test_assigned_values_broadcast(xp):
    check(xp, assigning((slice(0, 2), ...)), X, R.normal(size=(4, 1)))
    check(xp, assigning((slice(0, 2), ...)), X, R.normal(size=()))
    check(xp, assigning((MASK,)), X, R.normal(size=()))


def test_assigned_values_may_have_more_axes_of_size_one():
    def f(x, v):
        y = x * 1
        y[0] = v
        return total(y**2)

    g = bp.grad(f, 1)(X, X[:1])
    np.testing.assert_allclose(g, 2 * X[:1])


def test_traced_values_fill_a_constant_array(xp):
    def f(x):
        ns = bp.array_namespace(x)
        y = ns.zeros((4,), dtype=x.dtype)
        for i in range(3):
            y[i] = x[i] * (i + 1)
        y[3] = 7.0
        return ns.sum(y**2)

    np.testing.assert_allclose(numpy_of(bp.grad(f)(to(xp, V))), 2 * V * np.asarray([1, 4, 9, 0]))


def test_constants_assigned_cut_the_gradient_there(xp):
    def f(x):
        y = x * 2
        y[1] = 5
        y[2:] = to(xp, np.asarray([1.0, 2.0]))
        return total(y)

    np.testing.assert_allclose(numpy_of(bp.grad(f)(to(xp, V))), [2, 0, 0, 0])


def test_a_list_of_traced_numbers_is_assigned():
    def f(x):
        y = bp.array_namespace(x).zeros((3,))
        y[:2] = [x[0] ** 2, 4.0]
        return total(y)

    np.testing.assert_allclose(bp.grad(f)(V), [2 * V[0], 0, 0, 0])


def test_earlier_arrays_keep_the_value_they_had(xp):
    def f(x):
        y = x * x
        z = y * 3
        y[0] = 100.0
        y *= 2
        return total(z) + total(y)

    expected = 6 * V + 4 * V * np.asarray([0, 1, 1, 1])
    np.testing.assert_allclose(numpy_of(bp.grad(f)(to(xp, V))), expected)


def test_the_arrays_of_the_caller_are_untouched(xp):
    x, c = to(xp, V), to(xp, V)

    def f(x, c):
        x[0] = 100.0
        c[1] = 7.0
        x += 1
        c *= 3
        return total(x * c)

    bp.grad(f)(x, c)
    np.testing.assert_array_equal(numpy_of(x), V)
    np.testing.assert_array_equal(numpy_of(c), V)


@pytest.mark.parametrize("symbol", ["+", "-", "*", "/", "**", "%"])
def test_augmented_operators(xp, symbol):
    a, b = np.abs(R.normal(size=(2, 3))) + 0.5, np.abs(R.normal(size=(3,))) + 1
    scope = {}
    exec(f"def f(xp, x, y):\n    z = x * 1.5\n    z {symbol}= y\n    return z**2", scope)
    check(xp, scope["f"], a, b)


def test_augmented_matmul(xp):
    def f(xp, x, y):
        z = x * 1.5
        z @= y
        return z**2

    check(xp, f, R.normal(size=(2, 3)), R.normal(size=(3, 3)))


def test_all_names_of_an_array_see_an_augmented_operator():
    """As they do in NumPy, and as they do not where the value is a scalar, which cannot change."""

    def both(x):
        y = z = x * 1
        y += 1
        s = t = bp.array_namespace(x).sum(z)
        s += 1
        return total(z) * 1 + 0 * s + t

    plain, (value, gradient) = both(V), bp.value_and_grad(both)(V)
    np.testing.assert_allclose(value, plain)
    np.testing.assert_allclose(gradient, 2 * np.ones(4))


def test_an_augmented_operator_keeps_dtype_and_shape():
    x = V.astype("float32")

    def f(x, y):
        z = x * 1
        z += y
        assert z.dtype == "float32"
        return total(z * z)

    gx, gy = bp.grad(f, (0, 1))(x, V)
    assert (gx.dtype, gy.dtype) == ("float32", "float64")

    def grows(x):
        x += np.ones((2, 4))
        return total(x)

    with pytest.raises(
        errors.ShapeError, match=r"result has shape \(2, 4\), x has shape \(4,\); write x = x \+ y"
    ):
        bp.grad(grows)(V)

    def into_integers(x):
        counts = bp.array_namespace(x).arange(4)
        counts += x
        return total(counts)

    with pytest.raises(errors.DtypeError, match="dtype float64, x cannot hold it with dtype int64"):
        bp.grad(into_integers)(V)


def test_assigning_a_traced_float_to_integers_is_refused(xp):
    def f(x):
        y = bp.array_namespace(x).arange(4)
        y[0] = x[0]
        return total(x * x)

    with pytest.raises(
        errors.DtypeError, match=r"float64 cannot become .*int64.*x = xp.astype\(x, value.dtype\)"
    ):
        bp.grad(f)(to(xp, V))


def test_assigning_a_traced_complex_to_reals_is_refused(xp):
    def f(x, z):
        y = x * 1
        y[0] = z[0]
        return total(y)

    with pytest.raises(
        errors.DtypeError, match=r"complex128 cannot become .*float64 without losing"
    ):
        bp.grad(f, (0, 1))(to(xp, V), to(xp, V + 1j))


def test_integers_are_assigned_among_integers(xp):
    def f(x):
        ns = bp.array_namespace(x)
        y = ns.arange(4)
        y[0] = ns.argmax(x)
        y += 1
        return total(x * ns.astype(y, x.dtype))

    x = np.asarray([1.0, 2.0, 9.0, 4.0])
    np.testing.assert_allclose(numpy_of(bp.grad(f)(to(xp, x))), [3, 2, 3, 4])


def test_real_values_into_complex_and_double_into_single():
    def f(x, v):
        z = bp.array_namespace(x).astype(x, "complex64")
        z[:2] = v
        return total(abs(z) ** 2)

    gx, gv = bp.grad(f, (0, 1))(V.astype("float32"), V[:2])
    assert (gx.dtype, gv.dtype) == ("float32", "float64")
    np.testing.assert_allclose(gv, 2 * V[:2], rtol=1e-6)
    np.testing.assert_allclose(gx, [0, 0, *2 * V[2:]], rtol=1e-6)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_of_several_values_at_one_position_the_one_that_stays_gets_the_gradient(library):
    from conftest import load

    xp = load(library)

    def f(x, v):
        y = x * 1
        y[bp.array_namespace(x).asarray(to(xp, np.asarray([0, 2, 0, -1])))] = v
        return total(y * to(xp, np.asarray([1.0, 10.0, 100.0, 1000.0])))

    value, (gx, gv) = bp.value_and_grad(f, (0, 1))(to(xp, V), to(xp, V))
    assert float(value) == pytest.approx(V[2] + 10 * V[1] + 100 * V[1] + 1000 * V[3])
    np.testing.assert_allclose(numpy_of(gx), [0, 10, 0, 0])
    np.testing.assert_allclose(numpy_of(gv), [0, 100, 1, 1000])


def test_a_value_spread_over_repeated_positions_counts_once():
    def f(v):
        y = bp.array_namespace(v).zeros((3,))
        y[[0, 0, 1]] = v
        return total(y)

    assert bp.grad(f)(np.asarray(2.0)) == 2.0
    np.testing.assert_allclose(bp.hessian(lambda v: f(v[0] ** 2))(np.asarray([2.0])), [[4.0]])


def test_assignment_under_nested_gradients(xp):
    def f(x):
        ns = bp.array_namespace(x)
        y = ns.zeros((4,), dtype=x.dtype)
        y[1:3] = x[:2] ** 3
        y[0] += ns.sum(x**2)
        y *= x
        return ns.sum(y)

    def pure(x):
        return x[1] * x[0] ** 3 + x[2] * x[1] ** 3 + x[0] * total(x**2)

    h, expected = bp.hessian(f)(to(xp, V)), bp.hessian(pure)(to(xp, V))
    np.testing.assert_allclose(numpy_of(h), numpy_of(expected), atol=1e-12)


# ---- handles that are bound anew while an inner trace holds them


def test_what_an_inner_gradient_has_saved_survives_assignment_outside(xp):
    def outer(x):
        w = x * 1.0
        y, pull = bp.vjp(lambda z: z * z * w, w)
        w[0] = 100.0
        w *= 5
        (g,) = pull(y * 0 + 1.0)
        return total(g)  # 2 z w, where z = w = x

    np.testing.assert_allclose(numpy_of(bp.grad(outer)(to(xp, V))), 4 * V)


def test_what_an_inner_gradient_has_saved_survives_assignment_inside(xp):
    def outer(x):
        w = x * 1.0

        def inner(z):
            s = total(z * w)
            w[0] = 100.0
            return s

        return total(bp.grad(inner)(w * 1.0) ** 2)

    np.testing.assert_allclose(numpy_of(bp.grad(outer)(to(xp, V))), 2 * V)


def test_the_results_of_an_inner_trace_may_be_assigned_to(xp):
    def outer(x):
        y, pull = bp.vjp(lambda z: bp.array_namespace(z).exp(z), x)
        y[0] = 0.0
        (g,) = pull(x * 0 + 1.0)
        return total(g)

    np.testing.assert_allclose(numpy_of(bp.grad(outer)(to(xp, V))), np.exp(V))


def test_the_output_of_vjp_may_be_changed_in_place(xp):
    y, pull = bp.vjp(lambda z: bp.array_namespace(z).exp(z), to(xp, V))
    y *= 0
    (g,) = pull(to(xp, np.ones(4)))
    np.testing.assert_allclose(numpy_of(g), np.exp(V))


# ---- gradients belong to the caller


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: total(x + y),
        lambda x, y: total(x * 3 + y * 3),
        lambda x, y: bp.array_namespace(x).mean(bp.array_namespace(x).concat([x, y])),
        lambda x, y: total(bp.array_namespace(x).stack([x, y])),
        lambda x, y: x @ y,
    ],
)
def test_gradients_may_be_changed_in_place(xp, f):
    x, y = to(xp, V), to(xp, V + 1)
    gx, gy = bp.grad(f, (0, 1))(x, y)
    before = [numpy_of(gx).copy(), numpy_of(gy).copy()]
    gx[...] = 7.0
    gx += 1
    np.testing.assert_array_equal(numpy_of(gy), before[1])
    gy *= 0
    np.testing.assert_array_equal(numpy_of(gx), 8 * np.ones(4))
    np.testing.assert_array_equal(numpy_of(x), V)
    np.testing.assert_array_equal(numpy_of(y), V + 1)
    for g, b in zip(bp.grad(f, (0, 1))(x, y), before, strict=True):
        np.testing.assert_array_equal(numpy_of(g), b)


def test_gradients_share_no_memory_with_inputs_or_cotangents(xp):
    x, ct = to(xp, V), to(xp, V + 1)
    _, pull = bp.vjp(lambda x: x, x)
    (g,) = pull(ct)
    g *= 0
    np.testing.assert_array_equal(numpy_of(ct), V + 1)

    @bp.custom_vjp
    def half_square(x):
        return x * x / 2

    half_square.defvjp(lambda x: (x * x / 2, x), lambda x, ct: (x,))
    g = bp.grad(lambda x: total(half_square(x)))(x)
    g *= 0
    np.testing.assert_array_equal(numpy_of(x), V)


@settings(max_examples=200, deadline=None)
@given(indices)
def test_the_gradient_of_any_assignment_is_that_of_what_stays(key):
    x = np.arange(24.0).reshape(SHAPE) / 7
    weight = np.cos(np.arange(24) + 0.5).reshape(SHAPE)
    v = np.sin(np.arange(x[key].size) + 0.5).reshape(x[key].shape)

    def f(x, v):
        y = x * 1.0
        y[key] = v
        return total(y * weight)

    plain = x.copy()
    plain[key] = v
    value, (gx, gv) = bp.value_and_grad(f, (0, 1))(x, v)
    assert value == pytest.approx(np.sum(plain * weight))
    kept = np.ones(SHAPE)
    kept[key] = 0
    np.testing.assert_allclose(gx, kept * weight)
    numbers, marks = np.arange(1.0, v.size + 1).reshape(v.shape), np.zeros(SHAPE)
    marks[key] = numbers
    np.testing.assert_allclose(gv, np.where(np.isin(numbers, marks), weight[key], 0.0))
