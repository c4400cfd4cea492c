"""Losses of yes-or-no decisions against torch: every argument, both ends of the range, and what is refused."""

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
NAMES = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "soft_margin_loss",
    "multilabel_soft_margin_loss",
]
SIGNED = ("soft_margin_loss",)
EVERY = pytest.mark.parametrize("name", NAMES)


def pair(name: str, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x, t = np.asarray(rng.normal(size=shape) * 3), np.asarray(rng.uniform(size=shape))
    if name == "binary_cross_entropy":
        return np.asarray(rng.uniform(0.01, 0.99, shape)), t
    return x, np.where(t < 0.5, -1.0, 1.0) if name in SIGNED else t


def constants(name: str) -> tuple[int, ...]:
    """torch has no gradient of this target."""
    return (1,) if name in SIGNED else ()


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (4, 3), (2, 3, 4), (0,), (0, 3), (3, 0)])
@EVERY
def test_every_shape_and_reduction_agrees_with_torch(
    xp: Any, name: str, shape: tuple[int, ...], reduction: str
) -> None:
    if name == "multilabel_soft_margin_loss" and shape == ():
        pytest.skip("needs an axis of classes")
    x, t = pair(name, *shape)
    ours, theirs = getattr(bf, name), getattr(tf, name)
    compare(xp, ours, theirs, x, t, fixed=constants(name), reduction=reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(4, 3), (3,), (4, 1), (1, 3), (), (1,)])
@pytest.mark.parametrize(
    "name", [n for n in NAMES if n not in ("soft_margin_loss", "multilabel_soft_margin_loss")]
)
def test_weights_agree_with_torch(
    xp: Any, name: str, shape: tuple[int, ...], reduction: str
) -> None:
    w = np.asarray(np.random.default_rng(1).uniform(0.5, 2, shape))
    ours, theirs = getattr(bf, name), getattr(tf, name)
    compare(xp, ours, theirs, *pair(name, 4, 3), weight=w, reduction=reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(4, 3), (3,), (4, 1)])
def test_weights_of_several_decisions_agree_with_torch(
    xp: Any, shape: tuple[int, ...], reduction: str
) -> None:
    w = np.random.default_rng(1).uniform(0.5, 2, shape)

    def of(f: Any) -> Any:
        return lambda x, t, w: f(x, t, weight=w, reduction=reduction)

    name = "multilabel_soft_margin_loss"
    compare(xp, of(getattr(bf, name)), of(getattr(tf, name)), *pair(name, 4, 3), w)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, (3,), (4, 3)])
@pytest.mark.parametrize("shape", [(3,), (4, 3), (4, 1), ()])
def test_weights_of_the_yes_agree_with_torch(
    xp: Any, shape: tuple[int, ...], weight: tuple[int, ...] | None, reduction: str
) -> None:
    rng = np.random.default_rng(1)
    name = "binary_cross_entropy_with_logits"
    options: dict[str, Any] = {
        "pos_weight": np.asarray(rng.uniform(0.5, 4, shape)),
        "reduction": reduction,
    }
    if weight is not None:
        options["weight"] = rng.uniform(0.5, 2, weight)
    compare(xp, getattr(bf, name), getattr(tf, name), *pair(name, 4, 3), **options)


def test_the_gradients_of_weights_are_right(xp: Any) -> None:
    """torch has none; the loss from its parts is the reference."""
    x, t = pair("binary_cross_entropy_with_logits", 4, 3)
    w, p = np.asarray([0.5, 1.0, 2.0]), np.asarray([[3.0], [1.0], [0.2], [1.5]])

    def theirs(x: Any, t: Any, w: Any, p: Any) -> Any:
        return (-w * (p * t * tf.logsigmoid(x) + (1 - t) * tf.logsigmoid(-x))).mean()

    def ours(x: Any, t: Any, w: Any, p: Any) -> Any:
        return bf.binary_cross_entropy_with_logits(x, t, w, pos_weight=p)

    compare(xp, ours, theirs, x, t, w, p)

    def of_probabilities(x: Any, t: Any, w: Any) -> Any:
        return (-w * (t * x.log() + (1 - t) * (1 - x).log())).mean()

    compare(xp, bf.binary_cross_entropy, of_probabilities, *pair("binary_cross_entropy", 4, 3), w)


def test_probabilities_of_0_and_1_give_finite_losses_and_gradients(xp: Any) -> None:
    x, t = np.asarray([0.0, 1.0, 0.0, 1.0, 1e-300, 0.3]), np.asarray([0.0, 1.0, 1.0, 0.0, 1.0, 0.3])
    for reduction in REDUCTIONS:
        compare(
            xp,
            bf.binary_cross_entropy,
            tf.binary_cross_entropy,
            x,
            t,
            fixed=(1,),
            order=1,
            reduction=reduction,
        )
    g = bp.grad(lambda x, t: bf.binary_cross_entropy(x, t, reduction="sum"), 1)(
        given(xp, x), given(xp, t)
    )
    np.testing.assert_allclose(numpy_of(g)[:4], [100, -100, 100, -100])  # infinite in torch


