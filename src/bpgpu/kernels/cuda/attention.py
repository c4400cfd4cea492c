"""Attention on CUDA as batched products with one softmax kernel between them, forward and back.

The weights are kept for the way back. The scale is part of the products, so that scores in 16 bits do
not overflow before it.
"""

from __future__ import annotations

import math
from typing import Any

import cupy

from bpgpu.kernels.cuda.launching import CUPY, LARGEST, is_here, is_ours
from bpgpu.kernels.cuda.products import product, usable
from bpgpu.kernels.cuda.softmax import can_mask, through_weights, weights
from bpgpu.kernels.registry import kernel


def accepts(q: Any, k: Any, v: Any, bias: Any, allowed: Any, kept: Any, scale: float) -> bool:
    if not (is_ours(q) and is_ours(k) and is_ours(v)):
        return False
    shape = (*q.shape[:-1], k.shape[-2])
    return (
        q.dtype == k.dtype == v.dtype
        and q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
        and 0 not in (*q.shape, *k.shape, *v.shape)
        and math.prod(shape) < LARGEST
        and (bias is None or (is_ours(bias) and bias.dtype == q.dtype))
        and (allowed is None or is_here(allowed))
        and (kept is None or (is_ours(kept) and kept.dtype == q.dtype and kept.shape == shape))
        and all(m is None or (_fits(m, shape) and can_mask(m, shape)) for m in (bias, allowed))
        and usable(cupy.cuda.runtime.getDevice())
    )


@kernel("attend", CUPY, accepts)
def attend(q: Any, k: Any, v: Any, bias: Any, allowed: Any, kept: Any, scale: float) -> Any:
    """`softmax(scale q k^T + bias) v`; and the pull of `q`, `k`, `v` and `bias`."""
    scale = float(scale)
    kept = None if kept is None else cupy.ascontiguousarray(kept)
    s = _product(q, _turned(k), scale)  # (..., L, S)
    p, w = weights(s, bias, allowed, kept, out=s)
    y = _product(w, v)

    def pull(g: Any, wanted: tuple[bool, ...]) -> Any:
        gv = _product(_turned(w), g) if wanted[2] else None
        if not (wanted[0] or wanted[1] or wanted[3]):
            return None, None, gv, None
        gw = _product(g, _turned(v))
        gs = through_weights(p, gw, kept, out=gw)
        return (
            _product(gs, k, scale) if wanted[0] else None,
            _product(_turned(gs), q, scale) if wanted[1] else None,
            gv,
            _summed(gs, bias.shape) if wanted[3] else None,
        )

    return y, pull


def _product(x: Any, y: Any, scale: float = 1.0) -> Any:
    """`scale x @ y`."""
    out = product(x, y, alpha=scale)
    if out is None:
        out = cupy.matmul(x, y)
        out *= scale
    return out


def _turned(x: Any) -> Any:
    return x.swapaxes(-1, -2)


def _fits(mask: Any, shape: tuple[int, ...]) -> bool:
    """Whether a mask broadcasts to the scores, without making more of them."""
    ends = shape[len(shape) - mask.ndim :]
    return mask.ndim <= len(shape) and all(
        n in (1, m) for n, m in zip(mask.shape, ends, strict=True)
    )


def _summed(g: Any, shape: tuple[int, ...]) -> Any:
    """The gradient of what was broadcast from `shape`."""
    extra = g.ndim - len(shape)
    axes = tuple(i for i in range(g.ndim) if i < extra or (shape[i - extra] == 1 < g.shape[i]))
    return g.sum(axis=axes, keepdims=True).reshape(shape) if axes else g
