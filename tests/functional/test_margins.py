"""Losses with a margin against torch: every argument, both sides of the kink and the kink itself, labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as tf

import bpgpu as bp
import bpgpu.functional as bf
from bpgpu.errors import DtypeError, ShapeError
from gradients import looked_at
from torch_compare import compare, given, numpy_of

REDUCTIONS = ("none", "mean", "sum")
EVERY_REDUCTION = pytest.mark.parametrize("reduction", REDUCTIONS)


def numbers(*shape: int, salt: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng(salt).normal(size=shape))


def signs(*shape: int) -> np.ndarray:
    return np.where(numbers(*shape, salt=9) < 0, -1.0, 1.0)


# ---- hinge_embedding_loss, margin_ranking_loss


@EVERY_REDUCTION
@pytest.mark.parametrize("margin", [1.0, 0.2, -0.5])
@pytest.mark.parametrize("shape", [(), (1,), (6,), (3, 4), (0,), (2, 0)])
def test_hinge_embedding_agrees_with_torch(
    xp: Any, shape: tuple[int, ...], margin: float, reduction: str
) -> None:
    x, t = numbers(*shape), signs(*shape)
    options: dict[str, Any] = {"margin": margin, "reduction": reduction}
    ours, theirs = bf.hinge_embedding_loss, tf.hinge_embedding_loss
    compare(xp, ours, theirs, x, t, fixed=(1,), **options)


def test_hinge_embedding_takes_integers_other_shapes_and_other_numbers(xp: Any) -> None:
    x = numbers(2, 3)
    ours, theirs = bf.hinge_embedding_loss, tf.hinge_embedding_loss
    compare(xp, ours, theirs, x, np.asarray([[1, -1, 0], [2, 1, -1]]))
    compare(xp, ours, theirs, x, np.asarray([1, -1, 1]), reduction="none")
    compare(xp, ours, theirs, x[0], np.asarray([[1], [-1]]), reduction="none")


@EVERY_REDUCTION
@pytest.mark.parametrize("margin", [0, 0.5])
@pytest.mark.parametrize("shape", [(), (1,), (6,), (3, 4), (0,), (2, 0)])
def test_ranking_agrees_with_torch(
    xp: Any, shape: tuple[int, ...], margin: float, reduction: str
) -> None:
    x, y, t = numbers(*shape), numbers(*shape, salt=1), signs(*shape)
    options: dict[str, Any] = {"margin": margin, "reduction": reduction}
    compare(xp, bf.margin_ranking_loss, tf.margin_ranking_loss, x, y, t, **options)


def test_ranking_takes_integers_and_shapes_that_broadcast(xp: Any) -> None:
    x, y = numbers(2, 3), numbers(2, 1, salt=1)
    ours, theirs = bf.margin_ranking_loss, tf.margin_ranking_loss
    compare(xp, ours, theirs, x, y, np.asarray([[1, -1, 1]]))
    compare(xp, ours, theirs, y, x, np.asarray([[1], [-1]]), reduction="none")


def test_at_the_edge_of_the_margin_the_derivatives_are_those_of_torch(xp: Any) -> None:
    x = np.asarray([1.0, 1.0, 0.0])
    t = np.asarray([1.0, -1.0, -1.0])
    compare(xp, bf.hinge_embedding_loss, tf.hinge_embedding_loss, x, t, fixed=(1,))
    compare(xp, bf.margin_ranking_loss, tf.margin_ranking_loss, x, x.copy(), t)
    z = np.asarray([[0.0, 1.0, 2.0, 0.5], [1.0, 0.0, 0.0, 1.0]])
    for p in (1, 2):
        compare(xp, bf.multi_margin_loss, tf.multi_margin_loss, z, np.asarray([1, 0]), p, order=1)
    right = np.asarray([[1, 2, -1, 0], [0, -1, -1, -1]])
    compare(xp, bf.multilabel_margin_loss, tf.multilabel_margin_loss, z, right, order=1)
    a, b = np.asarray([[0.0, 0.0]]), np.asarray([[1.0, 0.0]])
    options: dict[str, Any] = {"eps": 0.0, "swap": True}
    compare(xp, bf.triplet_margin_loss, tf.triplet_margin_loss, a, a.copy(), b, order=1, **options)


# ---- cosine_embedding_loss


@EVERY_REDUCTION
@pytest.mark.parametrize("margin", [0, 0.4, -0.5])
@pytest.mark.parametrize("shape", [(8, 3), (1, 3), (3,), (0, 3), (3, 0)])
def test_cosine_embedding_agrees_with_torch(
    xp: Any, shape: tuple[int, ...], margin: float, reduction: str
) -> None:
    x, y, t = numbers(*shape), numbers(*shape, salt=1), signs(*shape[:-1])
    options: dict[str, Any] = {"margin": margin, "reduction": reduction}
    ours, theirs = bf.cosine_embedding_loss, tf.cosine_embedding_loss
    order = 1 if 0 in shape else 2
    compare(xp, ours, theirs, x, y, t, fixed=(2,), order=order, **options)


def test_cosine_embedding_takes_integers_other_numbers_and_shapes_that_broadcast(xp: Any) -> None:
    x, y = numbers(3, 4), numbers(1, 4, salt=1)
    ours, theirs = bf.cosine_embedding_loss, tf.cosine_embedding_loss
    compare(xp, ours, theirs, x, y, np.asarray([1, -1, 0]), reduction="none")
    compare(xp, ours, theirs, x, y, np.asarray([-1]), reduction="none")
    compare(xp, ours, theirs, np.zeros((2, 3)), numbers(2, 3), np.asarray([1, -1]), order=1)


# ---- multi_margin_loss


@EVERY_REDUCTION
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("p", "margin"), [(1, 1.0), (2, 1.0), (1, 0.3), (2, 0.3), (2.0, -0.5)])
@pytest.mark.parametrize("shape", [(5, 4), (4,), (1, 1), (1,)])
def test_hinge_of_classes_agrees_with_torch(
    xp: Any, shape: tuple[int, ...], p: int, margin: float, weighted: bool, reduction: str
) -> None:
    x, t = numbers(*shape), np.asarray(np.arange(5)[: shape[0]] % shape[-1])
    t = t if len(shape) == 2 else np.asarray(shape[-1] - 1)
    options: dict[str, Any] = {"p": p, "margin": margin, "reduction": reduction}
    if weighted:
        options["weight"] = np.asarray([0.5, 1.0, 2.0, 1.5])[: shape[-1]]
    ours, theirs = bf.multi_margin_loss, tf.multi_margin_loss
    compare(xp, ours, theirs, x, t, order=1, **options)


def test_hinge_of_classes_of_few_numbers(xp: Any) -> None:
    ours, theirs = bf.multi_margin_loss, tf.multi_margin_loss
    for reduction in REDUCTIONS:
        options: dict[str, Any] = {"reduction": reduction}
        compare(xp, ours, theirs, numbers(), np.asarray(0), order=1, **options)
        compare(xp, ours, theirs, numbers(3), np.asarray([2]), order=0, **options)
    nothing = bf.multi_margin_loss(given(xp, numbers(0, 3)), given(xp, np.zeros(0, int)))
    assert np.isnan(float(nothing))  # in torch, what is in memory by chance


def test_the_gradient_of_the_weights_and_the_second_order_are_right(xp: Any) -> None:
    """torch has neither; the loss from its parts is the reference."""
    x, t, w = numbers(5, 3), np.asarray([0, 2, 1, 1, 0]), np.asarray([0.5, 1.0, 2.0])

    def theirs(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        label = torch.from_numpy(t)
        z = (1 - x.gather(1, label[:, None]) + x).clamp(min=0) ** 2
        others = torch.arange(3) != label[:, None]
        return (w[label] * (z * others).sum(1) / 3).mean()

    compare(xp, lambda x, w: bf.multi_margin_loss(x, given(xp, t), 2, weight=w), theirs, x, w)


# ---- multilabel_margin_loss


@EVERY_REDUCTION
@pytest.mark.parametrize(
    "target",
    [
        [[3, 0, -1, 1], [1, -1, -1, -1], [-1, 1, 2, 3]],
        [[0, 1, 2, 3], [3, 2, 1, 0], [0, 0, 1, -1]],
        [[-1, -1, -1, -1]],
        [2, 0, -1, 3],
        [-1, 0, 0, 0],
    ],
)
def test_hinge_of_several_right_classes_agrees_with_torch(
    xp: Any, target: list[Any], reduction: str
) -> None:
    t = np.asarray(target)
    ours, theirs = bf.multilabel_margin_loss, tf.multilabel_margin_loss
    compare(xp, ours, theirs, numbers(*t.shape), t, order=1, reduction=reduction)


def test_hinge_of_several_right_classes_of_few_numbers(xp: Any) -> None:
    ours, theirs = bf.multilabel_margin_loss, tf.multilabel_margin_loss
    for reduction in REDUCTIONS:
        compare(xp, ours, theirs, numbers(1), np.asarray([0]), order=1, reduction=reduction)
        compare(xp, ours, theirs, numbers(), np.asarray(0), order=1, reduction=reduction)
    nothing = given(xp, numbers(0, 3)), given(xp, np.zeros((0, 3), int))
    assert np.isnan(float(ours(*nothing)))
    assert float(ours(*nothing, reduction="sum")) == 0


# ---- triplets


@EVERY_REDUCTION
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(("p", "eps", "margin"), [(2, 1e-6, 1.0), (1, 1e-6, 0.5), (3, 0.1, 2.0)])
@pytest.mark.parametrize("shape", [(5, 3), (3,), (2, 3, 4), (0, 3), (3, 0)])
def test_triplets_agree_with_torch(
    xp: Any,
    shape: tuple[int, ...],
    p: float,
    eps: float,
    margin: float,
    swap: bool,
    reduction: str,
) -> None:
    parts = [numbers(*shape, salt=i) for i in range(3)]
    options: dict[str, Any] = {
        "p": p,
        "eps": eps,
        "margin": margin,
        "swap": swap,
        "reduction": reduction,
    }
    compare(xp, bf.triplet_margin_loss, tf.triplet_margin_loss, *parts, **options)


@EVERY_REDUCTION
@pytest.mark.parametrize("swap", [False, True])
def test_triplets_take_a_distance(xp: Any, swap: bool, reduction: str) -> None:
    def squared(x: Any, y: Any) -> Any:
        d = x - y
        return (
            (d * d).sum(-1)
            if isinstance(d, torch.Tensor)
            else bp.array_namespace(d).sum(d * d, axis=-1)
        )

    parts = [numbers(5, 3, salt=i) for i in range(3)]
    ours, theirs = bf.triplet_margin_with_distance_loss, tf.triplet_margin_with_distance_loss
    options: dict[str, Any] = {"swap": swap, "reduction": reduction, "margin": 2.0}
    compare(xp, ours, theirs, *parts, **options)
    compare(xp, ours, theirs, *parts, distance_function=squared, **options)


def test_triplets_broadcast(xp: Any) -> None:
    parts = [numbers(5, 3), numbers(1, 3, salt=1), numbers(5, 1, salt=2)]
    compare(xp, bf.triplet_margin_loss, tf.triplet_margin_loss, *parts)


# ---- precision, memory, compilers


def cases() -> dict[str, tuple[Any, ...]]:
    x, y, z = (numbers(4, 6, salt=i) for i in range(3))
    return {
        "hinge_embedding_loss": (x, signs(4, 6).astype(int)),
        "margin_ranking_loss": (x, y, signs(4, 6).astype(int)),
        "cosine_embedding_loss": (x, y, signs(4).astype(int)),
        "multi_margin_loss": (x, np.asarray([0, 5, 2, 2])),
        "multilabel_margin_loss": (
            x,
            np.asarray([[0, 3, -1, -1, 2, 2], [-1] * 6, [1] * 6, range(6)]),
        ),
        "triplet_margin_loss": (x, y, z),
        "triplet_margin_with_distance_loss": (x, y, z),
    }


@pytest.mark.parametrize("name", cases())
def test_single_precision_stays(xp: Any, name: str) -> None:
    args = cases()[name]
    single = [given(xp, a.astype("float32") if a.dtype == float else a) for a in args]
    count = sum(a.dtype == float for a in args)
    y, pull = bp.vjp(lambda *xs: getattr(bf, name)(*xs, *single[count:]), *single[:count])
    assert all(a.dtype == xp.float32 for a in (y, *pull(xp.ones_like(y))))
    exact = getattr(tf, name)(*(torch.from_numpy(np.asarray(a)) for a in args))
    np.testing.assert_allclose(numpy_of(y), exact.numpy(), rtol=3e-6)


@pytest.mark.parametrize("name", cases())
def test_memory_order_does_not_matter(xp: Any, name: str) -> None:
    args = [np.asfortranarray(np.repeat(a, 2, axis=0)[::2]) for a in cases()[name]]
    compare(xp, getattr(bf, name), getattr(tf, name), *args, order=1)


@pytest.mark.parametrize("name", cases())
def test_compiled_gradients_are_those_of_the_plain_ones(name: str) -> None:
    jax = pytest.importorskip("jax")
    f = bp.grad(getattr(bf, name))
    args = cases()[name]
    compiled = jax.jit(f)(*(jax.numpy.asarray(a) for a in args))
    np.testing.assert_allclose(np.asarray(compiled), f(*args), rtol=1e-12, atol=1e-15)


# ---- what is refused


@pytest.mark.parametrize("name", cases())
def test_bad_input_is_refused(xp: Any, name: str) -> None:
    f = getattr(bf, name)
    x, *rest = (given(xp, a) for a in cases()[name])
    with pytest.raises(ShapeError, match=f"{name}: expected"):
        f(x[:3, :5], *rest)
    with pytest.raises(
        DtypeError, match=f"{name}: expected a floating array as (input|input1|anchor)"
    ):
        f(given(xp, np.ones((4, 6), int)), *rest)
    with pytest.raises(ValueError, match=f"{name}: expected reduction as 'none', 'mean' or 'sum'"):
        f(x, *rest, reduction="average")


@pytest.mark.parametrize("wrong", [6, -2, 100])
def test_a_label_that_names_no_class_is_an_error_or_makes_the_loss_nan(xp: Any, wrong: int) -> None:
    looked_at(xp)
    x = given(xp, numbers(4, 6))
    single, many = np.asarray([0, wrong, 2, 2]), np.zeros((4, 6), int)
    many[1, 4] = wrong
    with pytest.raises(
        ValueError, match=rf"multi_margin_loss: expected target in \[0, 6\), got {wrong}"
    ):
        bf.multi_margin_loss(x, given(xp, single))
    with pytest.raises(
        ValueError, match=rf"multilabel_margin_loss: expected target in \[-1, 6\), got {wrong}"
    ):
        bf.multilabel_margin_loss(x, given(xp, many))
    jax = pytest.importorskip("jax")
    for f, t in ((bf.multi_margin_loss, single), (bf.multilabel_margin_loss, many)):
        rows = jax.jit(lambda x, t, f=f: f(x, t, reduction="none"))(numpy_of(x), t)
        assert np.isnan(rows).tolist() == [False, True, False, False]


def test_more_that_is_refused(xp: Any) -> None:
    x, t = given(xp, numbers(4, 3)), given(xp, np.asarray([0, 1, 2, 0]))
    with pytest.raises(ValueError, match="multi_margin_loss: expected p as 1 or 2, got 3"):
        bf.multi_margin_loss(x, t, p=3)
    with pytest.raises(ShapeError, match=r"multi_margin_loss: expected weight \(3,\), got \(4,\)"):
        bf.multi_margin_loss(x, t, weight=given(xp, np.ones(4)))
    with pytest.raises(ShapeError, match="multi_margin_loss: expected at least one class"):
        bf.multi_margin_loss(x[:, :0], t)
    with pytest.raises(ShapeError, match="multilabel_margin_loss: expected at least one class"):
        bf.multilabel_margin_loss(x[:, :0], given(xp, np.zeros((4, 0), int)))
    for f in (bf.multi_margin_loss, bf.multilabel_margin_loss):
        with pytest.raises(DtypeError, match="expected integers as target"):
            f(x, x if f is bf.multilabel_margin_loss else x[:, 0])
    for f in (bf.triplet_margin_loss, bf.triplet_margin_with_distance_loss):
        with pytest.raises(ValueError, match=f"{f.__name__}: expected margin above 0, got 0"):
            f(x, x, x, margin=0)
        with pytest.raises(ShapeError, match="expected arrays of as many axes as each other"):
            f(x, x, x[0, :])
    with pytest.raises(ShapeError, match="margin_ranking_loss: expected arrays of as many axes"):
        bf.margin_ranking_loss(x, x, x[0, :])
    with pytest.raises(ShapeError, match=r"cosine_embedding_loss: expected inputs \(N, D\) and"):
        bf.cosine_embedding_loss(x, x, x)
