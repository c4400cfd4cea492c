"""Convolution in 1, 2 and 3 dimensions, and its transpose.

Three maps make up all of it, each linear in both of its operands:

    convolve(x, w)     y[n, o, l] = sum over c, k of  w[o, c, k] x[n, c, l s + k d]
    spread(g, w)       the same sum read backwards: what of each y reaches each x
    correlate(x, g)    the same sum read for w: what of each y reaches each weight

They are each other's derivatives: d convolve / dx is `spread`, d convolve / dw is `correlate`, and
so on around. So convolution can be differentiated to any order, and a transposed convolution is
just `spread`. Here `s` is the stride, `d` the dilation, `k` a place in the kernel; the channels may
be split into groups that do not see each other.

Each map is one matrix product with the windows of `x` as columns (im2col: K. Chellapilla et al.,
2006). The columns are made again on the way back instead of kept: they are as many times larger
than `x` as the kernel has places.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.rule import rule
from bpgpu.backend.windows import Sizes, add_windows, windows
from bpgpu.functional.windows import padded
from bpgpu.kernels import compute, multiplication


class Geometry(NamedTuple):
    """How a kernel moves over an input."""

    sizes: Sizes
    """Of the input, without padding."""
    kernel: Sizes
    stride: Sizes
    pads: tuple[tuple[int, int], ...]
    """Zeros before and after, along each axis."""
    dilation: Sizes
    groups: int
    counts: Sizes
    """How many places the kernel visits: the sizes of the output."""

    @property
    def padded_sizes(self) -> Sizes:
        return tuple(s + a + b for s, (a, b) in zip(self.sizes, self.pads, strict=True))

    @property
    def is_product(self) -> bool:
        """True for a kernel of one place that visits everything: a plain matrix product over channels."""
        ones, everything = (1,) * len(self.kernel), self.counts == self.sizes
        return self.kernel == self.stride == ones and everything and not any(map(any, self.pads))


@rule(arrays=3)
def convolve(xp: Any, x: Any, w: Any, b: Any, /, geometry: Geometry) -> Any:
    """`(N, C, *S), (O, C / G, *K), (O,) -> (N, O, *L)`; the bias may be absent."""
    if type(x) is Traced or type(w) is Traced or type(b) is Traced:
        y = convolve(x, w, b, geometry)
    else:
        y = compute("convolve", _convolve, xp, x, w, b, geometry)
    return (
        y,
        lambda g: spread(g, w, geometry),
        lambda g: correlate(x, g, geometry),
        lambda g: compute("channel_sums", _channel_sums, xp, g),
    )


@rule(arrays=2)
def spread(xp: Any, g: Any, w: Any, /, geometry: Geometry) -> Any:
    """`(N, O, *L), (O, C / G, *K) -> (N, C, *S)`: the transpose of `convolve` in `x`."""
    if type(g) is Traced or type(w) is Traced:
        x = spread(g, w, geometry)
    else:
        x = compute("spread", _spread, xp, g, w, geometry)
    return x, lambda h: convolve(h, w, None, geometry), lambda h: correlate(h, g, geometry)


@rule(arrays=2)
def correlate(xp: Any, x: Any, g: Any, /, geometry: Geometry) -> Any:
    """`(N, C, *S), (N, O, *L) -> (O, C / G, *K)`: the transpose of `convolve` in `w`."""
    if type(x) is Traced or type(g) is Traced:
        w = correlate(x, g, geometry)
    else:
        w = compute("correlate", _correlate, xp, x, g, geometry)
    return w, lambda h: spread(g, h, geometry), lambda h: convolve(x, h, None, geometry)


def _channel_sums(xp: Any, g: Any) -> Any:
    return xp.sum(g, axis=(0, *range(2, g.ndim)))


# ---- the three maps on plain arrays: columns and matrix products


def _columns(xp: Any, x: Any, geometry: Geometry) -> Any:
    """The windows as columns, `(N, G, C / G * K, L)`."""
    n, c, groups = x.shape[0], x.shape[1], geometry.groups
    if geometry.is_product:
        return xp.reshape(x, (n, groups, c // groups, math.prod(geometry.sizes)))
    x = padded(xp, x, geometry.pads) if any(map(any, geometry.pads)) else x
    cols = windows(xp, x, geometry.kernel, geometry.stride, geometry.dilation, geometry.counts)
    rows = c // groups * math.prod(geometry.kernel)
    return xp.reshape(cols, (n, groups, rows, math.prod(geometry.counts)))


def _convolve(xp: Any, x: Any, w: Any, b: Any, geometry: Geometry) -> Any:
    groups = geometry.groups
    cols = _columns(xp, x, geometry)
    y = multiplication(xp)(xp.reshape(w, (groups, w.shape[0] // groups, cols.shape[2])), cols)
    y = xp.reshape(y, (x.shape[0], w.shape[0], *geometry.counts))
    return y if b is None else y + xp.reshape(b, (-1, *[1] * len(geometry.sizes)))


def _spread(xp: Any, g: Any, w: Any, geometry: Geometry) -> Any:
    groups, n = geometry.groups, g.shape[0]
    out = w.shape[0] // groups
    rows = w.shape[1] * math.prod(geometry.kernel)
    flat = xp.reshape(g, (n, groups, out, math.prod(g.shape[2:])))
    cols = multiplication(xp)(xp.matrix_transpose(xp.reshape(w, (groups, out, rows))), flat)
    channels = w.shape[1] * groups
    if geometry.is_product:
        return xp.reshape(cols, (n, channels, *geometry.sizes))
    cols = xp.reshape(cols, (n, channels, *geometry.kernel, *g.shape[2:]))
    x = add_windows(xp, cols, geometry.padded_sizes, geometry.stride, geometry.dilation)
    return padded(xp, x, tuple((-a, -b) for a, b in geometry.pads))


def _correlate(xp: Any, x: Any, g: Any, geometry: Geometry) -> Any:
    groups, n = geometry.groups, x.shape[0]
    out = g.shape[1] // groups
    cols = _columns(xp, x, geometry)
    rows, count = cols.shape[2], cols.shape[3]
    flat = xp.reshape(g, (n, groups, out, count))
    # one product over all examples and places at once
    left = xp.reshape(xp.permute_dims(flat, (1, 2, 0, 3)), (groups, out, n * count))
    right = xp.reshape(xp.permute_dims(cols, (1, 0, 3, 2)), (groups, n * count, rows))
    w = multiplication(xp)(left, right)
    return xp.reshape(w, (g.shape[1], x.shape[1] // groups, *geometry.kernel))
