"""Images made larger, and channels rearranged."""

from __future__ import annotations

from typing import Any

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.functional.arguments import Array, tupled
from bpgpu.nn.module import Module


class Upsample(Module):
    """A signal, image or volume of another size, with values from between its own.

    *Shape* `(N, C, *) -> (N, C, *)` with one to three axes of places; each is `floor(scale_factor S)`
    long, or as `size` says.

    *Parameters* `size`: of the output, one integer or one for each axis; or `scale_factor`: one factor
    or one for each axis. `mode`: `"nearest"` (the default), `"linear"`, `"bilinear"`, `"bicubic"`,
    `"trilinear"`, `"nearest-exact"` or `"area"`. `align_corners`: the corner values lie on the corners
    (without it, pixels are areas, and their corners do). `recompute_scale_factor`: work out the factor
    from the sizes again.

    *Raises* in the call, as `functional.interpolate`.

    >>> import numpy as np
    >>> Upsample(scale_factor=2)(np.asarray([[[1.0, 2.0]]]))
    array([[[1., 1., 2., 2.]]])
    """

    def __init__(
        self,
        size: int | tuple[int, ...] | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.name = type(self).__name__
        self.size = size
        self.scale_factor: Any = (
            tuple(map(float, scale_factor))
            if isinstance(scale_factor, (tuple, list))
            else float(scale_factor)
            if scale_factor
            else None
        )
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Array) -> Array:
        return F.interpolate(
            input,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            recompute_scale_factor=self.recompute_scale_factor,
        )

    def extra_repr(self) -> str:
        if self.scale_factor is not None:
            return f"scale_factor={self.scale_factor!r}, mode={self.mode!r}"
        return f"size={self.size!r}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Images made larger by repeating pixels: `Upsample` in the mode `"nearest"`."""

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        scale_factor: float | tuple[float, float] | None = None,
    ) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Images made larger by straight lines between pixels: `Upsample` in the mode `"bilinear"`, with
    aligned corners."""

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        scale_factor: float | tuple[float, float] | None = None,
    ) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)


class PixelShuffle(Module):
    """Channels become pixels: each `r x r` block of the output is one place of `r^2` channels.

    *Shape* `(*, C r^2, H, W) -> (*, C, H r, W r)`, with `r = upscale_factor`.

    *Raises* `ShapeError` for a factor that is no integer of at least 1; in the call, for channels that
    it does not divide.

    *References* W. Shi et al. (2016), "Real-time single image and video super-resolution using an
    efficient sub-pixel convolutional neural network".
    """

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        (self.upscale_factor,) = tupled(
            "PixelShuffle", "upscale_factor", upscale_factor, 1, least=1
        )

    def forward(self, input: Array) -> Array:
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Pixels become channels: the way back from `PixelShuffle`.

    *Shape* `(*, C, H r, W r) -> (*, C r^2, H, W)`, with `r = downscale_factor`.

    *Raises* as `PixelShuffle`.
    """

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        (self.downscale_factor,) = tupled(
            "PixelUnshuffle", "downscale_factor", downscale_factor, 1, least=1
        )

    def forward(self, input: Array) -> Array:
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """The channels of `groups` groups taken in turns, so that groups see each other.

    *Shape* `(N, C, *)`; the result has the same. `groups` divides `C`.

    *Raises* as `PixelShuffle`.

    *References* X. Zhang et al. (2018), "ShuffleNet: an extremely efficient convolutional neural
    network for mobile devices".
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        (self.groups,) = tupled("ChannelShuffle", "groups", groups, 1, least=1)

    def forward(self, input: Array) -> Array:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
