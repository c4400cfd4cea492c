"""Patches of images as columns, and back: `unfold` and `fold`, each the transpose of the other."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import device_of
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import rule
from bpgpu.backend.windows import Sizes, add_windows, window_counts, windows
from bpgpu.errors import ShapeError
from bpgpu.functional.arguments import Array, floating, tupled


@rule
def take_windows(xp: Any, x: Any, /, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Any:
    """`(N, C, *S) -> (N, C, *K, *L)`, as a copy. The transpose of reading is adding."""
    sizes = tuple(x.shape[2:])
    if type(x) is Traced:
        y = take_windows(x, kernel, stride, dilation)
    else:
        y = xp.asarray(windows(xp, x, kernel, stride, dilation), copy=True)
    return y, lambda g: put_windows(g, sizes, stride, dilation)


@rule
def put_windows(xp: Any, w: Any, /, sizes: Sizes, stride: Sizes, dilation: Sizes) -> Any:
    """`(N, C, *K, *L) -> (N, C, *sizes)`: windows added at their places."""
    kernel = tuple(w.shape[2 : 2 + len(sizes)])
    if type(w) is Traced:
        y = put_windows(w, sizes, stride, dilation)
    else:
        y = add_windows(xp, w, sizes, stride, dilation)
    return y, lambda g: take_windows(g, kernel, stride, dilation)


@rule
def zero_pad(xp: Any, x: Any, /, pads: tuple[tuple[int, int], ...]) -> Any:
    """Zeros before and after along each of the last axes; a negative number crops."""
    y = padded(xp, x, pads)
    back = tuple((-before, -after) for before, after in pads)
    return y, lambda g: zero_pad(g, back)


def padded(xp: Any, x: Any, pads: tuple[tuple[int, int], ...]) -> Any:
    """The forward half of `zero_pad`, from functions of the standard."""
    first = x.ndim - len(pads)
    for axis, (before, after) in enumerate(pads, first):
        lead = (slice(None),) * axis
        if before < 0 or after < 0:
            size = x.shape[axis]
            x = x[(*lead, slice(max(-before, 0), size - max(-after, 0)), ...)]
        blocks = [
            xp.zeros((*x.shape[:axis], n, *x.shape[axis + 1 :]), dtype=x.dtype, device=device_of(x))
            if n > 0
            else None
            for n in (before, after)
        ]
        parts = [part for part in (blocks[0], x, blocks[1]) if part is not None]
        x = xp.concat(parts, axis=axis) if len(parts) > 1 else x
    return x


def unfold(
    input: Array,
    kernel_size: int | tuple[int, int],
    dilation: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    stride: int | tuple[int, int] = 1,
) -> Array:
    """The patches of an image that a kernel sees as it moves, as columns.

    Entry `(n, (c, i, j), l)` is pixel `(i, j)` of patch `l` in channel `c`; patches are counted row
    by row.

    *Shape* `(N, C, H, W) -> (N, C * kh * kw, L)`, with or without `N`; `L` is the product over both
    axes of `(size + 2 padding - dilation (kernel - 1) - 1) // stride + 1`.

    *Raises* `ShapeError` for another number of axes, or a kernel that does not fit.

    >>> import numpy as np
    >>> unfold(np.arange(9.0).reshape(1, 1, 3, 3), 2)
    array([[[0., 1., 3., 4.],
            [1., 2., 4., 5.],
            [3., 4., 6., 7.],
            [4., 5., 7., 8.]]])
    """
    name = "unfold"
    floating(name, input=input)
    if input.ndim not in (3, 4):
        raise ShapeError(
            f"{name}: expected input (N, C, H, W) or (C, H, W), got {tuple(input.shape)}"
        )
    kernel = tupled(name, "kernel_size", kernel_size, 2, least=1)
    step = tupled(name, "stride", stride, 2, least=1)
    spread = tupled(name, "dilation", dilation, 2, least=1)
    pads = tupled(name, "padding", padding, 2)
    xp = array_namespace(input)
    x = input if input.ndim == 4 else xp.expand_dims(input, axis=0)
    x = zero_pad(x, tuple((p, p) for p in pads)) if any(pads) else x
    counts = window_counts(tuple(x.shape[2:]), kernel, step, spread)
    check_counts(name, counts, tuple(x.shape[2:]), kernel, spread)
    cols = take_windows(x, kernel, step, spread)
    y = xp.reshape(cols, (x.shape[0], x.shape[1] * math.prod(kernel), math.prod(counts)))
    return y if input.ndim == 4 else xp.squeeze(y, axis=0)


def fold(
    input: Array,
    output_size: int | tuple[int, int],
    kernel_size: int | tuple[int, int],
    dilation: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    stride: int | tuple[int, int] = 1,
) -> Array:
    """An image from columns of patches: each is added at its place, so that overlapping ones sum.

    *Shape* `(N, C * kh * kw, L) -> (N, C, *output_size)`, with or without `N`; see `unfold`, whose
    transpose it is.

    *Raises* `ShapeError` if the rows do not divide by the size of the kernel, or `L` is not what
    the sizes give.

    >>> import numpy as np
    >>> fold(np.ones((1, 4, 4)), 3, 2)
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    name = "fold"
    floating(name, input=input)
    if input.ndim not in (2, 3):
        raise ShapeError(
            f"{name}: expected input (N, C * kernel, L) or (C * kernel, L), got {tuple(input.shape)}"
        )
    kernel = tupled(name, "kernel_size", kernel_size, 2, least=1)
    step = tupled(name, "stride", stride, 2, least=1)
    spread = tupled(name, "dilation", dilation, 2, least=1)
    pads = tupled(name, "padding", padding, 2)
    sizes = tupled(name, "output_size", output_size, 2, least=1)
    padded_sizes = tuple(s + 2 * p for s, p in zip(sizes, pads, strict=True))
    counts = window_counts(padded_sizes, kernel, step, spread)
    check_counts(name, counts, padded_sizes, kernel, spread)
    xp = array_namespace(input)
    x = input if input.ndim == 3 else xp.expand_dims(input, axis=0)
    size = math.prod(kernel)
    if x.shape[1] % size or x.shape[2] != math.prod(counts):
        raise ShapeError(
            f"{name}: expected input (N, C * {size}, {math.prod(counts)}) for these sizes, got {tuple(input.shape)}"
        )
    cols = xp.reshape(x, (x.shape[0], x.shape[1] // size, *kernel, *counts))
    y = put_windows(cols, padded_sizes, step, spread)
    y = zero_pad(y, tuple((-p, -p) for p in pads)) if any(pads) else y
    return y if input.ndim == 3 else xp.squeeze(y, axis=0)


def check_counts(name: str, counts: Sizes, sizes: Sizes, kernel: Sizes, dilation: Sizes) -> None:
    """Raise unless the kernel fits at least once along each axis."""
    if any(c < 1 for c in counts):
        reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
        raise ShapeError(
            f"{name}: the kernel reaches over {reach}, but the padded input has size {sizes}; use a smaller "
            "kernel or "
            "dilation, or more padding"
        )
