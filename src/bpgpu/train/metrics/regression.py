"""How far predictions of numbers are off."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from bpgpu.autodiff.dtypes import kind
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import DtypeError, ShapeError
from bpgpu.train.metrics.base import (
    Array,
    Metric,
    State,
    divide,
    plain,
    weights,
    widened,
    zeros,
)


def outputs(
    metric: str, prediction: Array, target: Array, weight: Array | None
) -> tuple[Any, Array, Array, Array]:
    """Namespace, prediction, target and weights as `(N, K)`: one column for each number of an example.

    *Raises* `ShapeError` if shapes differ by more than an axis of size 1 at the end: broadcasting `(N, 1)` with `(N,)`
    would compare all with all.
    """
    xp, p, t = plain(prediction, target)
    if _column(p.shape) != _column(t.shape) or len(p.shape) == 0:
        raise ShapeError(
            f"{metric}: expected prediction and target of one shape, got {tuple(p.shape)} and {tuple(t.shape)}"
        )
    if "complex" in (kind(p.dtype), kind(t.dtype)):
        raise DtypeError(f"{metric}: expected real numbers, got dtypes {p.dtype} and {t.dtype}")
    rows, width = int(p.shape[0]), math.prod(p.shape[1:])
    w = weights(xp, weight, t, metric)
    return xp, *(xp.reshape(widened(xp, x), (rows, width)) for x in (p, t, w))


def _column(shape: Any) -> tuple[int, ...]:
    return tuple(shape[:1]) if tuple(shape[1:]) == (1,) else tuple(shape)


class _Differences(Metric):
    """A weighted mean of errors for each output, and the mean of these."""

    higher_is_better = False

    def init(self, prediction: Array, target: Array) -> State:
        xp, p, _, _ = outputs(self.name, prediction, target, None)
        return {name: zeros(xp, p, int(p.shape[1])) for name in ("error", "weight")}

    def update(
        self, state: State, prediction: Array, target: Array, weight: Array | None = None
    ) -> State:
        xp, p, t, w = outputs(self.name, prediction, target, weight)
        return {
            "error": state["error"] + xp.sum(w * self._error(xp, p - t), axis=0),
            "weight": state["weight"] + xp.sum(w, axis=0),
        }

    def compute(self, state: State) -> Array:
        xp = namespace_of(state["error"])
        return xp.mean(self._value(xp, divide(xp, state["error"], state["weight"])))

    def _error(self, xp: Any, difference: Array) -> Array:
        return difference * difference

    def _value(self, xp: Any, mean: Array) -> Array:
        return mean


class MAE(_Differences):
    """The mean absolute error, `sum(w |prediction - target|) / sum(w)`.

    *Shape* Prediction and target `(N, ...)` of one shape; `(N, 1)` goes with `(N,)`. Of several outputs the mean is
    taken.
    """

    default_name: ClassVar[str] = "mae"

    def _error(self, xp: Any, difference: Array) -> Array:
        return xp.abs(difference)


class MSE(_Differences):
    """The mean squared error, `sum(w (prediction - target)^2) / sum(w)`. *Shape* as `MAE`."""

    default_name: ClassVar[str] = "mse"


class RMSE(_Differences):
    """The root of the mean squared error. *Shape* as `MAE`.

    *Notes* Of several outputs, each has its root taken first, then the mean, as in scikit-learn's
    `root_mean_squared_error`.
    """

    default_name: ClassVar[str] = "rmse"

    def _value(self, xp: Any, mean: Array) -> Array:
        return xp.sqrt(mean)


class R2(Metric):
    """The share of the variance that is explained, `1 - sum(w (target - prediction)^2) / sum(w (target - mean)^2)`.

    1 is perfect, 0 as good as the mean of the targets, and there is no lower bound. *Shape* as `MAE`; of several
    outputs the mean is taken.

    *Notes* Targets that do not vary give 1 if all are met, else 0; fewer than two examples give NaN; both as in
    scikit-learn. The variance is merged batch by batch without differences of large numbers (Chan, Golub, LeVeque
    1979).
    """

    default_name: ClassVar[str] = "r2"

    def init(self, prediction: Array, target: Array) -> State:
        xp, p, _, _ = outputs(self.name, prediction, target, None)
        names = ("error", "mean", "spread", "weight")
        return {
            **{name: zeros(xp, p, int(p.shape[1])) for name in names},
            "rows": zeros(xp, p),
        }

    def update(
        self, state: State, prediction: Array, target: Array, weight: Array | None = None
    ) -> State:
        xp, p, t, w = outputs(self.name, prediction, target, weight)
        total = xp.sum(w, axis=0)
        mean = divide(xp, xp.sum(w * t, axis=0), total, 0.0)
        spread = xp.sum(w * (t - mean) ** 2, axis=0)
        both = state["weight"] + total
        share = divide(xp, total, both, 0.0)
        apart = mean - state["mean"]
        return {
            "error": state["error"] + xp.sum(w * (t - p) ** 2, axis=0),
            "mean": state["mean"] + apart * share,
            "spread": state["spread"] + spread + apart * apart * state["weight"] * share,
            "weight": both,
            "rows": state["rows"] + p.shape[0],
        }

    def compute(self, state: State) -> Array:
        error, spread = state["error"], state["spread"]
        xp = namespace_of(error)
        flat = xp.where(error == 0, xp.ones_like(error), xp.zeros_like(error))
        share = divide(xp, error, spread, 0.0)
        value = xp.mean(xp.where(spread == 0, flat + 0 * error, 1 - share))
        return xp.where(state["rows"] < 2, xp.full_like(value, math.nan), value)


class Mean(Metric):
    """The mean of what a function of prediction and target gives: a metric of one's own in one line.

    *Parameters* `function(prediction, target)` gives one number for each example, `(N,)` or `(N, ...)`, or one for the
    batch, which counts as often as the batch has examples. `higher_is_better` as in all metrics.
    """

    def __init__(
        self,
        function: Callable[[Array, Array], Array],
        *,
        higher_is_better: bool | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name or getattr(function, "__name__", "mean"))
        self.function, self.higher_is_better = function, higher_is_better

    def init(self, prediction: Array, target: Array) -> State:
        xp, p, _ = plain(prediction, target)
        return {"sum": zeros(xp, p), "weight": zeros(xp, p)}

    def update(
        self, state: State, prediction: Array, target: Array, weight: Array | None = None
    ) -> State:
        xp, p, t = plain(prediction, target)
        values = self.function(p, t)
        if len(values.shape) == 0:
            values = xp.broadcast_to(xp.reshape(values, (1,)), (int(p.shape[0]),))
        w = weights(xp, weight, values, self.name)
        return {
            "sum": state["sum"] + xp.sum(w * widened(xp, values)),
            "weight": state["weight"] + xp.sum(w),
        }

    def compute(self, state: State) -> Array:
        return divide(namespace_of(state["sum"]), state["sum"], state["weight"])
