"""Derivatives of choosing and sorting."""

from __future__ import annotations

import functools
from typing import Any

from bpgpu.autodiff.array import Array, raw
from bpgpu.autodiff.rule import ZERO, Binary, rule


@functools.partial(Binary, arrays=3)
def where(xp: Any, condition: Any, x: Any, y: Any) -> Any:
    """The gradient goes to the operand that was chosen; the other gets 0, whatever it holds."""
    return (
        xp.where(condition, x, y),
        ZERO,
        lambda g: xp.where(condition, g, 0),
        lambda g: xp.where(condition, 0, g),
    )


@rule
def sort(
    xp: Any, x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Any:
    """Sorting moves entries, and the gradient moves back. Equal entries keep the order in which they stand."""
    order = raw(xp.argsort(x, axis=axis, descending=descending, stable=True))
    return permuted(x, order, axis), lambda g: _put_back(xp, g, order, axis)


@rule
def permuted(xp: Any, x: Any, /, order: Any, axis: int) -> Any:
    """`x` with its entries along an axis in another order."""
    nested = type(x) is Array
    y = permuted(x, order, axis) if nested else xp.take_along_axis(x, order, axis=axis)
    return y, lambda g: _put_back(xp, g, order, axis)


def _put_back(xp: Any, g: Any, order: Any, axis: int) -> Any:
    return permuted(g, raw(xp.argsort(order, axis=axis)), axis)
