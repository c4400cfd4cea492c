"""Reading an image at any coordinates, and the coordinates of an affine map: spatial transformers.

Coordinates run from -1 to 1 over an axis, those of the last axis first: `(x, y)` or `(x, y, z)`.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from typing import Any, NamedTuple

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import device_of, raw
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import rule
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional.arguments import Array, real, same_dtype, tupled
from bpgpu.functional.select import keep

MODES = ("bilinear", "nearest", "bicubic")
PADDING = ("zeros", "border", "reflection")


def grid_sample(
    input: Array,
    grid: Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Array:
    """The input read at the coordinates of a grid.

    `y[n, c, h, w]` is `input[n, c]` at the place `(x, y) = grid[n, h, w]`. Between pixels it is, by
    `mode`: `"bilinear"`, the mean of the nearest two along each axis, weighted by nearness;
    `"nearest"`, the nearest pixel; `"bicubic"`, for images, the nearest four along each axis, by
    cubic convolution with `a = -3/4`.

    *Shape* `(N, C, H, W), (N, H', W', 2) -> (N, C, H', W')`, or `(N, C, D, H, W), (N, D', H', W', 3)
    -> (N, C, D', H', W')`.

    *Parameters* `padding_mode`: what is read outside: `"zeros"`; `"border"`, the nearest pixel of
    the edge; `"reflection"`, the image mirrored at its edges. `align_corners`: coordinates -1 and 1
    are the centres of the outermost pixels, not their outer edges, which is the default.

    *Raises* `ShapeError` for shapes that do not belong together, or an image without pixels;
    `ValueError` for other modes; `DtypeError` unless both are of real floating numbers, of one
    dtype.

    *Notes* The input and the grid both get gradients. Where the slope of the result jumps, at the
    centres of pixels, the grid gets that to the right; from `"nearest"` it gets 0, and from
    `"border"` too where it lies outside. Halfway between pixels, `"nearest"` takes that of even
    number. Coordinates of infinity and NaN give what they give in torch: NaN, a pixel of the edge, or
    0, as the mode has it.

    *References* M. Jaderberg et al. (2015), "Spatial transformer networks", equations 3 to 7.

    >>> import numpy as np
    >>> image = np.asarray([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> grid_sample(image, np.asarray([[[[0.0, 0.0], [1.0, -1.0]]]]), align_corners=True)
    array([[[[2.5, 2. ]]]])
    """
    _check(input, grid, mode, padding_mode)
    axes = []
    n = input.ndim - 2
    for axis, size in enumerate(input.shape[2:]):
        at = _in_pixels(grid[..., n - 1 - axis], size, bool(align_corners))
        axes.append(_reads(at, size, mode, padding_mode, bool(align_corners), n == 3))
    return _mean_of_pixels(input, axes, tuple(grid.shape[1:-1]))


class Read(NamedTuple):
    """One pixel along one axis that every place of the grid reads."""

    index: Any
    """Of the pixel, always in range."""
    there: Any
    """A mask: is it in the image? Else it counts as 0."""
    weight: Any
    """By which it is multiplied; `None` for 1."""


def _in_pixels(at: Array, size: int, align_corners: bool) -> Array:
    """Coordinates from -1 to 1 as those in which pixel `i` stands at `i`."""
    if align_corners:
        return (at + 1) / 2 * (size - 1)
    return ((at + 1) * size - 1) / 2


def _reads(
    at: Array, size: int, mode: str, padding: str, align_corners: bool, volume: bool
) -> list[Read]:
    """The pixels along one axis that are read for coordinates `at`."""
    here = raw(at)
    xp = namespace_of(here)
    inside = functools.partial(_moved_inside, xp, size, padding, align_corners, volume)
    if mode == "bicubic" or padding == "zeros":
        finite = xp.isfinite(here)
        lost = -100.0 if volume else math.nan  # somewhere outside, or nowhere
        at = _followed(at, xp.where(finite, here, lost), xp.astype(finite, here.dtype))
    if mode == "bicubic":
        first, t = _split(at)
        pixels = [inside(first + k)[0] for k in (-1, 0, 1, 2)]
        return [_read(xp, i, size, w) for i, w in zip(pixels, _cubic_weights(t), strict=True)]
    if padding != "zeros":
        at = _followed(at, *inside(here))
    if mode == "nearest":
        return [_read(xp, xp.round(raw(at)), size, None)]
    first, t = _split(at)
    return [_read(xp, first, size, 1 - t), _read(xp, first + 1, size, t)]


def _split(at: Array) -> tuple[Any, Array]:
    """The pixel to the left, which is a constant, and the distance to it."""
    first = namespace_of(raw(at)).floor(raw(at))
    return first, at - first


def _read(xp: Any, at: Any, size: int, weight: Array | None) -> Read:
    there = (at >= 0) & (at <= size - 1)
    index = xp.astype(xp.where(there, at, xp.zeros_like(at)), xp.int64)
    return Read(index, there, weight)


def _cubic_weights(t: Array) -> tuple[Array, ...]:
    """The weights of four pixels for a place at distance `t` from the second."""
    a = -0.75

    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return far(t + 1), near(t), near(1 - t), far(2 - t)


# ---- places outside of the image


@rule
def _followed(xp: Any, at: Any, /, value: Any, slope: Any) -> Any:
    """`value`, which moves with `at` by `slope`; both are known, piece by piece."""
    y = _followed(at, value, slope) if type(at) is Traced else value
    return y, lambda g: g * slope


def _moved_inside(
    xp: Any, size: int, padding: str, align_corners: bool, volume: bool, at: Any
) -> tuple[Any, Any]:
    """Coordinates brought into the image, and how fast they move with the given ones."""
    one = xp.ones_like(at)
    if padding == "zeros":
        return at, one
    lost = size - 1 if volume else 0  # where NaN goes: torch's choice
    if padding == "reflection":
        at = xp.where(xp.isfinite(at), at, math.nan)
        at, one = _reflected(xp, at, size, align_corners)
    inside = (at > 0) & (at < size - 1)
    at = xp.where(xp.isnan(at), float(lost), xp.clip(at, 0, size - 1))
    return at, xp.where(inside, one, xp.zeros_like(one))


def _reflected(xp: Any, at: Any, size: int, align_corners: bool) -> tuple[Any, Any]:
    """Coordinates mirrored at both edges until they are inside, and the sign that is left of it."""
    edge, span = (0.0, size - 1) if align_corners else (-0.5, size)
    if span == 0:
        return xp.zeros_like(at), xp.zeros_like(at)
    far = at - edge
    distance = xp.abs(far)
    turns = xp.floor(distance / span)
    rest = distance - turns * span
    odd = turns - 2 * xp.floor(turns / 2) > 0
    sign = xp.where(odd, -xp.sign(far), xp.sign(far))
    return xp.where(odd, span - rest, rest) + edge, sign


# ---- pixels


def _mean_of_pixels(x: Array, axes: list[list[Read]], shape: tuple[int, ...]) -> Array:
    """The sum over all combinations of what is read along each axis, weighted by the products.

    Channels go last, so that a pixel is one row of memory.
    """
    xp = array_namespace(x, *(read.weight for reads in axes for read in reads))
    n = len(axes)
    examples, channels, *sizes = x.shape
    rows = functools.reduce(operator.mul, sizes, examples)
    pixels = xp.reshape(xp.permute_dims(x, (0, *range(2, n + 2), 1)), (rows, channels))
    plain = namespace_of(axes[0][0].index)
    numbers = plain.arange(examples, dtype=plain.int64, device=device_of(x))
    example = plain.reshape(numbers, (-1, *(1,) * n))
    y: Any = None
    for corner in itertools.product(*axes):
        index, there, weight = example, True, None
        for read, size in zip(corner, sizes, strict=True):
            index = index * size + read.index
            there = read.there & there
            if read.weight is not None:
                weight = read.weight if weight is None else weight * read.weight
        part = xp.take(pixels, plain.reshape(index, (-1,)), axis=0)
        part = keep(part, plain.reshape(there, (-1, 1)))
        part = part if weight is None else part * xp.reshape(weight, (-1, 1))
        y = part if y is None else y + part
    y = xp.reshape(y, (examples, *shape, channels))
    return xp.permute_dims(y, (0, n + 1, *range(1, n + 1)))


def _check(input: Array, grid: Array, mode: str, padding_mode: str) -> None:
    name = "grid_sample"
    if mode not in MODES:
        raise ArgumentError(
            f"{name}: expected mode as one of {', '.join(map(repr, MODES))}, got {mode!r}"
        )
    if padding_mode not in PADDING:
        raise ArgumentError(
            f"{name}: expected padding_mode as one of {', '.join(map(repr, PADDING))}, got "
            f"{padding_mode!r}"
        )
    real(name, input=input, grid=grid)
    same_dtype(name, input=input, grid=grid)
    n = input.ndim - 2
    if n not in (2, 3):
        raise ShapeError(
            f"{name}: expected input (N, C, H, W) or (N, C, D, H, W), got {tuple(input.shape)}"
        )
    if mode == "bicubic" and n == 3:
        raise ShapeError(
            f"{name}: mode='bicubic' is for images (N, C, H, W), got {tuple(input.shape)}; use "
            "'bilinear' for volumes"
        )
    letters = "H', W'" if n == 2 else "D', H', W'"
    fits = grid.ndim == n + 2 and grid.shape[0] == input.shape[0] and grid.shape[-1] == n
    if not fits:
        raise ShapeError(
            f"{name}: expected grid ({input.shape[0]}, {letters}, {n}) for an input "
            f"{tuple(input.shape)}, got {tuple(grid.shape)}"
        )
    if 0 in input.shape[2:]:
        raise ShapeError(f"{name}: expected an input with pixels, got {tuple(input.shape)}")


def affine_grid(theta: Array, size: tuple[int, ...], align_corners: bool | None = None) -> Array:
    """The coordinates that an affine map gives to each pixel of a result: a grid for `grid_sample`.

    `grid[n, h, w] = theta[n] (x_w, y_h, 1)`, with `x_w` and `y_h` from -1 to 1 over the axes.

    *Shape* `(N, 2, 3) -> (N, H, W, 2)` for a `size` of `(N, C, H, W)`, or `(N, 3, 4) -> (N, D, H, W,
    3)` for `(N, C, D, H, W)`.

    *Parameters* `size`: of the result of `grid_sample`. `align_corners`: -1 and 1 are the centres of
    the outermost pixels, not their outer edges, which is the default; along an axis of one pixel
    its coordinate is then 0.

    *Raises* `ShapeError` if `theta` and `size` do not belong together, or a size is below 1;
    `DtypeError` unless `theta` is of real floating numbers.

    >>> import numpy as np
    >>> theta = np.asarray([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]])
    >>> affine_grid(theta, (1, 1, 1, 2), align_corners=True)
    array([[[[-0.5,  0. ],
             [ 1.5,  0. ]]]])
    """
    name = "affine_grid"
    real(name, theta=theta)
    try:
        n = len(size) - 2
    except TypeError:
        n = 0
    if n not in (2, 3):
        raise ShapeError(f"{name}: expected size (N, C, H, W) or (N, C, D, H, W), got {size!r}")
    sizes = tupled(name, "size", tuple(size), n + 2, least=1)
    if tuple(theta.shape) != (sizes[0], n, n + 1):
        raise ShapeError(
            f"{name}: expected theta ({sizes[0]}, {n}, {n + 1}) for size {tuple(sizes)}, got "
            f"{tuple(theta.shape)}"
        )
    xp = array_namespace(theta)
    like = {"dtype": theta.dtype, "device": device_of(theta)}
    lines = [_coordinates(xp, count, bool(align_corners), like) for count in sizes[2:]]
    spread = xp.meshgrid(*lines, indexing="ij")
    columns = [xp.reshape(x, (-1,)) for x in reversed(spread)]
    base = xp.stack([*columns, xp.ones_like(columns[0])], axis=1)  # (H W, 3)
    grid = base @ xp.matrix_transpose(theta)  # (N, H W, 2)
    return xp.reshape(grid, (sizes[0], *sizes[2:], n))


def _coordinates(xp: Any, count: int, align_corners: bool, like: dict[str, Any]) -> Any:
    """From -1 to 1 over the pixels of an axis."""
    numbers = xp.arange(count, **like)
    if align_corners:
        return numbers * (2 / (count - 1)) - 1 if count > 1 else numbers
    return (numbers * 2 + 1) / count - 1
