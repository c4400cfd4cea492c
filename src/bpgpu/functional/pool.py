"""Pooling as differentiable maps: the largest of each window, and the mean.

The windows run over the last axes; whatever axes stand before are examples. Which entry is the
largest is a constant for the derivative (it changes only at ties), so a maximum is a linear map
that reads chosen entries, and its transpose writes to them. The place of each maximum is found on
the way back, from the input: forward passes of trained models do not pay for it.
"""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import device_of, raw
from bpgpu.autodiff.rule import rule
from bpgpu.backend import pooling
from bpgpu.backend.libraries import namespace_of
from bpgpu.backend.pooling import Line
from bpgpu.errors import ShapeError
from bpgpu.functional.arguments import Array, tupled
from bpgpu.functional.select import choose, keep
from bpgpu.kernels import compute, find

Lines = tuple[Line, ...]
LETTERS = {1: "L", 2: "H, W", 3: "D, H, W"}

# ---- the largest entry


@rule
def maximum_of(xp: Any, x: Any, /, lines: Lines) -> Any:
    """`(*, *S) -> (*, *L)`: the largest entry of each window. Its gradient goes to that entry."""
    if type(x) is Traced:
        y = maximum_of(x, lines)
    else:
        y = compute("maxima", pooling.maxima, xp, x, lines)

    def pull(g: Any) -> Any:
        if type(g) is not Traced and (run := find("max_gradient", xp, x, y, g, lines)) is not None:
            return run(x, y, g, lines)
        plain = raw(x)
        return unpick(g, pooling.choices(namespace_of(plain), plain, lines), lines)

    return y, pull


@rule
def pick(xp: Any, x: Any, /, found: list[Any], lines: Lines) -> Any:
    """Of each window, the entry that was found to be the largest."""
    y = pick(x, found, lines) if type(x) is Traced else pooling.pick(xp, x, found, lines)
    return y, lambda g: unpick(g, found, lines)


@rule
def unpick(xp: Any, g: Any, /, found: list[Any], lines: Lines) -> Any:
    """The transpose of `pick`."""
    x = unpick(g, found, lines) if type(g) is Traced else pooling.unpick(xp, g, found, lines)
    return x, lambda h: pick(h, found, lines)


def positions_of(x: Array, lines: Lines) -> Array:
    """Where the largest entry of each window stands, counted through all pooled axes: integers."""
    plain = raw(x)
    xp = namespace_of(plain)
    y = pooling.positions(xp, pooling.choices(xp, plain, lines), lines)
    return Traced(y) if type(x) is Traced else y


# ---- the mean


@rule
def sum_of(xp: Any, x: Any, /, lines: Lines) -> Any:
    """`(*, *S) -> (*, *L)`: the sum of each window."""
    y = sum_of(x, lines) if type(x) is Traced else pooling.sums(xp, x, lines)
    return y, lambda g: spread_over(g, lines)


@rule
def spread_over(xp: Any, g: Any, /, lines: Lines) -> Any:
    """`(*, *L) -> (*, *S)`, the transpose of `sum_of`: every entry gets what its windows got."""
    x = spread_over(g, lines) if type(g) is Traced else pooling.unsums(xp, g, lines)
    return x, lambda h: sum_of(h, lines)


@rule
def mean_of(
    xp: Any, x: Any, /, lines: Lines, padding: tuple[int, ...] | None, divisor: int | None
) -> Any:
    """`(*, *S) -> (*, *L)`: the mean of each window; the gradient is shared out equally.

    What stands beyond the padding does not count; with `padding` of `None`, the padding does not
    either. A `divisor` is used in place of the count.
    """
    if (run := find("window_means", xp, x, lines, padding, divisor)) is not None:
        return run(x, lines, padding, divisor)
    dtype = x.dtype
    x = _wide(xp, x)
    n = _counts(xp, x, lines, padding) if divisor is None else divisor
    y = xp.astype(sum_of(x, lines) / n, dtype, copy=False)

    def pull(g: Any) -> Any:
        return xp.astype(spread_over(_wide(xp, g) / n, lines), dtype, copy=False)

    return y, pull


