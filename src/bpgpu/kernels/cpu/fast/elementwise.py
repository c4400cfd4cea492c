"""gelu, relu, and the updates of optimizers, compiled: each number is read and written once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import float32

from bpgpu.kernels.cpu import gelu as in_numpy
from bpgpu.kernels.cpu.conv import NUMPY
from bpgpu.kernels.cpu.fast.compiling import compiled
from bpgpu.kernels.cpu.fast.scalars import exp
from bpgpu.kernels.cpu.fast.threads import LEAST, cut, share
from bpgpu.kernels.cpu.update import accepts, numbers
from bpgpu.kernels.registry import kernel

RATE, DENSITY = in_numpy.RATE, in_numpy.DENSITY
C0, C1, C2, C3, C4, C5, C6, C7, C8 = in_numpy.FIT


@kernel("gelu", NUMPY, in_numpy.accepts)
def gelu(x: Any) -> Any:
    """As `cpu.gelu` has it."""
    flat = np.ascontiguousarray(x).reshape(-1)
    y, slope = np.empty_like(flat), np.empty_like(flat)
    _gelu(flat, y, slope)
    slope = slope.reshape(x.shape)
    return y.reshape(x.shape), lambda g: g * slope


@compiled
def _gelu(x: Any, y: Any, slope: Any) -> None:
    for i in range(x.size):
        a = x[i]
        e = exp(float32(-0.5) * a * a)
        t = float32(1) / (float32(1) + RATE * abs(a))
        p = C7 + t * C8
        p = C5 + t * (C6 + t * p)
        p = C3 + t * (C4 + t * p)
        p = C1 + t * (C2 + t * p)
        p = (C0 + t * p) * t * e
        p = p if a < 0 else float32(1) - p
        y[i] = a * p
        slope[i] = p + a * e * DENSITY


def _rectifies(x: Any) -> bool:
    return type(x) is np.ndarray and x.size >= in_numpy.FEW and x.dtype.char in "fd" and _dense(x)


def _dense(x: Any) -> bool:
    """Whether there are no gaps in memory, whatever the order of the axes."""
    size = x.itemsize
    for stride, n in sorted(zip(x.strides, x.shape, strict=True)):
        if n != 1 and stride != size:
            return False
        size *= n
    return True


@kernel("relu", NUMPY, _rectifies)
def relu(x: Any) -> Any:
    """`max(0, x)`, and the pull, which lets the gradient through where that is not 0."""
    y = np.empty_like(x)
    out = y.ravel("K")
    _shared(_relu, x.ravel("K"), out)

    def pull(g: Any) -> Any:
        found = np.empty_like(y)
        if g.strides == y.strides and g.dtype == y.dtype:
            _shared(_through_relu, out, g.ravel("K"), found.ravel("K"))
        else:
            np.copyto(found, g)
            flat = found.ravel("K")
            _shared(_through_relu, out, flat, flat)
        return found

    return y, pull


def _shared(loop: Any, *arrays: Any, rest: tuple[Any, ...] = ()) -> None:
    """A loop over the numbers of arrays, shared out; `rest` is the same for all."""
    if arrays[0].size < 2 * LEAST:
        loop(*arrays, *rest)
        return
    parts = cut(arrays[0].size, LEAST)
    share(loop, [(*(a[i:j] for a in arrays), *rest) for i, j in parts])


@compiled
def _relu(x: Any, y: Any) -> None:
    for i in range(x.size):
        a = x[i]
        y[i] = y.dtype.type(0) if a <= 0 else a


@compiled
def _through_relu(y: Any, g: Any, out: Any) -> None:
    for i in range(y.size):
        out[i] = g[i] if y[i] != 0 else y.dtype.type(0)


@kernel("adam", NUMPY, accepts, changes=True)
def adam(
    p: Any, g: Any, m: Any, v: Any, rate: Any, root: Any, eps: float, beta1: float, beta2: float
) -> Any:
    """As `cpu.update` has it."""
    rest = numbers(p, rate * root, eps * root, beta1, beta2, 1 - beta1, 1 - beta2)
    _shared(_adam, *(x.reshape(-1) for x in (p, g, m, v)), rest=rest)
    return p, m, v


@compiled
def _adam(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    rate: Any,
    eps: Any,
    beta1: Any,
    beta2: Any,
    new1: Any,
    new2: Any,
) -> None:
    for i in range(p.size):
        a = g[i]
        b = beta1 * m[i] + new1 * a
        c = beta2 * v[i] + new2 * a * a
        m[i] = b
        v[i] = c
        p[i] -= rate * b / (math.sqrt(c) + eps)


@kernel("momentum", NUMPY, accepts, changes=True)
def momentum(p: Any, g: Any, b: Any, rate: Any, mu: float) -> Any:
    """As `cpu.update` has it."""
    _shared(_momentum, *(x.reshape(-1) for x in (p, g, b)), rest=numbers(p, rate, mu))
    return p, b


@compiled
def _momentum(p: Any, g: Any, b: Any, rate: Any, mu: Any) -> None:
    for i in range(p.size):
        a = mu * b[i] + g[i]
        b[i] = a
        p[i] -= rate * a
