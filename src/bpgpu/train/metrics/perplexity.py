"""How many classes a model hesitates between."""

from __future__ import annotations

import math
from typing import ClassVar

from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ShapeError
from bpgpu.functional.labels import checked_labels
from bpgpu.train.metrics.base import (
    Array,
    Metric,
    State,
    divide,
    integers,
    plain,
    weights,
    widened,
    zeros,
)
from bpgpu.train.metrics.decisions import layout


class Perplexity(Metric):
    """`exp` of the mean cross-entropy, `exp(-sum(w log p[target]) / sum(w))`: 1 is certain and right, C is a guess.

    *Shape* Prediction `(N, C)` or `(N, C, ...)`, target `(N,)` or `(N, ...)` with class indices.

    *Parameters* `from_logits`: `p` is the softmax of the prediction over C; else the prediction is `p`.
    `ignore_index`: entries with this index are left out.

    >>> import numpy as np
    >>> scores, target = np.zeros((3, 4)), np.asarray([0, 1, 3])
    >>> metric = Perplexity()
    >>> round(float(metric.compute(metric.update(metric.init(scores, target), scores, target))), 6)
    4.0
    """

    default_name: ClassVar[str] = "perplexity"
    higher_is_better = False

    def __init__(
        self, *, from_logits: bool = True, ignore_index: int = -100, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.from_logits, self.ignore_index = from_logits, ignore_index

    def init(self, prediction: Array, target: Array) -> State:
        xp, p, _ = plain(prediction, target)
        return {"nats": zeros(xp, p), "weight": zeros(xp, p)}

    def update(
        self, state: State, prediction: Array, target: Array, weight: Array | None = None
    ) -> State:
        found = layout(self.name, prediction, target)
        if found.kind != "classes":
            raise ShapeError(
                f"{self.name}: expected scores (N, C) with class indices (N,), got {tuple(prediction.shape)} and "
                f"{tuple(target.shape)}"
            )
        xp, p, t = plain(found.prediction, found.target)
        labels = checked_labels(self.name, t, int(p.shape[1]), self.ignore_index)
        w = weights(xp, weight, t, self.name)
        p = widened(xp, p)
        index = xp.expand_dims(integers(xp, labels.index), axis=1)
        own = xp.squeeze(xp.take_along_axis(p, index, axis=1), axis=1)
        if self.from_logits:
            top = xp.max(p, axis=1, keepdims=True)
            top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
            spread = xp.log(xp.sum(xp.exp(p - top), axis=1)) + xp.squeeze(top, axis=1)
            nats = spread - own
        else:
            zero = own <= 0
            nats = -xp.log(xp.where(zero, xp.ones_like(own), own))
            nats = xp.where(zero, xp.full_like(nats, math.inf), nats)
        if labels.wrong is not None:
            w = xp.where(labels.wrong, xp.full_like(w, math.nan), w)
        if labels.ignored is not None:
            w = xp.where(labels.ignored, xp.zeros_like(w), w)
        nats = xp.where(w == 0, xp.zeros_like(nats), nats)
        return {
            "nats": state["nats"] + xp.sum(w * nats),
            "weight": state["weight"] + xp.sum(w),
        }

    def compute(self, state: State) -> Array:
        xp = namespace_of(state["nats"])
        mean = divide(xp, state["nats"], state["weight"])
        most = math.log(float(xp.finfo(mean.dtype).max))
        large = mean > most
        value = xp.exp(xp.where(large, xp.zeros_like(mean), mean))
        return xp.where(large, xp.full_like(mean, math.inf), value)
