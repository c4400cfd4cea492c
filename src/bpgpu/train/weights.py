"""How much each example counts: sample weights, class weights, and the loss that follows them."""

from __future__ import annotations

import copy
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.backend import backend_of, rows
from bpgpu.backend.libraries import namespace_of
from bpgpu.data.columns import is_columns
from bpgpu.device import device
from bpgpu.errors import ArgumentError

Array = Any


def unreduced(loss: Any) -> Callable[[Any, Any], Any]:
    """The loss with one value for each term: called with `reduction="none"`, or a copy of the layer set so.

    *Raises* `ArgumentError` for a loss that has no reduction.
    """
    if hasattr(loss, "reduction") and hasattr(loss, "forward"):
        single = copy.copy(loss)
        single.reduction = "none"
        return single  # type: ignore[no-any-return]
    try:
        takes = "reduction" in inspect.signature(loss).parameters
    except (TypeError, ValueError):
        takes = False
    if not takes:
        name = getattr(loss, "__name__", type(loss).__name__)
        raise ArgumentError(
            f"loss: with sample_weight or class_weight it must take reduction='none', and {name} does not; pass a "
            "function of bpgpu.functional, or write the weights into objective="
        )
    return functools.partial(loss, reduction="none")


def weighted_mean(terms: Array, weight: Array) -> Array:
    """`sum(w l) / sum(w)`, as torch's class weights do; a weight of an example counts for all of its terms. Where all
    weights are 0, it is 0."""
    xp = array_namespace(terms)
    shape = (*weight.shape, *(1,) * (len(terms.shape) - len(weight.shape)))
    weight = xp.reshape(xp.astype(weight, terms.dtype), shape) * xp.ones_like(terms)
    total = xp.sum(weight)
    return xp.sum(weight * terms) / xp.where(total == 0, xp.ones_like(total), total)


class ClassWeights:
    """The weight of each example by its class, looked up on the device."""

    def __init__(self, given: Any, like: Array, classes: int | None) -> None:
        xp = namespace_of(like)
        if isinstance(given, dict):
            if not given or not all(isinstance(c, int) and c >= 0 for c in given):
                raise ArgumentError(
                    f"class_weight: expected {{class: weight}} with classes of at least 0, got {given!r}"
                )
            table = [1.0] * max(classes or 0, 1 + max(given))
            for c, w in given.items():
                table[c] = float(w)
        elif isinstance(given, str):
            raise ArgumentError(
                f"class_weight: expected a weight for each class, or {{class: weight}}, got {given!r}; balanced ones "
                "are len(y) / (classes * count_of_class)"
            )
        else:
            table = [float(w) for w in given]
        if classes is not None and len(table) != classes:
            raise ArgumentError(
                f"class_weight: expected a weight for each of {classes} classes, got {len(table)}"
            )
        if not all(0 <= w < float("inf") for w in table):
            raise ArgumentError(
                f"class_weight: expected finite weights of at least 0, got {given!r}"
            )
        device = backend_of(xp).device_of(like)
        self.table = xp.asarray(table, dtype=like.dtype, device=device)

    def __call__(self, target: Array) -> Array:
        """The weight of each entry of the target. What names no class, such as -100 for one left out, counts 0."""
        xp = namespace_of(target)
        known = (target >= 0) & (target < self.table.shape[0])
        index = xp.reshape(xp.where(known, target, xp.zeros_like(target)), (-1,))
        found = xp.reshape(xp.take(self.table, index, axis=0), tuple(target.shape))
        return found * xp.astype(known, found.dtype)


def with_weights(data: Any, sample_weight: Any) -> Any:
    """The arrays of a data set with the weights of its examples as a third.

    *Raises* `ArgumentError` unless there is a finite weight of at least 0 for each example.
    """
    if not isinstance(data, tuple) or not is_columns(data) or len(data) != 2:
        raise ArgumentError(
            "sample_weight: it goes with arrays, data=(x, y); for batches, weigh in objective="
        )
    first = trees.leaves(data)[0]
    if not trees.is_array(sample_weight):
        made = device("cpu").asarray([float(w) for w in sample_weight], dtype="float32")
        sample_weight = rows.indices_like(made, first)
    if tuple(sample_weight.shape) != tuple(first.shape[:1]):
        raise ArgumentError(
            f"sample_weight: expected a weight for each of {first.shape[0]} examples, got shape "
            f"{tuple(sample_weight.shape)}"
        )
    xp = namespace_of(sample_weight)
    total = float(xp.sum(sample_weight))
    if not (0 < total < math.inf and bool(xp.all(sample_weight >= 0))):
        raise ArgumentError(
            "sample_weight: expected finite weights of at least 0, and not all of them 0; leave examples out by 0"
        )
    return (*data, sample_weight)


def weigher(
    batch: Any, class_weight: Any, with_samples: bool, shape: Any
) -> Callable[[Any], Array]:
    """The function that weighs a batch: a weight for each example, or with classes for each entry of the target."""
    if class_weight is None:
        return lambda batch: batch[2]
    xp = namespace_of(batch[1])
    if not xp.isdtype(batch[1].dtype, "integral"):
        raise ArgumentError(
            f"class_weight: expected classes as integers in y, got dtype {batch[1].dtype}; weigh examples with "
            "sample_weight"
        )
    like = xp.astype(batch[1], xp.float32)
    table = ClassWeights(class_weight, like, shape[1] if shape and len(shape) > 1 else None)
    if not with_samples:
        return lambda batch: table(batch[1])

    def both(batch: Any) -> Array:
        by_class, by_row = table(batch[1]), batch[2]
        return by_class * xp.reshape(by_row, (-1, *(1,) * (len(by_class.shape) - 1)))

    return both
