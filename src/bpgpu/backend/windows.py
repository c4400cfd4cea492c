"""Windows of an array: all the patches that a kernel sees as it moves, and the transpose of taking them.

For `x` of shape `(N, C, *S)` and a kernel of shape `K`, the windows have shape `(N, C, *K, *L)`: entry `(n, c, k, l)`
is `x[n, c, l * stride + k * dilation]`, and `L = (S - dilation * (K - 1) - 1) // stride + 1` along each axis."""

from __future__ import annotations

import itertools
import math
from typing import Any

from bpgpu.backend.libraries import library_of

Sizes = tuple[int, ...]


def window_counts(sizes: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    """`L`: how many windows there are along each axis."""
    return tuple(
        (s - d * (k - 1) - 1) // t + 1
        for s, k, t, d in zip(sizes, kernel, stride, dilation, strict=True)
    )


def windows(
    xp: Any, x: Any, kernel: Sizes, stride: Sizes, dilation: Sizes, counts: Sizes | None = None
) -> Any:
    """The windows of `x`, or the first `counts` of them: a view of its memory where the library has strided views,
    else a copy."""
    if counts is None:
        counts = window_counts(tuple(x.shape[2:]), kernel, stride, dilation)
    library = library_of(x)
    if library in ("numpy", "cupy"):
        steps = x.strides[2:]
        return xp.lib.stride_tricks.as_strided(
            x,
            (*x.shape[:2], *kernel, *counts),
            (
                *x.strides[:2],
                *(s * d for s, d in zip(steps, dilation, strict=True)),
                *(s * t for s, t in zip(steps, stride, strict=True)),
            ),
            **({"writeable": False} if library == "numpy" else {}),
        )
    if math.prod(kernel) == 0:
        return xp.zeros((*x.shape[:2], *kernel, *counts), dtype=x.dtype)
    taken = [x[at] for at in _places(kernel, counts, stride, dilation)]
    return xp.reshape(xp.stack(taken, axis=2), (*x.shape[:2], *kernel, *counts))


def add_windows(xp: Any, w: Any, sizes: Sizes, stride: Sizes, dilation: Sizes) -> Any:
    """The transpose of `windows`: an array of shape `(N, C, *sizes)` into which every window is added at its place."""
    n = len(sizes)
    kernel, counts = tuple(w.shape[2 : 2 + n]), tuple(w.shape[2 + n :])
    out = xp.zeros((*w.shape[:2], *sizes), dtype=w.dtype, device=_device(w))
    offsets = itertools.product(*map(range, kernel))
    for offset, at in zip(offsets, _places(kernel, counts, stride, dilation), strict=True):
        part = w[(slice(None), slice(None), *offset, *[slice(None)] * n)]
        if hasattr(out, "at"):  # immutable
            out = out.at[at].add(part)
        else:
            out[at] += part
    return out


def _places(kernel: Sizes, counts: Sizes, stride: Sizes, dilation: Sizes) -> list[Any]:
    """Where the entries at each place of the kernel stand in the array: one index for each, in row-major order."""
    return [
        (
            slice(None),
            slice(None),
            *(
                slice(k * d, k * d + t * (c - 1) + 1, t) if c else slice(0, 0)
                for k, d, t, c in zip(offset, dilation, stride, counts, strict=True)
            ),
        )
        for offset in itertools.product(*map(range, kernel))
    ]


def _device(x: Any) -> Any:
    from array_api_compat import device

    return device(x)
