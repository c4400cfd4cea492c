"""NumPy's reductions with all their options."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.numpy_functions.table import Table
from bpgpu.autodiff.rules.reductions import count_of

FUNCTIONS = table = Table()

# ---- sums and extrema. `where` leaves entries out, `initial` adds one


def only(xp: Any, a: Any, where: Any, neutral: Any) -> Any:
    """The array with the neutral element in place of what `where` leaves out."""
    return a if where is True else xp.where(xp.asarray(where), a, xp.full_like(a, neutral))


@table()
def sum(
    xp: Any,
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    y = xp.sum(only(xp, a, where, 0), axis=axis, dtype=dtype, keepdims=keepdims)
    return y if initial is None else y + initial


@table()
def prod(
    xp: Any,
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    y = xp.prod(only(xp, a, where, 1), axis=axis, dtype=dtype, keepdims=keepdims)
    return y if initial is None else y * initial


@table("max", "amax")
def max(
    xp: Any,
    a: Any,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    y = xp.max(only(xp, a, where, -math.inf), axis=axis, keepdims=keepdims)
    return y if initial is None else xp.maximum(y, initial)


@table("min", "amin")
def min(
    xp: Any,
    a: Any,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    y = xp.min(only(xp, a, where, math.inf), axis=axis, keepdims=keepdims)
    return y if initial is None else xp.minimum(y, initial)


@table()
def ptp(xp: Any, a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    return xp.max(a, axis=axis, keepdims=keepdims) - xp.min(a, axis=axis, keepdims=keepdims)


# ---- means and deviations


@table()
def mean(
    xp: Any,
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Any:
    a = a if dtype is None else xp.astype(a, dtype)
    if where is True:
        return xp.mean(a, axis=axis, keepdims=keepdims)
    kept = xp.astype(xp.broadcast_to(xp.asarray(where), a.shape), a.dtype)
    total = xp.sum(only(xp, a, where, 0), axis=axis, keepdims=keepdims)
    return total / xp.sum(kept, axis=axis, keepdims=keepdims)


@table()
def var(
    xp: Any,
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    correction: float | None = None,
) -> Any:
    a = a if dtype is None else xp.astype(a, dtype)
    free = ddof if correction is None else correction
    if kind(a.dtype) != "complex":
        return xp.var(a, axis=axis, correction=free, keepdims=keepdims)
    size = abs(a - xp.mean(a, axis=axis, keepdims=True))
    return xp.sum(size * size, axis=axis, keepdims=keepdims) / (count_of(axis, a.shape) - free)


@table()
def std(
    xp: Any,
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    correction: float | None = None,
) -> Any:
    free = ddof if correction is None else correction
    if kind(a.dtype) == "complex":
        return xp.sqrt(var(xp, a, axis, dtype, None, free, keepdims))
    a = a if dtype is None else xp.astype(a, dtype)
    return xp.std(a, axis=axis, correction=free, keepdims=keepdims)


@table(arrays=("a", "weights"))
def average(
    xp: Any,
    a: Any,
    axis: Any = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Any:
    w = xp.ones_like(a) if weights is None else weights
    if w.shape != a.shape:  # weights of the entries along one axis
        w = xp.reshape(w, tuple(n if i == axis % a.ndim else 1 for i, n in enumerate(a.shape)))
        w = xp.broadcast_to(w, a.shape)
    total = xp.sum(w, axis=axis, keepdims=keepdims)
    y = xp.sum(a * w, axis=axis, keepdims=keepdims) / total
    return (y, total) if returned else y


@table(arrays=("m", "y"))
def cov(
    xp: Any, m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: Any = None
) -> Any:
    rows = [_variables(xp, v, rowvar) for v in (m, y) if v is not None]
    x = xp.concat(rows, axis=0)
    x = x - xp.mean(x, axis=1, keepdims=True)
    free = (0 if bias else 1) if ddof is None else ddof
    return _scalar_if_one(xp, x @ xp.conj(xp.matrix_transpose(x)) / (x.shape[1] - free))


@table(arrays=("x", "y"))
def corrcoef(xp: Any, x: Any, y: Any = None, rowvar: bool = True) -> Any:
    c = cov(xp, x, y, rowvar)
    if c.ndim == 0:
        return c / c
    d = xp.sqrt(
        xp.real(xp.linalg.diagonal(c)) if kind(c.dtype) == "complex" else xp.linalg.diagonal(c)
    )
    return c / (xp.expand_dims(d, axis=1) * xp.expand_dims(d, axis=0))


def _variables(xp: Any, v: Any, rowvar: bool) -> Any:
    """Variables as rows, observations as columns."""
    if v.ndim < 2:
        return xp.reshape(v, (1, -1))
    return v if rowvar or v.shape[0] == 1 else xp.matrix_transpose(v)


def _scalar_if_one(xp: Any, c: Any) -> Any:
    return xp.reshape(c, ()) if c.shape == (1, 1) else c


# ---- the same without NaN


@table()
def nansum(
    xp: Any, a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False
) -> Any:
    return sum(xp, a, axis, dtype, None, keepdims, where=~xp.isnan(a))


@table()
def nanprod(
    xp: Any, a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False
) -> Any:
    return prod(xp, a, axis, dtype, None, keepdims, where=~xp.isnan(a))


@table()
def nanmean(
    xp: Any, a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False
) -> Any:
    return mean(xp, a, axis, dtype, None, keepdims, where=~xp.isnan(a))


@table()
def nanmax(xp: Any, a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    return max(xp, a, axis, None, keepdims, where=~xp.isnan(a))


@table()
def nanmin(xp: Any, a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    return min(xp, a, axis, None, keepdims, where=~xp.isnan(a))


@table()
def nanvar(
    xp: Any,
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
) -> Any:
    there = ~xp.isnan(a)
    d = only(xp, a, there, 0) - mean(xp, a, axis, dtype, None, True, where=there)
    count = xp.sum(xp.astype(there, a.dtype), axis=axis, keepdims=keepdims)
    return xp.sum(only(xp, d * d, there, 0), axis=axis, keepdims=keepdims) / (count - ddof)


@table()
def nanstd(
    xp: Any,
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
) -> Any:
    return xp.sqrt(nanvar(xp, a, axis, dtype, None, ddof, keepdims))
