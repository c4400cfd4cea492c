"""The cross-entropy of a softmax with classes on CUDA. The scores are read once forward and once
back; for each position its maximum and its sum are kept, and no probabilities."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from bpgpu.kernels.cuda.launching import (
    CUPY,
    LARGEST,
    THREADS,
    blocks,
    empty_as,
    in_order_of,
    is_here,
    is_ours,
    name_of,
    pack,
    row_threads,
    runner,
    wide_of,
)
from bpgpu.kernels.registry import kernel

run = runner("loss.cu")

LABELS = {"i": "int", "l": "long long", "q": "long long"}
"""What C++ calls the dtype of labels, by its character."""
JOINING = 512
"""The threads that join the losses of all positions."""


def accepts(
    x: Any, t: Any, weight: Any, ignore: int, reduction: str, smoothing: float, shape: Any
) -> bool:
    return (
        is_ours(x)
        and is_here(t)
        and t.dtype.char in LABELS
        and 0 < x.size < LARGEST
        and (weight is None or (is_ours(weight) and weight.dtype == x.dtype))
    )


@kernel("cross_entropy", CUPY, accepts)
def cross_entropy(
    x: Any, t: Any, weight: Any, ignore: int, reduction: str, smoothing: float, shape: Any
) -> Any:
    """`(N, C), (N,)` or `(N, C, D), (N, D)`; the result is of `shape` if nothing is reduced. Also
    gives the pull."""
    if x.ndim == 3 and x.transpose(0, 2, 1).flags.c_contiguous:  # channels last: rows, too
        x = x.transpose(0, 2, 1)
        y, pull = _computed(x.reshape(-1, x.shape[2]), t, weight, ignore, reduction, smoothing)
    else:
        y, pull = _computed(x, t, weight, ignore, reduction, smoothing)

    def gradient(g: Any) -> Any:
        gx = pull(g)
        return gx if gx.ndim == x.ndim else gx.reshape(x.shape).transpose(0, 2, 1)

    return y.reshape(shape) if reduction == "none" else y, gradient


def _computed(x: Any, t: Any, weight: Any, ignore: int, reduction: str, smoothing: float) -> Any:
    x, t = cupy.ascontiguousarray(x), cupy.ascontiguousarray(t)
    w = None if weight is None else cupy.ascontiguousarray(weight)
    wide, types = wide_of(x), f"{name_of(x)}, {LABELS[t.dtype.char]}"
    columns, count = x.shape[1], t.size
    settings = _settings(wide, smoothing, ignore)
    known = cupy.empty((count, 4), wide)
    each = reduction == "none"
    losses = cupy.empty(count, x.dtype) if each else None

    def start(name: str, *arrays: Any) -> None:
        if x.ndim == 2:
            n = pack(columns, x, arrays[-1]) if name.endswith("back") else pack(columns, x)
            threads = row_threads(columns // n)
            name = f"entropy_rows{name}<{types}, {n}>"
            run(name, count, threads, x, t, w, known, *arrays, columns, settings)
            return
        step = x.shape[2]
        name = f"entropy_places{name}<{types}>"
        grid = blocks(count)
        run(name, grid, THREADS, x, t, w, known, *arrays, columns, step, count, settings)

    start("", losses)
    y: Any = losses
    divisor = None
    if not each:
        y, divisor = cupy.empty((), x.dtype), cupy.empty((), wide)
        name = f"entropy_joined<{name_of(x)}>"
        run(name, 1, JOINING, known, y, divisor, count, reduction == "mean")

    def pull(g: Any) -> Any:
        gx = empty_as(x)
        start("_back", in_order_of(y, g.reshape(y.shape)), each, divisor, gx)
        return gx

    return y, pull


def _settings(wide: Any, smoothing: float, ignore: int) -> Any:
    """As in `loss.cu`."""
    fields = [("smoothing", wide), ("ignored", "i8"), ("leaves_out", "i4")]
    made = np.zeros(1, np.dtype(fields, align=True))
    made[0] = (smoothing, ignore, 1)
    return made
