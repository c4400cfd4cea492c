"""How much each example counts: sample weights, class weights, and the loss that follows them."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

from bpgpu.autodiff.namespace import array_namespace
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of
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
    """`sum(w l) / sum(w)`, as torch's class weights do; each example's terms are averaged first."""
    xp = array_namespace(terms)
    if len(terms.shape) > 1:
        terms = xp.mean(terms, axis=tuple(range(1, len(terms.shape))))
    weight = xp.astype(weight, terms.dtype)
    return xp.sum(weight * terms) / xp.sum(weight)


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
        xp = namespace_of(target)
        return xp.take(self.table, xp.reshape(target, (-1,)))
