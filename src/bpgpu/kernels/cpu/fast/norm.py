"""Batch, layer and RMS normalisation, compiled.

Down the columns, sums over a few rows are taken in the dtype of the numbers and added up in
float64, so that many rows lose no digits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bpgpu.kernels.cpu.conv import NUMPY
from bpgpu.kernels.cpu.fast.compiling import compiled
from bpgpu.kernels.cpu.norm import accepts, arranged, is_down
from bpgpu.kernels.registry import kernel

ROWS = 64
"""So many rows are summed in their own dtype."""


@kernel("standardize", NUMPY, accepts)
def standardize(
    x: Any, w: Any, b: Any, axes: Any, shape: Any, eps: float, centre: bool
) -> tuple[Any, ...]:
    """As `cpu.norm` has it."""
    make = _down_columns if is_down(x, axes) else _along_rows
    return arranged(make, x, w, b, axes, eps, centre)


# ---- down the columns: batch norm


def _down_columns(x: Any, w: Any, b: Any, eps: float, centre: bool) -> tuple[Any, ...]:
    n = len(x)
    mean, variance = np.zeros((2, x.shape[1]), x.dtype)
    _moments(x, mean, variance)
    inverse = 1 / np.sqrt(variance + x.dtype.type(eps))
    factor = w * inverse
    y = np.empty_like(x)
    _scaled(x, mean, factor, np.zeros_like(mean) if b is None else b, y)

    def back(g: Any, wanted: tuple[bool, ...]) -> Any:
        of_g, of_gd = np.zeros((2, x.shape[1]), x.dtype)
        _sums(g, x, mean, of_g, of_gd)
        gx = np.empty_like(g) if wanted[0] else None
        if gx is not None:
            slope = of_gd * (inverse * inverse / n)
            _through_columns(g, x, mean, of_g / n, slope, factor, gx)
        return gx, of_gd * inverse, of_g

    return y, mean, variance, back


@compiled
def _moments(x: Any, mean: Any, variance: Any) -> None:
    n, c = x.shape
    total, part = np.zeros(c), np.zeros_like(mean)
    for start in range(0, n, ROWS):
        part[:] = 0
        for row in x[start : start + ROWS]:
            for j in range(c):
                part[j] += row[j]
        for j in range(c):
            total[j] += part[j]
    for j in range(c):
        mean[j] = total[j] / n
    total[:] = 0
    for start in range(0, n, ROWS):
        part[:] = 0
        for row in x[start : start + ROWS]:
            for j in range(c):
                d = row[j] - mean[j]
                part[j] += d * d
        for j in range(c):
            total[j] += part[j]
    for j in range(c):
        variance[j] = total[j] / n


@compiled
def _scaled(x: Any, mean: Any, factor: Any, b: Any, y: Any) -> None:
    n, c = x.shape
    for i in range(n):
        row, out = x[i], y[i]
        for j in range(c):
            out[j] = (row[j] - mean[j]) * factor[j] + b[j]


@compiled
def _sums(g: Any, x: Any, mean: Any, of_g: Any, of_gd: Any) -> None:
    n, c = x.shape
    one, two = np.zeros(c), np.zeros(c)
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
            one[j] += part[j]
            two[j] += other[j]
    for j in range(c):
        of_g[j] = one[j]
        of_gd[j] = two[j]


@compiled
def _through_columns(
    g: Any, x: Any, mean: Any, of_g: Any, of_gd: Any, factor: Any, out: Any
) -> None:
    n, c = x.shape
    for i in range(n):
        arrived, row, to = g[i], x[i], out[i]
        for j in range(c):
            to[j] = (arrived[j] - (row[j] - mean[j]) * of_gd[j] - of_g[j]) * factor[j]


# ---- along the rows: layer norm; RMS norm leaves the mean out


def _along_rows(x: Any, w: Any, b: Any, eps: float, centre: bool) -> tuple[Any, ...]:
    mean, variance = np.zeros((2, len(x), 1), x.dtype)
    inverse, y = np.empty(len(x), x.dtype), np.empty_like(x)
    shift = np.zeros_like(w) if b is None else b
    _rows(x, w, shift, x.dtype.type(eps), centre, mean[:, 0], variance[:, 0], inverse, y)
    means = mean[:, 0]

    def pull_x(g: Any) -> Any:
        out = np.empty_like(g)
        _through_rows(g, x, w, means, inverse, centre, out)
        return out

    def pull_w(g: Any) -> Any:
        out = np.zeros_like(w)
        _of_scale(g, x, means, inverse, out)
        return out

    def pull_b(g: Any) -> Any:
        return np.ones(len(g), g.dtype) @ g

    def back(g: Any, wanted: tuple[bool, ...]) -> Any:
        pulls = zip((pull_x, pull_w, pull_b), wanted, strict=True)
        return tuple([pull(g) if want else None for pull, want in pulls])

    return y, mean, variance, back


@compiled
def _rows(
    x: Any, w: Any, b: Any, eps: Any, centre: bool, mean: Any, variance: Any, inverse: Any, y: Any
) -> None:
    n, c = x.shape
    for i in range(n):
        row, out = x[i], y[i]
        m = x.dtype.type(0)
        if centre:
            for j in range(c):
                m += row[j]
            m /= x.dtype.type(c)
        v = x.dtype.type(0)
        for j in range(c):
            d = row[j] - m
            v += d * d
        v /= x.dtype.type(c)
        r = x.dtype.type(1) / math.sqrt(v + eps)
        mean[i], variance[i], inverse[i] = m, v, r
        for j in range(c):
            out[j] = (row[j] - m) * r * w[j] + b[j]


@compiled
def _through_rows(g: Any, x: Any, w: Any, mean: Any, inverse: Any, centre: bool, out: Any) -> None:
    n, c = x.shape
    for i in range(n):
        arrived, row, to = g[i], x[i], out[i]
        m, r = mean[i], inverse[i]
        of_g = x.dtype.type(0)
        of_gz = x.dtype.type(0)
        for j in range(c):
            a = arrived[j] * w[j]
            of_g += a
            of_gz += a * (row[j] - m) * r
        of_g = of_g / x.dtype.type(c) if centre else x.dtype.type(0)
        of_gz /= x.dtype.type(c)
        for j in range(c):
            to[j] = (arrived[j] * w[j] - of_g - (row[j] - m) * r * of_gz) * r


@compiled
def _of_scale(g: Any, x: Any, mean: Any, inverse: Any, out: Any) -> None:
    n, c = x.shape
    total, part = np.zeros(c), np.zeros_like(out)
    for start in range(0, n, ROWS):
        part[:] = 0
        for i in range(start, min(start + ROWS, n)):
            arrived, row = g[i], x[i]
            m, r = mean[i], inverse[i]
            for j in range(c):
                part[j] += arrived[j] * (row[j] - m) * r
        for j in range(c):
            total[j] += part[j]
    for j in range(c):
        out[j] = total[j]
