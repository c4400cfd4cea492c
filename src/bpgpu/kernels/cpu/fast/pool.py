"""Max-pooling over images by windows that share out the input, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpgpu.kernels.cpu import pool as in_numpy
from bpgpu.kernels.cpu.conv import NUMPY, first, last
from bpgpu.kernels.cpu.fast.compiling import compiled
from bpgpu.kernels.cpu.fast.threads import LEAST, cut, share
from bpgpu.kernels.registry import kernel


def _accepts(x: Any, *rest: Any) -> bool:
    return (
        x.ndim == 4
        and len(rest[-1]) == 2
        and last(x).flags.c_contiguous
        and in_numpy.accepts(x, *rest)
    )


@kernel("maxima", NUMPY, _accepts)
def maxima(x: Any, lines: Any) -> Any:
    """As `cpu.pool` has it."""
    x = last(x)
    high, wide = (line.kernel for line in lines)
    y = np.empty((x.shape[0], x.shape[1] // high, x.shape[2] // wide, x.shape[3]), x.dtype)
    share(_maxima, [(x[at], high, wide, y[at]) for at in _cut(x)])
    return first(y)


@kernel("max_gradient", NUMPY, _accepts)
def max_gradient(x: Any, y: Any, g: Any, lines: Any) -> Any:
    """As `cpu.pool` has it."""
    x, y, g = last(x), np.ascontiguousarray(last(y)), np.ascontiguousarray(last(g))
    out = np.empty_like(x)
    sizes = (lines[0].kernel, lines[1].kernel)
    share(_max_gradient, [(x[at], y[at], g[at], *sizes, out[at]) for at in _cut(x)])
    return first(out)


def _cut(x: Any) -> list[slice]:
    """Examples, shared out."""
    return [slice(*part) for part in cut(len(x), LEAST // x[0].size)]


@compiled
def _maxima(x: Any, high: int, wide: int, y: Any) -> None:
    n, h, w, c = y.shape
    for e in range(n):
        for i in range(h):
            for j in range(w):
                top = y[e, i, j]
                top[:] = x[e, i * high, j * wide]
                for k in range(1, high * wide):
                    a = x[e, i * high + k // wide, j * wide + k % wide]
                    for m in range(c):  # NaN is larger than all
                        top[m] = a[m] if a[m] > top[m] or a[m] != a[m] else top[m]


@compiled
def _max_gradient(x: Any, y: Any, g: Any, high: int, wide: int, out: Any) -> None:
    n, h, w, c = y.shape
    free = np.empty(c, np.bool_)
    for e in range(n):
        for i in range(h):
            for j in range(w):
                top, arrived = y[e, i, j], g[e, i, j]
                free[:] = True
                for k in range(high * wide):
                    a = x[e, i * high + k // wide, j * wide + k % wide]
                    to = out[e, i * high + k // wide, j * wide + k % wide]
                    for m in range(c):
                        chosen = (a[m] == top[m]) & free[m]
                        free[m] = free[m] & (not chosen)
                        to[m] = arrived[m] if chosen else x.dtype.type(0)
                if free.any():  # the largest is NaN: of several the last
                    for k in range(high * wide - 1, -1, -1):
                        a = x[e, i * high + k // wide, j * wide + k % wide]
                        to = out[e, i * high + k // wide, j * wide + k % wide]
                        for m in range(c):
                            if free[m] and a[m] != a[m]:
                                to[m] = arrived[m]
                                free[m] = False
