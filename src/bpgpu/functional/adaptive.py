"""Adaptive pooling: to a result of a given size, whatever the size of the input.

Along an axis of size `L`, result `i` of `O` is taken over the entries `floor(i L / O)` to
`ceil((i + 1) L / O) - 1`. Where `O` divides `L` these are windows like any other; else neighbours
overlap by one entry, and some windows are longer by one.
"""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.backend import pooling
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ShapeError
from bpgpu.functional.arguments import Array, numbers, real, tupled
from bpgpu.functional.pool import Lines, check_input, maximum_of, mean_of, positions_of
from bpgpu.functional.resample import resample, taps_for

Sizes = int | tuple[int | None, ...]


def adaptive_avg_pool1d(input: Array, output_size: Sizes) -> Array:
    """The mean of each of `output_size` windows that share out one axis.

    *Shape* `(N, C, L) -> (N, C, output_size)`, with or without `N`.

    *Parameters* `output_size`: the size of the result; `None` leaves the axis as it is.

    *Raises* `ShapeError` for an input of other axes, or a negative size; `DtypeError` unless the
    input is of real floating numbers.

    >>> import numpy as np
    >>> adaptive_avg_pool1d(np.asarray([[1.0, 2.0, 3.0, 4.0, 5.0]]), 2)
    array([[2., 4.]])
    """
    return _average("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input: Array, output_size: Sizes) -> Array:
    """The mean of each of `output_size` windows that share out two axes.

    *Shape* `(N, C, H, W) -> (N, C, H', W')`, with or without `N`.

    *Parameters* `output_size`: `(H', W')`, or one number for both; `None` leaves an axis as it is.

    >>> import numpy as np
    >>> adaptive_avg_pool2d(np.arange(16.0).reshape(1, 4, 4), (1, 2))
    array([[[6.5, 8.5]]])
    """
    return _average("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool3d(input: Array, output_size: Sizes) -> Array:
    """The mean of each of `output_size` windows that share out three axes.

    *Shape* `(N, C, D, H, W) -> (N, C, D', H', W')`, with or without `N`.

    *Parameters* `output_size`: `(D', H', W')`, or one number for all; `None` leaves an axis as it
    is.
    """
    return _average("adaptive_avg_pool3d", 3, input, output_size)


def _average(name: str, n: int, input: Array, output_size: Sizes) -> Array:
    real(name, input=input)
    check_input(name, n, input, channels=False)
    sizes = _sizes(name, n, input, output_size)
    if 0 in sizes:
        return _nothing(input, (*input.shape[:-n], *sizes))
    return adaptive_mean(input, sizes)


def adaptive_mean(x: Array, sizes: tuple[int, ...]) -> Array:
    """The last axes of `x` pooled to these sizes by means."""
    n = len(sizes)
    even = [i for i in range(n) if x.shape[i - n] % sizes[i] == 0]
    if even:
        lines = _lines(x.shape[-n:], [sizes[i] if i in even else x.shape[i - n] for i in range(n)])
        x = mean_of(x, lines, None, None)
    for i in range(n):
        if i not in even:
            taps = taps_for("area", x.shape[i - n], sizes[i], None, False)
            x = resample(x, x.ndim - n + i, taps)
    return x


def adaptive_max_pool1d(input: Array, output_size: Sizes, return_indices: bool = False) -> Any:
    """The largest entry of each of `output_size` windows that share out one axis.

    *Shape* `(N, C, L) -> (N, C, output_size)`, with or without `N`.

    *Parameters* `output_size`: the size of the result; `None` leaves the axis as it is.
    `return_indices`: give the place of each maximum too: a pair `(y, indices)`.

    *Raises* `ShapeError` for an input of other axes, or a negative size; `DtypeError` unless the
    input is of real numbers.

    *Notes* The whole gradient goes to the largest entry, of equal ones to the first. NaN counts as
    the largest; of several the last gets the gradient.

    >>> import numpy as np
    >>> adaptive_max_pool1d(np.asarray([[1.0, 2.0, 3.0, 4.0, 5.0]]), 2)
    array([[3., 5.]])
    """
    return _maximum("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Array, output_size: Sizes, return_indices: bool = False) -> Any:
    """The largest entry of each of `output_size` windows that share out two axes.

    *Shape* `(N, C, H, W) -> (N, C, H', W')`, with or without `N`; arguments as in
    `adaptive_max_pool1d`, sizes one for all or one for each axis. Indices count through a plane.
    """
    return _maximum("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Array, output_size: Sizes, return_indices: bool = False) -> Any:
    """The largest entry of each of `output_size` windows that share out three axes.

    *Shape* `(N, C, D, H, W) -> (N, C, D', H', W')`, with or without `N`; arguments as in
    `adaptive_max_pool1d`, sizes one for all or one for each axis. Indices count through a volume.
    """
    return _maximum("adaptive_max_pool3d", 3, input, output_size, return_indices)


def _maximum(name: str, n: int, input: Array, output_size: Sizes, return_indices: bool) -> Any:
    numbers(name, input=input)
    check_input(name, n, input)
    sizes = _sizes(name, n, input, output_size)
    shape = (*input.shape[:-n], *sizes)
    if 0 in sizes:
        y = _nothing(input, shape)
        return (y, array_namespace(y).astype(y, array_namespace(y).int64)) if return_indices else y
    given = input.shape[-n:]
    if all(s % o == 0 for s, o in zip(given, sizes, strict=True)):
        lines = _lines(given, sizes)
        y = maximum_of(input, lines)
        return (y, positions_of(input, lines)) if return_indices else y
    plain = raw(input)
    places = pooling.adaptive_positions(namespace_of(plain), plain, sizes)
    xp = array_namespace(input)
    row = (*input.shape[:-n], math.prod(given))
    flat = namespace_of(plain).reshape(places, (*shape[:-n], math.prod(sizes)))
    y = xp.take_along_axis(xp.reshape(input, row), _like(input, flat), axis=-1)
    y = xp.reshape(y, shape)
    return (y, _like(input, places)) if return_indices else y


def _like(input: Array, y: Array) -> Array:
    """Inside a trace, what is made of its arrays is one of them."""
    return Traced(y) if type(input) is Traced else y


def _nothing(input: Array, shape: tuple[int, ...]) -> Array:
    """A result without entries, to which the input contributes nothing."""
    xp = array_namespace(input)
    none = input[(slice(0, 0), ...)]
    return xp.reshape(none, shape)


def _lines(given: Any, sizes: Any) -> Lines:
    """Windows side by side."""
    return tuple(
        pooling.Line(s, s // o, s // o, 1, (0, 0), o) for s, o in zip(given, sizes, strict=True)
    )


def _sizes(name: str, n: int, input: Array, output_size: Sizes) -> tuple[int, ...]:
    """The sizes of the result: one for all axes, or one for each, `None` for that of the input."""
    given = input.shape[-n:]
    if isinstance(output_size, (tuple, list)) and len(output_size) == n:
        output_size = tuple(s if o is None else o for s, o in zip(given, output_size, strict=True))
    elif output_size is None:
        output_size = tuple(given)
    elif isinstance(output_size, (tuple, list)):
        raise ShapeError(
            f"{name}: expected output_size as an integer or a tuple of {n}, got {output_size!r}"
        )
    return tupled(name, "output_size", output_size, n)
