"""How often a model is right."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional.labels import checked_labels
from bpgpu.train.metrics.base import (
    Array,
    Metric,
    State,
    divide,
    integers,
    plain,
    weights,
    zeros,
)
from bpgpu.train.metrics.decisions import decide, layout, threshold_of


class Share(Metric):
    """A weighted share: the state is a sum and the weight that it is of."""

    def init(self, prediction: Array, target: Array) -> State:
        xp, p, _ = plain(prediction, target)
        return {"right": zeros(xp, p), "weight": zeros(xp, p)}

    def compute(self, state: State) -> Array:
        return divide(namespace_of(state["right"]), state["right"], state["weight"])


class Accuracy(Share):
    """The share of examples that are decided rightly, `sum(w [decided = target]) / sum(w)`.

    *Shape* Prediction `(N, C)` or `(N, C, ...)` with class indices `(N,)` or `(N, ...)`: the class of the largest
    score, the first of equal ones. Prediction and target of one shape, `(N,)` or `(N, 1)`: binary, yes if the score is
    above the threshold. Both `(N, L)`: labels of which several may be true; an example is right if all its labels are,
    as in scikit-learn, or with `exact=False` each label counts by itself. Both of more axes: each entry counts by
    itself. Integers of the target's shape: classes that were decided already.

    *Parameters*

    - `from_logits`: scores are logits, with the threshold 0; else probabilities, with the threshold 0.5. It is not
      guessed from the values, and matters where there is a threshold only.
    - `threshold`: another threshold.
    - `exact`: see above.
    - `multilabel`: with `False`, a target `(N, C)` holds a probability for each class, 1 for one of them perhaps, and
      the class of the largest counts.
    - `ignore_index`: entries with this class index are left out, as `cross_entropy` does.

    *Notes* A class index out of range raises where looking costs nothing, and makes the value NaN elsewhere.

    >>> import numpy as np
    >>> scores, target = np.asarray([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]), np.asarray([0, 1, 1])
    >>> metric = Accuracy()
    >>> state = metric.update(metric.init(scores, target), scores, target)
    >>> round(float(metric.compute(state)), 4)
    0.6667
    """

    default_name: ClassVar[str] = "accuracy"

    def __init__(
        self,
        *,
        from_logits: bool = True,
        threshold: float | None = None,
        exact: bool = True,
        multilabel: bool = True,
        ignore_index: int = -100,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.threshold = threshold_of(from_logits, threshold)
        self.exact, self.multilabel, self.ignore_index = exact, multilabel, ignore_index

    def update(
        self, state: State, prediction: Array, target: Array, weight: Array | None = None
    ) -> State:
        xp = namespace_of(state["right"])
        found = layout(self.name, prediction, target, self.multilabel)
        if found.kind == "multilabel" and self.exact and weight is not None:
            weight = _one_each(self.name, weight, found.target)
        d = decide(self.name, found, weight, self.threshold, found.classes, self.ignore_index)
        right, w = d.decided == d.actual, d.weight
        if found.kind == "multilabel" and self.exact:
            right, w = xp.all(right, axis=1), w[:, 0]
        return {
            "right": state["right"] + xp.sum(xp.where(right, w, xp.zeros_like(w))),
            "weight": state["weight"] + xp.sum(w),
        }


def _one_each(metric: str, weight: Array, target: Array) -> Array:
    if tuple(weight.shape) not in ((target.shape[0],), (target.shape[0], 1)):
        raise ShapeError(
            f"{metric}: expected weight of shape ({target.shape[0]},), one for each example, got {tuple(weight.shape)}"
        )
    return weight


class TopK(Share):
    """The share of examples whose class is among the `k` with the largest scores.

    Among equal scores the class with the larger index comes first, as in scikit-learn's `top_k_accuracy_score`. A score
    of NaN is never right.

    *Shape* Prediction `(N, C)` or `(N, C, ...)`, target `(N,)` or `(N, ...)` with class indices, or `(N, C)` with a
    probability for each class.

    *Parameters* `k`: at least 1. With `k >= C` every example is right. `ignore_index`: entries with this index are left
    out.

    >>> import numpy as np
    >>> scores, target = np.asarray([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), np.asarray([1, 2])
    >>> metric = TopK(2)
    >>> float(metric.compute(metric.update(metric.init(scores, target), scores, target)))
    0.5
    """

    def __init__(self, k: Any = 5, *, ignore_index: int = -100, name: str | None = None) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ArgumentError(f"TopK: expected k as an integer of at least 1, got {k!r}")
        super().__init__(name=name or f"top{k}")
        self.k, self.ignore_index = k, ignore_index

    def update(
        self, state: State, prediction: Array, target: Array, weight: Array | None = None
    ) -> State:
        found = layout(self.name, prediction, target, multilabel=False)
        if found.kind != "classes":
            raise ShapeError(
                f"{self.name}: expected scores (N, C) with class indices (N,), got {tuple(prediction.shape)} and "
                f"{tuple(target.shape)}"
            )
        xp, p, t = plain(found.prediction, found.target)
        classes = int(p.shape[1])
        labels = checked_labels(self.name, t, classes, self.ignore_index)
        w = weights(xp, weight, t, self.name)
        index = xp.expand_dims(integers(xp, labels.index), axis=1)
        own = xp.take_along_axis(p, index, axis=1)
        numbers = xp.arange(classes, dtype=index.dtype, device=getattr(index, "device", None))
        numbers = xp.reshape(numbers, (1, classes, *(1,) * (len(p.shape) - 2)))
        ahead = (p > own) | ((p == own) & (numbers > index))
        rank = xp.sum(xp.astype(ahead, index.dtype), axis=1)
        right = (rank < self.k) & xp.squeeze(own == own, axis=1)
        if labels.wrong is not None:
            w = xp.where(labels.wrong, xp.full_like(w, math.nan), w)
        if labels.ignored is not None:
            w = xp.where(labels.ignored, xp.zeros_like(w), w)
        return {
            "right": state["right"] + xp.sum(xp.where(right, w, xp.zeros_like(w))),
            "weight": state["weight"] + xp.sum(w),
        }
