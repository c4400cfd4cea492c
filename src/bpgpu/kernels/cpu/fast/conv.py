"""Convolution, channels last, as a product of a matrix that is never made: tiles of it are summed
in registers, each number read from where it stands in the image.

An example with its zeros around stays in the cache of the core that works on it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bpgpu.kernels.cpu import conv as in_numpy
from bpgpu.kernels.cpu.conv import first, last
from bpgpu.kernels.cpu.fast import gather
from bpgpu.kernels.cpu.fast.compiling import compiled, inlined
from bpgpu.kernels.cpu.fast.products import FEW, add_tile, packed, set_tile
from bpgpu.kernels.cpu.fast.threads import cut, share
from bpgpu.kernels.cpu.fast.tile import BYTES, ROWS, address
from bpgpu.kernels.registry import kernel

MANY = 2**16
"""Weights of a plain product with which NumPy is as fast."""
WIDE, PLACES = 2**14, 512
"""Of so many weights for each place in the kernel, bringing them into order takes as long as products with them
at so many places: below, NumPy's way is as fast or faster."""
LARGE = 2**17
"""So many sums for each place in the kernel leave the cache again and again."""
STRETCH = 512
"""So many results are computed channel after channel, before the next are."""
CACHE = 2**19
"""Bytes that stay in the cache of a core."""


def _accepts(a: Any, w: Any, *rest: Any) -> bool:
    return _suits(a, w.shape[0] * w.shape[1], rest[-1]) and in_numpy.accepts(a, w, *rest)


def _accepts_both(x: Any, g: Any, geometry: Any) -> bool:
    weights = x.shape[1] * g.shape[1]
    return weights < LARGE and _suits(x, weights, geometry) and in_numpy.accepts(x, g, geometry)


def _suits(a: Any, weights: int, geometry: Any) -> bool:
    if geometry.is_product:
        return a.ndim <= 5 and weights < MANY
    return a.ndim <= 5 and (weights < WIDE or len(a) * math.prod(geometry.counts) >= PLACES)


@kernel("convolve", in_numpy.NUMPY, _accepts)
def convolve(x: Any, w: Any, b: Any, geometry: Any) -> Any:
    """As `cpu.conv` has it."""
    matrix = w.transpose(*range(2, w.ndim), 1, 0)  # (*K, C, O)
    plan = gather.forward(geometry, x.shape[1])
    return _gathered(x, matrix, b, plan, geometry.counts)


@kernel("spread", in_numpy.NUMPY, _accepts)
def spread(g: Any, w: Any, geometry: Any) -> Any:
    """As `cpu.conv` has it."""
    matrix = w.transpose(*range(2, w.ndim), 0, 1)  # (*K, O, C)
    plan = gather.backward(geometry, g.shape[1])
    return _gathered(g, matrix, None, plan, geometry.sizes)


@kernel("correlate", in_numpy.NUMPY, _accepts_both)
def correlate(x: Any, g: Any, geometry: Any) -> Any:
    """As `cpu.conv` has it."""
    c, o = x.shape[1], g.shape[1]
    plan = gather.lines(geometry, c, o)
    weights = math.prod(geometry.kernel) * c
    least = FEW // (geometry.counts[-1] * weights * o) + 1
    each = 4 if weights * o * x.itemsize < CACHE // 2 else 1  # sums of its own for each part
    lines = cut(len(x) * len(plan.runs), least, each)
    sums = np.zeros((len(lines), weights, o), x.dtype)
    move = (geometry.counts[-1], geometry.stride[-1] * c)
    source = (*images(x, geometry.pads), dense(g).reshape(len(g), -1))
    share(
        lambda total, line: _add_lines(*source, *plan, *move, total.reshape(-1), o, *line),
        list(zip(sums, lines, strict=True)),
    )
    w = sums.sum(0) if len(sums) > 1 else sums[0]
    w = w.reshape(*geometry.kernel, c, o)
    return np.ascontiguousarray(w.transpose(w.ndim - 1, w.ndim - 2, *range(w.ndim - 2)))


# ---- the input and the output


def _gathered(x: Any, matrix: Any, b: Any, plan: gather.Gathering, sizes: Any) -> Any:
    """The results of a gathering, `(N, O, *sizes)`, channels last in memory."""
    n, o = len(x), matrix.shape[-1]
    y = (np.empty if plan.whole else np.zeros)((n, *sizes, o), x.dtype)
    if len(plan.parts) == 0:  # only zeros around the input are ever read
        return first(y)
    matrix = matrix.reshape(-1, *matrix.shape[-2:])[plan.taps]
    weights, start = packed(matrix.reshape(-1, o), b)
    source = images(x, plan.pads)
    tables = (plan.rows, plan.places * o, plan.runs, plan.parts)
    count = plan.parts[-1, 1]
    least = FEW * len(plan.parts) // matrix.size + 1
    share(
        lambda *rows: _fill(*source, *tables, count, weights, start, y.reshape(n, -1), o, *rows),
        cut(n * count, least),
    )
    return first(y)


