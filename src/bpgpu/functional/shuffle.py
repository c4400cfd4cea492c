"""Channels into pixels, pixels into channels, and channels among each other."""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.namespace import array_namespace
from bpgpu.errors import ShapeError
from bpgpu.functional.arguments import Array, dtype_of, tupled


def pixel_shuffle(input: Array, upscale_factor: int) -> Array:
    """Each group of `r^2` channels becomes one of `r` times the height and width.

    `y[c, h r + i, w r + j] = x[c r^2 + i r + j, h, w]`

    *Shape* `(*, C r^2, H, W) -> (*, C, H r, W r)`, `r` being `upscale_factor`.

    *Raises* `ShapeError` for fewer than three axes, or channels that `r^2` does not divide.

    *References* W. Shi et al. (2016), "Real-time single image and video super-resolution using an
    efficient sub-pixel convolutional neural network".

    >>> import numpy as np
    >>> pixel_shuffle(np.asarray([[[0.0]], [[1.0]], [[2.0]], [[3.0]]]), 2)
    array([[[0., 1.],
            [2., 3.]]])
    """
    name = "pixel_shuffle"
    lead, (channels, height, width), r = _split(name, "upscale_factor", input, upscale_factor)
    if channels % (r * r):
        raise ShapeError(
            f"{name}: expected a multiple of {r * r} channels for upscale_factor={r}, got an input "
            f"{tuple(input.shape)}"
        )
    out = channels // (r * r)
    return _moved(
        input,
        (*lead, out, r, r, height, width),
        (0, 3, 1, 4, 2),
        (*lead, out, height * r, width * r),
    )


def pixel_unshuffle(input: Array, downscale_factor: int) -> Array:
    """Each block of `r` by `r` pixels becomes `r^2` channels: the inverse of `pixel_shuffle`.

    *Shape* `(*, C, H r, W r) -> (*, C r^2, H, W)`, `r` being `downscale_factor`.

    *Raises* `ShapeError` for fewer than three axes, or a height or width that `r` does not divide.

    *Notes* An input without elements, such as an empty batch, gets the shape above too; torch 2.13
    returns it as it is.

    >>> import numpy as np
    >>> pixel_unshuffle(np.asarray([[[0.0, 1.0], [2.0, 3.0]]]), 2).ravel()
    array([0., 1., 2., 3.])
    """
    name = "pixel_unshuffle"
    lead, (channels, height, width), r = _split(name, "downscale_factor", input, downscale_factor)
    if height % r or width % r:
        raise ShapeError(
            f"{name}: expected a height and width that downscale_factor={r} divides, got an input "
            f"{tuple(input.shape)}"
        )
    return _moved(
        input,
        (*lead, channels, height // r, r, width // r, r),
        (0, 2, 4, 1, 3),
        (*lead, channels * r * r, height // r, width // r),
    )


def channel_shuffle(input: Array, groups: int) -> Array:
    """The channels of all groups in turn: the first of each group, then the second of each, and so on.

    After a convolution in groups it lets the next one see channels of all of them.

    *Shape* `(N, C, ...) -> (N, C, ...)`, at least three axes. `groups` divides `C`.

    *Raises* `ShapeError` for fewer axes, or `groups` that do not divide the channels.

    *References* X. Zhang et al. (2018), "ShuffleNet: an extremely efficient convolutional neural
    network for mobile devices".

    >>> import numpy as np
    >>> channel_shuffle(np.arange(6.0).reshape(1, 6, 1), 2).ravel()
    array([0., 3., 1., 4., 2., 5.])
    """
    name = "channel_shuffle"
    dtype_of(name, "input", input)
    if input.ndim < 3:
        raise ShapeError(
            f"{name}: expected input (N, C, ...) of at least 3 axes, got {tuple(input.shape)}"
        )
    (found,) = tupled(name, "groups", groups, 1, least=1)
    examples, channels, *rest = input.shape
    if channels % found:
        raise ShapeError(f"{name}: groups={found} must divide the {channels} channels of the input")
    xp = array_namespace(input)
    x = xp.reshape(input, (examples, found, channels // found, *rest))
    x = xp.permute_dims(x, (0, 2, 1, *range(3, input.ndim + 1)))
    return xp.reshape(x, input.shape)


def _split(
    name: str, what: str, input: Array, factor: int
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """The axes before the channels, those from there on, and the factor as an integer."""
    dtype_of(name, "input", input)
    if input.ndim < 3:
        raise ShapeError(
            f"{name}: expected input (*, C, H, W) of at least 3 axes, got {tuple(input.shape)}"
        )
    (found,) = tupled(name, what, factor, 1, least=1)
    return tuple(input.shape[:-3]), tuple(input.shape[-3:]), found


def _moved(x: Array, apart: Any, order: tuple[int, ...], together: Any) -> Array:
    """`x` in the shape `apart`, its last five axes put in order, in the shape `together`."""
    xp = array_namespace(x)
    first = len(apart) - len(order)
    x = xp.permute_dims(xp.reshape(x, apart), (*range(first), *(first + i for i in order)))
    return xp.reshape(x, together)
