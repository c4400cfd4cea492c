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
