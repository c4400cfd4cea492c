"""Linear maps and look-ups agree with torch, with any number of leading axes and none, with 0 rows and 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as tf

import bpgpu as bp
from bpgpu import functional as bf
from bpgpu.errors import DtypeError, ShapeError
from bpgpu.functional.embedding import renormed
from gradients import looked_at
from torch_compare import compare, given, numpy_of

rng = np.random.default_rng(0)

LEADS = [(), (1,), (5,), (2, 3), (2, 1, 3), (0,), (2, 0, 3)]


# ---- linear


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("lead", LEADS)
def test_linear_agrees_with_torch(xp: Any, lead: tuple[int, ...], bias: bool) -> None:
    x, w, b = rng.normal(size=(*lead, 4)), rng.normal(size=(3, 4)), rng.normal(size=3)
    compare(xp, bf.linear, tf.linear, x, w, b if bias else None)


def test_linear_takes_views_and_arrays_of_no_feature(xp: Any) -> None:
    x, w, b = rng.normal(size=(6, 4, 2)), rng.normal(size=(8, 7)), rng.normal(size=14)
    for view in (x.T[:, ::2], x.transpose(1, 2, 0), x[::3, 1:]):
        n = view.shape[-1]
        compare(xp, bf.linear, tf.linear, view, w.T[:, :n], b[::2])
    compare(xp, bf.linear, tf.linear, np.ones((3, 0)), np.ones((2, 0)), np.ones(2))
    compare(xp, bf.linear, tf.linear, np.ones((3, 2)), np.ones((0, 2)), np.ones(0))


@pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
def test_linear_with_a_weight_of_one_axis_gives_one_number_a_row(
    xp: Any, lead: tuple[int, ...]
) -> None:
    x, w, b = rng.normal(size=(*lead, 4)), rng.normal(size=4), np.asarray(0.5)
    compare(xp, bf.linear, lambda x, w, b: x @ w + b, x, w, b)


def test_linear_takes_a_bias_of_no_axis(xp: Any) -> None:
    for lead in ((), (2, 3)):
        x, w = rng.normal(size=(*lead, 4)), rng.normal(size=(3, 4))
        compare(xp, bf.linear, tf.linear, x, w, np.asarray(0.5))


def test_linear_of_complex_numbers_follows_torch(xp: Any) -> None:
    def z(*shape: int) -> np.ndarray:
        return rng.normal(size=shape) + 1j * rng.normal(size=shape)

    for lead in ((), (5,), (2, 3)):
        compare(xp, bf.linear, tf.linear, z(*lead, 4), z(3, 4), z(3))


def test_linear_in_single_precision_stays_in_it(xp: Any) -> None:
    x, w, b = (given(xp, np.ones(s, "float32")) for s in ((5, 4), (3, 4), (3,)))
    y, pull = bp.vjp(bf.linear, x, w, b)
    assert all(a.dtype == xp.float32 for a in (y, *pull(y)))


def test_linear_leaves_its_arguments_as_they_are(xp: Any) -> None:
    arrays = [rng.normal(size=s) for s in ((5, 4), (3, 4), (3,))]
    plain = [given(xp, a) for a in arrays]
    before = [a.copy() for a in arrays]
    bf.linear(*plain)
    bp.grad(lambda x, w, b: bp.array_namespace(x).sum(bf.linear(x, w, b)), (0, 1, 2))(*plain)
    for a, b in zip(plain, before, strict=True):
        np.testing.assert_array_equal(numpy_of(a), b)


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        (
            ((2, 3), (4, 5), None),
            r"expected input \(\.\.\., 5\), got \(2, 3\): the weight has shape",
        ),
        (((), (4, 5), None), r"expected input \(\.\.\., 5\), got \(\)"),
        (((2, 3), (2, 4, 3), None), r"expected weight \(out, in\) or \(in,\), got \(2, 4, 3\)"),
        (((2, 3), (4, 3), (3,)), r"expected bias \(4,\), got \(3,\): the weight has"),
        (((2, 3), (4, 3), (1,)), r"expected bias \(4,\), got \(1,\)"),
        (((2, 3), (3,), (2,)), r"expected bias \(\), got \(2,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_by_linear(xp: Any, shapes: Any, text: str) -> None:
    arrays = [None if s is None else given(xp, np.ones(s)) for s in shapes]
    with pytest.raises(ShapeError, match=f"linear: {text}"):
        bf.linear(*arrays)


def test_dtypes_that_differ_are_refused_by_linear(xp: Any) -> None:
    x, w = given(xp, np.ones((2, 3), "float32")), given(xp, np.ones((4, 3)))
    with pytest.raises(
        DtypeError, match=r"linear: expected input of dtype .*float64, which weight"
    ):
        bf.linear(x, w)
    with pytest.raises(DtypeError, match="linear: expected a floating array as input, got dtype"):
        bf.linear(given(xp, np.ones((2, 3), int)), w)


# ---- bilinear


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("lead", LEADS)
def test_bilinear_agrees_with_torch(xp: Any, lead: tuple[int, ...], bias: bool) -> None:
    x, y = rng.normal(size=(*lead, 4)), rng.normal(size=(*lead, 2))
    w, b = rng.normal(size=(3, 4, 2)), rng.normal(size=3)

    def theirs(*arrays: Any) -> Any:
        x, y, *rest = arrays  # torch wants a row at least
        z = tf.bilinear(x.reshape(-1, 4), y.reshape(-1, 2), *rest)
        return z.reshape(*lead, 3)

    if 0 in lead:
        shape = tuple(bf.bilinear(*(given(xp, a) for a in (x, y, w))).shape)
        assert shape == (*lead, 3)
    else:
        compare(xp, bf.bilinear, theirs, x, y, w, b if bias else None)


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        (((2, 3), (2, 4), (5, 3, 3)), r"expected input2 \(\.\.\., 3\), got \(2, 4\)"),
        (((2, 4), (2, 3), (5, 3, 3)), r"expected input1 \(\.\.\., 3\), got \(2, 4\)"),
        (((2, 3), (2, 4), (3, 4)), r"expected weight \(out, in1, in2\), got \(3, 4\)"),
        (((2, 3), (1, 4), (5, 3, 4)), "expected inputs that are equal in all axes but the last"),
        (((2, 3), (2, 4), (5, 3, 4), (4,)), r"expected bias \(5,\), got \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_by_bilinear(xp: Any, shapes: Any, text: str) -> None:
    with pytest.raises(ShapeError, match=f"bilinear: {text}"):
        bf.bilinear(*[given(xp, np.ones(s)) for s in shapes])


# ---- embedding


@pytest.mark.parametrize("scale_grad_by_freq", [False, True])
@pytest.mark.parametrize("padding_idx", [None, 0, 2, -1, -5])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 4), (0,), (2, 0)])
def test_embedding_agrees_with_torch(
    xp: Any, shape: tuple[int, ...], padding_idx: int | None, scale_grad_by_freq: bool
) -> None:
    index, w = rng.integers(0, 5, shape), rng.normal(size=(5, 3))
    index = np.asarray(index)

    def call(f: Any) -> Any:
        return lambda w, i: f(i, w, padding_idx, scale_grad_by_freq=scale_grad_by_freq) ** 2

    order = 1 if scale_grad_by_freq or not index.size else 2  # torch has no second order there
    compare(xp, call(bf.embedding), call(tf.embedding), w, index, order=order)


@pytest.mark.parametrize(("max_norm", "norm_type"), [(1.0, 2.0), (0.5, 1.0), (2, 3.0), (1.0, 1e9)])
def test_rows_read_are_scaled_down_to_a_norm(xp: Any, max_norm: float, norm_type: float) -> None:
    norm_type = float("inf") if norm_type == 1e9 else norm_type
    index, w = np.asarray([[4, 1], [1, 0]]), rng.normal(size=(5, 3))
    t, i = torch.from_numpy(w.copy()).requires_grad_(), torch.from_numpy(index)
    theirs = tf.embedding(i, t, 0, max_norm, norm_type)
    cotangent = rng.normal(size=(2, 2, 3))
    (g,) = torch.autograd.grad(theirs, t, torch.from_numpy(cotangent))
    table = given(xp, w)
    ours, pull = bp.vjp(lambda a: bf.embedding(given(xp, index), a, 0, max_norm, norm_type), table)
    np.testing.assert_allclose(numpy_of(ours), numpy_of(theirs), rtol=1e-12)
    np.testing.assert_allclose(numpy_of(pull(given(xp, cotangent))[0]), g.numpy(), rtol=1e-12)
    np.testing.assert_array_equal(numpy_of(table), w)
    left = renormed(table, given(xp, index), max_norm, norm_type)
    np.testing.assert_allclose(numpy_of(left), t.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_indices_of_every_integer_dtype_are_taken(xp: Any, dtype: str) -> None:
    w = rng.normal(size=(3, 2)).astype("float32")
    y = bf.embedding(given(xp, np.asarray([1, 0, 1], dtype)), given(xp, w))
    np.testing.assert_array_equal(numpy_of(y), w[[1, 0, 1]])
    assert y.dtype == xp.float32


def test_a_wrong_index_is_an_error_or_nan_where_it_may_not_be_looked_at(xp: Any) -> None:
    looked_at(xp)
    import jax
    import jax.numpy as jnp

    w = np.ones((4, 2))
    for wrong in (4, -1):
        index = np.asarray([0, wrong, 3])
        with pytest.raises(
            ValueError, match=rf"embedding: expected input in \[0, 4\), got {wrong}"
        ):
            bf.embedding(given(xp, index), given(xp, w))
        y = np.asarray(jax.jit(bf.embedding)(jnp.asarray(index), jnp.asarray(w)))
        np.testing.assert_array_equal(np.isnan(y[:, 0]), [False, True, False])


def test_what_embedding_cannot_take_is_refused(xp: Any) -> None:
    index, w = given(xp, np.asarray([0, 1])), given(xp, np.ones((4, 2)))
    for padding_idx in (4, -5):
        with pytest.raises(ValueError, match=r"embedding: expected padding_idx in \[-4, 4\)"):
            bf.embedding(index, w, padding_idx)
    with pytest.raises(ValueError, match="embedding: expected sparse=False: the Array API has"):
        bf.embedding(index, w, sparse=True)
    with pytest.raises(ShapeError, match=r"embedding: expected weight \(V, D\), got shape"):
        bf.embedding(index, given(xp, np.ones(4)))
    with pytest.raises(DtypeError, match="embedding: expected integers as input, got dtype"):
        bf.embedding(given(xp, np.ones(2)), w)
    with pytest.raises(DtypeError, match="embedding: expected a floating array as weight"):
        bf.embedding(index, index)


def test_embedding_trains_inside_jit() -> None:
    import jax
    import jax.numpy as jnp

    index, w = np.asarray([1, 1, 2]), rng.normal(size=(4, 2))

    def loss(w: Any, i: Any) -> Any:
        return bp.array_namespace(w).sum(bf.embedding(i, w, padding_idx=2) ** 2)

    g = jax.jit(lambda w, i: bp.grad(loss)(w, i))(jnp.asarray(w), jnp.asarray(index))
    np.testing.assert_allclose(np.asarray(g), bp.grad(loss)(w, index))


# ---- one_hot


@pytest.mark.parametrize("num_classes", [-1, 5, 7])
@pytest.mark.parametrize("shape", [(), (1,), (6,), (2, 3)])
def test_one_hot_agrees_with_torch(xp: Any, shape: tuple[int, ...], num_classes: int) -> None:
    index = np.asarray(rng.integers(0, 5, shape))
    y = numpy_of(bf.one_hot(given(xp, index), num_classes))
    theirs = tf.one_hot(torch.from_numpy(index), num_classes).numpy()
    assert y.dtype == theirs.dtype
    np.testing.assert_array_equal(y, theirs)


def test_one_hot_of_no_index_needs_the_number_of_classes(xp: Any) -> None:
    empty = given(xp, np.zeros((2, 0), int))
    assert bf.one_hot(empty, 3).shape == (2, 0, 3)
    with pytest.raises(ValueError, match="one_hot: expected num_classes for an input without an"):
        bf.one_hot(empty)


def test_what_one_hot_cannot_take_is_refused(xp: Any) -> None:
    looked_at(xp)
    index = given(xp, np.asarray([0, 3]))
    with pytest.raises(ValueError, match=r"one_hot: expected tensor in \[0, 3\), got 3"):
        bf.one_hot(index, 3)
    with pytest.raises(ValueError, match=r"one_hot: expected tensor in \[0, 1\), got -2"):
        bf.one_hot(given(xp, np.asarray([-2, 0])))
    for n in (0, -2):
        with pytest.raises(ValueError, match="one_hot: expected num_classes of at least 1"):
            bf.one_hot(index, n)
    with pytest.raises(DtypeError, match="one_hot: expected integers as tensor, got dtype"):
        bf.one_hot(given(xp, np.ones(2)))


def test_inside_a_trace_rows_and_one_hot_vectors_are_constants_of_it(xp: Any) -> None:
    w, table = given(xp, np.ones(3)), given(xp, np.arange(6.0).reshape(3, 2))

    def loss(w: Any, index: Any) -> Any:
        hot, rows = bf.one_hot(index, 3), bf.embedding(index, table)
        ns = bp.array_namespace(hot)
        assert ns is bp.array_namespace(rows) is bp.array_namespace(w)
        return ns.sum(ns.astype(hot, w.dtype) * w) + ns.sum(rows) * ns.sum(w)

    g = numpy_of(bp.grad(loss)(w, given(xp, np.asarray([2, 2, 0]))))
    np.testing.assert_array_equal(g, np.asarray([1, 0, 2]) + 19)


def test_one_hot_asks_for_the_number_of_classes_where_it_cannot_look() -> None:
    import jax
    import jax.numpy as jnp

    index = jnp.asarray([2, 0])
    with pytest.raises(ValueError, match="one_hot: expected num_classes in a compiled function"):
        jax.jit(bf.one_hot)(index)
    assert jax.jit(lambda x: bf.one_hot(index) + x)(0).tolist() == [[0, 0, 1], [1, 0, 0]]
