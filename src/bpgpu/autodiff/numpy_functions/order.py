"""NumPy's running sums, its order statistics, and its questions about values, whose answers are constants."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.numpy_functions.statistics import only
from bpgpu.autodiff.numpy_functions.table import Table
from bpgpu.autodiff.rules.reductions import axes_of, count_of
from bpgpu.errors import NotDifferentiableError

FUNCTIONS = table = Table()

# ---- running sums and differences


def _lined(xp: Any, a: Any, axis: int | None) -> tuple[Any, int]:
    return (xp.reshape(a, (-1,)), 0) if axis is None else (a, axis)


@table()
def cumsum(xp: Any, a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    a, axis = _lined(xp, a, axis)
    return xp.cumulative_sum(a, axis=axis, dtype=dtype)


@table()
def cumprod(xp: Any, a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    a, axis = _lined(xp, a, axis)
    return xp.cumulative_prod(a, axis=axis, dtype=dtype)


@table()
def nancumsum(xp: Any, a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    return cumsum(xp, only(xp, a, ~xp.isnan(a), 0), axis, dtype)


@table()
def nancumprod(xp: Any, a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    return cumprod(xp, only(xp, a, ~xp.isnan(a), 1), axis, dtype)


@table("cumulative_sum")
def cumulative_sum(xp: Any, x: Any, /, **options: Any) -> Any:
    return xp.cumulative_sum(x, **options)


@table("cumulative_prod")
def cumulative_prod(xp: Any, x: Any, /, **options: Any) -> Any:
    return xp.cumulative_prod(x, **options)


@table(arrays=("a", "prepend", "append"))
def diff(
    xp: Any, a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None
) -> Any:
    one = tuple(1 if i == axis % a.ndim else m for i, m in enumerate(a.shape))
    ends = {
        name: v if getattr(v, "ndim", 0) else xp.full(one, v, dtype=a.dtype)
        for name, v in (("prepend", prepend), ("append", append))
        if v is not None
    }
    return xp.diff(a, axis=axis, n=n, **ends)


@table(arrays=("ary", "to_end", "to_begin"))
def ediff1d(xp: Any, ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    steps = xp.diff(xp.reshape(ary, (-1,)))
    parts = [to_begin, steps, to_end]
    return xp.concat([xp.reshape(xp.asarray(p), (-1,)) for p in parts if p is not None])


# ---- order statistics


@table()
def sort(xp: Any, a: Any, axis: int | None = -1, kind: Any = None, *, stable: Any = None) -> Any:
    a, axis = _lined(xp, a, axis)
    return xp.sort(a, axis=axis)


@table(arrays=("a", "q"))
def quantile(
    xp: Any,
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    """Between the two nearest entries the quantile runs linearly, and shares its gradient among them."""
    if method != "linear":
        raise NotDifferentiableError(
            f"numpy.quantile of a traced array knows the method 'linear', got {method!r}"
        )
    gone = axes_of(axis, a.ndim)
    kept = tuple(i for i in range(a.ndim) if i not in gone)
    rows = xp.permute_dims(a, (*gone, *kept))
    n = count_of(axis, a.shape)
    rows = xp.sort(xp.reshape(rows, (n, *(a.shape[i] for i in kept))), axis=0)
    q = xp.asarray(q, dtype=a.dtype)
    place = xp.reshape(q, (-1,)) * (n - 1)
    below = xp.floor(place)
    part = xp.reshape(place - below, (-1, *(1,) * len(kept)))
    low = xp.take(rows, xp.astype(below, xp.int64), axis=0)
    high = xp.take(rows, xp.astype(xp.ceil(place), xp.int64), axis=0)
    y = low + (high - low) * part
    bad = xp.isnan(rows[-1:, ...])  # NaN is sorted to the end
    y = xp.where(bad, xp.full_like(y, math.nan), y)
    shape = [1 if i in gone else m for i, m in enumerate(a.shape)]
    return xp.reshape(y, (*q.shape, *(shape if keepdims else [a.shape[i] for i in kept])))


@table(arrays=("a", "q"))
def percentile(xp: Any, a: Any, q: Any, *args: Any, **options: Any) -> Any:
    return quantile(xp, a, xp.asarray(q, dtype=a.dtype) / 100, *args, **options)


@table()
def median(
    xp: Any,
    a: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:
    return quantile(xp, a, 0.5, axis, keepdims=keepdims)


# ---- positions and truth values: constants


@table()
def argmax(
    xp: Any, a: Any, axis: int | None = None, out: None = None, *, keepdims: bool = False
) -> Any:
    return xp.argmax(a, axis=axis, keepdims=keepdims)


@table()
def argmin(
    xp: Any, a: Any, axis: int | None = None, out: None = None, *, keepdims: bool = False
) -> Any:
    return xp.argmin(a, axis=axis, keepdims=keepdims)


@table()
def argsort(xp: Any, a: Any, axis: int | None = -1, kind: Any = None, *, stable: Any = None) -> Any:
    a, axis = _lined(xp, a, axis)
    return xp.argsort(a, axis=axis)


@table()
def nonzero(xp: Any, a: Any) -> Any:
    return xp.nonzero(a)


@table()
def count_nonzero(xp: Any, a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return xp.count_nonzero(a, axis=axis, keepdims=keepdims)


@table("all")
def all_(xp: Any, a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    return xp.all(a, axis=axis, keepdims=keepdims)


@table("any")
def any_(xp: Any, a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    return xp.any(a, axis=axis, keepdims=keepdims)


@table(arrays=("a", "v"))
def searchsorted(xp: Any, a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    return xp.searchsorted(a, v, side=side, sorter=sorter)


@table(arrays=("a", "b"))
def isclose(
    xp: Any, a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Any:
    close = (abs(a - b) <= atol + rtol * abs(b)) | (a == b)
    close = close & xp.isfinite(xp.asarray(b)) | (a == b)
    return close | (xp.isnan(xp.asarray(a)) & xp.isnan(xp.asarray(b))) if equal_nan else close


@table(arrays=("a", "b"))
def allclose(xp: Any, a: Any, b: Any, **options: Any) -> bool:
    return bool(xp.all(isclose(xp, a, b, **options)))


@table(arrays=("a1", "a2"))
def array_equal(xp: Any, a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    a1, a2 = xp.asarray(a1), xp.asarray(a2)
    if a1.shape != a2.shape:
        return False
    same = a1 == a2
    return bool(xp.all(same | (xp.isnan(a1) & xp.isnan(a2)) if equal_nan else same))
