"""Resizing along one axis as a differentiable linear map, and the weights of each way to do it.

Pixel `i` of an axis covers the interval `[i, i + 1]`. Pixel `l` of the result has its centre at
`scale (l + 1/2)` in the input, `scale` being the size of the input over that of the result; with
`align_corners` the centres of the outermost pixels meet instead. Coordinates below are those of
centres: pixel `i` stands at `i`.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.rule import rule
from bpgpu.backend import taps as plain
from bpgpu.backend.compiling import answered_once
from bpgpu.backend.taps import Taps, taps_of, transposed

Pairs = list[tuple[int, float]]


@rule
def resample(xp: Any, x: Any, /, axis: int, taps: Taps) -> Any:
    """`y[l] = sum over j of  w[j, l] x[i[j, l]]` along an axis. Its transpose is such a map again."""
    y = resample(x, axis, taps) if type(x) is Traced else plain.apply(xp, x, axis, taps)
    return y, lambda g: resample(g, axis, transposed(taps))


@answered_once
def taps_for(mode: str, size: int, count: int, factor: float | None, align_corners: bool) -> Taps:
    """The pixels that each pixel of the result reads, and their weights.

    `factor` is the scale factor if the caller gave one that is to be used as it is.
    """
    return _taps_for(mode, size, count, factor, align_corners)


@functools.lru_cache(maxsize=256)
def _taps_for(mode: str, size: int, count: int, factor: float | None, align_corners: bool) -> Taps:
    if size == count and mode not in ("cubic", "nearest", "nearest-exact"):
        return taps_of(size, [[(i, 1.0)] for i in range(size)])
    if mode == "nearest of images":
        mode, factor = "nearest", None if count in (size, 2 * size) else factor
    scale = _scale(size, count, factor, align_corners)
    if mode == "area":
        reads = [_area(size, count, place) for place in range(count)]
    elif mode in ("nearest", "nearest-exact"):
        shift = 0.5 if mode == "nearest-exact" else 0.0
        reads = [[(_nearest(size, scale, place + shift), 1.0)] for place in range(count)]
    elif mode in FILTERS:
        reads = [_filtered(size, scale, *FILTERS[mode], place) for place in range(count)]
    else:
        read = _linear if mode == "linear" else _cubic
        reads = [
            read(size, scale * place if align_corners else scale * (place + 0.5) - 0.5)
            for place in range(count)
        ]
    return taps_of(size, reads)


def _scale(size: int, count: int, factor: float | None, align_corners: bool) -> float:
    if align_corners:
        return (size - 1) / (count - 1) if count > 1 else 0.0
    return 1 / factor if factor else size / count


def _area(size: int, count: int, place: int) -> Pairs:
    """The mean of all pixels that the result touches."""
    start, end = place * size // count, -((-(place + 1) * size) // count)
    return [(i, 1 / (end - start)) for i in range(start, end)]


def _nearest(size: int, scale: float, at: float) -> int:
    """The pixel in which `scale at` falls. Computed in float32, as in torch, so that every dtype
    takes the same."""
    return min(math.floor(_single(_single(scale) * _single(at))), size - 1)


def _single(x: float) -> float:
    """A number rounded to float32."""
    return float(struct.unpack("f", struct.pack("f", x))[0])


def _linear(size: int, at: float) -> Pairs:
    """Between two pixels, by the distance to each."""
    at = max(at, 0.0)
    i = min(math.floor(at), size - 1)
    t = min(at - i, 1.0)
    return [(i, 1 - t), (min(i + 1, size - 1), t)]


def _cubic(size: int, at: float) -> Pairs:
    """Between four pixels, by the cubic convolution kernel with `a = -3/4`; those beyond the edge
    have the colour of the last."""
    i = min(math.floor(at), size - 1)
    t = min(max(at - i, 0.0), 1.0)
    return [(min(max(i + j, 0), size - 1), _cubic_kernel(abs(t - j), -0.75)) for j in (-1, 0, 1, 2)]


def _cubic_kernel(x: float, a: float) -> float:
    """R. Keys (1981), "Cubic convolution interpolation for digital image processing", equation 4."""
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def _filtered(
    size: int, scale: float, width: float, weigh: Callable[[float], float], place: int
) -> Pairs:
    """A weighted mean of all pixels within `width` of the centre. Where the image shrinks, the filter
    is as many times wider: what is too fine to be seen is averaged out."""
    stretch = max(scale, 1.0)
    centre = scale * (place + 0.5)
    start = max(int(centre - width * stretch + 0.5), 0)
    end = min(int(centre + width * stretch + 0.5), size)
    weights = [weigh((i + 0.5 - centre) / stretch) for i in range(start, end)]
    total = sum(weights)
    return [(start + k, w / total) for k, w in enumerate(weights)]


def _triangle(x: float) -> float:
    return max(1 - abs(x), 0.0)


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if abs(x) < 3 else 0.0


def _sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0


FILTERS: dict[str, tuple[float, Callable[[float], float]]] = {
    "filtered linear": (1.0, _triangle),
    "filtered cubic": (2.0, lambda x: _cubic_kernel(abs(x), -0.5)),
    "filtered lanczos": (3.0, _lanczos),
}
"""Reach and shape of each filter against aliasing."""
