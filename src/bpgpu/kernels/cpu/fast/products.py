"""What products of matrices by tiles have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpgpu.kernels.cpu.fast.compiling import inlined
from bpgpu.kernels.cpu.fast.tile import BYTES, ROWS, add1, add2, address, set1, set2, set3

FEW = 2**22
"""Products of numbers that are not worth a thread of their own."""


def packed(matrix: Any, start: Any = None, most: int = 3) -> tuple[Any, Any]:
    """The right factor `(K, O)` in the order in which tiles read it, and where the sums start.

    The columns fall into blocks of at most so many vectors, the last filled up with zeros:
    `(blocks, K, width)` and `(blocks, width)`."""
    k, o = matrix.shape
    lanes = BYTES // matrix.itemsize
    vectors = -(-o // lanes)
    width = lanes * (vectors if vectors <= most else most if vectors % most == 0 else 2)
    blocks = -(-o // width)
    filled = np.zeros((k, blocks * width), matrix.dtype)
    filled[:, :o] = matrix
    first = np.zeros(blocks * width, matrix.dtype)
    if start is not None:
        first[:o] = start
    filled = filled.reshape(k, blocks, width).swapaxes(0, 1)
    return np.ascontiguousarray(filled), first.reshape(blocks, width)


@inlined
def set_tile(
    vectors: int, unit: Any, left: Any, right: Any, start: int, c: int, places: int, size: Any
) -> None:
    """A tile so many vectors wide. `left` is `(a, rows, runs, count, length, step)`, `right` is
    `(b, apart)` and `size` the height and the width of what is wanted of it."""
    a, rows, runs, count, length, step = left
    b, apart = right
    high, wide = size
    if vectors == 1:
        set1(unit, a, rows, runs, count, length, step, b, apart, start, c, places, high, wide)
    elif vectors == 2:
        set2(unit, a, rows, runs, count, length, step, b, apart, start, c, places, high, wide)
    else:
        set3(unit, a, rows, runs, count, length, step, b, apart, start, c, places, high, wide)


@inlined
def add_tile(
    vectors: int, unit: Any, left: Any, right: Any, c: int, places: int, size: Any
) -> None:
    """As `set_tile`, of one vector or two, added to what is there."""
    a, rows, runs, count, length, step = left
    b, apart = right
    high, wide = size
    if vectors == 1:
        add1(unit, a, rows, runs, count, length, step, b, apart, c, c, places, high, wide)
    else:
        add2(unit, a, rows, runs, count, length, step, b, apart, c, c, places, high, wide)


@inlined
def table(count: int, step: int) -> Any:
    """Offsets of rows, with more of them at the end, so that the last tile is a whole one."""
    return np.minimum(np.arange(count + ROWS - 1), count - 1) * step


@inlined
def add_product(
    unit: Any, a: int, rows: int, weights: Any, c: int, places: int, count: int, o: int
) -> None:
    """`c += a w` for so many rows and `o` columns; the weights are packed, at most two vectors wide."""
    blocks, k, width = weights.shape
    once, size_of_one = np.zeros(1, np.int64), weights.itemsize
    vectors = width // (BYTES // size_of_one)
    for block in range(blocks):
        b, to = address(weights, block * k * width), c + block * width * size_of_one
        for row in range(0, count, ROWS):
            left = (a, rows + 8 * row, address(once, 0), 1, k, 1)
            size = (min(ROWS, count - row), o - block * width)
            add_tile(vectors, unit, left, (b, width), to, places + 8 * row, size)
