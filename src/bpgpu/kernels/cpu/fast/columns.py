"""Down the columns of a matrix of many rows: sums, and batch norm.

Sums over a few rows are taken in the dtype of the numbers and added up in float64, so that many
rows lose no digits. The rows are shared out among threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bpgpu.kernels.cpu import conv as in_numpy
from bpgpu.kernels.cpu.conv import first, last
from bpgpu.kernels.cpu.fast.compiling import compiled
from bpgpu.kernels.cpu.fast.threads import LEAST, cut, share
from bpgpu.kernels.cpu.norm import accepts_affine
from bpgpu.kernels.registry import kernel

ROWS = 64
"""So many rows are summed in their own dtype."""


@kernel("channel_sums", in_numpy.NUMPY, in_numpy.sums_columns)
def channel_sums(g: Any) -> Any:
    """As `cpu.conv` has it."""
    rows = last(g).reshape(-1, g.shape[1])
    parts = _cut(rows)
    totals = np.zeros((len(parts), rows.shape[1]))
    share(_add_up, [(rows[at], total) for at, total in zip(parts, totals, strict=True)])
    return totals.sum(0).astype(g.dtype)


@kernel("affine", in_numpy.NUMPY, accepts_affine)
def affine(x: Any, scale: Any, shift: Any, shape: Any) -> Any:
    """As `cpu.norm` has it."""
    rows = last(x).reshape(-1, x.shape[1])
    y = np.empty_like(rows)
    mean = np.zeros_like(scale)
    share(_scale, [(rows[at], mean, scale, shift, y[at]) for at in _cut(rows)])
    return first(y.reshape(x.shape[0], *x.shape[2:], x.shape[1]))


def batch_norm(x: Any, w: Any, b: Any, eps: float, centre: bool) -> tuple[Any, ...]:
    """One mean and one variance for each column."""
    n, parts = len(x), _cut(x)
    mean, variance = _moments(x, parts)
    inverse = 1 / np.sqrt(variance + x.dtype.type(eps))
    factor, shift = w * inverse, np.zeros_like(mean) if b is None else b
    y = np.empty_like(x)
    share(_scale, [(x[at], mean, factor, shift, y[at]) for at in parts])

    def back(g: Any, wanted: tuple[bool, ...]) -> Any:
        totals = np.zeros((len(parts), 2, x.shape[1]))
        share(
            _add_products,
            [(g[at], x[at], mean, *two) for at, two in zip(parts, totals, strict=True)],
        )
        of_g, of_gd = totals.sum(0).astype(x.dtype)
        gx = np.empty_like(g) if wanted[0] else None
        if gx is not None:
            slope = of_gd * (inverse * inverse / n)
            share(
                _through,
                [(g[at], x[at], mean, of_g / n, slope, factor, gx[at]) for at in parts],
            )
        return gx, of_gd * inverse, of_g

    return y, mean, variance, back


def _cut(x: Any) -> list[slice]:
    return [slice(*part) for part in cut(len(x), LEAST // x.shape[1])]


def _moments(x: Any, parts: list[slice]) -> tuple[Any, Any]:
    """Mean and variance of each column; those of the parts are put together as in T. Chan, G. Golub
    and R. LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample
    variances"."""
    found = np.zeros((len(parts), 2, x.shape[1]))
    share(_measure, [(x[at], *two) for at, two in zip(parts, found, strict=True)])
    mean, squares = found[0]
    n = parts[0].stop
    for at, (other, more) in zip(parts[1:], found[1:], strict=True):
        m = at.stop - at.start
        apart = other - mean
        mean += apart * (m / (n + m))
        squares += more + apart * apart * (n * m / (n + m))
        n += m
    return mean.astype(x.dtype), (squares / n).astype(x.dtype)


# ---- the loops


@compiled
def _add_up(x: Any, total: Any) -> None:
    n, c = x.shape
    part = np.zeros(c, x.dtype)
    for start in range(0, n, ROWS):
        part[:] = 0
        for row in x[start : start + ROWS]:
            for j in range(c):
                part[j] += row[j]
        for j in range(c):
            total[j] += part[j]


@compiled
def _measure(x: Any, mean: Any, squares: Any) -> None:
    """The means, and the sums of the squared distances from them."""
    n, c = x.shape
    here, part = np.zeros(c, x.dtype), np.zeros(c, x.dtype)
    for start in range(0, n, ROWS):
        rows = x[start : start + ROWS]
        m = len(rows)
        here[:] = 0
        part[:] = 0
        for row in rows:
            for j in range(c):
                here[j] += row[j]
        for j in range(c):
            here[j] /= x.dtype.type(m)
        for row in rows:
            for j in range(c):
                d = row[j] - here[j]
                part[j] += d * d
        share_of_rows = m / (start + m)
        for j in range(c):
            apart = here[j] - mean[j]
            mean[j] += apart * share_of_rows
            squares[j] += part[j] + apart * apart * (start * share_of_rows)


@compiled
def _scale(x: Any, mean: Any, factor: Any, b: Any, y: Any) -> None:
    n, c = x.shape
    for i in range(n):
        row, out = x[i], y[i]
        for j in range(c):
            out[j] = (row[j] - mean[j]) * factor[j] + b[j]


@compiled
def _add_products(g: Any, x: Any, mean: Any, of_g: Any, of_gd: Any) -> None:
    """Sums of `g`, and of `g` times the distance from the mean."""
    n, c = x.shape
    part, other = np.zeros_like(mean), np.zeros_like(mean)
    for start in range(0, n, ROWS):
        part[:] = 0
        other[:] = 0
        for i in range(start, min(start + ROWS, n)):
            arrived, row = g[i], x[i]
            for j in range(c):
                part[j] += arrived[j]
                other[j] += arrived[j] * (row[j] - mean[j])
        for j in range(c):
            of_g[j] += part[j]
            of_gd[j] += other[j]


@compiled
def _through(g: Any, x: Any, mean: Any, of_g: Any, of_gd: Any, factor: Any, out: Any) -> None:
    n, c = x.shape
    for i in range(n):
        arrived, row, to = g[i], x[i], out[i]
        for j in range(c):
            to[j] = (arrived[j] - (row[j] - mean[j]) * of_gd[j] - of_g[j]) * factor[j]