def test_huge_logits_give_exact_losses(xp: Any) -> None:
    x = np.asarray([1e4, -1e4, 0.0, 40.0, -40.0])
    t = np.asarray([1.0, 0.0, 1.0, 1.0, 0.0])
    for name in ("binary_cross_entropy_with_logits", "multilabel_soft_margin_loss"):
        compare(xp, getattr(bf, name), getattr(tf, name), x, t)
        compare(xp, getattr(bf, name), getattr(tf, name), x, 1 - t)
    margins = bf.soft_margin_loss(given(xp, x), given(xp, -np.ones(5)), reduction="none")
    np.testing.assert_allclose(numpy_of(margins), np.logaddexp(0, x), rtol=1e-14)  # torch overflows
    loss = bf.binary_cross_entropy_with_logits(
        given(xp, np.asarray([40.0])), given(xp, np.asarray([1.0]))
    )
    np.testing.assert_allclose(float(loss), np.exp(-40.0), rtol=1e-15)


@EVERY
def test_single_precision_stays(xp: Any, name: str) -> None:
    x, t = (a.astype("float32") for a in pair(name, 8, 3))
    y, pull = bp.vjp(getattr(bf, name), given(xp, x), given(xp, t))
    gx, gt = pull(xp.ones_like(y))
    assert y.dtype == gx.dtype == gt.dtype == xp.float32
    exact = getattr(tf, name)(torch.from_numpy(x).double(), torch.from_numpy(t).double())
    np.testing.assert_allclose(numpy_of(y), exact.numpy(), rtol=2e-6)


@EVERY
def test_memory_order_does_not_matter(xp: Any, name: str) -> None:
    x, t = pair(name, 6, 8)
    ours, theirs, fixed = getattr(bf, name), getattr(tf, name), constants(name)
    compare(xp, ours, theirs, x[::2, ::2], t[:3, 4:], fixed=fixed)
    compare(xp, ours, theirs, x.T, t.T.copy(), fixed=fixed)


def test_the_target_of_a_margin_has_a_gradient_too(xp: Any) -> None:
    def theirs(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.log1p(torch.exp(-t * x)).mean()

    compare(xp, bf.soft_margin_loss, theirs, *pair("soft_margin_loss", 4, 3))


@pytest.mark.parametrize("name", ["soft_margin_loss", "multilabel_soft_margin_loss"])
def test_integer_targets_and_two_shapes_are_taken(xp: Any, name: str) -> None:
    x, _ = pair(name, 2, 3)
    ours, theirs = getattr(bf, name), getattr(tf, name)
    compare(xp, ours, theirs, x, np.asarray([[1, -1, 1], [1, 1, -1]]))
    compare(xp, ours, theirs, x, np.asarray([1.0, -1.0, 1.0]), fixed=(1,))


@EVERY
def test_compiled_gradients_are_those_of_the_plain_ones(name: str) -> None:
    jax = pytest.importorskip("jax")
    f = bp.grad(getattr(bf, name))
    x, t = pair(name, 4, 3)
    compiled = jax.jit(f)(jax.numpy.asarray(x), jax.numpy.asarray(t))
    np.testing.assert_allclose(np.asarray(compiled), f(x, t), rtol=1e-12)


# ---- what is refused


@EVERY
def test_bad_input_is_refused(xp: Any, name: str) -> None:
    f = getattr(bf, name)
    x, t = (given(xp, a) for a in pair(name, 4, 3))
    with pytest.raises(ShapeError, match=f"{name}: expected"):
        f(x, t[:2, ...])
    with pytest.raises(DtypeError, match=f"{name}: expected a floating array as input"):
        f(given(xp, np.ones((4, 3), int)), t)
    with pytest.raises(DtypeError, match=f"{name}: expected .* as target, got dtype"):
        f(x, given(xp, np.ones((4, 3), bool)))
    with pytest.raises(ValueError, match=f"{name}: expected reduction as 'none', 'mean' or 'sum'"):
        f(x, t, reduction="average")
    if name != "soft_margin_loss":
        for shape in ((2, 4, 3), (4,), (4, 2)):
            with pytest.raises(ShapeError, match=rf"{name}: expected weight to broadcast to the"):
                f(x, t, weight=given(xp, np.ones(shape)))


def test_more_that_is_refused(xp: Any) -> None:
    looked_at(xp)
    x, t = (given(xp, a) for a in pair("binary_cross_entropy", 4, 3))
    for f in (bf.binary_cross_entropy, bf.binary_cross_entropy_with_logits):
        with pytest.raises(DtypeError, match="expected a floating array as target"):
            f(x, given(xp, np.ones((4, 3), int)))
        with pytest.raises(ShapeError, match=r"expected target of shape \(4, 3\), which input has"):
            f(x, t[..., :1])
    with pytest.raises(ShapeError, match="expected pos_weight to broadcast"):
        bf.binary_cross_entropy_with_logits(x, t, pos_weight=given(xp, np.ones(4)))
    for wrong in (-0.1, 1.1, np.nan):
        probabilities = given(xp, np.asarray([0.5, wrong]))
        with pytest.raises(ValueError, match=r"expected probabilities in \[0, 1\] as input; apply"):
            bf.binary_cross_entropy(probabilities, given(xp, np.ones(2)))
    with pytest.raises(
        ShapeError, match=r"expected input \(\.\.\., C\), got a number without axes"
    ):
        bf.multilabel_soft_margin_loss(given(xp, np.asarray(1.0)), given(xp, np.asarray(1.0)))


def test_in_a_compiled_step_a_wrong_probability_gives_nan() -> None:
    jax = pytest.importorskip("jax")
    x, t = jax.numpy.asarray([0.5, -0.1, 1.1]), jax.numpy.asarray([1.0, 1.0, 0.0])
    rows = jax.jit(lambda x, t: bf.binary_cross_entropy(x, t, reduction="none"))(x, t)
    assert np.isnan(rows).tolist() == [False, True, True]
