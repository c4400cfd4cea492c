"""Rows of a table on CUDA, and the sums of gradients for them: the same bits each time, for no sum
depends on which block comes first."""

from __future__ import annotations

from typing import Any

import cupy

from bpgpu.kernels.cuda.launching import (
    CUPY,
    LARGEST,
    is_here,
    is_ours,
    name_of,
    pack,
    row_threads,
    runner,
    wide_of,
)
from bpgpu.kernels.registry import kernel

run = runner("embedding.cu")

CHUNK = 512
"""Of so many occurrences the first sums up all of an index; as in `embedding.cu`."""
INDICES = {"i": "int", "l": "long long", "q": "long long"}


def _is_index(x: Any) -> bool:
    return is_here(x) and x.dtype.char in INDICES and bool(x.flags.c_contiguous)


def accepts_take(w: Any, index: Any) -> bool:
    return (
        is_ours(w)
        and w.flags.c_contiguous
        and _is_index(index)
        and 0 < w.size < LARGEST
        and index.size > 0
        and index.size * w.shape[1] < LARGEST
    )


@kernel("take_rows", CUPY, accepts_take)
def take_rows(w: Any, index: Any) -> Any:
    """`w[index]`, of indices in range."""
    count, width = index.size, w.shape[1]
    y = cupy.empty((count, width), w.dtype)
    n = pack(width, w, y)
    name = f"take_rows<{name_of(w)}, {INDICES[index.dtype.char]}, {n}>"
    run(name, count, row_threads(width // n), w, index, y, width)
    return y


def accepts_add(g: Any, index: Any, count: int, padding_idx: int | None) -> bool:
    return (
        is_ours(g)
        and _is_index(index)
        and 0 < g.size < LARGEST
        and 0 < count * g.shape[1] < LARGEST
    )


@kernel("add_rows", CUPY, accepts_add)
def add_rows(g: Any, index: Any, count: int, padding_idx: int | None) -> Any:
    """`(N, D), (N,) -> (V, D)`: each row added at its index, but for those of the padding."""
    g = cupy.ascontiguousarray(g)
    n, width = g.shape
    words = -(-n // (32 * CHUNK))
    parts = cupy.empty(g.shape, wide_of(g))
    bits = cupy.zeros((count, words), "uint32")
    out = cupy.empty((count, width), g.dtype)
    types = f"{name_of(g)}, {INDICES[index.dtype.char]}, {pack(width, g, out)}"
    threads = row_threads(width // pack(width, g, out))
    skipped = index.dtype.type(-1 if padding_idx is None else padding_idx)
    run(f"sum_chunks<{types}>", n, threads, g, index, parts, bits, n, width, words, skipped)
    run(f"add_chunks<{types}>", count, threads, parts, index, bits, out, n, width, words)
    return out
