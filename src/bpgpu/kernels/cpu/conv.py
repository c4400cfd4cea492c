"""Convolution in NumPy, channels last.

The shapes stay `(N, C, *S)`, but in memory the channels of a place stand side by side, and results
are returned that way: `(N, *S, C)` seen through permuted axes. Then a row of a window is one
stretch of memory, and its copy into the columns of the matrix product as fast as memory goes. The
columns are made in portions that stay in the cache, and never all at once. From layer to layer the
order is passed on by the strides alone.

The gradient of the input, for a stride of 1, is a convolution with the kernel turned around, and so
takes the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from bpgpu.kernels.registry import kernel

NUMPY = "array_api_compat.numpy"
PORTION = 2**23
"""Bytes of columns that are made at a time.

They stay in the cache that the cores share. Of smaller portions, half still stands in the cache of
the core that took part in the last product, from where each line must be called back before it can
be written: with two threads that costs more than the product."""

Pads = tuple[tuple[int, int], ...]


def accepts(a: Any, b: Any, *rest: Any) -> bool:
    geometry = rest[-1]
    return (
        type(a) is np.ndarray
        and a.dtype == b.dtype
        and a.dtype.char in "fd"
        and geometry.groups == 1
        and 0 not in a.shape
        and 0 not in b.shape
        and math.prod(geometry.counts) > 0
        and (not geometry.is_product or a.strides[1] == a.itemsize)
    )


@kernel("convolve", NUMPY, accepts)
def convolve(x: Any, w: Any, b: Any, geometry: Any) -> Any:
    """`(N, C, *S), (O, C, *K), (O,) -> (N, O, *L)`."""
    x = last(x)
    matrix = np.moveaxis(w, 1, -1).reshape(w.shape[0], -1).T  # (K C, O)
    if geometry.is_product:
        y = x.reshape(-1, x.shape[-1]) @ matrix
        if b is not None:
            y += b
        return first(y.reshape(*x.shape[:-1], -1))
    x = _surrounded(x, geometry.pads)
    return _product(
        x, matrix, b, geometry.kernel, geometry.stride, geometry.dilation, geometry.counts
    )


@kernel("spread", NUMPY, accepts)
def spread(g: Any, w: Any, geometry: Any) -> Any:
    """`(N, O, *L), (O, C, *K) -> (N, C, *S)`: what of each result reaches each input."""
    g = last(g)
    if geometry.is_product:
        x = g.reshape(-1, g.shape[-1]) @ w.reshape(w.shape[:2])
        return first(x.reshape(*g.shape[:-1], -1))
    if set(geometry.stride) == {1}:
        return _turned(g, w, geometry)
    return scattered(g, w, geometry, _add_columns)


@kernel("correlate", NUMPY, accepts)
def correlate(x: Any, g: Any, geometry: Any) -> Any:
    """`(N, C, *S), (N, O, *L) -> (O, C, *K)`: what of each result reaches each weight."""
    x, g = last(x), np.ascontiguousarray(last(g))
    c, o = x.shape[-1], g.shape[-1]
    if geometry.is_product:
        w = g.reshape(-1, o).T @ x.reshape(-1, c)
    else:
        x = _surrounded(x, geometry.pads)
        view = _windows(x, geometry.kernel, geometry.stride, geometry.dilation, geometry.counts)
        w = None
        for at, columns in _portions(view, x.dtype):
            part = g[at].reshape(-1, o).T @ columns
            w = part if w is None else np.add(w, part, out=w)
    w = w.reshape(o, *geometry.kernel, c)
    return np.ascontiguousarray(np.moveaxis(w, -1, 1))


def sums_columns(g: Any) -> bool:
    return (
        type(g) is np.ndarray
        and g.dtype.char in "fd"
        and 0 not in g.shape
        and last(g).flags.c_contiguous
    )


@kernel("channel_sums", NUMPY, sums_columns)
def channel_sums(g: Any) -> Any:
    """`(N, O, *L) -> (O,)`, as a product with ones: the fastest sum over rows that NumPy has."""
    rows = last(g).reshape(-1, g.shape[1])
    return np.ones(len(rows), g.dtype) @ rows


# ---- the input's gradient


def _turned(g: Any, w: Any, geometry: Any) -> Any:
    """For a stride of 1: a convolution of the gradient with the kernel turned around."""
    pads, turned = [], w
    sizes = zip(
        geometry.sizes,
        geometry.counts,
        geometry.kernel,
        geometry.dilation,
        geometry.pads,
        strict=True,
    )
    for axis, (size, count, k, d, (before, _)) in enumerate(sizes, 2):
        pads.append((d * (k - 1) - before, size - count + before))
        turned = np.flip(turned, axis)
    matrix = np.moveaxis(turned, (0, 1), (-2, -1)).reshape(-1, w.shape[1])  # (K O, C)
    g = _surrounded(g, tuple(pads))
    ones = (1,) * len(pads)
    return _product(g, matrix, None, geometry.kernel, ones, geometry.dilation, geometry.sizes)


def scattered(g: Any, w: Any, geometry: Any, add: Any) -> Any:
    """For other strides: columns of the gradient `(N, *L, O)`, each added at its place."""
    g = np.ascontiguousarray(g)
    n, o, c = g.shape[0], g.shape[-1], w.shape[1]
    matrix = np.moveaxis(w, 0, -1)  # (C, *K, O)
    matrix = np.moveaxis(matrix, 0, -2).reshape(-1, o).T  # (O, K C)
    sizes = [s + a + b for s, (a, b) in zip(geometry.sizes, geometry.pads, strict=True)]
    out = np.zeros((n, *sizes, c), g.dtype)
    step = max(1, PORTION // (math.prod(g.shape[1:-1]) * matrix.shape[1] * g.itemsize))
    for i in range(0, n, step):
        part, at = g[i : i + step], slice(i, i + step)
        columns = (part.reshape(-1, o) @ matrix).reshape(*part.shape[:-1], -1, c)
        add(out[at], columns, geometry)
    return first(_surrounded(out, tuple((-a, -b) for a, b in geometry.pads)))


def _add_columns(out: Any, columns: Any, geometry: Any) -> None:
    for k, place in enumerate(_places(geometry)):
        out[(slice(None), *place)] += columns[..., k, :]


def _places(geometry: Any) -> Iterator[tuple[slice, ...]]:
    """For each place in the kernel, where it falls in the padded input for all positions."""
    for offset in np.ndindex(*geometry.kernel):
        parts = zip(offset, geometry.dilation, geometry.stride, geometry.counts, strict=True)
        yield tuple(slice(k * d, k * d + s * (count - 1) + 1, s) for k, d, s, count in parts)


# ---- columns in portions


def _product(x: Any, matrix: Any, b: Any, *moves: Any) -> Any:
    """The windows of a padded input as columns, times a matrix."""
    view = _windows(x, *moves)
    y = np.empty((*view.shape[: x.ndim - 1], matrix.shape[1]), x.dtype)
    for at, columns in _portions(view, x.dtype):
        part = y[at].reshape(-1, matrix.shape[1])
        np.matmul(columns, matrix, out=part)
        if b is not None:
            part += b
    return first(y)


def _windows(x: Any, kernel: Any, stride: Any, dilation: Any, counts: Any) -> Any:
    """`(N, *S, C) -> (N, *L, *K)`, a view of an array without gaps, for copying.

    An item of it is what stands side by side in memory, as bytes without a meaning: the channels of
    a place, or of all places along the last axis of the kernel if they are neighbours, so that the
    last entry of `K` is 1. NumPy copies bytes in one piece, but numbers in a loop."""
    steps, c = x.strides[1:-1], x.shape[-1]
    side_by_side = kernel[-1] if dilation[-1] == 1 else 1
    return np.ndarray(
        (x.shape[0], *counts, *kernel[:-1], kernel[-1] // side_by_side),
        np.dtype((np.void, side_by_side * c * x.itemsize)),
        x,
        strides=(
            x.strides[0],
            *(s * t for s, t in zip(steps, stride, strict=True)),
            *(s * d for s, d in zip(steps, dilation, strict=True)),
        ),
    )


def _portions(view: Any, dtype: Any) -> Iterator[tuple[Any, Any]]:
    """Some examples of the windows at a time, or some lines of one, copied into columns."""
    spatial = (view.ndim - 1) // 2
    n, lines = view.shape[:2]
    places = math.prod(view.shape[1 + spatial :])
    line = math.prod(view.shape[2 : 1 + spatial]) * places  # items in a line
    room = max(PORTION // view.itemsize, line)
    if lines * line <= room:
        step = min(n, room // (lines * line))
        keys: list[Any] = [(slice(a, a + step),) for a in range(0, n, step)]
        buffer = np.empty(step * lines * line, view.dtype)
    else:
        step = room // line
        keys = [(a, slice(i, i + step)) for a in range(n) for i in range(0, lines, step)]
        buffer = np.empty(step * line, view.dtype)
    for at in keys:
        part = view[at]
        columns = buffer[: part.size]
        np.copyto(columns.reshape(part.shape), part)
        yield at, columns.view(dtype).reshape(part.size // places, -1)


# ---- order in memory


def last(x: Any) -> Any:
    """`(N, C, *S)` seen as `(N, *S, C)`."""
    return x.transpose(0, *range(2, x.ndim), 1)


def first(x: Any) -> Any:
    """`(N, *S, C)` seen as `(N, C, *S)`."""
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def _surrounded(x: Any, pads: Pads) -> Any:
    """`(N, *S, C)` with zeros around, or with places cut off where a number is negative; without
    gaps in memory."""
    inner = tuple(
        slice(max(-a, 0), s - max(-b, 0)) for s, (a, b) in zip(x.shape[1:], pads, strict=False)
    )
    x = x[(slice(None), *inner)]
    if all(a <= 0 and b <= 0 for a, b in pads):
        return np.ascontiguousarray(x)
    more = [(max(a, 0), max(b, 0)) for a, b in pads]
    sizes = [s + a + b for s, (a, b) in zip(x.shape[1:], more, strict=False)]
    out = np.zeros((x.shape[0], *sizes, x.shape[-1]), x.dtype)
    place = tuple(slice(a, a + s) for s, (a, _) in zip(x.shape[1:], more, strict=False))
    out[(slice(None), *place)] = x
    return out
