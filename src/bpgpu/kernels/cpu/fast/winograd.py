"""Convolution of images with kernels of 3 x 3 in 16 multiplications for 4 results, in place of 36.

Two results along a line, `y_0 = d_0 w_0 + d_1 w_1 + d_2 w_2` and `y_1 = d_1 w_0 + d_2 w_1 + d_3 w_2`,
take four products:

    m_0 = (d_0 - d_2) w_0                 y_0 = m_0 + m_1 + m_2
    m_1 = (d_1 + d_2) (w_0 + w_1 + w_2) / 2      y_1 = m_1 - m_2 - m_3
    m_2 = (d_2 - d_1) (w_0 - w_1 + w_2) / 2
    m_3 = (d_1 - d_3) w_2

and so on both axes. Squares of 4 x 4 of the input, two places apart, are transformed for each
channel; each of their 16 places is then a matrix product over the channels, and what comes out is
transformed back to 2 x 2 results. Read backwards the same sums give the gradient of the weights.
The results differ from those of plain sums by rounding: intermediate sums are up to four times as
large.

S. Winograd (1980), "Arithmetic complexity of computations"; A. Lavin and S. Gray (2016), "Fast
algorithms for convolutional neural networks", section 4.1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bpgpu.kernels.cpu import conv as in_numpy
from bpgpu.kernels.cpu.conv import first
from bpgpu.kernels.cpu.fast.compiling import compiled
from bpgpu.kernels.cpu.fast.conv import dense, images, surround
from bpgpu.kernels.cpu.fast.products import FEW, add_tile, packed, set_tile, table
from bpgpu.kernels.cpu.fast.squares import square_of_gradient, square_of_input, square_of_sums
from bpgpu.kernels.cpu.fast.threads import cut, share
from bpgpu.kernels.cpu.fast.tile import BYTES, ROWS, address
from bpgpu.kernels.registry import kernel

CHANNELS = 24
"""Of so many the products outweigh the transforms of the input,"""
SQUARES = 512
"""and of so many that of the weights,"""
PLACES = 16
"""if there are so many places for each channel."""
LEAST = 48
"""Squares for which it is worth bringing the weights to the core."""
CACHE = 3 * 2**17
"""Bytes of squares that are worked on together."""


def _accepts(a: Any, w: Any, *rest: Any) -> bool:
    return _fits(a, w, w.shape[:2], rest[-1])


def _accepts_both(x: Any, g: Any, geometry: Any) -> bool:
    return _fits(x, g, (x.shape[1], g.shape[1]), geometry)


def _fits(a: Any, b: Any, channels: tuple[int, int], geometry: Any) -> bool:
    places = len(a) * math.prod(geometry.counts)
    return (
        min(channels) >= CHANNELS
        and places >= max(4 * SQUARES, PLACES * max(channels))
        and geometry.kernel == (3, 3)
        and geometry.stride == geometry.dilation == (1, 1)
        and min(geometry.sizes) >= 4 <= min(geometry.counts)
        and all(before <= 2 for before, _ in geometry.pads)
        and in_numpy.accepts(a, b, geometry)
    )


@kernel("convolve", in_numpy.NUMPY, _accepts)
def convolve(x: Any, w: Any, b: Any, geometry: Any) -> Any:
    """As `cpu.conv` has it."""
    before = [a for a, _ in geometry.pads]
    return _filled(x, w.transpose(2, 3, 1, 0), b, before, geometry.counts)


@kernel("spread", in_numpy.NUMPY, _accepts)
def spread(g: Any, w: Any, geometry: Any) -> Any:
    """As `cpu.conv` has it: a convolution with the kernel turned around."""
    before = [2 - a for a, _ in geometry.pads]
    return _filled(g, w[:, :, ::-1, ::-1].transpose(2, 3, 0, 1), None, before, geometry.sizes)


@kernel("correlate", in_numpy.NUMPY, _accepts_both)
def correlate(x: Any, g: Any, geometry: Any) -> Any:
    """As `cpu.conv` has it."""
    c, o = x.shape[1], g.shape[1]
    source, tiles = _source(x, [a for a, _ in geometry.pads], geometry.counts)
    per, strips = _strips(tiles, c + o, x.itemsize)
    each = 4 if 16 * c * o * x.itemsize < CACHE else 1  # sums of its own for each part
    parts = cut(len(x) * strips, FEW // (16 * c * o * tiles[1] * per) + 1, each)
    sums = np.zeros((len(parts), 16 * c, o), x.dtype)
    arrived = dense(g).reshape(len(g), -1)
    share(
        lambda total, part: _add(*source, arrived, total, *geometry.counts, *tiles, per, *part),
        list(zip(sums, parts, strict=True)),
    )
    s = (sums.sum(0) if len(sums) > 1 else sums[0]).reshape(4, 4, c, o)
    w = _back(_back(s).swapaxes(0, 1)).swapaxes(0, 1)
    return np.ascontiguousarray(w.transpose(3, 2, 0, 1))


def _back(s: Any) -> Any:
    """The gradient of the kernel's lines, `(3, ...)`, from that of their transforms, `(4, ...)`."""
    half, other = (s[1] + s[2]) / 2, (s[1] - s[2]) / 2
    return np.stack([s[0] + half, other, half + s[3]])


