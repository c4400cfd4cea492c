"""Cross-entropy with classes and with probabilities, and the negative log-likelihood, against torch."""

from __future__ import annotations

import itertools
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

SHAPES = [(3,), (1,), (4, 3), (1, 3), (5, 1), (2, 3, 4), (2, 3, 2, 2), (2, 3, 1, 2, 2)]
REDUCTIONS = ("none", "mean", "sum")
BOTH = pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])


def scores(shape: tuple[int, ...], salt: int = 0) -> np.ndarray:
    return np.random.default_rng(salt).normal(size=shape) * 3


def classes_of(shape: tuple[int, ...], *, ignored: int | None = None) -> np.ndarray:
    """Labels for scores of this shape; some are `ignored`."""
    c = shape[min(len(shape) - 1, 1)]
    rest = shape[:1] + shape[2:] if len(shape) > 1 else ()
    t = np.asarray(np.random.default_rng(1).integers(0, c, rest))
    if ignored is not None and t.size > 1:
        t = np.where(np.arange(t.size).reshape(rest) % 3 == 1, ignored, t)
    return t


def weights(c: int) -> np.ndarray:
    return np.asarray([0.5, 2.0, 1.25])[:c]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
@BOTH
def test_every_shape_and_reduction_agrees_with_torch(
    xp: Any, name: str, shape: tuple[int, ...], reduction: str
) -> None:
    ours, theirs = getattr(bf, name), getattr(tf, name)
    compare(xp, ours, theirs, scores(shape), classes_of(shape), reduction=reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 3, 4)])
@pytest.mark.parametrize("ignored", [-100, 1, -1])
@BOTH
def test_weights_and_ignored_labels_agree_with_torch(
    xp: Any, name: str, shape: tuple[int, ...], ignored: int, reduction: str
) -> None:
    ours, theirs = getattr(bf, name), getattr(tf, name)
    x, t, w = scores(shape), classes_of(shape, ignored=ignored), weights(3)
    options: dict[str, Any] = {"ignore_index": ignored, "reduction": reduction}
    compare(xp, ours, theirs, x, t, **options)
    compare(xp, ours, theirs, x, t, weight=w, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 3, 4)])
def test_label_smoothing_agrees_with_torch(
    xp: Any, shape: tuple[int, ...], weighted: bool, smoothing: float, reduction: str
) -> None:
    x, t = scores(shape), classes_of(shape, ignored=-100)
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
    if weighted:
        options["weight"] = weights(3)
    compare(xp, bf.cross_entropy, tf.cross_entropy, x, t, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("weighted", "smoothing"), list(itertools.product([False, True], [0.0, 0.3]))
)
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 3, 2, 2)])
def test_probabilities_and_their_gradient_agree_with_torch(
    xp: Any, shape: tuple[int, ...], weighted: bool, smoothing: float, reduction: str
) -> None:
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}

    def with_weight(f: Any) -> Any:
        return (
            (lambda x, q, w: f(x, q, w, **options))
            if weighted
            else (lambda x, q: f(x, q, **options))
        )

    q = np.abs(scores(shape, 1))
    compare(
        xp,
        with_weight(bf.cross_entropy),
        with_weight(tf.cross_entropy),
        scores(shape),
        q,
        *([weights(3)] if weighted else []),
    )


@BOTH
def test_the_gradient_of_the_weights_is_right(xp: Any, name: str) -> None:
    """torch has none, for class indices; its weighted mean from parts is the reference."""
    x, t, w = scores((5, 3)), classes_of((5, 3), ignored=-100), weights(3)

    def theirs(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        logs = x.log_softmax(1) if name == "cross_entropy" else x
        kept = torch.from_numpy(t[t >= 0])
        factors = w[kept]
        return (-logs[torch.from_numpy(t >= 0), kept] * factors).sum() / factors.sum()

    ours = getattr(bf, name)
    compare(xp, lambda x, w: ours(x, given(xp, t), w), theirs, x, w)


# ---- edges


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0), (0, 3, 0), (0, 0)])
@BOTH
def test_no_position_at_all(xp: Any, name: str, shape: tuple[int, ...], reduction: str) -> None:
    ours, theirs = getattr(bf, name), getattr(tf, name)
    compare(xp, ours, theirs, scores(shape), classes_of(shape, ignored=1), reduction=reduction)
    if name == "cross_entropy":
        q = np.abs(scores(shape))
        compare(xp, ours, theirs, scores(shape), q, reduction=reduction)


@pytest.mark.parametrize("options", [{}, {"weight": weights(3)}, {"label_smoothing": 0.1}])
def test_where_all_labels_are_ignored_the_mean_is_nan_and_the_sum_0(
    xp: Any, options: dict[str, Any]
) -> None:
    x, t = scores((2, 3)), np.asarray([-100, -100])
    for reduction in REDUCTIONS:
        compare(
            xp, bf.cross_entropy, tf.cross_entropy, x, t, reduction=reduction, order=0, **options
        )
    compare(xp, bf.cross_entropy, tf.cross_entropy, x, t, reduction="sum", order=1, **options)


