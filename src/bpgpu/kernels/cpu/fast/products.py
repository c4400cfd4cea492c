"""What products of matrices by tiles have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpgpu.kernels.cpu.fast.compiling import inlined
from bpgpu.kernels.cpu.fast.tile import BYTES, ROWS, add1, add2, set1, set2, set3

FEW = 2**21
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
    window: Any, b: Any, width: int, start: Any, c: Any, places: Any, height: int, left: int
) -> None:
    """A tile as wide as a block, with `left` columns in it, from `start`."""
    a, rows, row, runs, length, step = window
    vectors = width // (BYTES // a.itemsize)
    if vectors == 1:
        set1(a, rows, row, runs, length, step, b, width, start, c, places, height, left)
    elif vectors == 2:
        set2(a, rows, row, runs, length, step, b, width, start, c, places, height, left)
    else:
        set3(a, rows, row, runs, length, step, b, width, start, c, places, height, left)


@inlined
def add_tile(window: Any, b: Any, apart: int, c: Any, places: Any, height: int, left: int) -> None:
    """Up to two vectors of the `left` columns, added to what is there."""
    a, rows, row, runs, length, step = window
    if left <= BYTES // a.itemsize:
        add1(a, rows, row, runs, length, step, b, apart, c, c, places, height, left)
    else:
        add2(a, rows, row, runs, length, step, b, apart, c, c, places, height, left)


@inlined
def table(count: int, step: int) -> Any:
    """Offsets of rows, with more of them at the end, so that the last tile is a whole one."""
    return np.minimum(np.arange(count + ROWS - 1), count - 1) * step


@inlined
def add_product(a: Any, rows: Any, weights: Any, c: Any, places: Any, count: int, o: int) -> None:
    """`c += a w` for so many rows and `o` columns; the weights are packed, at most two vectors wide."""
    blocks, k, width = weights.shape
    once = np.zeros(1, np.int64)
    for block in range(blocks):
        b, to, left = weights[block].reshape(-1), c[block * width :], o - block * width
        for row in range(0, count, ROWS):
            window = (a, rows, row, once, k, 1)
            add_tile(window, b, width, to, places, min(ROWS, count - row), left)
