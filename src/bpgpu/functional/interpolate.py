"""Resizing of signals, images and volumes, one axis after the other."""

from __future__ import annotations

import operator
from typing import Any

from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional.adaptive import adaptive_mean
from bpgpu.functional.arguments import Array, numbers, real
from bpgpu.functional.resample import resample, taps_for

AXES = {"linear": (1,), "bilinear": (2,), "bicubic": (2,), "trilinear": (3,), "lanczos": (2,)}
"""The modes that are for one number of axes only."""

ANY = ("nearest", "nearest-exact", "area")
ALONG = {"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}
"""What a mode is along one axis."""


def interpolate(
    input: Array,
    size: int | tuple[int, ...] | None = None,
    scale_factor: float | tuple[float, ...] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Array:
    """Resize the last axes of an input, those after examples and channels.

    Pixel `l` of the result has its centre at `scale (l + 1/2)` in the input, where pixel `i` covers
    `[i, i + 1]`. What it becomes is told by the `mode`:

    - `"nearest"`: pixel `floor(scale l)`; `"nearest-exact"`: the pixel that holds the centre;
    - `"linear"`, `"bilinear"`, `"trilinear"` for one, two, three axes: the mean of two pixels along
      each, weighted by nearness;
    - `"bicubic"`, for two axes: four pixels along each, by cubic convolution with `a = -3/4`;
    - `"area"`: the mean of all pixels that the result touches;
    - `"lanczos"`, for two axes: six pixels along each, `sinc(x) sinc(x / 3)`; with `antialias` only.

    *Shape* `(N, C, L) -> (N, C, L')`, `(N, C, H, W) -> (N, C, H', W')` or `(N, C, D, H, W) -> (N, C,
    D', H', W')`.

    *Parameters* `size`: of the result, one number for all axes or one for each; or else
    `scale_factor`, by which the size is multiplied and rounded down. `align_corners`: the centres
    of the outermost pixels of input and result meet; for linear and cubic modes. The factor itself
    is the inverse of `scale`, unless `recompute_scale_factor` asks for the ratio of the sizes.
    `antialias`: where the image shrinks, average over all pixels that fall into one; for
    `"bilinear"`, `"bicubic"` (here with `a = -1/2`) and `"lanczos"`.

    *Raises* `ValueError` for a mode that there is not, or options that do not go together;
    `ShapeError` for an input of other axes, or a size below 1; `DtypeError` unless the input is of
    real floating numbers (`"nearest"` takes integers).

    *Notes* The nearest pixel is torch's: for images, with two axes, a scale factor that keeps a size or
    doubles it does so exactly (1.3 keeps 3 pixels); with one or three axes the factor is used as it is.
    There the gradient, in contrast to torch's, is that of the values. Results are as in Pillow for
    `antialias`. Only pixels that have a weight are read: NaN
    stays where it is.

    *References* R. Keys (1981), "Cubic convolution interpolation for digital image processing".

    >>> import numpy as np
    >>> interpolate(np.asarray([[[1.0, 2.0]]]), scale_factor=2.0)
    array([[[1., 1., 2., 2.]]])
    >>> interpolate(np.asarray([[[1.0, 2.0]]]), 4, mode="linear")
    array([[[1.  , 1.25, 1.75, 2.  ]]])
    """
    name = "interpolate"
    n = input.ndim - 2
    _check_mode(name, input, mode, align_corners, antialias)
    sizes = tuple(input.shape[2:])
    if (size is None) == (scale_factor is None):
        raise ArgumentError(
            f"{name}: expected size or scale_factor, got {'neither' if size is None else 'both'}"
        )
    factors: tuple[float | None, ...] = (None,) * n
    if size is not None:
        if recompute_scale_factor:
            raise ArgumentError(
                f"{name}: recompute_scale_factor=True needs scale_factor; a size says it all"
            )
        counts = _each(name, "size", size, n, operator.index)
    else:
        given = _each(name, "scale_factor", scale_factor, n, lambda v: float(+v))
        counts = tuple(int(s * f) for s, f in zip(sizes, given, strict=True))
        if not recompute_scale_factor:
            factors = given
    _check_sizes(name, input, counts)
    if mode == "area":
        return adaptive_mean(input, counts)
    kind = "nearest of images" if mode == "nearest" and n == 2 else ALONG.get(mode, mode)
    kind = f"filtered {kind}" if antialias else kind
    growing = []
    for axis, (s, count, factor) in enumerate(zip(sizes, counts, factors, strict=True), 2):
        taps = taps_for(kind, s, count, factor, bool(align_corners))
        if count <= s:
            input = resample(input, axis, taps)
        else:
            growing.append((axis, taps))
    for axis, taps in reversed(growing):  # what grows comes last: fewer pixels on the way
        input = resample(input, axis, taps)
    return input


def _check_mode(
    name: str, input: Array, mode: str, align_corners: bool | None, antialias: bool
) -> None:
    if mode not in ANY and mode not in AXES:
        modes = ", ".join(map(repr, (*ANY, *AXES)))
        raise ArgumentError(f"{name}: expected mode as one of {modes}, got {mode!r}")
    if mode in ("nearest", "nearest-exact"):
        numbers(name, input=input)
    else:
        real(name, input=input)
    n = input.ndim - 2
    axes = AXES.get(mode, (1, 2, 3))
    if n not in axes:
        letters = {1: "L", 2: "H, W", 3: "D, H, W"}
        wanted = " or ".join(f"(N, C, {letters[k]})" for k in axes)
        raise ShapeError(
            f"{name}: expected input {wanted} for mode={mode!r}, got {tuple(input.shape)}"
        )
    if mode in ANY and align_corners is not None:
        raise ArgumentError(
            f"{name}: align_corners is for linear and cubic modes; leave it out for mode={mode!r}"
        )
    if antialias and mode not in ("bilinear", "bicubic", "lanczos"):
        raise ArgumentError(
            f"{name}: antialias=True is for 'bilinear', 'bicubic' and 'lanczos', got mode={mode!r}"
        )
    if mode == "lanczos" and (align_corners or not antialias):
        raise ArgumentError(f"{name}: mode='lanczos' needs antialias=True, and no align_corners")


def _each(name: str, what: str, value: Any, n: int, number: Any) -> tuple[Any, ...]:
    """One number for each axis, from one for all or a sequence of them."""
    kind = "an integer" if number is operator.index else "a number"
    try:
        several = isinstance(value, (tuple, list))
        found = tuple(number(v) for v in value) if several else (number(value),) * n
    except TypeError:
        found = ()
    if len(found) != n:
        raise ShapeError(
            f"{name}: expected {what} as {kind}, or one for each of the {n} axes after N and C, "
            f"got {value!r}"
        )
    return found


def _check_sizes(name: str, input: Array, counts: tuple[int, ...]) -> None:
    if 0 in input.shape[1:]:
        raise ShapeError(
            f"{name}: expected an input in which only the first axis, N, may have size 0, got "
            f"{tuple(input.shape)}"
        )
    if any(count < 1 for count in counts):
        raise ShapeError(
            f"{name}: expected a result of size at least 1 along each axis, got {counts} for an "
            f"input {tuple(input.shape)}"
        )