def dense(x: Any) -> Any:
    """`(N, C, *S)` as `(N, *S, C)`, without gaps in memory."""
    return np.ascontiguousarray(last(x))


def images(x: Any, pads: Any) -> tuple[Any, ...]:
    """The examples as images of three axes, the zeros before each, and the sizes with zeros."""
    x = dense(x)
    spare = 3 - len(pads)
    x = x.reshape(len(x), *(1,) * spare, *x.shape[1:])
    pads = ((0, 0),) * spare + tuple(pads)
    sizes = [s + a + b for s, (a, b) in zip(x.shape[1:], pads, strict=False)]
    return x, np.asarray([a for a, _ in pads]), np.asarray(sizes)


# ---- the loops


@inlined
def surround(x: Any, before: Any, out: Any) -> None:
    """Put an image into the middle of another."""
    d, h, w, _ = x.shape
    for i in range(d):
        for j in range(h):
            to = out[i + before[0], j + before[1], before[2] : before[2] + w].reshape(-1)
            line = x[i, j].reshape(-1)
            for k in range(line.size):
                to[k] = line[k]


@compiled
def _fill(
    x: Any,
    before: Any,
    sizes: Any,
    rows: Any,
    places: Any,
    runs: Any,
    parts: Any,
    count: int,
    weights: Any,
    start: Any,
    y: Any,
    o: int,
    first: int,
    last: int,
) -> None:
    """The results from row `first` to `last`, counted through the examples, `count` in each."""
    channels = x.shape[-1]
    around = np.zeros((sizes[0], sizes[1], sizes[2], channels), x.dtype)
    inside = around.size == x[0].size
    blocks, taps, width = weights.shape
    vectors, unit = width // (BYTES // x.itemsize), x.dtype.type(0)
    for n in range(first // count, (last - 1) // count + 1):
        if not inside:
            surround(x[n], before, around)
        a = address(x, n * x[0].size) if inside else address(around, 0)
        for part in parts:
            top = max(part[0], first - n * count)
            end = min(part[1], last - n * count)
            reach, runs_in_part = address(runs, part[2]), part[3] - part[2]
            for stretch in range(top, end, STRETCH):
                bottom = min(stretch + STRETCH, end)
                for block in range(blocks):
                    b = address(weights, (block * taps + part[4] * channels) * width)
                    begin = address(start, block * width)
                    c, wide = address(y, n * y.shape[1] + block * width), o - block * width
                    for row in range(stretch, bottom, ROWS):
                        left = (a, address(rows, row), reach, runs_in_part, part[5], 1)
                        size = (min(ROWS, bottom - row), wide)
                        to = address(places, row)
                        set_tile(vectors, unit, left, (b, width), begin, c, to, size)


@compiled
def _add_lines(
    x: Any,
    before: Any,
    sizes: Any,
    g: Any,
    rows: Any,
    places: Any,
    runs: Any,
    length: int,
    step: int,
    total: Any,
    o: int,
    first: int,
    last: int,
) -> None:
    """Add to the weights what the lines from `first` to `last` of the results say, counted through
    the examples. As many are taken together as the cache holds, of several examples or of one."""
    channels, count, end = x.shape[-1], len(runs), len(rows) - (ROWS - 1)
    width = 2 * (BYTES // x.itemsize)
    lines = max(1, CACHE // (length * (channels + width) * x.itemsize))
    group = max(1, lines // count)
    around = np.zeros((group, sizes[0], sizes[1], sizes[2], channels), x.dtype)
    inside = around[0].size == x[0].size
    reach, unit = np.empty(group * count, np.int64), x.dtype.type(0)
    for i in range(reach.size):
        reach[i] = i // count * around[0].size + runs[i % count]
    for n in range(first // count, (last - 1) // count + 1, group):
        if not inside:
            for i in range(n, min(n + group, len(x))):
                surround(x[i], before, around[i - n])
        a = address(x, n * x[0].size) if inside else address(around, 0)
        g_n = g[n:].reshape(-1)
        bottom = min(group * count, last - n * count)
        for line in range(max(0, first - n * count), bottom, lines):
            many = min(lines, bottom - line)
            arrived = g_n[line * length * o : (line + many) * length * o].reshape(-1, o)
            if o <= width:
                beside, apart = arrived, o
            for column in range(0, o, width):
                if o > width:  # side by side, since neighbours in memory are sooner at hand
                    beside, apart = _columns(arrived, column, width), width
                wide = o - column
                vectors = 1 if wide <= width // 2 else 2
                for row in range(0, end, ROWS):
                    right = (address(beside, 0), apart)
                    left = (a, address(rows, row), address(reach, line), many, length, step)
                    to, size = address(places, row), (min(ROWS, end - row), wide)
                    add_tile(vectors, unit, left, right, address(total, column), to, size)


@inlined
def _columns(g: Any, column: int, width: int) -> Any:
    out = np.zeros((len(g), width), g.dtype)
    for i in range(len(g)):
        for j in range(min(width, g.shape[1] - column)):
            out[i, j] = g[i, column + j]
    return out
