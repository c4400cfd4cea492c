"""Derivatives of reductions: sums, products, extrema and statistics."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.rule import rule
from bpgpu.autodiff.rules.elementwise import quotient


def axes_of(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """The axes that a reduction runs over, counted from 0."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


def count_of(axis: int | tuple[int, ...] | None, shape: tuple[int, ...]) -> int:
    """How many entries a reduction makes one of."""
    return math.prod([shape[i] for i in axes_of(axis, len(shape))])


def restored(xp: Any, g: Any, axis: Any, keepdims: bool, shape: tuple[int, ...]) -> Any:
    """Give a reduced array its axes back, of size 1, so that it broadcasts against the original."""
    if keepdims or g.shape == shape:
        return g
    gone = axes_of(axis, len(shape))
    return xp.reshape(g, tuple(1 if i in gone else n for i, n in enumerate(shape)))


# ---- sums and products


@rule
def sum(xp: Any, x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    shape = x.shape
    y = xp.sum(x, axis=axis, dtype=dtype, keepdims=keepdims)
    return y, lambda g: xp.broadcast_to(restored(xp, g, axis, keepdims, shape), shape)


@rule
def mean(xp: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    shape = x.shape
    y = xp.mean(x, axis=axis, keepdims=keepdims)
    n = count_of(axis, shape) or 1  # of no entries there is no gradient either
    return y, lambda g: xp.broadcast_to(restored(xp, g / n, axis, keepdims, shape), shape)


@rule
def prod(xp: Any, x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """The derivative is the product of the other entries, found without division: any number of zeros is right."""
    y = xp.prod(x, axis=axis, dtype=dtype, keepdims=keepdims)

    def pull(g: Any) -> Any:
        others = _product_of_others(xp, xp.astype(x, g.dtype, copy=False), axis)
        return restored(xp, g, axis, keepdims, x.shape) * others

    return y, pull


def _product_of_others(xp: Any, x: Any, axis: Any) -> Any:
    """For each entry, the product of those before it times the product of those after it."""
    gone = axes_of(axis, x.ndim)
    order = (*(i for i in range(x.ndim) if i not in gone), *gone)
    moved = xp.permute_dims(x, order)
    kept = moved.shape[: x.ndim - len(gone)]
    rows = xp.reshape(moved, (*kept, count_of(axis, x.shape)))
    others = _product_before(xp, rows) * xp.flip(
        _product_before(xp, xp.flip(rows, axis=-1)), axis=-1
    )
    back = tuple(order.index(i) for i in range(x.ndim))
    return xp.permute_dims(xp.reshape(others, moved.shape), back)


def _product_before(xp: Any, x: Any) -> Any:
    return xp.cumulative_prod(x, axis=-1, include_initial=True)[..., :-1]


# ---- statistics


@rule
def var(
    xp: Any, x: Any, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False
) -> Any:
    y = xp.var(x, axis=axis, correction=correction, keepdims=keepdims)
    n = _degrees_of_freedom(axis, x.shape, correction)

    def pull(g: Any) -> Any:
        deviation = x - xp.mean(x, axis=axis, keepdims=True)
        return restored(xp, g, axis, keepdims, x.shape) * (deviation * (2 / n))

    return y, pull


@rule
def std(
    xp: Any, x: Any, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False
) -> Any:
    """The derivative at zero deviation, a kink like that of a length at the origin, is 0."""
    y = xp.std(x, axis=axis, correction=correction, keepdims=keepdims)
    n = _degrees_of_freedom(axis, x.shape, correction)

    def pull(g: Any) -> Any:
        deviation = x - xp.mean(x, axis=axis, keepdims=True)
        size = restored(xp, y, axis, keepdims, x.shape)
        return restored(xp, g / n, axis, keepdims, x.shape) * quotient(xp, deviation, size)

    return y, pull


def _degrees_of_freedom(axis: Any, shape: tuple[int, ...], correction: float) -> float:
    """What the squares are divided by; NaN if nothing is left, like the variance itself."""
    n = count_of(axis, shape) - correction
    return n if n > 0 else math.nan


# ---- extrema


@rule
def max(xp: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Equal entries share the gradient equally. If some are NaN, the result is NaN, and they share the gradient."""
    y = xp.max(x, axis=axis, keepdims=keepdims)
    return y, lambda g: _shared(xp, g, x, y, axis, keepdims)


@rule
def min(xp: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    """As for `max`."""
    y = xp.min(x, axis=axis, keepdims=keepdims)
    return y, lambda g: _shared(xp, g, x, y, axis, keepdims)


def _shared(xp: Any, g: Any, x: Any, y: Any, axis: Any, keepdims: bool) -> Any:
    """The gradient of an extremum `y`, in equal parts where `x` attains it."""
    hit = (x == restored(xp, y, axis, keepdims, x.shape)) | xp.isnan(x)
    count = xp.sum(xp.astype(hit, xp.int32), axis=axis, keepdims=True)
    part = restored(xp, g, axis, keepdims, x.shape) / xp.astype(count, g.dtype)
    return xp.where(hit, part, 0)
