"""Distances and angles against torch: orders, axes, broadcasting, zero vectors and ties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as tf

import bpgpu as bp
import bpgpu.functional as bf
from bpgpu.errors import DtypeError, ShapeError
from torch_compare import compare, given, numpy_of

INF = float("inf")
ORDERS = [2, 1, 0, 0.5, 1.5, 3, 2.5, INF]


def vectors(*shape: int, salt: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng(salt).normal(size=shape))


# ---- cosine_similarity


@pytest.mark.parametrize(
    ("first", "second", "dim"),
    [
        ((4, 3), (4, 3), 1),
        ((4, 3), (4, 3), 0),
        ((4, 3), (4, 3), -1),
        ((2, 3, 4), (2, 3, 4), 1),
        ((3,), (3,), 0),
        ((3,), (4, 3), 1),
        ((4, 1), (1, 3), 1),
        ((4, 1), (3,), 0),
        ((), (), 0),
        ((1,), (1,), -1),
        ((0, 3), (0, 3), 1),
        ((3, 0), (3, 0), 1),
    ],
)
def test_the_cosine_agrees_with_torch(
    xp: Any, first: tuple[int, ...], second: tuple[int, ...], dim: int
) -> None:
    x, y = vectors(*first), vectors(*second, salt=1)
    order = 1 if first == () else 2  # of one number the second derivative is 0 but for rounding
    compare(xp, bf.cosine_similarity, tf.cosine_similarity, x, y, dim=dim, order=order)


def test_short_vectors_have_the_cosine_of_torch(xp: Any) -> None:
    for scale in (0.0, 1e-10, 1e-5):
        x, y = vectors(4, 3) * scale, vectors(4, 3, salt=1)
        compare(xp, bf.cosine_similarity, tf.cosine_similarity, x, y, order=1)
        compare(xp, bf.cosine_similarity, tf.cosine_similarity, y, x, order=1)
        compare(
            xp, bf.cosine_similarity, tf.cosine_similarity, x, y, eps=0.1, order=2 if scale else 1
        )


def test_the_cosine_keeps_single_precision_and_any_memory_order(xp: Any) -> None:
    x, y = vectors(6, 8), vectors(6, 8, salt=1)
    compare(xp, bf.cosine_similarity, tf.cosine_similarity, x[::2, ::2], y[:3, 4:])
    single = (given(xp, x.astype("float32")), given(xp, y.astype("float32")))
    out, pull = bp.vjp(bf.cosine_similarity, *single)
    assert all(a.dtype == xp.float32 for a in (out, *pull(xp.ones_like(out))))


# ---- pairwise_distance


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("p", [*ORDERS, -1, -INF])
def test_every_order_of_distance_agrees_with_torch(xp: Any, p: float, keepdim: bool) -> None:
    x, y = vectors(4, 3), vectors(4, 3, salt=1)
    order = 0 if p == 0 else 2  # torch cuts the graph of a count
    compare(xp, bf.pairwise_distance, tf.pairwise_distance, x, y, p=p, keepdim=keepdim, order=order)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((3,), (3,)),
        ((3,), (4, 3)),
        ((4, 1), (3,)),
        ((2, 3, 4), (2, 3, 4)),
        ((0, 3), (0, 3)),
        ((3, 0), (3, 0)),
    ],
)
def test_distances_of_any_shape_agree_with_torch(
    xp: Any, first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    x, y = vectors(*first), vectors(*second, salt=1)
    compare(xp, bf.pairwise_distance, tf.pairwise_distance, x, y)
    compare(xp, bf.pairwise_distance, tf.pairwise_distance, x, y, keepdim=True, eps=0.1)


def test_a_distance_of_two_numbers_is_a_number(xp: Any) -> None:
    compare(xp, bf.pairwise_distance, tf.pairwise_distance, vectors(), vectors(salt=1))


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, INF])
def test_at_kinks_the_derivatives_are_those_of_torch(xp: Any, p: float) -> None:
    x = np.asarray([[1.0, 1.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]])
    options: dict[str, Any] = {"p": p, "eps": 0.0}
    compare(xp, bf.pairwise_distance, tf.pairwise_distance, x, 0 * x, order=1, **options)


# ---- pdist


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("shape", [(5, 3), (2, 1)])
def test_distances_of_all_rows_agree_with_torch(xp: Any, shape: tuple[int, int], p: float) -> None:
    compare(xp, bf.pdist, tf.pdist, vectors(*shape), p, order=1)


@pytest.mark.parametrize("shape", [(1, 3), (0, 3), (3, 0)])
def test_no_pair_and_no_number(xp: Any, shape: tuple[int, int]) -> None:
    x = vectors(*shape)
    for p in (2, INF):
        compare(xp, bf.pdist, tf.pdist, x, p, order=0)
        g = bp.grad(lambda x, p=p: bp.array_namespace(x).sum(bf.pdist(x, p)))(given(xp, x))
        np.testing.assert_array_equal(numpy_of(g), np.zeros(shape))  # torch is killed here


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3, INF])
def test_equal_rows_and_ties_have_the_gradients_of_torch(xp: Any, p: float) -> None:
    x = np.asarray([[1.0, 1.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, -1.0]])
    compare(xp, bf.pdist, tf.pdist, x, p, order=1)


@pytest.mark.parametrize("p", [1.5, 2, 3, INF])
def test_the_second_derivative_of_all_distances_is_right(xp: Any, p: float) -> None:
    """torch has none; its norm of each pair is the reference."""

    def theirs(x: torch.Tensor) -> torch.Tensor:
        i, j = torch.triu_indices(4, 4, 1)
        return torch.linalg.vector_norm(x[i] - x[j], dim=1, ord=p)

    compare(xp, lambda x: bf.pdist(x, p), theirs, vectors(4, 3))


@pytest.mark.parametrize("n", [2, 3, 90, 1500])
def test_pairs_come_in_order(xp: Any, n: int) -> None:
    x = given(xp, np.arange(n, dtype="float32")[:, None] ** 2)
    i, j = np.triu_indices(n, 1)
    np.testing.assert_array_equal(numpy_of(bf.pdist(x)), j**2.0 - i**2)


def test_compiled_gradients_are_those_of_the_plain_ones() -> None:
    jax = pytest.importorskip("jax")
    x, y = vectors(4, 3), vectors(4, 3, salt=1)
    for f in (
        lambda x, y: bf.cosine_similarity(x, y).sum(),
        lambda x, y: bf.pairwise_distance(x, y).sum(),
        lambda x, y: bf.pdist(x * y).sum(),
    ):
        g = bp.grad(f)
        compiled = jax.jit(g)(jax.numpy.asarray(x), jax.numpy.asarray(y))
        np.testing.assert_allclose(np.asarray(compiled), g(x, y), rtol=1e-12)


# ---- what is refused


def test_bad_input_is_refused(xp: Any) -> None:
    x, y, ints = (given(xp, a) for a in (vectors(4, 3), vectors(2, 3), np.ones((4, 3), int)))
    for f in (bf.cosine_similarity, bf.pairwise_distance):
        name = f.__name__
        with pytest.raises(
            ShapeError, match=rf"{name}: expected shapes that broadcast, got x1 \(4,"
        ):
            f(x, y)
        with pytest.raises(DtypeError, match=f"{name}: expected a floating array as x2"):
            f(x, ints)
    with pytest.raises(ShapeError, match=r"cosine_similarity: expected dim in \[-2, 1\]"):
        bf.cosine_similarity(x, x, dim=2)
    with pytest.raises(ShapeError, match="pairwise_distance: expected vectors of at least one"):
        bf.pairwise_distance(x[:, :0], x[:, :0], p=INF)
    with pytest.raises(ShapeError, match=r"pdist: expected input \(N, D\), got \(3,\)"):
        bf.pdist(x[0, :])
    for p in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="pdist: expected p of at least 0, got"):
            bf.pdist(x, p)
    with pytest.raises(DtypeError, match="pdist: expected a floating array as input"):
        bf.pdist(ints)
