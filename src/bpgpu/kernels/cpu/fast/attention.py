"""Attention, its softmax and the way back through it compiled: a query looks no further than it may."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy import float32

from bpgpu.kernels.cpu import attention as in_numpy
from bpgpu.kernels.cpu.conv import NUMPY
from bpgpu.kernels.cpu.fast.compiling import compiled
from bpgpu.kernels.cpu.fast.scalars import exp
from bpgpu.kernels.registry import kernel


def _accepts(q: Any, *rest: Any) -> bool:
    return q.dtype == np.float32 and in_numpy.accepts(q, *rest)


@kernel("attend", NUMPY, _accepts)
def attend(q: Any, k: Any, v: Any, bias: Any, allowed: Any, kept: Any, scale: float) -> Any:
    """As `cpu.attention` has it."""
    shape = (q.shape[-2], k.shape[-2])
    may = np.broadcast_to(True if allowed is None else allowed, shape)
    may = np.ascontiguousarray(may)
    ends = np.where(np.any(may, axis=1), shape[1] - np.argmax(may[:, ::-1], axis=1), 0)
    return in_numpy.attended(
        q, k, v, scale, functools.partial(_all_rows, may, ends), functools.partial(_back, ends)
    )


def _all_rows(may: Any, ends: Any, s: Any) -> None:
    _softmax(s.reshape(-1, *may.shape), may, ends)


def _back(ends: Any, g: Any, p: Any) -> None:
    _through_softmax(g.reshape(-1, *g.shape[-2:]), p.reshape(-1, *p.shape[-2:]), ends)


@compiled
def _softmax(s: Any, may: Any, ends: Any) -> None:
    for matrix in s:
        for i in range(matrix.shape[0]):
            row, end = matrix[i], ends[i]
            seen, allowed = row[:end], may[i][:end]
            for j in range(end):
                seen[j] = seen[j] if allowed[j] else float32(-math.inf)
            top = float32(-math.inf)
            for j in range(end):
                top = seen[j] if seen[j] > top else top  # noqa: FURB136 - faster
            top = float32(0) if top == float32(-math.inf) else top
            total = float32(0)
            for j in range(end):
                e = exp(seen[j] - top)
                seen[j] = e
                total += e
            factor = float32(1) / (total if total != 0 else float32(1))
            for j in range(end):
                seen[j] *= factor
            row[end:] = total * 0  # NaN if the row is


@compiled
def _through_softmax(g: Any, p: Any, ends: Any) -> None:
    """`p (g - sum(g p))`, in the place of `g`."""
    for k in range(g.shape[0]):
        for i in range(g.shape[1]):
            end = ends[i]
            row, weights = g[k, i][:end], p[k, i][:end]
            total = float32(0)
            for j in range(end):
                total += row[j] * weights[j]
            for j in range(end):
                row[j] = (row[j] - total) * weights[j]
            g[k, i][end:] = total * 0
