"""Convolution on CUDA as matrix products, by cuBLASLt: the way that always works.

The shapes stay `(N, C, *S)`, but in memory the channels of a place stand side by side, and results
are returned that way: `(N, *S, C)` seen through permuted axes, so that the order is passed on from
layer to layer. The windows of an input become the rows of a matrix (im2col), some at a time, so
that the matrix stays small; the product with the weights is the output as it stands in memory.
Groups of channels are a stack of products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import cupy
import numpy as np

from bpgpu.kernels.cuda.launching import CUPY, THREADS, VECTOR, blocks, is_ours, name_of, runner
from bpgpu.kernels.cuda.products import product, sums, usable
from bpgpu.kernels.registry import kernel

PORTION = 2**26
"""Bytes of a matrix of windows that is made at a time: enough rows to fill a GPU."""

GROUPS = 2**16 - 1
"""Of blocks along the second axis of a grid, CUDA starts no more."""

UNITS = {VECTOR // 2**n: f"Pack<unsigned short, {2 ** (3 - n)}>" for n in range(4)}
"""What C++ calls so many bytes that are copied at once."""

run = runner("conv.cu")

LINE = [(name, "i4") for name in ("size", "kernel", "stride", "dilation", "pad", "number")]
WINDOWS = np.dtype([("lines", LINE, 3), ("channels", "i4"), ("groups", "i4")])
"""As in `conv.cu`."""


def accepts(a: Any, b: Any, *rest: Any) -> bool:
    geometry = rest[-1]
    return (
        is_ours(a)
        and is_ours(b)
        and a.dtype == b.dtype
        and 0 not in a.shape
        and 0 not in b.shape
        and math.prod(geometry.counts) > 0
        and geometry.groups <= GROUPS
        and usable(cupy.cuda.runtime.getDevice())
    )


@kernel("convolve", CUPY, accepts)
def convolve(x: Any, w: Any, b: Any, geometry: Any) -> Any:
    """`(N, C, *S), (O, C / G, *K), (O,) -> (N, O, *L)`."""
    matrix = by_groups(w, geometry.groups).swapaxes(1, 2)  # (G, K C / G, O / G)
    return _convolved(x, matrix, b, geometry)


@kernel("spread", CUPY, accepts)
def spread(g: Any, w: Any, geometry: Any) -> Any:
    """`(N, O, *L), (O, C / G, *K) -> (N, C, *S)`: what of each result reaches each input."""
    if set(geometry.stride) == {1} and not geometry.is_product:
        return _turned(g, w, geometry)
    return _added_up(g, by_groups(w, geometry.groups), geometry)


@kernel("correlate", CUPY, accepts)
def correlate(x: Any, g: Any, geometry: Any) -> Any:
    """`(N, C, *S), (N, O, *L) -> (O, C / G, *K)`: what of each result reaches each weight."""
    groups, o = geometry.groups, g.shape[1]
    rows = in_groups(channels_last(g), groups)  # (G, N L, O / G)
    inner = x.shape[1] // groups * math.prod(geometry.kernel)
    many = _rows_at_once(x, geometry) < rows.shape[1]
    wide = "f4" if many and x.itemsize < 4 else x.dtype  # sums of portions are not rounded between
    w = cupy.empty((groups, o // groups, inner), wide)
    for at, windows in _parts(x, geometry):
        into(rows[:, at].swapaxes(1, 2), windows, w, add=bool(at.start))
    w = w.astype(x.dtype, copy=False).reshape(o, *geometry.kernel, x.shape[1] // groups)
    return cupy.ascontiguousarray(cupy.moveaxis(w, -1, 1))


def accepts_sums(g: Any) -> bool:
    return is_ours(g) and g.size > 0 and usable(cupy.cuda.runtime.getDevice())


@kernel("channel_sums", CUPY, accepts_sums)
def channel_sums(g: Any) -> Any:
    """`(N, O, *L) -> (O,)`."""
    return sums(channels_last(g).reshape(-1, g.shape[1]))


# ---- products


def into(x: Any, y: Any, out: Any = None, *, add: bool = False) -> Any:
    """`x @ y`, written to `out` or added to it."""
    done = product(x, y, out, add=add)
    if done is not None:
        return done
    done = cupy.matmul(x, y)
    if out is None:
        return done
    out[...] = out + done if add else done
    return out


def _convolved(x: Any, matrix: Any, b: Any, geometry: Any) -> Any:
    """The windows of `x` times `matrix`, `(G, K C / G, O / G)`."""
    groups, _, columns = matrix.shape
    y = cupy.empty((x.shape[0], *geometry.counts, groups * columns), x.dtype)
    rows = in_groups(y, groups)
    for at, windows in _parts(x, geometry):
        part = rows[:, at]
        if b is None or groups > 1 or not _with_bias(windows[0], matrix[0], b, part[0]):
            into(windows, matrix, part)
            if b is not None:
                part += b.reshape(groups, 1, columns)
    return _first(y)


def _with_bias(windows: Any, matrix: Any, b: Any, out: Any) -> bool:
    """The product of one group with the bias added on its way out, if cuBLASLt can do that."""
    if not is_ours(b) or b.dtype != out.dtype or (b.size > 1 and not b.flags.c_contiguous):
        return False
    return product(windows, matrix, out, epilogue="BIAS", vector=b) is not None


def _turned(g: Any, w: Any, geometry: Any) -> Any:
    """For a stride of 1: a convolution of the gradient with the kernel turned around."""
    pads = tuple(
        (d * (k - 1) - before, size - count + before)
        for size, count, k, d, (before, _) in zip(
            geometry.sizes,
            geometry.counts,
            geometry.kernel,
            geometry.dilation,
            geometry.pads,
            strict=True,
        )
    )
    back = geometry._replace(sizes=geometry.counts, counts=geometry.sizes, pads=pads)
    turned = w[(..., *(slice(None, None, -1),) * len(geometry.kernel))]
    groups, inner = geometry.groups, w.shape[1]
    turned = cupy.moveaxis(turned.reshape(groups, -1, *w.shape[1:]), (1, 2), (-2, -1))
    matrix = cupy.ascontiguousarray(turned).reshape(groups, -1, inner)  # (G, K O / G, C / G)
    return _convolved(g, matrix, None, back)


def _added_up(g: Any, matrix: Any, geometry: Any) -> Any:
    """For other strides: rows of windows `g @ matrix`, each added at its place."""
    groups, inner = geometry.groups, matrix.shape[2]
    g = channels_last(g)
    n, channels = g.shape[0], groups * inner // math.prod(geometry.kernel)
    x = cupy.empty((n, *geometry.sizes, channels), g.dtype)
    if geometry.is_product:
        into(in_groups(g, groups), matrix, in_groups(x, groups))
        return _first(x)
    rows = math.prod(geometry.counts)
    step = max(1, PORTION // (rows * groups * inner * g.itemsize))
    windows = windows_of(geometry, channels)
    for i in range(0, n, step):
        part = x[i : i + step]
        columns = into(in_groups(g[i : i + step], groups), matrix)
        run(
            f"added_windows<{name_of(g)}>", blocks(part.size), THREADS,
            columns, part, np.int64(part.size), np.int64(columns.shape[1]), windows,
        )  # fmt: skip
    return _first(x)


# ---- windows


def _rows_at_once(x: Any, geometry: Any) -> int:
    """So many positions fill a portion; without windows to be made, all are taken at once."""
    if geometry.is_product:
        return int(x.size)
    row = x.shape[1] * math.prod(geometry.kernel) * x.itemsize
    return int(max(1, PORTION // row))


def _parts(x: Any, geometry: Any) -> Iterator[tuple[slice, Any]]:
    """Some positions at a time, and their windows, `(G, R, K C / G)`, in the same memory each
    time."""
    groups, step = geometry.groups, _rows_at_once(x, geometry)
    x = channels_last(x)
    inner = x.shape[-1] // groups * math.prod(geometry.kernel)
    rows = x.shape[0] * math.prod(geometry.counts)
    if geometry.is_product:
        yield slice(0, rows), in_groups(x, groups)
        return
    step = min(step, rows)
    memory = cupy.empty(groups * step * inner, x.dtype)
    for i in range(0, rows, step):
        count = min(step, rows - i)
        windows = memory[: groups * count * inner].reshape(groups, count, inner)
        fill_windows(x, windows, i, geometry)
        yield slice(i, i + count), windows


def fill_windows(x: Any, out: Any, first: int, geometry: Any) -> None:
    """The windows of the positions from `first` on; as many bytes at once as stand side by side."""
    groups, rows = out.shape[:2]
    size = x.shape[-1] // groups * x.itemsize
    unit = next(n for n in (16, 8, 4, 2) if size % n == 0 and (x.data.ptr | out.data.ptr) % n == 0)
    per_row = math.prod(geometry.kernel) * size // unit
    across = min(THREADS, max(8, 2 ** (per_row - 1).bit_length()))
    down = THREADS // across
    run(
        f"window_rows<{UNITS[unit]}>", (-(-rows // down), groups), (across, down),
        x, out, np.int64(first), rows, windows_of(geometry, x.shape[-1] * x.itemsize // unit),
    )  # fmt: skip


def windows_of(geometry: Any, channels: int) -> Any:
    """How the kernel moves, as the CUDA code reads it: three axes, ones in front."""
    lines = list(
        zip(
            geometry.sizes,
            geometry.kernel,
            geometry.stride,
            geometry.dilation,
            (before for before, _ in geometry.pads),
            geometry.counts,
            strict=True,
        )
    )
    ones = [(1, 1, 1, 1, 0, 1)] * (3 - len(lines))
    return np.asarray([(ones + lines, channels, geometry.groups)], WINDOWS)


# ---- order in memory


def in_groups(x: Any, groups: int) -> Any:
    """`(..., C)` without gaps, seen as `(G, rows, C / G)`."""
    return x.reshape(-1, groups, x.shape[-1] // groups).swapaxes(0, 1)


def by_groups(w: Any, groups: int) -> Any:
    """`(O, C / G, *K)` as `(G, O / G, K C / G)`."""
    return cupy.ascontiguousarray(cupy.moveaxis(w, 1, -1)).reshape(groups, w.shape[0] // groups, -1)


def channels_last(x: Any) -> Any:
    """`(N, C, *S)` as `(N, *S, C)` without gaps in memory."""
    return cupy.ascontiguousarray(cupy.moveaxis(x, 1, -1))


def _first(x: Any) -> Any:
    """`(N, *S, C)` seen as `(N, C, *S)`."""
    return cupy.moveaxis(x, -1, 1)
