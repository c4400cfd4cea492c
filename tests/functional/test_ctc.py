"""The CTC loss against torch, against a sum over all paths, and at its edges."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as tf

import bpgpu as bp
import bpgpu.functional as bf
import gradients
from bpgpu.errors import DtypeError, ShapeError
from gradients import looked_at
from torch_compare import compare, given, numpy_of

REDUCTIONS = ("none", "mean", "sum")
T, N, C = 6, 3, 5
PADDED = np.asarray([[1, 2, 3], [1, 1, 0], [4, 0, 0]])
STEPS, COUNTS = (6, 5, 6), (3, 2, 1)
JOINED = np.asarray([1, 2, 3, 1, 1, 4])


def logs(*shape: int, salt: int = 0) -> np.ndarray:
    x = np.random.default_rng(salt).normal(size=shape) * 2
    return np.asarray(x - np.log(np.exp(x).sum(-1, keepdims=True)))


def against_torch(xp: Any, x: np.ndarray, *args: Any, order: int = 1, **options: Any) -> None:
    """Second order is another test: torch has none."""
    compare(xp, bf.ctc_loss, tf.ctc_loss, x, *args, order=order, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("targets", [PADDED, JOINED])
@pytest.mark.parametrize("blank", [0, 5])
def test_padded_and_joined_targets_agree_with_torch(
    xp: Any, targets: np.ndarray, blank: int, reduction: str
) -> None:
    options: dict[str, Any] = {"blank": blank, "reduction": reduction}
    x = logs(T, N, 6)
    against_torch(xp, x, targets, STEPS, COUNTS, **options)
    against_torch(xp, x, targets, np.asarray(STEPS), np.asarray(COUNTS), **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("targets", [PADDED[0], PADDED[:1]])
def test_one_sample_needs_no_batch(xp: Any, targets: np.ndarray, reduction: str) -> None:
    x = logs(T, C)
    for steps, counts in (((6,), (3,)), (np.asarray(5), np.asarray(3)), ([4], [3])):
        against_torch(xp, x, targets, steps, counts, reduction=reduction)
    number = bf.ctc_loss(given(xp, x), given(xp, targets), 5, 3, reduction=reduction)
    array = bf.ctc_loss(given(xp, x), given(xp, targets), (5,), (3,), reduction=reduction)
    assert float(number) == float(array)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_samples_without_labels_agree_with_torch(xp: Any, reduction: str) -> None:
    x = logs(T, N, C)
    against_torch(xp, x, PADDED, STEPS, (0, 2, 1), reduction=reduction)
    against_torch(xp, x, PADDED[:, :0], STEPS, (0, 0, 0), reduction=reduction)
    against_torch(xp, x, JOINED[:0], STEPS, (0, 0, 0), reduction=reduction)
    against_torch(xp, x, PADDED, STEPS, (0, 0, 0), reduction=reduction)
    against_torch(xp, x, PADDED, (0, 5, 6), (0, 2, 1), reduction=reduction)
    against_torch(xp, x[:1], PADDED, (1, 1, 1), (1, 0, 1), reduction=reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("steps", "counts"), [((2, 5, 6), COUNTS), ((0, 5, 6), (1, 2, 1)), ((6, 2, 6), COUNTS)]
)
def test_labels_that_do_not_fit_give_infinity_or_zero(
    xp: Any, steps: tuple[int, ...], counts: tuple[int, ...], reduction: str
) -> None:
    """The second row has the same label twice, which takes three steps."""
    x = logs(T, N, C)
    against_torch(xp, x, PADDED, steps, counts, reduction=reduction, order=0)
    against_torch(xp, x, PADDED, steps, counts, reduction=reduction, zero_infinity=True)
    if reduction == "sum":

        def ours(x: Any) -> Any:
            return bf.ctc_loss(x, given(xp, PADDED), steps, counts, reduction=reduction)

        g = bp.grad(ours)(given(xp, x))
        leaf = torch.tensor(x, requires_grad=True)
        tf.ctc_loss(leaf, torch.from_numpy(PADDED), steps, counts, reduction="sum").backward()
        np.testing.assert_allclose(numpy_of(g), leaf.grad.numpy(), atol=1e-12)


def test_a_label_that_is_the_blank_counts_as_in_torch(xp: Any) -> None:
    against_torch(xp, logs(T, N, C), PADDED, STEPS, COUNTS, blank=4, order=0, reduction="none")


def test_what_fills_a_row_up_is_not_looked_at(xp: Any) -> None:
    filled = np.where(np.arange(3) < np.asarray(COUNTS)[:, None], PADDED, [[-1], [-7], [99]])
    x = logs(T, N, C)
    a, b = (bf.ctc_loss(given(xp, x), given(xp, t), STEPS, COUNTS) for t in (PADDED, filled))
    assert float(a) == float(b)


def test_no_sample_at_all(xp: Any) -> None:
    x, t = given(xp, logs(T, 0, C)), given(xp, np.zeros((0, 3), int))
    assert bf.ctc_loss(x, t, (), (), reduction="none").shape == (0,)
    assert float(bf.ctc_loss(x, t, (), (), reduction="sum")) == 0
    assert np.isnan(float(bf.ctc_loss(x, t, (), ())))
    assert bp.grad(lambda x: bf.ctc_loss(x, t, (), ()))(x).shape == (T, 0, C)


def test_classes_of_probability_zero(xp: Any) -> None:
    """Where the class is not one of the labels; torch gives NaN as its gradient."""
    x = logs(T, N, C)
    x[:, :, 2] = -np.inf
    t = np.asarray([[1, 3], [1, 1], [4, 0]])
    counts = (2, 2, 1)
    against_torch(xp, x, t, STEPS, counts, order=0)
    g = bp.grad(lambda x: bf.ctc_loss(x, given(xp, t), STEPS, counts, reduction="sum"))(
        given(xp, x)
    )
    leaf = torch.tensor(x, requires_grad=True)
    tf.ctc_loss(leaf, torch.from_numpy(t), STEPS, counts, reduction="sum").backward()
    np.testing.assert_allclose(numpy_of(g), np.nan_to_num(leaf.grad.numpy()), atol=1e-12)


def test_long_sequences_of_improbable_labels_stay_finite(xp: Any) -> None:
    x = logs(80, 2, 4) * 40  # probabilities down to exp(-15000)
    t = np.asarray([[1, 2, 2, 3] * 5] * 2)
    against_torch(xp, x, t, (80, 77), (20, 13))


# ---- an independent reference: the sum over all paths


def collapsed(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def over_all_paths(xp: Any, x: Any, labels: list[list[int]], steps: list[int], blank: int) -> Any:
    """The loss of each sample by its definition, from logits `(T, N, C)`."""
    lp = x - xp.log(xp.sum(xp.exp(x), axis=-1, keepdims=True))
    losses = []
    for n, (label, t) in enumerate(zip(labels, steps, strict=True)):
        paths = [
            p
            for p in itertools.product(range(lp.shape[2]), repeat=t)
            if collapsed(p, blank) == tuple(label)
        ]
        total = sum(xp.exp(sum(lp[i, n, k] for i, k in enumerate(p))) for p in paths)
        losses.append(-xp.log(total))
    return xp.stack(losses)


@pytest.mark.parametrize("blank", [0, 1])
def test_value_gradient_and_second_order_are_those_of_the_sum_over_all_paths(
    xp: Any, blank: int
) -> None:
    a, b = (k for k in range(3) if k != blank)
    labels, steps = [[a, a], [b], [a, b]], [4, 3, 2]
    padded = np.asarray([[a, a], [b, blank], [a, b]])

    def ours(ns: Any, x: Any) -> Any:
        t = given(xp, padded)
        return bf.ctc_loss(bf.log_softmax(x, -1), t, steps, (2, 1, 2), blank, reduction="none")

    x = np.random.default_rng(3).normal(size=(4, 3, 3))
    gradients.check(
        xp, ours, x, reference=lambda ns, x: over_all_paths(ns, x, labels, steps, blank)
    )


def test_the_second_order_of_samples_that_do_not_fit_is_zero_if_asked_for(xp: Any) -> None:
    def gradient_size(x: Any) -> Any:
        g = bp.grad(
            lambda x: bf.ctc_loss(
                bf.log_softmax(x, -1), given(xp, PADDED), (2, 5, 6), COUNTS, zero_infinity=True
            )
        )(x)
        return bp.array_namespace(g).sum(g * g)

    h = numpy_of(bp.grad(gradient_size)(given(xp, logs(T, N, C))))
    assert np.isfinite(h).all()
    assert not h[:, 0].any()
    assert h[:5, 1].any()


# ---- precision, memory, compilers


def test_single_precision_stays(xp: Any) -> None:
    x = given(xp, logs(T, N, C).astype("float32"))
    y, pull = bp.vjp(lambda x: bf.ctc_loss(x, given(xp, PADDED), STEPS, COUNTS), x)
    (g,) = pull(xp.ones_like(y))
    assert y.dtype == g.dtype == xp.float32
    exact = tf.ctc_loss(torch.tensor(logs(T, N, C)), torch.from_numpy(PADDED), STEPS, COUNTS)
    np.testing.assert_allclose(float(y), float(exact), rtol=1e-6)


def test_half_precision_is_computed_in_single(xp: Any) -> None:
    if "strict" in xp.__name__:
        pytest.skip("has no float16")
    x = given(xp, logs(T, N, C).astype("float16"))
    y, pull = bp.vjp(lambda x: bf.ctc_loss(x, given(xp, PADDED), STEPS, COUNTS), x)
    assert y.dtype == pull(xp.ones_like(y))[0].dtype == xp.float16
    exact = tf.ctc_loss(torch.tensor(logs(T, N, C)), torch.from_numpy(PADDED), STEPS, COUNTS)
    np.testing.assert_allclose(float(y), float(exact), rtol=2e-3)


def test_memory_order_and_kinds_of_integers_do_not_matter(xp: Any) -> None:
    x = np.asfortranarray(logs(T, N, C))
    against_torch(xp, x, np.asfortranarray(PADDED), STEPS, COUNTS)
    against_torch(xp, logs(N, T, C).transpose(1, 0, 2), PADDED, STEPS, COUNTS)
    small = PADDED.astype("int32"), np.asarray(STEPS, "int32"), np.asarray(COUNTS, "int32")
    against_torch(xp, x, *small)


def compiled(jax: Any, f: Any, *args: Any) -> np.ndarray:
    return np.asarray(jax.jit(f)(*(jax.numpy.asarray(a) for a in args)))


@pytest.mark.parametrize("targets", [PADDED, JOINED])
def test_a_compiled_gradient_is_that_of_the_plain_one(targets: np.ndarray) -> None:
    jax = pytest.importorskip("jax")
    x, steps, counts = logs(T, N, C), np.asarray(STEPS), np.asarray(COUNTS)
    f = bp.grad(bf.ctc_loss)
    expected = f(x, targets, steps, counts)
    np.testing.assert_allclose(
        compiled(jax, f, x, targets, steps, counts), expected, rtol=1e-12, atol=1e-15
    )
    fixed = compiled(jax, lambda x, t: f(x, t, STEPS, COUNTS), x, targets)
    np.testing.assert_allclose(fixed, expected, rtol=1e-12, atol=1e-15)


def test_in_a_compiled_step_what_is_wrong_makes_the_loss_nan() -> None:
    jax = pytest.importorskip("jax")
    x, steps, counts = logs(T, N, C), np.asarray(STEPS), np.asarray(COUNTS)

    def losses(*args: np.ndarray) -> list[bool]:
        rows = compiled(jax, lambda *a: bf.ctc_loss(*a, reduction="none"), *args)
        return np.isnan(rows).tolist()

    wrong = PADDED.copy()
    wrong[1, 1], wrong[2, 2] = 5, -1  # the last one fills a row up
    assert losses(x, wrong, steps, counts) == [False, True, False]
    assert losses(x, PADDED, np.asarray([6, 5, 7]), counts) == [False, False, True]
    assert losses(x, PADDED, steps, np.asarray([4, 2, 1])) == [True, False, False]
    assert losses(x, JOINED, steps, np.asarray([3, 2, 2])) == [True, True, True]


# ---- what is refused


def test_bad_input_is_refused(xp: Any) -> None:
    looked_at(xp)
    x, t = given(xp, logs(T, N, C)), given(xp, PADDED)

    def call(
        x: Any = x, t: Any = t, steps: Any = STEPS, counts: Any = COUNTS, **options: Any
    ) -> Any:
        return bf.ctc_loss(x, t, steps, counts, **options)

    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ShapeError, r"expected log_probs \(T, N, C\) or \(T, C\)", {"x": x[0, 0, :]}),
        (ShapeError, r"of at least one time and one class, got \(0, 3, 5\)", {"x": x[:0, ...]}),
        (ShapeError, r"expected targets \(3, S\) or \(sum\(target_lengths\)\)", {"t": t[:2, :]}),
        (
            ShapeError,
            r"expected targets \(1, S\) or \(sum\(target_lengths\)\), got \(3, 3\)",
            {"x": x[:, 0, :], "steps": 6, "counts": 3},
        ),
        (
            ShapeError,
            "expected 6 targets, the sum of target_lengths, got 5",
            {"t": given(xp, JOINED[:5])},
        ),
        (ShapeError, "expected 3 input_lengths, one for each sample, got 2", {"steps": (6, 5)}),
        (ShapeError, "expected 3 target_lengths, one for each sample", {"counts": (3, 2)}),
        (ValueError, r"expected input_lengths in \[0, 6\], got 7", {"steps": (7, 5, 6)}),
        (ValueError, r"expected input_lengths in \[0, 6\], got -1", {"steps": (-1, 5, 6)}),
        (ValueError, r"expected target_lengths in \[0, 3\], got 4", {"counts": (4, 2, 1)}),
        (
            ValueError,
            r"expected target_lengths in \[0, 3\], got -2",
            {"counts": given(xp, np.asarray([3, -2, 1]))},
        ),
        (ValueError, r"expected blank in \[0, 5\), got 5", {"blank": 5}),
        (ValueError, r"expected blank in \[0, 5\), got -1", {"blank": -1}),
        (ValueError, r"expected targets in \[0, 5\), got 8", {"t": given(xp, PADDED + 4)}),
        (
            ValueError,
            "expected reduction as 'none', 'mean' or 'sum', got 'avg'",
            {"reduction": "avg"},
        ),
        (DtypeError, "expected a floating array as log_probs", {"x": t}),
        (DtypeError, "expected integers as targets", {"t": given(xp, PADDED.astype(float))}),
        (DtypeError, "expected integers as input_lengths", {"steps": given(xp, np.ones(3))}),
        (
            DtypeError,
            "expected target_lengths as an array or a sequence of integers",
            {"counts": (1.5, 2, 1)},
        ),
    ]
    for error, text, wrong in cases:
        with pytest.raises(error, match=f"ctc_loss: .*{text}"):
            call(**wrong)
