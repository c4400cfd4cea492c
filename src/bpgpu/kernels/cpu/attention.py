"""Attention in NumPy: some examples at a time, their scores written over in place.

The weights of all examples are one array, which is kept for the way back. What is not allowed gets
minus infinity before the softmax, so that neither an infinite nor a NaN score there is seen.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from bpgpu.kernels.cpu.conv import NUMPY
from bpgpu.kernels.registry import kernel

PORTION = 2**20
"""Bytes of scores that are worked on at a time."""


def accepts(q: Any, k: Any, v: Any, bias: Any, allowed: Any, kept: Any, scale: float) -> bool:
    return (
        type(q) is np.ndarray
        and q.dtype.char in "fd"
        and q.ndim > 2
        and q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
        and 0 not in (*q.shape, *k.shape, *v.shape)
        and bias is None
        and kept is None
        and (allowed is None or allowed.ndim == 2)
    )


@kernel("attend", NUMPY, accepts)
def attend(q: Any, k: Any, v: Any, bias: Any, allowed: Any, kept: Any, scale: float) -> Any:
    """`softmax(scale q k^T) v`; and the pull of `q`, `k` and `v`."""
    blocked = None if allowed is None else np.where(allowed, 0, -math.inf).astype(q.dtype)
    return attended(q, k, v, scale, functools.partial(_softmax, blocked), _through_softmax)


def attended(q: Any, k: Any, v: Any, scale: float, softmax: Any, through_softmax: Any) -> Any:
    """The same, with a softmax and the way back through it that are computed in place."""
    p = np.empty((*q.shape[:-1], k.shape[-2]), q.dtype)  # (..., L, S)
    y = np.empty((*q.shape[:-1], v.shape[-1]), q.dtype)
    factor = q.dtype.type(scale)
    for at in _portions(p):
        s = np.matmul(q[at] * factor, np.matrix_transpose(k[at]), out=p[at])
        softmax(s)
        np.matmul(s, v[at], out=y[at])

    def pull(g: Any, wanted: tuple[bool, ...]) -> Any:
        gq = np.empty(q.shape, q.dtype) if wanted[0] else None
        gk = np.empty(k.shape, q.dtype) if wanted[1] else None
        gv = np.empty(v.shape, q.dtype) if wanted[2] else None
        for at in _portions(p):
            if gv is not None:
                np.matmul(np.matrix_transpose(p[at]), g[at], out=gv[at])
            if gq is None and gk is None:
                continue
            gs = g[at] @ np.matrix_transpose(v[at])
            through_softmax(gs, p[at])
            gs *= factor
            if gq is not None:
                np.matmul(gs, k[at], out=gq[at])
            if gk is not None:
                np.matmul(np.matrix_transpose(gs), q[at], out=gk[at])
        return gq, gk, gv, None

    return y, pull


def _softmax(blocked: Any, s: Any) -> None:
    """In place; a row in which nothing is allowed becomes 0. `blocked` is 0, or minus infinity."""
    if blocked is not None:
        np.copyto(s, blocked, where=blocked != 0)
    top = np.max(s, axis=-1, keepdims=True)
    top[top == -math.inf] = 0
    s -= top
    np.exp(s, out=s)
    total = np.sum(s, axis=-1, keepdims=True)
    total[total == 0] = 1
    s *= 1 / total


def _through_softmax(g: Any, p: Any) -> None:
    """`p (g - sum(g p))`, in the place of `g`."""
    g -= np.einsum("...ij,...ij->...i", g, p)[..., None]
    g *= p


def _portions(p: Any) -> Iterator[slice]:
    step = max(1, PORTION // (p[0].size * p.itemsize))
    return (slice(i, i + step) for i in range(0, len(p), step))
