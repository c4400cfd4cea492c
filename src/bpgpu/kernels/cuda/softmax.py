"""The softmax of rows on CUDA, and back through it; masked for attention.

`weights` and `through_weights` are what attention needs between its products.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from bpgpu.kernels.cuda.launching import (
    CUPY,
    LARGEST,
    empty_as,
    is_ours,
    name_of,
    pack,
    row_threads,
    runner,
    wide_of,
)
from bpgpu.kernels.registry import kernel

run = runner("softmax.cu")

ROWS = np.dtype([(name, "i4") for name in ("heads", "length", "first", "head", "line", "column")])
"""How a mask is read, row by row; as in `softmax.cu`."""


def accepts(x: Any, axis: int) -> bool:
    return _takes(x) and axis == x.ndim - 1


def accepts_two(y: Any, g: Any, axis: int) -> bool:
    return _takes(y) and is_ours(g) and g.dtype == y.dtype and axis == y.ndim - 1


def _takes(x: Any) -> bool:
    return is_ours(x) and x.flags.c_contiguous and 0 < x.size < LARGEST


@kernel("softmax", CUPY, accepts)
def softmax(x: Any, axis: int) -> Any:
    """`exp(x - max x) / sum exp(x - max x)` along the last axis."""
    return weights(x, out=empty_as(x), masked=False)[0]


@kernel("softmax_gradient", CUPY, accepts_two)
def softmax_gradient(y: Any, g: Any, axis: int) -> Any:
    """`y (g - sum(g y))`."""
    return through_weights(y, cupy.ascontiguousarray(g), out=empty_as(y))


@kernel("log_softmax", CUPY, accepts)
def log_softmax(x: Any, axis: int) -> Any:
    """`x - max x - log(sum exp(x - max x))` along the last axis."""
    y = empty_as(x)
    _by_rows("log_softmax_rows", x, y)
    return y


@kernel("log_softmax_gradient", CUPY, accepts_two)
def log_softmax_gradient(y: Any, g: Any, axis: int) -> Any:
    """`g - exp(y) sum(g)`."""
    gx = empty_as(y)
    _by_rows("log_softmax_rows_back", y, cupy.ascontiguousarray(g), gx)
    return gx


def _by_rows(name: str, *arrays: Any) -> None:
    columns = arrays[0].shape[-1]
    n = pack(columns, *arrays)
    rows = arrays[0].size // columns
    run(f"{name}<{name_of(arrays[0])}, {n}>", rows, row_threads(columns // n), *arrays, columns)


def weights(
    s: Any,
    bias: Any = None,
    allowed: Any = None,
    kept: Any = None,
    scale: float = 1.0,
    *,
    out: Any,
    masked: bool = True,
) -> tuple[Any, Any]:
    """`p = softmax(scale s + bias)` over what is allowed, written to `out`, which may be `s` itself;
    and `p` times `kept`, if that is given.

    `s`: `(..., H, L, S)`. `bias` and `allowed` are of at most two axes before `(L, S)` and broadcast
    to it. Where nothing is allowed, all weights are 0 if `masked`, else NaN.
    """
    columns = s.shape[-1]
    n = pack(columns, *(x for x in (s, kept, out) if x is not None))
    dropped = None if kept is None else empty_as(out)
    run(
        f"softmax_rows<{name_of(s)}, {n}>", s.size // columns, row_threads(columns // n),
        s, bias, rows_of(bias, s), allowed, rows_of(allowed, s), kept, out, dropped, columns,
        wide_of(s).type(scale), masked,
    )  # fmt: skip
    return out, out if dropped is None else dropped


def through_weights(p: Any, g: Any, kept: Any = None, scale: float = 1.0, *, out: Any) -> Any:
    """`scale p (g - sum(g p))`, where `g` has come through `kept`; written to `out`, which may be `g`."""
    columns = p.shape[-1]
    n = pack(columns, *(x for x in (p, g, kept, out) if x is not None))
    run(
        f"softmax_rows_back<{name_of(p)}, {n}>", p.size // columns, row_threads(columns // n),
        p, g, kept, out, columns, wide_of(p).type(scale),
    )  # fmt: skip
    return out


def rows_of(mask: Any, s: Any) -> Any:
    """How a mask or a bias is read for each row of `s`."""
    if mask is None:
        return np.zeros(1, ROWS)
    sizes = (1, 1, 1, *s.shape)[-3:-1]  # H, L
    steps = cupy.broadcast_to(mask, s.shape).strides
    steps = (0, 0, 0, *steps)[-4:]
    shape = (1, 1, 1, *s.shape)[-4:]
    steps = tuple(0 if n == 1 else k // mask.itemsize for n, k in zip(shape, steps, strict=True))
    return np.asarray([(*sizes, *steps)], ROWS)


def can_mask(mask: Any, shape: tuple[int, ...]) -> bool:
    """Whether `weights` can read a mask for scores of this shape."""
    if mask is None:
        return True
    near = all(abs(step) < 2**31 for step in mask.strides)  # `ROWS` has 32 bits for each
    return near and (len(shape) <= 4 or all(n == 1 for n in mask.shape[:-2]))
