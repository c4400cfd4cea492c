"""The area under the ROC curve: how often a positive example scores above a negative one."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ArgumentError
from bpgpu.functional.labels import checked_labels
from bpgpu.train.metrics.base import (
    Array,
    Metric,
    State,
    add_at,
    divide,
    integers,
    plain,
    weights,
    widened,
    zeros,
)
from bpgpu.train.metrics.decisions import Layout, layout


class AUC(Metric):
    """The area under the ROC curve: the probability that a positive scores above a negative, ties counting half.

    `sum over pairs w_p w_n ([s_p > s_n] + [s_p = s_n] / 2) / sum over pairs w_p w_n`

    *Shape* Prediction `(N,)`, `(N, 1)` or `(N, 2)` with labels `(N,)`: binary; of two classes the score is the
    difference. `(N, C)` with class indices `(N,)`: each class against the rest, by the softmax of the scores. Both
    `(N, L)`: each label by itself.

    *Parameters*

    - `bins`: `None` keeps all scores on the device and is exact: the state is one array longer with each batch, in all
      as large as the predictions. A number counts the probabilities in so many bins of equal width: the state is small
      and of one shape, and two scores in one bin count as a tie.
    - `average`: over classes or labels, `"macro"` is the mean, `"weighted"` that with the number of positives as
      weights.
    - `from_logits`: scores of several classes go through softmax, and binary ones through the sigmoid where they are
      counted in bins; else they are probabilities.

    *Notes* A class without positives or without negatives has no area and does not enter the mean; NaN if none has. A
    score of NaN makes the value NaN.

    >>> import numpy as np
    >>> scores, target = np.asarray([0.1, 0.4, 0.35, 0.8]), np.asarray([0, 0, 1, 1])
    >>> metric = AUC()
    >>> float(metric.compute(metric.update(metric.init(scores, target), scores, target)))
    0.75
    """

    default_name: ClassVar[str] = "auc"

    def __init__(
        self,
        *,
        bins: Any = None,
        average: Literal["macro", "weighted"] = "macro",
        from_logits: bool = True,
        ignore_index: int = -100,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if bins is not None and (isinstance(bins, bool) or not isinstance(bins, int) or bins < 2):
            raise ArgumentError(f"AUC: expected bins as an integer of at least 2, got {bins!r}")
        if average not in ("macro", "weighted"):
            raise ArgumentError(f"AUC: expected average as macro or weighted, got {average!r}")
        self.bins, self.average = bins, average
        self.from_logits, self.ignore_index = from_logits, ignore_index

    def init(self, prediction: Array, target: Array) -> State:
        columns = _columns(layout(self.name, prediction, target))
        xp, p, _ = plain(prediction, target)
        if self.bins is None:
            return {"scores": (), "positive": (), "weight": (), "like": zeros(xp, p, columns)}
        return {name: zeros(xp, p, columns, self.bins) for name in ("positive", "negative")}

    def update(
        self, state: State, prediction: Array, target: Array, weight: Array | None = None
    ) -> State:
        found = layout(self.name, prediction, target)
        xp, scores, _ = plain(prediction, target)
        scores, positive, w = self._columns_of(found, weight)
        if self.bins is None:
            new = {"scores": scores, "positive": positive, "weight": w}
            return {**state, **{key: (*state[key], value) for key, value in new.items()}}
        if found.kind != "classes" or found.classes == 2:
            scores = (
                1 / (1 + xp.exp(-xp.clip(scores, -700.0, 700.0))) if self.from_logits else scores
            )
        lost = scores != scores
        w = xp.where(lost, xp.full_like(w, math.nan), w)
        part = xp.clip(xp.where(lost, xp.zeros_like(scores), scores), 0.0, 1.0) * self.bins
        place = integers(xp, xp.clip(part, 0.0, self.bins - 1.0))
        count = int(place.shape[1])
        place = place + self.bins * xp.arange(
            count, dtype=place.dtype, device=backend_of(xp).device_of(place)
        )
        zero = xp.zeros_like(w)
        shape = (count, self.bins)
        parts = {"positive": xp.where(positive, w, zero), "negative": xp.where(positive, zero, w)}
        return {
            key: state[key] + xp.reshape(add_at(xp, count * self.bins, place, part), shape)
            for key, part in parts.items()
        }

    def _columns_of(self, found: Layout, weight: Array | None) -> tuple[Array, Array, Array]:
        """Scores, whether they are of positives, and weights, each `(N, K)`."""
        xp, p, t = plain(found.prediction, found.target)
        w = weights(xp, weight, t, self.name)
        if found.kind == "classes":
            classes = int(p.shape[1])
            p = xp.reshape(xp.moveaxis(p, 1, -1), (-1, classes)) if len(p.shape) > 2 else p
            labels = checked_labels(self.name, t, classes, self.ignore_index)
            w, index = xp.reshape(w, (-1, 1)), xp.reshape(labels.index, (-1, 1))
            for mask, value in ((labels.wrong, math.nan), (labels.ignored, 0.0)):
                if mask is not None:
                    w = xp.where(xp.reshape(mask, (-1, 1)), xp.full_like(w, value), w)
            p = widened(xp, p)
            if classes == 2:
                scores = p[:, 1:2] - p[:, 0:1] if self.from_logits else p[:, 1:2]
                return scores, index == 1, w
            numbers = xp.arange(classes, dtype=index.dtype, device=backend_of(xp).device_of(index))
            scores = _softmax(xp, p) if self.from_logits else p
            return scores, index == xp.reshape(numbers, (1, -1)), w * xp.ones_like(scores)
        yes = t if "bool" in str(t.dtype) else widened(xp, t) > 0.5
        columns = _columns(found)
        rows = -1 if 0 not in p.shape else 0
        return tuple(xp.reshape(x, (rows, columns)) for x in (widened(xp, p), yes, w))

    def compute(self, state: State) -> Array:
        if self.bins is not None:
            positive, negative = state["positive"], state["negative"]
            xp = namespace_of(positive)
            below = xp.cumulative_sum(negative, axis=1) - negative
            pairs = xp.sum(positive * (below + negative / 2), axis=1)
            return self._averaged(xp, pairs, xp.sum(positive, axis=1), xp.sum(negative, axis=1))
        like = state["like"]
        xp = namespace_of(like)
        if not state["scores"]:
            return xp.full_like(xp.sum(like), math.nan)
        scores, positive, w = (xp.concat(state[key]) for key in ("scores", "positive", "weight"))
        columns = int(scores.shape[1])
        w = xp.broadcast_to(w, tuple(scores.shape))
        each = [_pairs(xp, scores[:, i], positive[:, i], w[:, i]) for i in range(columns)]
        return self._averaged(xp, *(xp.stack([part[i] for part in each]) for i in range(3)))

    def _averaged(self, xp: Any, pairs: Array, positive: Array, negative: Array) -> Array:
        """The mean of the areas of those that have one."""
        total = positive * negative
        area = divide(xp, pairs, total, 0.0)
        there = xp.astype(total != 0, pairs.dtype)
        w = there if self.average == "macro" else positive * there
        return divide(xp, xp.sum(area * w), xp.sum(w))


def _columns(found: Layout) -> int:
    if found.kind == "multilabel" or (found.kind == "classes" and found.classes != 2):
        return int(found.classes or 1)
    return 1


def _softmax(xp: Any, x: Array) -> Array:
    e = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    return e / xp.sum(e, axis=1, keepdims=True)


def _pairs(xp: Any, scores: Array, positive: Array, w: Array) -> tuple[Array, Array, Array]:
    """The weight of pairs in order, ties half, and the weights of the positives and of the negatives.

    Sorted scores with a running sum of the weights of negatives: below a score stands what is left of its first
    equal, and among its equals what lies between the first and the last of them.
    """
    zero = xp.zeros_like(w)
    if scores.shape[0] == 0:
        return xp.sum(zero), xp.sum(zero), xp.sum(zero)
    order = xp.argsort(scores)
    scores, positive, w = (xp.take(x, order) for x in (scores, positive, w))
    up, down = xp.where(positive, w, zero), xp.where(positive, zero, w)
    running = xp.concat([zero[:1], xp.cumulative_sum(down)])
    below = xp.take(running, xp.searchsorted(scores, scores, side="left"))
    up_to = xp.take(running, xp.searchsorted(scores, scores, side="right"))
    pairs = xp.sum(up * (below + up_to)) / 2
    lost = xp.any(scores != scores)
    return xp.where(lost, xp.full_like(pairs, math.nan), pairs), xp.sum(up), xp.sum(down)