@rule
def root_of(xp: Any, s: Any, /, p: float) -> Any:
    """`s^(1/p)`, with a gradient of 0 where `s` is 0, as torch has it."""
    y, some = root_of(s, p) if type(s) is Traced else s ** (1 / p), s != 0
    return y, lambda g: keep(g * y / choose(s, 1.0, some) / p, some)


def _wide(xp: Any, x: Any) -> Any:
    """At least float32: sums of many half-precision numbers would lose their digits."""
    return xp.astype(x, xp.float32) if xp.finfo(x.dtype).bits < 32 else x


def _counts(xp: Any, x: Any, lines: Lines, padding: tuple[int, ...] | None) -> Any:
    """How many entries each window has: a number if it is the same for all, else an array."""
    n: Any = 1
    for axis, line in enumerate(lines, x.ndim - len(lines)):
        before, after = line.pads
        counted = (0, 0) if padding is None else (padding[axis - x.ndim],) * 2
        if before <= counted[0] and after <= counted[1]:
            n = n * line.kernel
            continue
        starts = xp.arange(line.number, dtype=x.dtype, device=device_of(x)) * line.stride - before
        ends = xp.clip(starts + line.kernel, max=line.size + counted[1])
        counts = ends - xp.clip(starts, min=-counted[0])
        n = n * xp.reshape(counts, (-1, *(1,) * (x.ndim - axis - 1)))
    return n


# ---- windows from arguments


def lines_of(
    name: str,
    n: int,
    input: Array,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Lines:
    """The windows of a pooling function along its `n` axes.

    *Raises* `ShapeError` for an input of another number of axes or without entries, or windows that
    do not fit.
    """
    check_input(name, n, input)
    kernel = tupled(name, "kernel_size", kernel_size, n, least=1)
    absent = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    step = kernel if absent else tupled(name, "stride", stride, n, least=1)
    pads = tupled(name, "padding", padding, n)
    gap = tupled(name, "dilation", dilation, n, least=1)
    for k, p in zip(kernel, pads, strict=True):
        if 2 * p > k:
            raise ShapeError(
                f"{name}: expected padding of at most half of kernel_size, got padding={padding}, "
                f"kernel_size={kernel_size}"
            )
    sizes = input.shape[-n:]
    lines = tuple(
        _line(*settings, ceil_mode) for settings in zip(sizes, kernel, step, gap, pads, strict=True)
    )
    if any(line.number < 1 for line in lines):
        reach = tuple(line.reach for line in lines)
        around = tuple(s + 2 * p for s, p in zip(sizes, pads, strict=True))
        raise ShapeError(
            f"{name}: the window reaches over {reach}, but the padded input has size {around}; use "
            "a smaller kernel_size or dilation, more padding, or ceil_mode=True"
        )
    return lines


def _line(size: int, kernel: int, stride: int, dilation: int, pad: int, ceil_mode: bool) -> Line:
    reach = dilation * (kernel - 1) + 1
    rest = size + 2 * pad - reach
    count = (rest + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + pad:
        count -= 1  # a window that would begin behind the input is left out
    after = max((count - 1) * stride + reach - size - pad, 0)
    return Line(size, kernel, stride, dilation, (pad, after), count)


def check_input(name: str, n: int, input: Array, *, channels: bool = True) -> None:
    """Raise unless the input has `n` axes behind the channels, and entries to pool.

    There may be no examples; `channels` tells whether there must be channels.
    """
    if input.ndim not in (n + 1, n + 2):
        raise ShapeError(
            f"{name}: expected input (N, C, {LETTERS[n]}) or (C, {LETTERS[n]}), got "
            f"{tuple(input.shape)}"
        )
    needed = input.shape[-n - 1 if channels else -n :]
    if 0 in needed:
        raise ShapeError(
            f"{name}: expected an input in which only the first axis, N, may have size 0, got "
            f"{tuple(input.shape)}"
        )


def count_of(lines: Lines) -> int:
    """How many entries a full window has."""
    return math.prod(line.kernel for line in lines)