def test_weights_that_sum_to_0_give_a_mean_of_nan(xp: Any) -> None:
    x, t = scores((2, 3)), np.asarray([0, 1])
    compare(xp, bf.cross_entropy, tf.cross_entropy, x, t, weight=np.zeros(3), order=0)


def test_scores_may_be_huge_and_minus_infinity(xp: Any) -> None:
    x = np.asarray([[1e4, 0.0, -1e4], [-np.inf, 3.0, 3.0], [700.0, 700.0, -700.0]])
    for t in (np.asarray([0, 1, 2]), np.asarray([2, 2, 0])):
        for reduction in REDUCTIONS:
            compare(xp, bf.cross_entropy, tf.cross_entropy, x, t, reduction=reduction, order=0)
        tensor = torch.tensor(x, requires_grad=True)
        tf.cross_entropy(tensor, torch.from_numpy(t)).backward()
        g = bp.grad(bf.cross_entropy)(given(xp, x), given(xp, t))
        np.testing.assert_allclose(numpy_of(g), tensor.grad.numpy(), rtol=1e-14, atol=1e-300)
    infinite = bf.cross_entropy(given(xp, x), given(xp, np.asarray([0, 0, 0])), reduction="none")
    assert numpy_of(infinite)[1] == np.inf


def test_a_small_loss_keeps_its_digits(xp: Any) -> None:
    x = given(xp, np.asarray([[40.0, 0.0]]))
    loss = bf.cross_entropy(x, given(xp, np.asarray([1])), reduction="none")
    np.testing.assert_allclose(numpy_of(loss), [40.0], rtol=1e-15)


def test_an_ignored_row_may_hold_anything(xp: Any) -> None:
    x = given(xp, np.asarray([[np.nan, 1.0], [1.0, 2.0]]))
    t = given(xp, np.asarray([-100, 1]))
    np.testing.assert_allclose(numpy_of(bf.cross_entropy(x, t)), np.log1p(np.exp(-1)))


def test_one_label_in_an_array_may_stand_beside_unbatched_scores(xp: Any) -> None:
    x, t = scores((3,)), np.asarray([1])
    for reduction in REDUCTIONS:  # torch has no gradient here
        compare(xp, bf.cross_entropy, tf.cross_entropy, x, t, reduction=reduction, order=0)
        compare(xp, bf.nll_loss, tf.nll_loss, x, t, reduction=reduction, order=0)


@pytest.mark.parametrize("layout", ["F", "strided", "permuted"])
@BOTH
def test_memory_order_does_not_matter(xp: Any, name: str, layout: str) -> None:
    ours, theirs = getattr(bf, name), getattr(tf, name)
    t = classes_of((4, 3, 5))
    x = {
        "F": np.asfortranarray(scores((4, 3, 5))),
        "strided": scores((8, 6, 10))[::2, ::2, ::2],
        "permuted": scores((4, 5, 3)).transpose(0, 2, 1),
    }[layout]
    compare(xp, ours, theirs, x, t.T.copy().T)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", ">i4"])
def test_labels_may_be_of_any_integer_dtype(xp: Any, dtype: str) -> None:
    if dtype in ("uint32", ">i4") and "numpy" not in xp.__name__:
        pytest.skip("torch has no uint32 arithmetic, strict no byte order")
    x, t = scores((4, 3)), np.asarray([0, 2, 1, 1])
    target = (
        xp.asarray(t.astype(dtype))
        if "torch" not in xp.__name__
        else torch.from_numpy(t.astype(dtype))
    )
    expected = tf.cross_entropy(torch.from_numpy(x), torch.from_numpy(t)).item()
    np.testing.assert_allclose(numpy_of(bf.cross_entropy(given(xp, x), target)), expected)


@pytest.mark.parametrize("options", [{}, {"ignore_index": 1}, {"label_smoothing": 0.1}])
def test_single_precision_stays(xp: Any, options: dict[str, Any]) -> None:
    x, t = scores((6, 3)).astype("float32"), classes_of((6, 3))
    w = given(xp, weights(3).astype("float32"))
    for weight in (None, w):
        y, pull = bp.vjp(
            lambda x, w=weight: bf.cross_entropy(x, given(xp, t), w, **options), given(xp, x)
        )
        (g,) = pull(xp.ones_like(y))
        assert y.dtype == g.dtype == xp.float32
        exact = tf.cross_entropy(
            torch.from_numpy(x).double(),
            torch.from_numpy(t),
            None if weight is None else torch.from_numpy(weights(3)),
            **options,
        )
        np.testing.assert_allclose(numpy_of(y), exact.numpy(), rtol=1e-6)


def test_half_precision_is_summed_in_single(xp: Any) -> None:
    if "strict" in xp.__name__:
        pytest.skip("has no float16")
    n = 70000
    x = xp.zeros((n, 2), dtype=xp.float16)
    loss = bf.cross_entropy(x, given(xp, np.zeros(n, int)))
    assert loss.dtype == xp.float16
    np.testing.assert_allclose(float(loss), np.log(2), rtol=1e-3)


