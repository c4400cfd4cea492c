"""The exact gelu in NumPy, in float32, in tiles that stay in the cache.

With `t = 1 / (1 + p |x|)`, the normal distribution is `P(-|x|) = exp(-x^2 / 2) t F(t)` with a
polynomial `F`, for all numbers alike, and the exponential is that of the density, too. So the
derivative, `P(x) + x exp(-x^2 / 2) / sqrt(2 pi)`, is kept for the way back, which is one product.

The form is that of C. Hastings (1955), "Approximations for digital computers", sheet 26; the
coefficients are a minimax fit whose largest error, relative to `P(-|x|)`, is 6e-8.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bpgpu.kernels.cpu.conv import NUMPY
from bpgpu.kernels.registry import kernel

TILE = 2**14
"""So many numbers at a time."""
FEW = 2**10
"""The own code of the function is as fast for fewer numbers."""

RATE = np.float32(0.28)
FIT = tuple(
    map(
        np.float32,
        (
            0.1116872645029674,
            0.11199484594175035,
            0.10093032722866188,
            0.09207856308161919,
            0.05325956603724114,
            0.020846612581977383,
            0.0697743783151416,
            -0.08336216781684726,
            0.022790636837988466,
        ),
    )
)
"""The coefficients of `F`, ascending."""
DENSITY = np.float32(1 / math.sqrt(2 * math.pi))


def accepts(x: Any) -> bool:
    return type(x) is np.ndarray and x.dtype.char == "f" and x.size >= FEW


@kernel("gelu", NUMPY, accepts)
def gelu(x: Any) -> Any:
    """`x P(x)`, and the pull."""
    flat = np.ascontiguousarray(x).reshape(-1)
    y, slope = np.empty_like(flat), np.empty_like(flat)
    work = np.empty((3, min(TILE, flat.size)), flat.dtype)
    for start in range(0, flat.size, TILE):
        at = slice(start, start + TILE)
        _tile(flat[at], y[at], slope[at], *work[:, : len(flat[at])])
    slope = slope.reshape(x.shape)
    return y.reshape(x.shape), lambda g: g * slope


def _tile(x: Any, y: Any, slope: Any, t: Any, e: Any, p: Any) -> None:
    np.multiply(x, x, out=e)
    e *= np.float32(-0.5)
    np.exp(e, out=e)
    np.abs(x, out=t)
    t *= RATE
    t += np.float32(1)
    np.divide(np.float32(1), t, out=t)
    np.multiply(t, FIT[-1], out=p)
    for c in reversed(FIT[:-1]):
        p += c
        p *= t
    p *= e  # P(-|x|)
    np.subtract(np.float32(0.5), p, out=p)
    np.copysign(p, x, out=p)
    p += np.float32(0.5)  # P(x): 1 - P(-|x|) to the right
    np.multiply(x, p, out=y)
    np.multiply(x, e, out=slope)
    slope *= DENSITY
    slope += p
