"""Functions that move entries: gradients move back, copies are summed."""

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import errors
from gradients import check, numpy_of, to

R = np.random.default_rng(1)
X = R.normal(size=(2, 3, 4))
V = R.normal(size=(5,))
SCALAR = R.normal(size=())
EMPTY = R.normal(size=(0, 3))

ONE_ARRAY = {
    "reshape": lambda xp, x: xp.reshape(x, (4, 6)) ** 2,
    "reshape with -1": lambda xp, x: xp.reshape(x, (-1,)) ** 2,
    "reshape of a transpose": lambda xp, x: xp.reshape(xp.permute_dims(x, (2, 0, 1)), (8, 3)) ** 2,
    "expand_dims": lambda xp, x: xp.expand_dims(x, axis=-1) ** 2,
    "squeeze": lambda xp, x: xp.squeeze(xp.expand_dims(x, axis=1), axis=1) ** 2,
    "squeeze of two": lambda xp, x: xp.squeeze(xp.reshape(x, (1, 24, 1)), axis=(0, 2)) ** 2,
    "permute_dims": lambda xp, x: xp.permute_dims(x, (1, 2, 0)) ** 2,
    "moveaxis": lambda xp, x: xp.moveaxis(x, 0, -1) ** 2,
    "moveaxis of two": lambda xp, x: xp.moveaxis(x, (0, 1), (2, 0)) ** 2,
    "flip": lambda xp, x: xp.flip(x) ** 2,
    "flip of one axis": lambda xp, x: xp.flip(x, axis=1) ** 2,
    "flip of two axes": lambda xp, x: xp.flip(x, axis=(0, -1)) ** 2,
    "roll": lambda xp, x: xp.roll(x, 5) ** 2,
    "roll of one axis": lambda xp, x: xp.roll(x, -1, axis=2) ** 2,
    "roll of two axes": lambda xp, x: xp.roll(x, (1, -2), axis=(0, 2)) ** 2,
    "broadcast_to": lambda xp, x: xp.broadcast_to(x, (5, 2, 3, 4)) ** 2,
    "repeat": lambda xp, x: xp.repeat(x, 3) ** 2,
    "repeat of one axis": lambda xp, x: xp.repeat(x, 2, axis=-2) ** 2,
    "repeat no times": lambda xp, x: xp.repeat(x, 0, axis=1) ** 2,
    "tile": lambda xp, x: xp.tile(x, (2, 1, 3)) ** 2,
    "tile with fewer": lambda xp, x: xp.tile(x, (2,)) ** 2,
    "tile with more": lambda xp, x: xp.tile(x, (2, 1, 1, 3)) ** 2,
    "stack with itself": lambda xp, x: xp.stack([x, x * x], axis=-1) ** 2,
    "concat with itself": lambda xp, x: xp.concat([x, x * x], axis=1) ** 2,
    "unstack": lambda xp, x: [y**2 for y in xp.unstack(x, axis=1)],
    "unstack, some unused": lambda xp, x: xp.unstack(x)[1] ** 2,
    "tril": lambda xp, x: xp.tril(x) ** 2,
    "triu": lambda xp, x: xp.triu(x, k=1) ** 2,
}


@pytest.mark.parametrize("name", ONE_ARRAY)
def test_gradients_agree_with_jax(xp, name):
    check(xp, ONE_ARRAY[name], X)


@pytest.mark.parametrize("name", ["flip", "roll", "repeat", "tril", "unstack", "reshape with -1"])
def test_complex_entries_move_alike(xp, name):
    check(xp, ONE_ARRAY[name], X + 1j * R.normal(size=X.shape))


def test_scalars(xp):
    check(xp, lambda xp, x: xp.expand_dims(x, axis=0) ** 2, SCALAR)
    check(xp, lambda xp, x: xp.reshape(x, (1, 1)) ** 2, SCALAR)
    check(xp, lambda xp, x: xp.broadcast_to(x, (2, 3)) ** 2, SCALAR)
    check(xp, lambda xp, x: xp.stack([x, x * x]) ** 2, SCALAR)
    check(xp, lambda xp, x: xp.tile(x, (2, 2)) ** 2, SCALAR)
    check(xp, lambda xp, x: xp.permute_dims(x, ()) ** 2, SCALAR)


