"""Pooling on CUDA: the largest of each window and the mean. Nothing is kept for the way back but the
input, and of means not even that."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cupy
import numpy as np

from bpgpu.kernels.cuda.launching import (
    CUPY,
    LARGEST,
    THREADS,
    blocks,
    empty_as,
    is_ours,
    name_of,
    runner,
)
from bpgpu.kernels.registry import kernel

run = runner("pool.cu")

LOOKS = 256
"""The own code of the functions is taken where an entry would have to look at more numbers on the way
back: so many windows that it is in, times so many entries of each."""

WINDOW = 2**12
"""Of means, the own code is taken for larger windows."""

LINE = [(name, "i4") for name in ("size", "kernel", "stride", "dilation", "pad", "number")]
WINDOWS = np.dtype([("lines", LINE, 3), ("inner", "i4")])
DIVISOR = np.dtype([("fixed", "i4"), ("counted", "i4", 3)])
"""As in `pool.cu`."""


def accepts_maxima(x: Any, lines: Any) -> bool:
    return _takes(x, lines)


def accepts_gradient(x: Any, y: Any, g: Any, lines: Any) -> bool:
    looks = math.prod(k.kernel * -(-k.reach // k.stride) for k in lines)
    return _takes(x, lines) and is_ours(g) and g.dtype == x.dtype and looks <= LOOKS


def accepts_means(x: Any, lines: Any, padding: Any, divisor: Any) -> bool:
    entries = math.prod(line.kernel for line in lines)  # summed by one thread
    return _takes(x, lines) and (divisor is None or type(divisor) is int) and entries <= WINDOW


def _takes(x: Any, lines: Any) -> bool:
    entries = math.prod(line.number for line in lines)
    return (
        is_ours(x)
        and len(lines) <= 3
        and 0 < x.size < LARGEST
        and x.size // math.prod(line.size for line in lines) * entries < LARGEST
        and inner_of(x, len(lines)) is not None
    )


def inner_of(x: Any, n: int) -> int | None:
    """How many numbers stand side by side at a place: 1, or the channels where they stand last in memory;
    `None` for another order."""
    if x.flags.c_contiguous:
        return 1
    if x.ndim > n and cupy.moveaxis(x, -n - 1, -1).flags.c_contiguous:
        return int(x.shape[-n - 1])
    return None


@kernel("maxima", CUPY, accepts_maxima)
def maxima(x: Any, lines: Any) -> Any:
    """The largest entry of each window over the last axes; NaN if there is one."""
    y = Order.of(x, lines).made([line.number for line in lines])
    windows = _windows(x, lines)
    run(f"maxima<{name_of(x)}>", blocks(y.size), THREADS, x, y, y.size, windows)
    return y


@kernel("max_gradient", CUPY, accepts_gradient)
def max_gradient(x: Any, y: Any, g: Any, lines: Any) -> Any:
    """The gradient `g` of the maxima: each number to the first entry that is the largest, or to the last
    NaN."""
    g, gx = Order.of(x, lines).given_to(g), empty_as(x)
    windows = _windows(x, lines)
    run(f"maxima_back<{name_of(x)}>", blocks(x.size), THREADS, x, g, gx, x.size, windows)
    return gx


@kernel("window_means", CUPY, accepts_means)
def window_means(x: Any, lines: Any, padding: Any, divisor: int | None) -> Any:
    """The mean of each window, and the pull."""
    order = Order.of(x, lines)
    y = order.made([line.number for line in lines])
    windows, by, name = _windows(x, lines), _divisor(padding, divisor, len(lines)), name_of(x)
    run(f"means<{name}>", blocks(y.size), THREADS, x, y, y.size, windows, by)

    def pull(g: Any) -> Any:
        g, gx = order.given_to(g), order.made([line.size for line in lines])
        run(f"means_back<{name}>", blocks(gx.size), THREADS, g, gx, gx.size, windows, by)
        return gx

    return y, pull


class Order(NamedTuple):
    """What is kept of an array in whose order of memory others are made."""

    lead: tuple[int, ...]
    inner: int
    dtype: Any

    @classmethod
    def of(cls, x: Any, lines: Any) -> Order:
        n = len(lines)
        return cls(x.shape[:-n], inner_of(x, n) or 1, x.dtype)

    def made(self, sizes: Any) -> Any:
        """Memory for `(*lead, *sizes)`."""
        if self.inner == 1:
            return cupy.empty((*self.lead, *sizes), self.dtype)
        made = cupy.empty((*self.lead[:-1], *sizes, self.lead[-1]), self.dtype)
        return cupy.moveaxis(made, -1, -len(sizes) - 1)

    def given_to(self, g: Any) -> Any:
        """`g` in this order."""
        n = g.ndim - len(self.lead)
        if inner_of(g, n) == self.inner:
            return g
        same = self.made(g.shape[-n:])
        same[...] = g
        return same


def _windows(x: Any, lines: Any) -> Any:
    whole = (1, 1, 1, 1, 0, 1)
    rows = [(k.size, k.kernel, k.stride, k.dilation, k.pads[0], k.number) for k in lines]
    rows = [whole] * (3 - len(rows)) + rows
    return np.asarray([(rows, inner_of(x, len(lines)))], WINDOWS)


def _divisor(padding: Any, divisor: int | None, n: int) -> Any:
    counted = (0,) * n if padding is None else tuple(padding)
    return np.asarray([(divisor or 0, (0,) * (3 - n) + counted)], DIVISOR)
