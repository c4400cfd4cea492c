"""Precision, recall, F1 and the confusion matrix: from counts of what was decided and what was right."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.train.metrics.base import Array, Metric, State, add_at, divide, plain, zeros
from bpgpu.train.metrics.decisions import decide, known_classes, layout, threshold_of

Average = Literal["binary", "macro", "micro", "weighted"]
AVERAGES = ("binary", "macro", "micro", "weighted")


class _OfClasses(Metric):
    """What follows from three counts of each class: rightly decided (`hit`), decided, and actual ones.

    Binary decisions count as two classes, labels of which several may be true as one class each.
    """

    def __init__(
        self,
        average: Average | None = None,
        *,
        num_classes: int | None = None,
        from_logits: bool = True,
        threshold: float | None = None,
        zero_division: float = 0.0,
        ignore_index: int = -100,
        name: str | None = None,
    ) -> None:
        if average is not None and average not in AVERAGES:
            raise ArgumentError(
                f"{type(self).__name__}: expected average as one of {', '.join(AVERAGES)} or None, got {average!r}"
            )
        default = self.default_name if average is None else f"{self.default_name}_{average}"
        super().__init__(name=name or default)
        self.average, self.num_classes, self.zero_division = average, num_classes, zero_division
        self.threshold, self.ignore_index = threshold_of(from_logits, threshold), ignore_index

    def init(self, prediction: Array, target: Array) -> State:
        found = layout(self.name, prediction, target)
        count = known_classes(self.name, found, self.num_classes)
        if self.average == "binary" and (found.kind == "multilabel" or count != 2):
            raise ArgumentError(
                f"{self.name}: average='binary' is for two classes, the prediction is of {count}; take 'macro', "
                "'micro' or 'weighted'"
            )
        binary = found.kind != "multilabel" and count == 2
        xp, p, _ = plain(prediction, target)
        return {
            **{name: zeros(xp, p, count) for name in ("hit", "decided", "actual", "seen")},
            "binary": zeros(xp, p) + float(self.average in (None, "binary") and binary),
        }

    def update(
        self, state: State, prediction: Array, target: Array, weight: Array | None = None
    ) -> State:
        found = layout(self.name, prediction, target)
        count = int(state["hit"].shape[0])
        d = decide(self.name, found, weight, self.threshold, count, self.ignore_index)
        xp = namespace_of(state["hit"])
        right = d.decided == d.actual
        if found.kind == "multilabel":
            yes, true = xp.astype(d.decided, d.weight.dtype), xp.astype(d.actual, d.weight.dtype)
            new = {
                "hit": xp.sum(d.weight * yes * true, axis=0),
                "decided": xp.sum(d.weight * yes, axis=0),
                "actual": xp.sum(d.weight * true, axis=0),
                "seen": xp.sum(d.counts, axis=0),
            }
        else:
            new = {
                "hit": add_at(
                    xp, count, d.actual, xp.where(right, d.weight, xp.zeros_like(d.weight))
                ),
                "decided": add_at(xp, count, d.decided, d.weight),
                "actual": add_at(xp, count, d.actual, d.weight),
                "seen": add_at(xp, count, d.decided, d.counts)
                + add_at(xp, count, d.actual, d.counts),
            }
        return {**state, **{key: state[key] + new[key] for key in new}}

    def compute(self, state: State) -> Array:
        xp = namespace_of(state["hit"])
        hit, decided, actual = state["hit"], state["decided"], state["actual"]
        seen = state["seen"] > 0
        if self.average == "micro":
            value = self._ratio(xp, xp.sum(hit), xp.sum(decided), xp.sum(actual))
        else:
            each = self._ratio(xp, hit, decided, actual)
            w = actual if self.average == "weighted" else xp.astype(seen, hit.dtype)
            empty = self.zero_division if self.average == "weighted" else float("nan")
            value = divide(xp, xp.sum(xp.where(w == 0, w, each * w)), xp.sum(w), empty)
            if hit.shape[0] == 2 and self.average in (None, "binary"):
                value = xp.where(state["binary"] > 0, each[1], value)
        return xp.where(xp.any(seen), value, xp.full_like(value, float("nan")))

    def _ratio(self, xp: Any, hit: Array, decided: Array, actual: Array) -> Array:
        """The metric of one class from its counts."""
        raise NotImplementedError


_SHARED = """

    *Shape* As `Accuracy`: scores of classes, binary scores, labels of which several may be true, or decided classes
    (which need `num_classes`).

    *Parameters*

    - `average`: `"binary"` takes class 1 of two; `"macro"` the mean over classes, `"weighted"` the mean with the number
      of actual ones as weights, `"micro"` the ratio of the counts of all classes. `None` is binary where there are
      two classes, else macro.
    - `num_classes`: needed where the prediction does not tell it.
    - `from_logits`, `threshold`, `ignore_index`: as in `Accuracy`.
    - `zero_division`: the value of a class where the ratio is 0 / 0.

    *Notes* As in scikit-learn, a class that is neither decided nor actual anywhere does not enter the mean.
