"""Derivatives of Fourier transforms.

A transform is linear, so its pull is its adjoint: one transform the other way, with the scaling of
the opposite `norm`, since the inverse of a sum over frequencies is its adjoint divided by n. Where
the input was padded with zeros or cropped, the gradient is cropped or padded. Transforms between
real and half-complex arrays count each frequency twice but for the first and, if n is even, the
last; the imaginary parts of these are not looked at, so they get no gradient.
"""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.rule import rule

ADJOINT_NORM = {"backward": "forward", None: "forward", "ortho": "ortho", "forward": "backward"}


@rule(conjugate=False)
def fft(xp: Any, x: Any, /, *, n: Any = None, axis: int = -1, norm: Any = "backward") -> Any:
    shape, back = x.shape, ADJOINT_NORM.get(norm)
    y = xp.fft.fft(x, n=n, axis=axis, norm=norm)
    return y, lambda g: resized(xp, xp.fft.ifft(g, axis=axis, norm=back), shape)


@rule(conjugate=False)
def ifft(xp: Any, x: Any, /, *, n: Any = None, axis: int = -1, norm: Any = "backward") -> Any:
    shape, back = x.shape, ADJOINT_NORM.get(norm)
    y = xp.fft.ifft(x, n=n, axis=axis, norm=norm)
    return y, lambda g: resized(xp, xp.fft.fft(g, axis=axis, norm=back), shape)


@rule(conjugate=False)
def fftn(xp: Any, x: Any, /, *, s: Any = None, axes: Any = None, norm: Any = "backward") -> Any:
    shape, back, over = x.shape, ADJOINT_NORM.get(norm), transformed(x, s, axes)
    y = xp.fft.fftn(x, s=s, axes=axes, norm=norm)
    return y, lambda g: resized(xp, xp.fft.ifftn(g, axes=over, norm=back), shape)


@rule(conjugate=False)
def ifftn(xp: Any, x: Any, /, *, s: Any = None, axes: Any = None, norm: Any = "backward") -> Any:
    shape, back, over = x.shape, ADJOINT_NORM.get(norm), transformed(x, s, axes)
    y = xp.fft.ifftn(x, s=s, axes=axes, norm=norm)
    return y, lambda g: resized(xp, xp.fft.fftn(g, axes=over, norm=back), shape)


@rule(conjugate=False)
def rfft(xp: Any, x: Any, /, *, n: Any = None, axis: int = -1, norm: Any = "backward") -> Any:
    shape, back = x.shape, ADJOINT_NORM.get(norm)
    y = xp.fft.rfft(x, n=n, axis=axis, norm=norm)
    n = shape[axis] if n is None else n

    def pull(g: Any) -> Any:
        g = g / counts(xp, g, n, axis)
        return resized(xp, xp.fft.irfft(g, n=n, axis=axis, norm=back), shape)

    return y, pull


@rule(conjugate=False)
def irfft(xp: Any, x: Any, /, *, n: Any = None, axis: int = -1, norm: Any = "backward") -> Any:
    shape, back = x.shape, ADJOINT_NORM.get(norm)
    y = xp.fft.irfft(x, n=n, axis=axis, norm=norm)
    real = kind(x.dtype) == "real"

    def pull(g: Any) -> Any:
        gx = xp.fft.rfft(g, axis=axis, norm=back)
        gx = resized(xp, gx * counts(xp, gx, g.shape[axis], axis), shape)
        return xp.real(gx) if real else gx

    return y, pull


@rule(conjugate=False)
def rfftn(xp: Any, x: Any, /, *, s: Any = None, axes: Any = None, norm: Any = "backward") -> Any:
    shape, back, over = x.shape, ADJOINT_NORM.get(norm), transformed(x, s, axes)
    y = xp.fft.rfftn(x, s=s, axes=axes, norm=norm)
    n = shape[over[-1]] if s is None or s[-1] == -1 else s[-1]
    lengths = (*(y.shape[a] for a in over[:-1]), n)

    def pull(g: Any) -> Any:
        g = g / counts(xp, g, n, over[-1])
        return resized(xp, xp.fft.irfftn(g, s=lengths, axes=over, norm=back), shape)

    return y, pull


