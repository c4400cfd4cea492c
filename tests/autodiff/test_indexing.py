"""Reading at positions."""

import numpy as np
import pytest
from hypothesis import given, settings

import bpgpu as bp
from gradients import check, numpy_of, to
from index_cases import (
    MASK,
    NUMPY,
    SHAPE,
    STANDARD,
    R,
    V,
    X,
    by,
    indices,
    skip_where_the_library_refuses,
    total,
)


@pytest.mark.parametrize("name", STANDARD)
def test_reading(xp, name):
    skip_where_the_library_refuses(xp, name)
    check(xp, by(STANDARD[name]), X)


@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_reading_as_numpy_allows(name, library):
    from conftest import load

    if library == "torch" and name in ("array and integer", "small integers"):
        pytest.skip("torch reads this differently: other order of axes, bytes as a mask")
    check(load(library), by(NUMPY[name]), X)


@pytest.mark.parametrize(
    "key", [[0, 2, 2], ([0, 1], slice(None), [1, 1]), [True, False, True], True]
)
def test_lists_and_truth_values_as_numpy_takes_them(key):
    g = bp.grad(lambda x: total(x[key] ** 2))(X)
    expected = np.zeros_like(X)
    np.add.at(expected, key, 2 * X[key])
    np.testing.assert_allclose(g, expected)


def test_traced_integers_and_masks_as_index(xp):
    def f(x):
        ns = bp.array_namespace(x)
        i = ns.argmax(x)
        rows = x[ns.argsort(x)]
        return x[i] * 3 + ns.sum(x[x > 0] ** 2) + rows[0] * 5 + x[i:][0] + x[ns.asarray([1, 1])][1]

    x = np.asarray([-1.0, 2.0, 3.0, -4.0])
    expected = [0, 4 + 1, 6 + 3 + 1, 5]
    np.testing.assert_allclose(numpy_of(bp.grad(f)(to(xp, x))), expected)


def test_a_list_of_traced_integers_as_index():
    def f(x):
        xp = bp.array_namespace(x)
        return total(x[[xp.argmax(x), xp.argmin(x), 0]] ** 2)

    np.testing.assert_allclose(bp.grad(f)(np.asarray([1.0, 5.0, -3.0])), [2, 10, -6])


def test_a_traced_float_is_no_index():
    with pytest.raises(IndexError):
        bp.grad(lambda x: total(x[x]))(V)


@pytest.mark.parametrize("key", [5, (0, 0, 0, 0), "a"])
def test_wrong_indices_raise_as_in_the_library(key):
    with pytest.raises(IndexError):
        bp.grad(lambda x: total(x[key]))(X)


def test_a_row_read_many_times_gets_the_sum(xp):
    table, ids = R.normal(size=(7, 300)), R.integers(0, 7, size=50)
    check(
        xp,
        lambda xp, t: xp.take(t, xp.asarray(ids), axis=0) ** 2,
        table,
        order=1,
        differences=False,
    )
    check(xp, lambda xp, t: xp.take(t, xp.asarray(ids[:5]), axis=0) ** 2, table[:, :2])


def test_take(xp):
    check(xp, lambda xp, x: xp.take(x, xp.asarray([0, 2, 0]), axis=0) ** 2, X)
    check(xp, lambda xp, x: xp.take(x, xp.asarray([4, 4, 1]), axis=-1) ** 2, X)
    check(xp, lambda xp, x: xp.take(x, xp.asarray([1]), axis=1) ** 2, X)
    check(xp, lambda xp, x: xp.take(x, xp.asarray([3, 0, 3])) ** 2, V)


def test_take_counts_negative_positions_from_behind(xp):
    if "torch" in xp.__name__:
        pytest.skip("torch has no negative positions here")
    check(xp, lambda xp, x: xp.take(x, xp.asarray([-1, 0, -1]), axis=1) ** 2, X)


def test_take_as_numpy_allows():
    check(np_compat(), lambda xp, x: xp.take(x, np.asarray([[0, 2], [2, 1]]), axis=1) ** 2, X)
    check(np_compat(), lambda xp, x: xp.take(x, np.asarray([0, 50, 50, 7])) ** 2, X)
    check(np_compat(), lambda xp, x: xp.take(x, np.asarray(1), axis=2) ** 2, X)


def np_compat():
    import array_api_compat.numpy as xp

    return xp


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_along_axis(xp, axis):
    x = R.normal(size=(3, 4))
    places = R.integers(0, 3, size=(3, 4))
    check(xp, lambda xp, x: xp.take_along_axis(x, xp.asarray(places), axis=axis) ** 2, x)


def test_take_along_axis_broadcasts_the_other_axes(xp):
    if "torch" in xp.__name__:
        pytest.skip("torch does not broadcast here")
    x = R.normal(size=(3, 4))
    check(xp, lambda xp, x: xp.take_along_axis(x, xp.asarray([[0], [2]])[:1, :], axis=1) ** 2, x)
    check(xp, lambda xp, x: xp.take_along_axis(x, xp.asarray([[0, 3], [1, 1]]), axis=1) ** 2, x[:1])


