"""Updates of large parameters in NumPy, in place and in tiles, so that memory is read and written
once.

These kernels are the exception to the rule that operands stay as they are: the parameter and its
state are what they change.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bpgpu.kernels.cpu.conv import NUMPY
from bpgpu.kernels.registry import kernel

LEAST = 2**14
"""The own code of the optimizers is as fast for fewer numbers."""

TILE = 2**16
"""So many numbers at a time: with fewer, the calls cost more than what is read twice."""


def accepts(*operands: Any) -> bool:
    """True for several arrays, all alike, and then numbers."""
    p = operands[0]
    return (
        type(p) is np.ndarray
        and p.size >= LEAST
        and p.dtype.char in "fd"
        and all(
            type(x) is np.ndarray and x.dtype == p.dtype and x.flags.c_contiguous
            for x in operands
            if np.ndim(x)
        )
        and all(np.shape(x) in ((), p.shape) for x in operands)
    )


@kernel("adam", NUMPY, accepts, changes=True)
def adam(
    p: Any, g: Any, m: Any, v: Any, rate: Any, root: Any, eps: float, beta1: float, beta2: float
) -> Any:
    """`m` and `v` move towards `g` and `g^2`; `p -= rate m / (sqrt(v) / root + eps)`, with `root`
    multiplied into the numbers."""
    rate, eps, beta1, beta2, new1, new2 = numbers(
        p, rate * root, eps * root, beta1, beta2, 1 - beta1, 1 - beta2
    )
    work = np.empty(min(TILE, p.size), p.dtype)
    for p_, g_, m_, v_ in tiles(p, g, m, v):
        w = work[: len(p_)]
        m_ *= beta1
        m_ += np.multiply(g_, new1, out=w)
        v_ *= beta2
        np.multiply(g_, new2, out=w)
        w *= g_
        v_ += w
        np.sqrt(v_, out=w)
        w += eps
        np.divide(m_, w, out=w)
        w *= rate
        p_ -= w
    return p, m, v


@kernel("momentum", NUMPY, accepts, changes=True)
def momentum(p: Any, g: Any, b: Any, rate: Any, mu: float) -> Any:
    """`b <- mu b + g`, `p -= rate b`."""
    rate, mu = numbers(p, rate, mu)
    work = np.empty(min(TILE, p.size), p.dtype)
    for p_, g_, b_ in tiles(p, g, b):
        b_ *= mu
        b_ += g_
        p_ -= np.multiply(b_, rate, out=work[: len(p_)])
    return p, b


def numbers(p: Any, *values: Any) -> tuple[Any, ...]:
    """In the dtype of the parameter."""
    return tuple(p.dtype.type(x) for x in values)


def tiles(*arrays: Any) -> Any:
    flat = [x.reshape(-1) for x in arrays]
    for start in range(0, flat[0].size, TILE):
        yield [x[start : start + TILE] for x in flat]