@rule(conjugate=False)
def irfftn(xp: Any, x: Any, /, *, s: Any = None, axes: Any = None, norm: Any = "backward") -> Any:
    shape, back, over = x.shape, ADJOINT_NORM.get(norm), transformed(x, s, axes)
    y = xp.fft.irfftn(x, s=s, axes=axes, norm=norm)
    real = kind(x.dtype) == "real"

    def pull(g: Any) -> Any:
        gx = xp.fft.rfftn(g, axes=over, norm=back)
        gx = resized(xp, gx * counts(xp, gx, g.shape[over[-1]], over[-1]), shape)
        return xp.real(gx) if real else gx

    return y, pull


@rule(conjugate=False)
def hfft(xp: Any, x: Any, /, *, n: Any = None, axis: int = -1, norm: Any = "backward") -> Any:
    shape, back = x.shape, ADJOINT_NORM.get(norm)
    y = xp.fft.hfft(x, n=n, axis=axis, norm=norm)
    real = kind(x.dtype) == "real"

    def pull(g: Any) -> Any:
        gx = xp.fft.ihfft(g, axis=axis, norm=back)
        gx = resized(xp, gx * counts(xp, gx, g.shape[axis], axis), shape)
        return xp.real(gx) if real else gx

    return y, pull


@rule(conjugate=False)
def ihfft(xp: Any, x: Any, /, *, n: Any = None, axis: int = -1, norm: Any = "backward") -> Any:
    shape, back = x.shape, ADJOINT_NORM.get(norm)
    y = xp.fft.ihfft(x, n=n, axis=axis, norm=norm)
    n = shape[axis] if n is None else n

    def pull(g: Any) -> Any:
        g = g / counts(xp, g, n, axis)
        return resized(xp, xp.fft.hfft(g, n=n, axis=axis, norm=back), shape)

    return y, pull


@rule(conjugate=False)
def fftshift(xp: Any, x: Any, /, *, axes: Any = None) -> Any:
    return xp.fft.fftshift(x, axes=axes), lambda g: xp.fft.ifftshift(g, axes=axes)


@rule(conjugate=False)
def ifftshift(xp: Any, x: Any, /, *, axes: Any = None) -> Any:
    return xp.fft.ifftshift(x, axes=axes), lambda g: xp.fft.fftshift(g, axes=axes)


def transformed(x: Any, s: Any, axes: Any) -> tuple[int, ...]:
    """The axes that a transform runs over: those given; else the last ones, as many as there are lengths, or all."""
    if axes is not None:
        return tuple(axes)
    return tuple(range(0 if s is None else x.ndim - len(s), x.ndim))


def counts(xp: Any, y: Any, n: int, axis: int) -> Any:
    """How often an entry of the half-complex `y` stands in the full spectrum of length n.

    1, 2, 2, 2, ..., and 1 for the last if n is even.
    """
    line = [slice(min(1, k)) for k in y.shape]
    line[axis] = slice(None)
    k = xp.cumulative_sum(xp.ones_like(xp.real(y[tuple(line)])), axis=axis) - 1
    return 1 + xp.astype((k > 0) & (2 * k < n), k.dtype)


def resized(xp: Any, x: Any, shape: tuple[int, ...]) -> Any:
    """Cropped and padded with zeros to `shape`."""
    if x.shape == shape:
        return x
    x = x[tuple(slice(min(n, k)) for n, k in zip(shape, x.shape, strict=True))]
    for axis, n in enumerate(shape):
        if x.shape[axis] < n:
            line = (slice(None),) * axis
            pad = (*x.shape[:axis], n - x.shape[axis], *x.shape[axis + 1 :])
            zeros = xp.broadcast_to(xp.zeros_like(x[(*line, slice(1), ...)]), pad)
            x = xp.concat([x, zeros], axis=axis)
    return x