def test_arrays_without_entries(xp):
    check(xp, lambda xp, x: xp.concat([x, x]) ** 2, EMPTY)
    check(xp, lambda xp, x: xp.reshape(x, (3, 0)) ** 2, EMPTY)
    check(xp, lambda xp, x: xp.tile(x, (2, 2)) ** 2, EMPTY)
    check(xp, lambda xp, x: xp.roll(x, 1, axis=0) ** 2, EMPTY)
    check(xp, lambda xp, x: xp.repeat(x, 2, axis=1) ** 2, EMPTY)
    x = to(xp, EMPTY)
    g = bp.grad(lambda x: sum(bp.array_namespace(x).unstack(x), 0.0 * _total(x)))(x)
    assert g.shape == (0, 3)


def _total(x):
    return bp.array_namespace(x).sum(x)


def test_axes_counted_from_behind(xp):
    check(
        xp,
        lambda xp, x: xp.permute_dims(x, (-1, 0, -2)) ** 2,
        X,
        reference=lambda xp, x: xp.permute_dims(x, (2, 0, 1)) ** 2,
    )


def test_iteration_walks_over_rows(xp):
    def rows(xp, x):
        return [y**2 for y in (x if hasattr(x, "tape") else xp.unstack(x))]

    check(xp, rows, X)


def test_repeat_by_an_array_of_counts(xp):
    def f(xp, x, y):
        counts = xp.asarray([2, 0, 3])
        return xp.repeat(x, counts, axis=1) ** 2, xp.repeat(y, counts) ** 3

    check(xp, f, X, V[:3])


def test_concat_and_stack_of_several(xp):
    a, b, c = R.normal(size=(2, 3)), R.normal(size=(2, 1)), R.normal(size=(2, 2))
    check(xp, lambda xp, a, b, c: xp.concat([a, b * b, c], axis=1) ** 2, a, b, c)
    check(xp, lambda xp, a, b, c: xp.concat((a, b, c), axis=-1) ** 2, a, b, c)
    check(xp, lambda xp, a, b, c: xp.concat([a, b, c], axis=None) ** 2, a, b, c)
    check(xp, lambda xp, a, c: xp.stack([a, 2 * a, a * a], axis=1) ** 2, a, c)


def test_constants_among_the_joined(xp):
    def f(x):
        ns = bp.array_namespace(x)
        ones = ns.ones((2, 1), dtype=x.dtype)
        return ns.sum(ns.concat([ones, x, ones], axis=1) ** 2) + ns.sum(
            ns.stack([x, ns.ones_like(x)])
        )

    a = R.normal(size=(2, 3))
    np.testing.assert_allclose(numpy_of(bp.grad(f)(to(xp, a))), 2 * a + 1)


def test_mixed_dtypes_keep_the_dtype_of_each_gradient(xp):
    x, y = to(xp, X.astype("float32")), to(xp, X)
    gx, gy = bp.grad(lambda x, y: _total(bp.array_namespace(x).concat([x, y]) ** 2), (0, 1))(x, y)
    assert (gx.dtype, gy.dtype) == (x.dtype, y.dtype)
    np.testing.assert_allclose(numpy_of(gx), 2 * X, rtol=1e-6)


def test_unused_parts_may_hold_infinities(xp):
    x = to(xp, np.asarray([np.inf, 2.0, np.nan]))
    g = bp.grad(lambda x: bp.array_namespace(x).unstack(x)[1] ** 2)(x)
    np.testing.assert_array_equal(numpy_of(g), [0, 4, 0])