"""


class Precision(_OfClasses):
    __doc__ = (
        "How many of those decided for a class are of it: `hit / decided`, weighted counts."
        + _SHARED
    )
    default_name: ClassVar[str] = "precision"

    def _ratio(self, xp: Any, hit: Array, decided: Array, actual: Array) -> Array:
        return divide(xp, hit, decided, self.zero_division)


class Recall(_OfClasses):
    __doc__ = "How many of a class were decided for it: `hit / actual`, weighted counts." + _SHARED
    default_name: ClassVar[str] = "recall"

    def _ratio(self, xp: Any, hit: Array, decided: Array, actual: Array) -> Array:
        return divide(xp, hit, actual, self.zero_division)


class F1(_OfClasses):
    __doc__ = (
        "The harmonic mean of precision and recall: `2 hit / (decided + actual)`, weighted counts."
        + _SHARED
    )
    default_name: ClassVar[str] = "f1"

    def _ratio(self, xp: Any, hit: Array, decided: Array, actual: Array) -> Array:
        return divide(xp, 2 * hit, decided + actual, self.zero_division)


class ConfusionMatrix(Metric):
    """Entry `(i, j)`: the weight of the examples of class `i` that were decided as class `j`.

    *Shape* As `Accuracy`, but for labels of which several may be true. The value is `(C, C)`.

    *Parameters* `normalize`: `"true"` divides each row by its sum, `"pred"` each column, `"all"` everything by the
    total; 0 / 0 gives 0. Others as in `Precision`.

    >>> import numpy as np
    >>> decided, target = np.asarray([0, 1, 1]), np.asarray([0, 0, 1])
    >>> metric = ConfusionMatrix(num_classes=2)
    >>> metric.compute(metric.update(metric.init(decided, target), decided, target))
    array([[1., 1.],
           [0., 1.]])
    """

    default_name: ClassVar[str] = "confusion_matrix"
    higher_is_better = None

    def __init__(
        self,
        *,
        num_classes: int | None = None,
        normalize: Literal["true", "pred", "all"] | None = None,
        from_logits: bool = True,
        threshold: float | None = None,
        ignore_index: int = -100,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if normalize not in (None, "true", "pred", "all"):
            raise ArgumentError(
                f"ConfusionMatrix: expected normalize as true, pred, all or None, got {normalize!r}"
            )
        self.num_classes, self.normalize = num_classes, normalize
        self.threshold, self.ignore_index = threshold_of(from_logits, threshold), ignore_index

    def init(self, prediction: Array, target: Array) -> State:
        found = layout(self.name, prediction, target)
        if found.kind == "multilabel":
            raise ShapeError(
                f"{self.name}: expected one class for each example, got labels of shape {tuple(target.shape)}; take a "
                "matrix for each label"
            )
        count = known_classes(self.name, found, self.num_classes)
        xp, p, _ = plain(prediction, target)
        return {"matrix": zeros(xp, p, count, count)}

    def update(
        self, state: State, prediction: Array, target: Array, weight: Array | None = None
    ) -> State:
        found = layout(self.name, prediction, target)
        matrix = state["matrix"]
        count = int(matrix.shape[0])
        d = decide(self.name, found, weight, self.threshold, count, self.ignore_index)
        xp = namespace_of(matrix)
        new = add_at(xp, count * count, d.actual * count + d.decided, d.weight)
        return {"matrix": matrix + xp.reshape(new, (count, count))}

    def compute(self, state: State) -> Array:
        matrix = state["matrix"]
        xp = namespace_of(matrix)
        if self.normalize is None:
            return matrix
        axis = {"true": 1, "pred": 0, "all": None}[self.normalize]
        return divide(xp, matrix, xp.sum(matrix, axis=axis, keepdims=True) + 0 * matrix, 0.0)
