"""Batch, layer and RMS normalisation on CUDA; the kernels and their formulas are in `source/norm.cu`.

Of batch norm the result has the order of memory of the input, channels last or not.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cupy

from bpgpu.kernels.cuda.launching import (
    CUPY,
    LARGEST,
    THREADS,
    blocks,
    empty_as,
    in_order_of,
    is_ours,
    name_of,
    pack,
    row_threads,
    runner,
    wide_of,
)
from bpgpu.kernels.registry import kernel

run = runner("norm.cu")

BLOCKS = 1024
"""Sums down columns are made by about so many blocks, whatever the device: then they are the same
on each."""


class Matrix(NamedTuple):
    """How the numbers are seen: with `w` and `b` along the columns."""

    rows: int
    columns: int
    inner: int
    """The size of a plane where the channels do not stand last; else 1."""
    down: bool
    """Whether statistics are those of columns."""


def matrix_of(x: Any, axes: Any) -> Matrix | None:
    """`None` for an order in memory that the kernels do not know."""
    if x.ndim > 1 and axes == (0, *range(2, x.ndim)):
        columns = x.shape[1]
        if x.flags.c_contiguous:
            return Matrix(x.size // columns, columns, math.prod(x.shape[2:]), True)
        last = cupy.moveaxis(x, 1, -1).flags.c_contiguous
        return Matrix(x.size // columns, columns, 1, True) if last else None
    first = axes[0]
    if axes != tuple(range(first, x.ndim)) or not x.flags.c_contiguous:
        return None
    columns = math.prod(x.shape[first:])
    return Matrix(x.size // columns, columns, 1, False)


def accepts(x: Any, w: Any, b: Any, axes: Any, shape: Any, eps: float, centre: bool) -> bool:
    if not is_ours(x) or not 0 < x.size < LARGEST:
        return False
    matrix = matrix_of(x, axes)
    parameters = [p for p in (w, b) if p is not None]
    return (
        matrix is not None
        and (centre or not matrix.down)
        and all(is_ours(p) and p.flags.c_contiguous for p in parameters)
        and all(p.size == matrix.columns for p in parameters)
        and all(p.dtype == parameters[0].dtype for p in parameters)
        and all(p.dtype == x.dtype or p.dtype.char == "f" for p in parameters)
    )


@kernel("standardize", CUPY, accepts)
def standardize(
    x: Any, w: Any, b: Any, axes: Any, shape: Any, eps: float, centre: bool
) -> tuple[Any, ...]:
    """`y = w (x - m) / sqrt(v + eps) + b`, `m` and `v`; and the pull of `x`, `w` and `b`."""
    matrix = matrix_of(x, axes)
    assert matrix is not None
    make = _down_columns if matrix.down else _along_rows
    y, mean, variance, back = make(x, w, b, matrix, eps, centre)
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))

    def pull(gs: Any, wanted: tuple[bool, ...]) -> Any:
        return (None, None, None) if gs[0] is None else back(in_order_of(x, gs[0]), wanted)

    return (y, mean.reshape(kept), variance.reshape(kept)), pull


def _along_rows(x: Any, w: Any, b: Any, matrix: Matrix, eps: float, centre: bool) -> Any:
    """Layer norm, and without `centre` RMS norm: a block for each row."""
    rows, columns, *_ = matrix
    wide, types = wide_of(x), _types(x, w, b)
    y = empty_as(x)
    mean, variance, inverse = (cupy.empty(rows, wide) for _ in range(3))
    n = pack(columns, x, y)
    run(
        f"norm_rows<{types}, {n}>", rows, row_threads(columns // n),
        x, w, b, y, mean, variance, inverse, columns, wide.type(eps), centre,
    )  # fmt: skip

    def back(g: Any, wanted: tuple[bool, ...]) -> Any:
        gx = gw = gb = None
        if wanted[0]:
            gx = empty_as(x)
            n = pack(columns, x, g, gx)
            run(
                f"norm_rows_back<{types}, {n}>", rows, row_threads(columns // n),
                x, g, w, mean, inverse, gx, columns, centre,
            )  # fmt: skip
        if wanted[1] or wanted[2]:
            _, gw, gb = _sums(x, g, w, b, mean, inverse, matrix, wanted, centre)
        return gx, gw, gb

    return y, mean, variance, back


def _down_columns(x: Any, w: Any, b: Any, matrix: Matrix, eps: float, centre: bool) -> Any:
    """Batch norm: the moments of chunks of the rows, then those of all."""
    rows, columns, inner, _ = matrix
    wide, types = wide_of(x), _types(x, w, b)
    y = empty_as(x)
    mean, variance, inverse = (cupy.empty(columns, wide) for _ in range(3))
    grid, block, chunk = tiles(matrix)
    parts = cupy.empty((grid[1], columns, 3), wide)
    t = name_of(x)
    run(f"norm_moments<{t}>", grid, block, x, parts, rows, columns, inner, chunk)
    run(
        f"norm_moments_joined<{t}>", grid[:1], block,
        x, parts, mean, variance, inverse, grid[1], columns, inner, wide.type(eps),
    )  # fmt: skip
    n = pack(columns if inner == 1 else inner, x, y)
    run(
        f"norm_columns<{types}, {n}>", blocks(x.size // n), THREADS,
        x, w, b, mean, inverse, y, x.size, columns, inner,
    )  # fmt: skip

    def back(g: Any, wanted: tuple[bool, ...]) -> Any:
        totals, gw, gb = _sums(x, g, w, b, mean, inverse, matrix, wanted, centre)
        gx = None
        if wanted[0]:
            gx = empty_as(x)
            n = pack(columns if inner == 1 else inner, x, g, gx)
            run(
                f"norm_columns_back<{types}, {n}>", blocks(x.size // n), THREADS,
                x, g, w, mean, inverse, totals, gx, x.size, columns, inner, rows,
            )  # fmt: skip
        return gx, gw, gb

    return y, mean, variance, back


def _sums(
    x: Any,
    g: Any,
    w: Any,
    b: Any,
    mean: Any,
    inverse: Any,
    matrix: Matrix,
    wanted: Any,
    centre: bool,
) -> tuple[Any, Any, Any]:
    """Down the columns, of `g` and of `g z`; and what `b` and `w` get of them."""
    rows, columns, inner, down = matrix
    wide = wide_of(x)
    grid, block, chunk = tiles(matrix)
    parts = cupy.empty((grid[1], columns, 2), wide)
    totals = cupy.empty((columns, 2), wide)
    gw = cupy.empty_like(w) if wanted[1] else None
    gb = cupy.empty_like(b) if wanted[2] else None
    run(
        f"norm_sums<{name_of(x)}>", grid, block,
        x, g, mean, inverse, parts, rows, columns, inner, chunk, not down, centre,
    )  # fmt: skip
    run(
        f"norm_sums_joined<{name_of(mean)}, {_parameter(x, w, b)}>", grid[:1], block,
        parts, totals, gw, gb, grid[1], columns,
    )  # fmt: skip
    return totals, gw, gb


def tiles(matrix: Matrix) -> tuple[tuple[int, int], tuple[int, int], int]:
    """The grid of blocks, the threads of each along columns and rows, and how many rows a block
    takes."""
    rows, columns, inner, _ = matrix
    across = 1
    while inner == 1 and across < min(columns, 32):
        across *= 2
    down = THREADS // across
    strips = -(-columns // across)
    chunks = max(1, min(BLOCKS // strips, rows // (8 * down), 256))
    chunk = -(-rows // chunks)
    return (strips, -(-rows // chunk)), (across, down), chunk


def _types(x: Any, w: Any, b: Any) -> str:
    return f"{name_of(x)}, {_parameter(x, w, b)}"


def _parameter(x: Any, w: Any, b: Any) -> str:
    """The type of the scale and the shift."""
    return name_of(w if w is not None else b if b is not None else x)


def accepts_moved(running: Any, new: Any, momentum: Any, factor: Any) -> bool:
    return (
        is_ours(running)
        and is_ours(new)
        and running.flags.c_contiguous
        and new.flags.c_contiguous
        and running.size == new.size
        and 0 < new.size < LARGEST
        and type(momentum) in (int, float)
    )


@kernel("moved", CUPY, accepts_moved)
def moved(running: Any, new: Any, momentum: float, factor: float) -> Any:
    """`(1 - momentum) running + momentum factor new`, of the shape of `running`."""
    out, wide = cupy.empty_like(running), wide_of(running).type
    run(
        f"norm_moved<{name_of(running)}, {name_of(new)}>", blocks(out.size), THREADS,
        running, new, out, out.size, wide(1 - momentum), wide(momentum * factor),
    )  # fmt: skip
    return out


def accepts_affine(x: Any, scale: Any, shift: Any, shape: Any) -> bool:
    axes = (0, *range(2, len(shape)))
    return len(shape) == x.ndim > 1 and accepts(x, scale, shift, axes, shape, 0.0, True)


@kernel("affine", CUPY, accepts_affine)
def affine(x: Any, scale: Any, shift: Any, shape: Any) -> Any:
    """`scale x + shift` for each channel, in the order of memory of `x`."""
    matrix = matrix_of(x, (0, *range(2, x.ndim)))
    assert matrix is not None
    _, columns, inner, _ = matrix
    y = empty_as(x)
    n = pack(columns if inner == 1 else inner, x, y)
    run(
        f"norm_affine<{_types(x, scale, shift)}, {n}>", blocks(x.size // n), THREADS,
        x, scale, shift, y, x.size, columns, inner,
    )  # fmt: skip
    return y
