"""Derivatives of reductions: sums, products, extrema and statistics."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.rule import rule


def axes_of(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """The axes that a reduction runs over, counted from 0."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


def restored(xp: Any, g: Any, axis: Any, keepdims: bool, shape: tuple[int, ...]) -> Any:
    """Give a reduced array its axes back, of size 1, so that it broadcasts against the original."""
    if keepdims or g.shape == shape:
        return g
    gone = axes_of(axis, len(shape))
    return xp.reshape(g, tuple(1 if i in gone else n for i, n in enumerate(shape)))


@rule
def sum(
    xp: Any, x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False
) -> Any:
    shape = x.shape
    y = xp.sum(x, axis=axis, dtype=dtype, keepdims=keepdims)
    return y, lambda g: xp.broadcast_to(restored(xp, g, axis, keepdims, shape), shape)


@rule
def mean(xp: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    shape = x.shape
    y = xp.mean(x, axis=axis, keepdims=keepdims)
    n = math.prod(shape[i] for i in axes_of(axis, len(shape)))
    return y, lambda g: xp.broadcast_to(restored(xp, g / n, axis, keepdims, shape), shape)
