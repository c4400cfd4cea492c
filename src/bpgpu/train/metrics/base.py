"""What a metric is, and the arithmetic that all of them share."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from bpgpu.autodiff.array import raw
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import library_of, namespace_of
from bpgpu.errors import LibraryError, ShapeError

Array = Any
State = dict[str, Any]


class Metric:
    """A number that is gathered over batches without looking at any array on the way.

    ```
    state = metric.init(prediction, target)          # an example of both: shapes, library and device
    for ...:
        state = metric.update(state, prediction, target, weight)
    value = metric.compute(state)                    # an array of no axes, on the same device
    ```

    The state is a dict of small arrays beside the predictions, sums in float64 where the library has it. So nothing
    waits for a device until the value is read, `update` runs inside of `jax.jit`, and any split of the data into
    batches gives the same value but for rounding. Without any example the value is NaN.

    A metric of one's own has `name`, `higher_is_better` and these three methods; it need not be of this class.

    *Parameters* `name`: what the metric is called in the history; by default its own name.
    """

    default_name: ClassVar[str] = "metric"
    higher_is_better: bool | None = True
    """Which way is better; `None` for what is not ordered."""

    def __init__(self, *, name: str | None = None) -> None:
        self.name = name or self.default_name

    def init(self, prediction: Array, target: Array) -> State:
        """The state before any example, for arrays like these."""
        raise NotImplementedError

    def update(
        self, state: State, prediction: Array, target: Array, weight: Array | None = None
    ) -> State:
        """The state after a batch.

        *Parameters* `weight`: how much each example counts, `(N,)`, or each entry of the target; by default 1.
        """
        raise NotImplementedError

    def compute(self, state: State) -> Array:
        """The value over all examples so far."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def plain(prediction: Array, target: Array) -> tuple[Any, Array, Array]:
    """The namespace, and both arrays without a trace.

    *Raises* `LibraryError` unless both are arrays of one library.
    """
    prediction, target = raw(prediction), raw(target)
    xp = namespace_of(prediction)
    if type(target) is not type(prediction) and namespace_of(target) is not xp:
        raise LibraryError(
            f"metrics: the prediction is an array of {library_of(prediction)}, the target one of "
            f"{library_of(target)}; move one of them, with bpgpu.to_device"
        )
    return xp, prediction, target


def wide(xp: Any, like: Array) -> Any:
    """The dtype of sums: float64 where the library has it."""
    return xp.float64 if "float64" in _dtypes(xp, like) else xp.float32


def _dtypes(xp: Any, like: Array) -> Any:
    return xp.__array_namespace_info__().dtypes(device=getattr(like, "device", None))


def zeros(xp: Any, like: Array, *shape: int) -> Array:
    """Sums of nothing, beside an array."""
    return xp.zeros(shape, dtype=wide(xp, like), device=backend_of(xp).device_of(like))


def widened(xp: Any, x: Array) -> Array:
    """The numbers of an array as sums take them."""
    return xp.astype(x, wide(xp, x), copy=False)


def integers(xp: Any, x: Array) -> Array:
    """The numbers of an array as the widest integers that the library has."""
    return xp.astype(x, widest_integer(xp, x), copy=False)


def widest_integer(xp: Any, like: Array) -> Any:
    """int64, but int32 in JAX as it is set up by default."""
    return xp.int64 if "int64" in _dtypes(xp, like) else xp.int32


def weights(xp: Any, weight: Array | None, target: Array, metric: str) -> Array:
    """How much each entry of the target counts, in its shape.

    *Raises* `ShapeError` unless there is one weight for each row or for each entry.
    """
    shape = tuple(target.shape)
    like = xp.ones(shape, dtype=wide(xp, target), device=backend_of(xp).device_of(target))
    if weight is None:
        return like
    if not hasattr(weight, "shape"):
        raise ShapeError(f"{metric}: expected weight as an array, got {type(weight).__name__}")
    weight = widened(xp, raw(weight))
    given = tuple(weight.shape)
    if given == shape:
        return weight
    if given in (shape[:1], (*shape[:1], *(1,) * (len(shape) - 1))):
        return xp.reshape(weight, (*shape[:1], *(1,) * (len(shape) - 1))) * like
    raise ShapeError(
        f"{metric}: expected weight of shape {shape[:1]}, one for each example, or {shape}, as the target, got {given}"
    )


def divide(xp: Any, a: Array, b: Array, otherwise: float = math.nan) -> Array:
    """`a / b`, and a given number where `b` is zero."""
    empty = b == 0
    quotient = a / xp.where(empty, xp.ones_like(b), b)
    return xp.where(empty, xp.full_like(quotient, otherwise), quotient)


def add_at(xp: Any, count: int, places: Array, values: Array) -> Array:
    """`count` sums: of the values whose place is 0, of those whose place is 1, and so on."""
    shape = (-1,)
    return backend_of(xp).scatter_add(
        (count,), (xp.reshape(places, shape),), xp.reshape(values, shape)
    )
