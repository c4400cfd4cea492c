"""From what a model gives to decisions: which class, or yes or no for each label.

The shapes alone tell what the numbers mean:

| prediction | target | |
|---|---|---|
| `(N, C)` or `(N, C, ...)`, C > 1 | `(N,)` or `(N, ...)`, integers | classes: the largest score wins, or the first |
| `(N,)` or `(N, 1)` | `(N,)` or `(N, 1)` | binary: yes if the score is above the threshold |
| `(N, L)`, L > 1 | `(N, L)` | labels of which several may be true: yes or no for each |
| `(N, ...)` of three axes or more | the same | binary, for each entry |
| integers of the target's shape | integers | classes that were decided already |

The threshold is 0 for logits, which are what losses like `cross_entropy` and `binary_cross_entropy_with_logits` take,
and 0.5 for probabilities (`from_logits=False`, for models that end in a sigmoid). Which of the two it is, is not
guessed from the values.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from bpgpu.autodiff.dtypes import kind
from bpgpu.errors import ArgumentError, DtypeError, ShapeError
from bpgpu.functional.labels import checked_labels
from bpgpu.train.metrics.base import Array, integers, plain, weights, widened

Kind = Literal["classes", "binary", "multilabel", "decided"]


class Layout(NamedTuple):
    """What prediction and target mean, with both in the shape that goes with it."""

    kind: Kind
    prediction: Array
    target: Array
    classes: int | None
    """How many classes or labels there are; 2 if binary; `None` if it cannot be told."""


class Decisions(NamedTuple):
    """What was decided and what was right, in one shape."""

    decided: Array
    actual: Array
    weight: Array
    """0 for entries that are left out, NaN for labels that name no class."""
    counts: Array
    """1 for entries that count, whatever they weigh; 0 for those that are left out."""


def layout(metric: str, prediction: Array, target: Array, multilabel: bool = True) -> Layout:
    """Tell from the shapes what the arrays mean.

    *Parameters* `multilabel`: of two arrays `(N, L)`, whether the target holds labels, or else a probability for each
    class, of which the largest counts.

    *Raises* `ShapeError` if they do not go together.
    """
    xp, p, t = plain(prediction, target)
    if not hasattr(p, "shape") or not hasattr(t, "shape") or len(p.shape) == 0:
        raise ShapeError(f"{metric}: expected arrays with one row for each example")
    shapes = tuple(p.shape), tuple(t.shape)
    if len(p.shape) == 2 and t.shape == (p.shape[0], 1) and p.shape[1] != 1:
        t = xp.reshape(t, (-1,)) if t.shape[0] else t[:, 0]
    if len(p.shape) == len(t.shape) + 1 and p.shape[1] == 1 and _without(p.shape) == t.shape:
        p = xp.squeeze(p, axis=1)
    elif p.shape == (t.shape[0] if t.shape else None,) and t.shape[1:] == (1,):
        p = xp.reshape(p, tuple(t.shape))
    if p.shape == t.shape:
        if kind(p.dtype) == "other" and "bool" not in str(p.dtype):
            return Layout("decided", p, t, None)
        if len(p.shape) == 2 and p.shape[1] > 1:
            if not multilabel:
                return Layout("classes", p, xp.argmax(t, axis=1), int(p.shape[1]))
            return Layout("multilabel", p, t, int(p.shape[1]))
        return Layout("binary", p, t, 2)
    if len(p.shape) == len(t.shape) + 1 and _without(p.shape) == tuple(t.shape):
        return Layout("classes", p, t, int(p.shape[1]))
    raise ShapeError(
        f"{metric}: expected a prediction (N, C) or (N, C, ...) with a target (N,) or (N, ...), or both of one shape, "
        f"got {shapes[0]} and {shapes[1]}"
    )


def _without(shape: Any) -> tuple[int, ...]:
    return (*shape[:1], *shape[2:])


def decide(
    metric: str,
    found: Layout,
    weight: Array | None,
    threshold: float,
    classes: int | None,
    ignore_index: int,
) -> Decisions:
    """Decisions of class indices; of 0 and 1 where they are binary or for labels.

    *Raises* `ValueError` for a label that names no class, where that can be seen without waiting.
    """
    xp, p, t = plain(found.prediction, found.target)
    w = weights(xp, weight, t, metric)
    counts = xp.ones_like(w)
    if found.kind in ("binary", "multilabel"):
        yes = p if "bool" in str(p.dtype) else p > threshold
        actual = t if "bool" in str(t.dtype) else widened(xp, t) > 0.5
        return Decisions(integers(xp, yes), integers(xp, actual), w, counts)
    if "bool" in str(t.dtype):
        t = integers(xp, t)
    if kind(t.dtype) != "other":
        raise DtypeError(
            f"{metric}: expected class indices as integers in the target, got dtype {t.dtype}; cast them, "
            "xp.astype(target, xp.int64)"
        )
    p = xp.argmax(p, axis=1) if found.kind == "classes" else integers(xp, p)
    if classes is None:  # then nothing is indexed, and any integer is a class
        return Decisions(p, integers(xp, t), w, counts)
    if found.kind == "decided":
        p = checked_labels(f"{metric} (of the prediction)", p, classes).index
    labels = checked_labels(metric, t, classes, ignore_index)
    if labels.wrong is not None:
        w = xp.where(labels.wrong, xp.full_like(w, float("nan")), w)
    if labels.ignored is not None:
        w = xp.where(labels.ignored, xp.zeros_like(w), w)
        counts = xp.where(labels.ignored, xp.zeros_like(w), counts)
    return Decisions(p, integers(xp, labels.index), w, counts)


def threshold_of(from_logits: bool, threshold: float | None) -> float:
    """The score above which it is a yes."""
    if threshold is not None:
        return float(threshold)
    return 0.0 if from_logits else 0.5


def known_classes(metric: str, found: Layout, given: int | None) -> int:
    """How many classes there are, from the argument or the prediction, or an error."""
    if found.classes is not None and given is not None and given != found.classes:
        raise ArgumentError(
            f"{metric}: num_classes is {given}, but the prediction {tuple(found.prediction.shape)} is of "
            f"{found.classes} classes"
        )
    count = given if found.classes is None else found.classes
    if count is None:
        raise ArgumentError(
            f"{metric}: the prediction holds class indices, which do not tell how many classes there are; pass "
            "num_classes"
        )
    return count
