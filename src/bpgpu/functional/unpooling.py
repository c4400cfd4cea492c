"""The way back from max pooling: each maximum at its place, zeros elsewhere."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import device_of, raw
from bpgpu.autodiff.rule import rule
from bpgpu.backend.libraries import namespace_of
from bpgpu.backend.places import written
from bpgpu.errors import ShapeError
from bpgpu.functional.arguments import Array, in_range, integers, real, tupled
from bpgpu.functional.pool import check_input
from bpgpu.functional.select import choose

Ints = int | tuple[int, ...]


def max_unpool1d(
    input: Array,
    indices: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: tuple[int, ...] | None = None,
) -> Array:
    """Each entry at the place that `indices` gives, zeros elsewhere.

    With the indices of `max_pool1d(x, ..., return_indices=True)` it puts the maxima back to where
    they were in `x`.

    *Shape* `(N, C, L) -> (N, C, L')`, with or without `N`; `indices` as the input. `L' = (L - 1)
    stride - 2 padding + kernel_size`, or `output_size`, which may differ from it by less than
    `stride`.

    *Parameters* `kernel_size`, `stride`, `padding`: those of the pooling. `output_size`: pooling
    takes several sizes to one; here is which it was. It may have the axes before, too.

    *Raises* `ShapeError` for shapes that do not belong together, or an output size out of reach;
    `ValueError` for an index that is no place of the result; `DtypeError` unless the input is of
    real floating numbers and the indices are integers.

    *Notes* If an index occurs several times, one entry is kept (in NumPy the last), and all get its
    gradient, as in torch. Where looking at the indices would wait for a GPU or break a compiled
    step, a wrong index makes the result NaN instead of an error.

    *References* M. Zeiler and R. Fergus (2014), "Visualizing and understanding convolutional
    networks", section 2.1.

    >>> import numpy as np
    >>> max_unpool1d(np.asarray([[3.0, 2.0]]), np.asarray([[1, 2]]), 2)
    array([[0., 3., 2., 0.]])
    """
    settings = (kernel_size, stride, padding, output_size)
    return _unpool("max_unpool1d", 1, input, indices, *settings)


def max_unpool2d(
    input: Array,
    indices: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: tuple[int, ...] | None = None,
) -> Array:
    """Each entry at the place in a plane that `indices` gives, zeros elsewhere.

    *Shape* `(N, C, H, W) -> (N, C, H', W')`, with or without `N`; sizes and arguments as in
    `max_unpool1d`, each an integer or one for each axis.
    """
    settings = (kernel_size, stride, padding, output_size)
    return _unpool("max_unpool2d", 2, input, indices, *settings)


def max_unpool3d(
    input: Array,
    indices: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: tuple[int, ...] | None = None,
) -> Array:
    """Each entry at the place in a volume that `indices` gives, zeros elsewhere.

    *Shape* `(N, C, D, H, W) -> (N, C, D', H', W')`, with or without `N`; sizes and arguments as in
    `max_unpool1d`, each an integer or one for each axis.
    """
    settings = (kernel_size, stride, padding, output_size)
    return _unpool("max_unpool3d", 3, input, indices, *settings)


def _unpool(
    name: str,
    n: int,
    input: Array,
    indices: Array,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    output_size: tuple[int, ...] | None,
) -> Array:
    real(name, input=input)
    integers(name, indices=indices)
    check_input(name, n, input)
    if tuple(indices.shape) != tuple(input.shape):
        raise ShapeError(
            f"{name}: expected indices of the shape of the input, {tuple(input.shape)}, got "
            f"{tuple(indices.shape)}"
        )
    sizes = _sizes(name, n, input, kernel_size, stride, padding, output_size)
    places = raw(indices)
    xp = namespace_of(places)
    count = math.prod(sizes)
    right = None
    if not in_range(name, "indices", places, count):
        inside = (places >= 0) & (places < count)
        places, right = xp.where(inside, places, 0), xp.all(inside)
    y = place_at(input, xp.astype(places, xp.int64, copy=False), sizes)
    return y if right is None else choose(y, math.nan, xp.broadcast_to(right, y.shape))


@rule
def place_at(xp: Any, x: Any, /, places: Any, sizes: tuple[int, ...]) -> Any:
    """`(*, *L) -> (*, *sizes)`: entries written to places, which count through the last axes."""
    shape, lead = x.shape, x.shape[: -len(sizes)]
    flat = _counted_through(places, math.prod(lead), math.prod(sizes))
    if type(x) is Traced:
        y = place_at(x, places, sizes)
    else:
        count = math.prod(lead) * math.prod(sizes)
        y = xp.reshape(written(xp, count, flat, xp.reshape(x, (-1,))), (*lead, *sizes))
    return y, lambda g: xp.reshape(xp.take(xp.reshape(g, (-1,)), flat, axis=0), shape)


def _counted_through(places: Any, rows: int, count: int) -> Any:
    """Places in each of `rows` parts of `count` entries as places in all of them, one after another."""
    xp = namespace_of(places)
    starts = xp.arange(rows, dtype=places.dtype, device=device_of(places)) * count
    flat = xp.reshape(places, (rows, -1)) if rows else xp.reshape(places, (0, 1))
    return xp.reshape(flat + xp.expand_dims(starts, axis=1), (-1,))


def _sizes(
    name: str,
    n: int,
    input: Array,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    output_size: tuple[int, ...] | None,
) -> tuple[int, ...]:
    """The sizes of the result: those asked for, if pooling could have led from them to the input."""
    kernel = tupled(name, "kernel_size", kernel_size, n, least=1)
    absent = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    step = kernel if absent else tupled(name, "stride", stride, n, least=1)
    pads = tupled(name, "padding", padding, n)
    usual = tuple(
        (size - 1) * s - 2 * p + k
        for size, k, s, p in zip(input.shape[-n:], kernel, step, pads, strict=True)
    )
    if output_size is None:
        sizes = usual
    else:
        spatial = output_size[2:] if len(output_size) == n + 2 else output_size
        sizes = tupled(name, "output_size", tuple(spatial), n)
        if any(abs(o - u) >= s for o, u, s in zip(sizes, usual, step, strict=True)):
            raise ShapeError(
                f"{name}: expected output_size within less than the stride, {step}, of {usual}, "
                f"got {tuple(output_size)}"
            )
    if any(o < 1 for o in sizes):
        raise ShapeError(f"{name}: the output would have size {sizes}; use less padding")
    return sizes
