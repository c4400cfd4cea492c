"""Batch, layer and RMS normalisation, compiled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bpgpu.kernels.cpu.conv import NUMPY
from bpgpu.kernels.cpu.fast.columns import ROWS, batch_norm
from bpgpu.kernels.cpu.fast.compiling import compiled
from bpgpu.kernels.cpu.norm import accepts, arranged, is_down
from bpgpu.kernels.registry import kernel


@kernel("standardize", NUMPY, accepts)
def standardize(
    x: Any, w: Any, b: Any, axes: Any, shape: Any, eps: float, centre: bool
) -> tuple[Any, ...]:
    """As `cpu.norm` has it."""
    make = batch_norm if is_down(x, axes) else _along_rows
    return arranged(make, x, w, b, axes, eps, centre)


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