def test_the_pullback_may_be_called_twice(xp: Any) -> None:
    x, t = given(xp, scores((3, 4))), given(xp, np.asarray([0, 1, 2]))
    y, pull = bp.vjp(lambda x: bf.cross_entropy(x, t), x)
    first, second = pull(xp.ones_like(y))[0], pull(xp.ones_like(y))[0]
    np.testing.assert_array_equal(numpy_of(first), numpy_of(second))


# ---- labels that name no class


@pytest.mark.parametrize("wrong", [3, -1, 100, -101])
@pytest.mark.parametrize("options", [{}, {"ignore_index": 1}, {"label_smoothing": 0.1}])
def test_a_label_that_names_no_class_is_an_error(
    xp: Any, wrong: int, options: dict[str, Any]
) -> None:
    looked_at(xp)
    x, t = given(xp, scores((4, 3))), given(xp, np.asarray([0, 1, wrong, 2]))
    with pytest.raises(ValueError, match=rf"cross_entropy: expected target in \[0, 3\).*{wrong}"):
        bf.cross_entropy(x, t, **options)
    if not options:
        with pytest.raises(ValueError, match=rf"nll_loss: expected target in \[0, 3\).*{wrong}"):
            bf.nll_loss(x, t)


@BOTH
def test_in_a_compiled_step_a_label_that_names_no_class_makes_the_loss_nan(name: str) -> None:
    jax = pytest.importorskip("jax")
    f = getattr(bf, name)
    x, t = jax.numpy.asarray(scores((4, 3))), jax.numpy.asarray([0, 3, -100, 2])
    for options in ({}, {"weight": jax.numpy.asarray(weights(3))}):
        rows = jax.jit(lambda x, t, o=options: f(x, t, reduction="none", **o))(x, t)
        assert np.isnan(rows).tolist() == [False, True, False, False]
        assert rows[2] == 0
        assert np.isnan(jax.jit(lambda x, t, o=options: f(x, t, **o))(x, t))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reduction": "none"},
        {"ignore_index": 1},
        {"weight": weights(3)},
        {"label_smoothing": 0.1},
    ],
)
def test_a_compiled_gradient_is_that_of_the_plain_one(options: dict[str, Any]) -> None:
    jax = pytest.importorskip("jax")
    x, t = scores((4, 3)), np.asarray([0, 1, 2, 1])

    def loss(x: Any, t: Any) -> Any:
        xp = bp.array_namespace(x)
        full = {k: xp.asarray(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        return xp.sum(bf.cross_entropy(x, t, **full))

    plain = bp.grad(loss)(x, t)
    compiled = jax.jit(bp.grad(loss))(jax.numpy.asarray(x), jax.numpy.asarray(t))
    np.testing.assert_allclose(np.asarray(compiled), plain, rtol=1e-12, atol=1e-15)


# ---- what is refused


@BOTH
def test_bad_input_is_refused(xp: Any, name: str) -> None:
    f = getattr(bf, name)
    x, t = given(xp, scores((4, 3))), given(xp, np.asarray([0, 1, 2, 1]))
    with pytest.raises(ShapeError, match=rf"{name}: expected class indices of shape \(4,\) for an"):
        f(x, t[:3, ...])
    with pytest.raises(ShapeError, match=r"got \(4, 1\); take the last axis away"):
        f(x, given(xp, np.zeros((4, 1), int)))
    with pytest.raises(ShapeError, match=r"got \(4, 3\); probabilities must be floating"):
        f(x, given(xp, np.ones((4, 3), int)))
    with pytest.raises(ShapeError, match="expected input"):
        f(given(xp, np.asarray(1.0)), given(xp, np.asarray(0)))
    with pytest.raises(ShapeError, match=rf"{name}: expected a weight for each of 3 classes"):
        f(x, t, given(xp, np.ones(4)))
    with pytest.raises(DtypeError, match=f"{name}: expected a floating array as input"):
        f(given(xp, np.ones((4, 3), int)), t)
    with pytest.raises(DtypeError, match=f"{name}: expected integers as target"):
        f(x, given(xp, np.ones(4, bool)))
    with pytest.raises(DtypeError, match=f"{name}: expected an array as (target|input)"):
        f([[1.0]], [0])
    with pytest.raises(
        ValueError, match=f"{name}: expected reduction as 'none', 'mean' or 'sum', got 'avg'"
    ):
        f(x, t, reduction="avg")


def test_bad_settings_of_cross_entropy_are_refused(xp: Any) -> None:
    x, t = given(xp, scores((4, 3))), given(xp, np.asarray([0, 1, 2, 1]))
    for smoothing in (-0.1, 1.5):
        with pytest.raises(
            ValueError, match=r"cross_entropy: expected label_smoothing in \[0, 1\]"
        ):
            bf.cross_entropy(x, t, label_smoothing=smoothing)
    with pytest.raises(ValueError, match="cross_entropy: ignore_index is for class indices"):
        bf.cross_entropy(x, x, ignore_index=0)
    with pytest.raises(ShapeError, match=r"cross_entropy: expected a target of probabilities"):
        bf.cross_entropy(x, x[:2, ...])
    with pytest.raises(ValueError, match="cross_entropy: expected reduction as"):
        bf.cross_entropy(x, x, reduction="batchmean")
