"""NumPy's functions of sampled curves: spacing, slopes, areas, interpolation, convolution, polynomials."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.numpy_functions.table import Table, as_array
from bpgpu.errors import NotDifferentiableError

FUNCTIONS = table = Table()


@table(arrays=("start", "stop"))
def linspace(
    xp: Any,
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
) -> Any:
    y = xp.linspace(start, stop, num, endpoint=endpoint, dtype=dtype)
    return (y, (stop - start) / (num - 1 if endpoint else num)) if retstep else y


@table(arrays=("start", "stop"))
def logspace(
    xp: Any,
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
) -> Any:
    y = xp.pow(base, xp.linspace(start, stop, num, endpoint=endpoint))
    return y if dtype is None else xp.astype(y, dtype)


@table(arrays=("start", "stop"))
def geomspace(
    xp: Any, start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None
) -> Any:
    """Of positive numbers."""
    ends = [xp.log(v) if hasattr(v, "dtype") else math.log(v) for v in (start, stop)]
    y = xp.exp(xp.linspace(*ends, num, endpoint=endpoint))
    return y if dtype is None else xp.astype(y, dtype)


def _along(a: Any, axis: int, part: Any) -> Any:
    """A part of an array along one axis."""
    return a[(*(slice(None),) * (axis % a.ndim), part, ...)]


@table(arrays=("y", "x", "dx"))
def trapezoid(xp: Any, y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The area under straight lines between samples."""
    if x is not None:
        dx = xp.diff(x, axis=0 if x.ndim == 1 else axis)
        if x.ndim == 1:
            dx = xp.reshape(dx, (-1, *(1,) * (y.ndim - axis % y.ndim - 1)))
    heights = _along(y, axis, slice(1, None)) + _along(y, axis, slice(None, -1))
    return xp.sum(dx * heights / 2, axis=axis)


@table()
def gradient(xp: Any, f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Slopes: central differences inside, one-sided ones at both ends."""
    if edge_order != 1:
        raise NotDifferentiableError("numpy.gradient of a traced array has edge_order=1 only")
    axes = range(f.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    steps = list(varargs) or [1.0]
    steps = steps * len(axes) if len(steps) == 1 else steps
    slopes = tuple(_slope(xp, f, h, a) for a, h in zip(axes, steps, strict=True))
    return slopes[0] if len(slopes) == 1 else slopes


def _slope(xp: Any, f: Any, h: Any, axis: int) -> Any:
    h = h if isinstance(h, (int, float)) else xp.asarray(h)
    if getattr(h, "ndim", 0) == 0:
        rise = _along(f, axis, slice(2, None)) - _along(f, axis, slice(None, -2))
        inside, first, last = rise / (2 * h), h, h
    else:  # places of the samples: a parabola through three of them
        h = xp.reshape(xp.diff(h), (-1, *(1,) * (f.ndim - axis % f.ndim - 1)))
        p, q = h[:-1, ...], h[1:, ...]
        inside = (
            _along(f, axis, slice(2, None)) * (p / (q * (p + q)))
            + _along(f, axis, slice(1, -1)) * ((q - p) / (p * q))
            - _along(f, axis, slice(None, -2)) * (q / (p * (p + q)))
        )
        first, last = h[:1, ...], h[-1:, ...]
    start = (_along(f, axis, slice(1, 2)) - _along(f, axis, slice(0, 1))) / first
    end = (_along(f, axis, slice(-1, None)) - _along(f, axis, slice(-2, -1))) / last
    return xp.concat([start, inside, end], axis=axis)


@table(arrays=("x", "xp", "fp", "left", "right"))
def interp(ns: Any, x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None) -> Any:
    """Straight lines between the points `(xp, fp)`; beyond them the value of the nearest, or `left` and `right`."""
    x = as_array(ns, x, fp)
    n = xp.shape[0]
    flat = ns.reshape(x, (-1,))
    above = ns.clip(ns.searchsorted(xp, flat, side="right"), 1, n - 1)
    x0, x1 = ns.take(xp, above - 1), ns.take(xp, above)
    y0, y1 = ns.take(fp, above - 1), ns.take(fp, above)
    y = y0 + (flat - x0) * ((y1 - y0) / (x1 - x0))
    y = ns.where(flat < xp[0], fp[0] if left is None else left, y)
    y = ns.where(flat > xp[n - 1], fp[n - 1] if right is None else right, y)
    return ns.reshape(y, x.shape)


@table(arrays=("a", "v"))
def convolve(xp: Any, a: Any, v: Any, mode: str = "full") -> Any:
    """Of two vectors; the windows of the longer one are the rows of a matrix."""
    a, v = xp.reshape(a, (-1,)), xp.reshape(v, (-1,))
    if v.shape[0] > a.shape[0]:
        a, v = v, a
    n, m = a.shape[0], v.shape[0]
    border = xp.zeros((m - 1,), dtype=a.dtype, device=a.device)
    windows = xp.reshape(xp.arange(n + m - 1), (-1, 1)) + xp.reshape(xp.arange(m), (1, -1))
    rows = xp.take(xp.concat([border, a, border]), xp.reshape(windows, (-1,)))
    y = xp.reshape(rows, (n + m - 1, m)) @ xp.flip(v)
    start, stop = {
        "full": (0, n + m - 1),
        "same": ((m - 1) // 2, (m - 1) // 2 + n),
        "valid": (m - 1, n),
    }[mode]
    return y[start:stop]


@table(arrays=("a", "v"))
def correlate(xp: Any, a: Any, v: Any, mode: str = "valid") -> Any:
    if a.shape[0] < v.shape[0] and mode != "full":
        raise NotDifferentiableError(
            "numpy.correlate of a traced array takes the longer vector first, or mode='full'"
        )
    return convolve(xp, a, xp.flip(xp.conj(v) if "complex" in str(v.dtype) else v), mode)


@table(arrays=("p", "x"))
def polyval(xp: Any, p: Any, x: Any) -> Any:
    """Horner's scheme."""
    y = 0 * x
    for i in range(p.shape[0]):
        y = y * x + p[i]
    return y


@table()
def vander(xp: Any, x: Any, N: int | None = None, increasing: bool = False) -> Any:  # noqa: N803
    n = x.shape[0] if N is None else N
    columns = [xp.ones_like(x)]
    for _ in range(n - 1):
        columns.append(columns[-1] * x)
    return xp.stack(columns[:n] if increasing else columns[:n][::-1], axis=1)
