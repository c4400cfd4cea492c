"""Sums down the columns of a matrix on CUDA, in float32 at least: gradients of biases."""

from __future__ import annotations

from typing import Any

import cupy

from bpgpu.kernels.cuda.launching import LARGEST, TYPES, is_ours, name_of, pack, runner, wide_of

run = runner("columns.cu")

ACROSS, DOWN = 32, 8
"""As in `columns.cu`."""
BLOCKS = 512
"""So many fill a GPU."""


def can_sum(x: Any) -> bool:
    return is_ours(x) and x.ndim == 2 and x.flags.c_contiguous and 0 < x.size < LARGEST


def column_sums(x: Any) -> Any:
    """`(rows, columns) -> (columns,)`."""
    rows, columns = x.shape
    n = pack(columns, x)
    strips = -(-columns // (ACROSS * n))
    chunks = max(1, min(BLOCKS // strips, rows // (8 * DOWN), 256))
    chunk = -(-rows // chunks)
    chunks = -(-rows // chunk)
    sums = cupy.empty(columns, x.dtype)
    block = (ACROSS, DOWN)
    t = name_of(x)
    if chunks == 1:
        run(f"column_sums<{t}, {t}, {n}>", (strips, 1), block, x, sums, rows, columns, rows)
        return sums
    wide = wide_of(x)
    parts, a = cupy.empty((chunks, columns), wide), TYPES[wide.char]
    run(f"column_sums<{t}, {a}, {n}>", (strips, chunks), block, x, parts, rows, columns, chunk)
    grid = (-(-columns // ACROSS), 1)
    run(f"column_sums<{a}, {t}, 1>", grid, block, parts, sums, chunks, columns, chunks)
    return sums
