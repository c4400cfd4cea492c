"""Batch, layer and RMS normalisation in NumPy, over rows that stay in the cache.

The numbers stand in a matrix `(n, c)` with the scale and the shift along its columns. Batch norm
takes its statistics down the columns (channels last in memory), layer and RMS norm along the rows.
A portion of the rows is brought into the cache once for all that is done with it; sums are products
with a vector of ones, which is the fastest way to sum that NumPy has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bpgpu.kernels.cpu.conv import NUMPY, first, last
from bpgpu.kernels.registry import kernel

PORTION = 2**18
"""Bytes of rows that are worked on at a time."""


def is_down(x: Any, axes: Any) -> bool:
    """True if the statistics are those of channels: over all axes but the second."""
    return bool(axes == (0, *range(2, x.ndim)))


def _matrix(x: Any, axes: Any, shape: Any, scaled: bool) -> Any:
    """`x` as a matrix whose columns are scaled, a view; `None` if its order in memory is another."""
    first = axes[0]
    if is_down(x, axes):
        x, columns = last(x), x.shape[1]
    else:
        columns = math.prod(x.shape[first:])
        if axes != tuple(range(first, x.ndim)) or (scaled and math.prod(shape) != columns):
            return None
    return x.reshape(-1, columns) if x.flags.c_contiguous else None


def accepts(x: Any, w: Any, b: Any, axes: Any, shape: Any, eps: float, centre: bool) -> bool:
    return (
        type(x) is np.ndarray
        and x.dtype.char in "fd"
        and x.ndim > 1
        and math.prod(x.shape) > 0
        and all(p is None or p.dtype == x.dtype for p in (w, b))
        and _matrix(x, axes, shape, w is not None or b is not None) is not None
    )


@kernel("standardize", NUMPY, accepts)
def standardize(
    x: Any, w: Any, b: Any, axes: Any, shape: Any, eps: float, centre: bool
) -> tuple[Any, ...]:
    """`y = w (x - m) / sqrt(v + eps) + b`, `m` and `v`; and the pull of `x`, `w` and `b`."""
    make = _down_columns if is_down(x, axes) else _along_rows
    return arranged(make, x, w, b, axes, eps, centre)


def accepts_affine(x: Any, scale: Any, shift: Any, shape: Any) -> bool:
    return len(shape) > 1 and accepts(x, scale, shift, (0, *range(2, len(shape))), shape, 0, True)


@kernel("affine", NUMPY, accepts_affine)
def affine(x: Any, scale: Any, shift: Any, shape: Any) -> Any:
    """`y = scale x + shift` for each channel, in the order of memory of `x`."""
    y = np.multiply(x, scale.reshape(shape))
    y += shift.reshape(shape)
    return y


def arranged(
    make: Callable[..., tuple[Any, ...]],
    x: Any,
    w: Any,
    b: Any,
    axes: Any,
    eps: float,
    centre: bool,
) -> tuple[Any, ...]:
    """What `make` computes of the matrix, in the shapes and the order of memory of `x`."""
    down = is_down(x, axes)
    rows = _matrix(x, axes, None, False)
    scale = np.ones(rows.shape[1], x.dtype) if w is None else w.reshape(-1)
    shift = None if b is None else b.reshape(-1)
    y, mean, variance, back = make(rows, scale, shift, eps, centre)

    def flat(g: Any) -> Any:
        g = last(g) if down else g
        return np.ascontiguousarray(g).reshape(rows.shape)

    def shaped(y: Any) -> Any:
        if not down:
            return y.reshape(x.shape)
        return first(y.reshape(x.shape[0], *x.shape[2:], x.shape[1]))

    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))

    def pull(gs: Any, wanted: tuple[bool, ...]) -> Any:
        if gs[0] is None:
            return None, None, None
        gx, gw, gb = back(flat(gs[0]), wanted)
        return (
            shaped(gx) if wanted[0] else None,
            gw.reshape(w.shape) if wanted[1] else None,
            gb.reshape(b.shape) if wanted[2] else None,
        )

    return (shaped(y), mean.reshape(kept), variance.reshape(kept)), pull


def _down_columns(x: Any, w: Any, b: Any, eps: float, centre: bool) -> tuple[Any, ...]:
    """Batch norm: one mean and one variance for each column."""
    n = len(x)
    ones = _ones(x)
    mean = sum(ones[: len(x[at])] @ x[at] for at in _portions(x)) / n
    d = np.empty_like(x)  # x - m
    total = 0
    for at in _portions(x):
        part = np.subtract(x[at], mean, out=d[at])
        total = total + ones[: len(part)] @ (part * part)
    variance = total / n
    inverse = 1 / np.sqrt(variance + x.dtype.type(eps))
    factor = w * inverse
    y = np.empty_like(x)
    for at in _portions(x):
        part = np.multiply(d[at], factor, out=y[at])
        if b is not None:
            part += b

    def back(g: Any, wanted: tuple[bool, ...]) -> Any:
        both = [
            (ones[: len(g[at])] @ g[at], ones[: len(g[at])] @ (g[at] * d[at]))
            for at in _portions(g)
        ]
        of_g, of_gd = sum(a for a, _ in both), sum(a for _, a in both)
        gx = pull_x(g, of_g / n, of_gd * (inverse * inverse / n)) if wanted[0] else None
        return gx, of_gd * inverse, of_g

    def pull_x(g: Any, of_g: Any, of_gd: Any) -> Any:
        out = np.empty_like(g)
        for at in _portions(g):
            part = np.multiply(d[at], of_gd, out=out[at])
            np.subtract(g[at], part, out=part)
            part -= of_g
            part *= factor
        return out

    return y, mean, variance, back


def _along_rows(x: Any, w: Any, b: Any, eps: float, centre: bool) -> tuple[Any, ...]:
    """Layer norm: one mean and one variance for each row; RMS norm leaves the mean out."""
    n, c = x.shape
    ones, across = _ones(x), np.ones(c, x.dtype)
    mean, variance = np.zeros((n, 1), x.dtype), np.empty((n, 1), x.dtype)
    z, y = np.empty_like(x), np.empty_like(x)  # (x - m) / sqrt(v + eps)
    for at in _portions(x):
        part = x[at]
        np.matmul(part, across, out=mean[at][:, 0])
        mean[at] /= c
        part = np.subtract(part, mean[at] if centre else 0, out=z[at])
        np.einsum("ij,ij->i", part, part, out=variance[at][:, 0])
        variance[at] /= c
        part /= np.sqrt(variance[at] + x.dtype.type(eps))
        part = np.multiply(part, w, out=y[at])
        if b is not None:
            part += b
    inverse = 1 / np.sqrt(variance + x.dtype.type(eps))

    def pull_x(g: Any) -> Any:
        out = np.empty_like(g)
        for at in _portions(g):
            gz, part = g[at] * w, out[at]
            through_variance = np.einsum("ij,ij->i", gz, z[at])[:, None] / c
            np.multiply(z[at], through_variance, out=part)
            np.subtract(gz, part, out=part)
            if centre:
                part -= (gz @ across)[:, None] / c
            part *= inverse[at]
        return out

    def pull_w(g: Any) -> Any:
        return sum(ones[: len(g[at])] @ (g[at] * z[at]) for at in _portions(g))

    def pull_b(g: Any) -> Any:
        return sum(ones[: len(g[at])] @ g[at] for at in _portions(g))

    def back(g: Any, wanted: tuple[bool, ...]) -> Any:
        pulls = zip((pull_x, pull_w, pull_b), wanted, strict=True)
        return tuple([pull(g) if want else None for pull, want in pulls])

    return y, mean, variance, back


def _portions(x: Any) -> Iterator[slice]:
    step = max(1, PORTION // (x.shape[1] * x.itemsize))
    return (slice(i, i + step) for i in range(0, len(x), step))


def _ones(x: Any) -> Any:
    return np.ones(min(len(x), max(1, PORTION // (x.shape[1] * x.itemsize))), x.dtype)