def _transformed(w: Any) -> Any:
    """The lines of a kernel, `(3, ...)`, transformed: `(4, ...)`."""
    outer, inner = (w[0] + w[2]) / 2, w[1] / 2
    return np.stack([w[0], outer + inner, outer - inner, w[2]])


def _filled(x: Any, w: Any, b: Any, before: Any, counts: Any) -> Any:
    """The convolution with a kernel `(3, 3, C, O)`, `(N, O, *counts)`, channels last in memory."""
    c, o = w.shape[2:]
    w = _transformed(_transformed(w).swapaxes(0, 1)).swapaxes(0, 1)
    weights, start = packed(w.reshape(-1, o), b)
    source, tiles = _source(x, before, counts)
    per, strips = _strips(tiles, c + o, x.itemsize)
    y = np.empty((len(x), *counts, o), x.dtype)
    parts = cut(len(x) * strips, FEW // (16 * c * o * tiles[1] * per) + 1)
    rows = y.reshape(len(x), -1)
    share(lambda *part: _fill(*source, weights, start, rows, o, *counts, *tiles, per, *part), parts)
    return first(y)


def _source(x: Any, before: Any, counts: Any) -> tuple[Any, tuple[int, int]]:
    """The images, with zeros around so that squares cover them, and how many squares there are."""
    tiles = [-(-count // 2) for count in counts]
    sizes = zip(tiles, x.shape[2:], before, strict=True)
    return images(x, [(a, 2 * t + 2 - size - a) for t, size, a in sizes]), tuple(tiles)


def _strips(tiles: Any, channels: int, size: int) -> tuple[int, int]:
    """How many rows of squares are worked on together, and in how many strips an image falls."""
    fits, least = CACHE // (16 * size * channels * tiles[1]), -(-LEAST // tiles[1])
    per = min(tiles[0], max(fits, least))
    return per, -(-tiles[0] // per)


# ---- the loops


@compiled
def _fill(
    x: Any,
    before: Any,
    sizes: Any,
    weights: Any,
    start: Any,
    y: Any,
    o: int,
    high: int,
    wide: int,
    down: int,
    across: int,
    per: int,
    begin: int,
    end: int,
) -> None:
    """The results in the strips from `begin` to `end`, counted through the examples."""
    c, strips, many = x.shape[-1], -(-down // per), per * across
    lanes = BYTES // x.itemsize
    around = np.zeros((sizes[0], sizes[1], sizes[2], c), x.dtype)
    image, held, line = around.reshape(-1), -1, sizes[2] * c
    squares, sums = np.empty(16 * many * c, x.dtype), np.empty(16 * many * o, x.dtype)
    blocks, _, width = weights.shape
    rows, places, once = table(many, c), table(many, o), np.zeros(1, np.int64)
    nothing, vectors, unit = np.zeros(width, x.dtype), width // lanes, x.dtype.type(0)
    for strip in range(begin, end):
        n, top = strip // strips, strip % strips * per
        if n != held:
            surround(x[n], before, around)
            held = n
        bottom = min(top + per, down)
        for i in range(top, bottom):
            for j in range(across):
                at, to = 2 * i * line + 2 * j * c, ((i - top) * across + j) * c
                for k in range(0, c, lanes):
                    square_of_input(
                        *(image, at + k, line, c, 4, 4),
                        *(squares, to + k, 4 * many * c, many * c, 4, 4),
                        c - k,
                    )
        count = (bottom - top) * across
        for k in range(16):
            for block in range(blocks):
                right = (address(weights, (block * 16 + k) * c * width), width)
                # the product at (1, 1) is part of all four results
                initial = address(start, block * width) if k == 5 else address(nothing, 0)
                to, wanted = address(sums, k * many * o + block * width), o - block * width
                for row in range(0, count, ROWS):
                    left = (
                        address(squares, k * many * c),
                        address(rows, row),
                        address(once, 0),
                        1,
                        c,
                        1,
                    )
                    size = (min(ROWS, count - row), wanted)
                    set_tile(vectors, unit, left, right, initial, to, address(places, row), size)
        results = y[n]
        for i in range(top, bottom):
            for j in range(across):
                at, to = ((i - top) * across + j) * o, (2 * i * wide + 2 * j) * o
                for k in range(0, o, lanes):
                    square_of_sums(
                        *(sums, at + k, 4 * many * o, many * o, 4, 4),
                        *(results, to + k, wide * o, o, high - 2 * i, wide - 2 * j),
                        o - k,
                    )


@compiled
def _add(
    x: Any,
    before: Any,
    sizes: Any,
    g: Any,
    total: Any,
    high: int,
    wide: int,
    down: int,
    across: int,
    per: int,
    begin: int,
    end: int,
) -> None:
    """Add to the transformed weights what the strips from `begin` to `end` say."""
    c, o, strips, many = x.shape[-1], total.shape[-1], -(-down // per), per * across
    lanes = BYTES // x.itemsize
    around = np.zeros((sizes[0], sizes[1], sizes[2], c), x.dtype)
    image, held, line = around.reshape(-1), -1, sizes[2] * c
    squares, arrived = np.empty(16 * many * c, x.dtype), np.empty(16 * many * o, x.dtype)
    rows, places, once = table(c, 1), table(c, o), np.zeros(1, np.int64)
    unit = x.dtype.type(0)
    for strip in range(begin, end):
        n, top = strip // strips, strip % strips * per
        if n != held:
            surround(x[n], before, around)
            held = n
        bottom, gradient = min(top + per, down), g[n]
        for i in range(top, bottom):
            for j in range(across):
                square = (i - top) * across + j
                at = 2 * i * line + 2 * j * c
                for k in range(0, c, lanes):
                    square_of_input(
                        *(image, at + k, line, c, 4, 4),
                        *(squares, square * c + k, 4 * many * c, many * c, 4, 4),
                        c - k,
                    )
                at = (2 * i * wide + 2 * j) * o
                for k in range(0, o, lanes):
                    square_of_gradient(
                        *(gradient, at + k, wide * o, o, high - 2 * i, wide - 2 * j),
                        *(arrived, square * o + k, 4 * many * o, many * o, 4, 4),
                        o - k,
                    )
        count = (bottom - top) * across
        for k in range(16):
            for column in range(0, o, 2 * lanes):
                right, wanted = (address(arrived, k * many * o + column), o), o - column
                vectors, to = 1 if wanted <= lanes else 2, address(total, k * c * o + column)
                for row in range(0, c, ROWS):
                    left = (
                        address(squares, k * many * c),
                        address(rows, row),
                        address(once, 0),
                        1,
                        count,
                        c,
                    )
                    size = (min(ROWS, c - row), wanted)
                    add_tile(vectors, unit, left, right, to, address(places, row), size)