def test_non_contiguous_and_complex_arrays(xp):
    z = X + 1j * R.normal(size=X.shape)
    check(xp, by(STANDARD["arrays of integers"]), z)
    check(xp, by(STANDARD["slice with steps"]), z)
    y = np.asfortranarray(X)[::-1, :, ::2]
    g = bp.grad(lambda x: total(x[1, ...] ** 2))(y)
    np.testing.assert_allclose(g[1], 2 * y[1])


@pytest.mark.parametrize("dtype", ["float16", "float32", "complex64"])
def test_precision_is_kept(dtype):
    x = X.astype(dtype)
    for key in (0, MASK, np.asarray([0, 0]), (slice(None), np.asarray([1, 1] * 400))):
        g = bp.grad(lambda x, key=key: total(abs(x[key]) ** 2))(x)
        assert g.dtype == dtype
        expected = np.zeros(X.shape, complex)
        np.add.at(expected, key, 2 * x[key])
        np.testing.assert_allclose(g, expected, rtol=2e-3)


# ---- any index


@settings(max_examples=200, deadline=None)
@given(indices)
def test_the_gradient_of_any_reading_adds_at_its_positions(key):
    x = np.arange(24.0).reshape(SHAPE) / 7
    weight = np.cos(np.arange(x[key].size) + 0.5).reshape(x[key].shape)
    expected = np.zeros(SHAPE)
    np.add.at(expected, key, weight)
    np.testing.assert_allclose(bp.grad(lambda x: total(x[key] * weight))(x), expected, atol=1e-12)


def in_parts(x):
    """Reads parts that overlap, beside other uses of the whole, in an order in which each adds to what is there."""
    ns = bp.array_namespace(x)
    y = x + x  # its gradient goes to both operands as it is
    out = ns.sum(y[1, ...] ** 2) + ns.sum(ns.exp(y)) + ns.sum(y[:, 0] * y[:, -1])
    for i in range(y.shape[0]):
        out = out + (i + 1) * ns.sum(y[i, :] ** 3)
    return out + ns.sum(y) + y[2, 1] ** 2 + ns.sum(y[::2, 1:] ** 2)


def test_parts_are_gathered(xp):
    check(xp, lambda ns, x: in_parts(x), np.linspace(-1, 1, 12).reshape(4, 3))


def test_parts_are_gathered_as_often_as_asked():
    x = np.linspace(-1, 1, 12).reshape(4, 3)
    out, pull = bp.vjp(in_parts, x)
    one = np.ones_like(out)
    first = pull(one)[0].copy()
    np.testing.assert_array_equal(pull(one)[0], first)
    np.testing.assert_array_equal(bp.grad(in_parts)(x), first)
    np.testing.assert_allclose(bp.grad(lambda x: bp.checkpoint(in_parts)(x) * 1.0)(x), first)


def test_a_gradient_that_is_passed_on_is_not_written_to():
    """The gradient of `y` is that of `x` and of `z`, the same array; then parts of `x` and `z` add to it."""

    def f(x, z):
        first, second = x[0] * 3, z[1] * 5
        y = x + z
        return first + second + y[0] + 2 * y[1] + 4 * y[1]

    x = np.ones(2)
    gx, gz = bp.grad(f, argnums=(0, 1))(x, x.copy())
    assert gx.tolist() == [4, 6]
    assert gz.tolist() == [1, 11]


def test_checkpoints_that_read_parts_at_the_same_places_of_the_tape():
    def part(x):
        y = x * 1.0
        return y + y[0] + y[1]

    f = bp.checkpoint(part)
    x = np.asarray([1.0, 2.0, 3.0])
    expected = bp.jacobian(lambda x: part(part(part(x))))(x)
    np.testing.assert_allclose(bp.jacobian(lambda x: f(f(f(x))))(x), expected)


def test_a_loop_over_all_rows_makes_one_array(monkeypatch):
    from bpgpu.backend.numpy import NumpyBackend

    made = []
    scatter_add = NumpyBackend.scatter_add

    def noted(self, *args):
        made.append(args)
        return scatter_add(self, *args)

    monkeypatch.setattr(NumpyBackend, "scatter_add", noted)
    x = np.arange(60.0).reshape(20, 3)
    g = bp.grad(lambda x: sum(total(x[t] ** 2) for t in range(20)))(x)
    np.testing.assert_array_equal(g, 2 * x)
    assert len(made) == 1


def test_parts_are_gathered_in_a_compiled_step():
    step = bp.compile(bp.value_and_grad(in_parts))
    for seed in range(6):
        x = np.random.default_rng(seed).normal(size=(4, 3))
        value, g = step(x)
        expected, wanted = bp.value_and_grad(in_parts)(x)
        assert value == expected
        np.testing.assert_array_equal(g, wanted)
    assert step.replays > 0