def test_broadcast_arrays(xp):
    def f(xp, a, b, c):
        return [y**2 for y in xp.broadcast_arrays(a, b, c)]

    check(xp, f, R.normal(size=(2, 1)), R.normal(size=(1, 3)), SCALAR)


@pytest.mark.parametrize("indexing", ["xy", "ij"])
def test_meshgrid(xp, indexing):
    def f(xp, a, b, c):
        return [y**2 for y in xp.meshgrid(a, b, c, indexing=indexing)]

    check(xp, f, R.normal(size=2), R.normal(size=3), R.normal(size=1))
    check(xp, lambda xp, a: [y**2 for y in xp.meshgrid(a, indexing=indexing)], R.normal(size=3))


def test_several_results_come_in_the_container_of_the_plain_library(xp):
    x = to(xp, V)

    def f(x):
        ns = bp.array_namespace(x)
        for name in ("meshgrid", "broadcast_arrays"):
            assert type(getattr(ns, name)(x, x)) is type(getattr(xp, name)(to(xp, V), to(xp, V)))
        assert type(ns.unstack(x)) is tuple
        return _total(x)

    bp.grad(f)(x)


def test_meshgrid_refuses_an_unknown_indexing():
    with pytest.raises(ValueError, match="indexing must be 'xy' or 'ij', got 'yx'"):
        bp.grad(lambda x: _total(bp.array_namespace(x).meshgrid(x, indexing="yx")[0]))(V)


def test_shapes_that_do_not_broadcast_are_named():
    def f(x):
        return _total(bp.array_namespace(x).broadcast_arrays(x, np.ones(3))[0])

    with pytest.raises(errors.ShapeError, match=r"the shapes \(5,\), \(3,\) do not broadcast"):
        bp.grad(f)(V)


def test_non_contiguous_input():
    x = R.normal(size=(6, 4))[::2, ::-1].T
    for name in ("reshape with -1", "roll", "repeat", "flip"):
        f = ONE_ARRAY[name]
        g = bp.grad(lambda x, f=f: _total(f(bp.array_namespace(x), x)))(x)
        np.testing.assert_allclose(g, 2 * x * (3 if name == "repeat" else 1))


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_precision_is_kept(xp, dtype):
    x = to(xp, X.astype(dtype))
    for name, f in ONE_ARRAY.items():
        if name.startswith("tri") and dtype == "complex64":
            continue

        def loss(x, f=f):
            ns = bp.array_namespace(x)
            ys = f(ns, x)
            ys = ys if isinstance(ys, list) else [ys]
            return sum(ns.sum(ns.real(y) if dtype == "complex64" else y) for y in ys)

        assert bp.grad(loss)(x).dtype == x.dtype, name


def test_numpy_habits_positional_axes():
    def f(x):
        xp = bp.array_namespace(x)
        y = xp.concat([xp.expand_dims(x, 0), xp.flip(xp.stack([x], 0), 1)], 0)
        return _total(xp.roll(y, 1, 0) ** 2 + xp.repeat(y, 1, 0))

    np.testing.assert_allclose(bp.grad(f)(V), 4 * V + 2)


def test_to_device_stays_on_the_tape(xp):
    x = to(xp, V)
    g = bp.grad(lambda x: _total(x.to_device(x.device) ** 2))(x)
    np.testing.assert_allclose(numpy_of(g), 2 * V)


def test_a_traced_float_is_no_setting():
    with pytest.raises(errors.ConversionError, match="a setting of a function"):
        bp.grad(lambda x: _total(bp.array_namespace(x).repeat(np.ones(5), x)))(V)
    with pytest.raises(errors.ConversionError, match="a setting of a function"):
        bp.grad(lambda x: _total(bp.array_namespace(x).roll(x, x[0])))(V)


def test_the_method_reshape_takes_one_size_on_every_library(xp):
    x = xp.asarray([[1.0, 2.0], [3.0, 4.0]])
    g = bp.grad(lambda x: (x.reshape(-1) * x.reshape(4)).sum())(x)
    assert bool(xp.all(g == 2 * x))
