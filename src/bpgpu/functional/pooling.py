"""Pooling over windows: the maximum, the mean, and the p-norm.

A window of `kernel_size` moves over the last axes in steps of `stride`, which is `kernel_size`
unless given. In every direction there are

`L' = (L + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1`

windows. With `ceil_mode` the division rounds up, so that a last window may reach beyond the end;
one that would begin beyond the input and its left padding is left out.
"""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.namespace import array_namespace
from bpgpu.errors import ArgumentError
from bpgpu.functional.arguments import Array, numbers, real
from bpgpu.functional.pool import count_of, lines_of, maximum_of, mean_of, positions_of, root_of

Ints = int | tuple[int, ...]


def max_pool1d(
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest entry of each window along one axis.

    `y[n, c, l] = max over k of  x[n, c, stride l + dilation k - padding]`

    *Shape* `(N, C, L) -> (N, C, L')`, with or without `N`.

    *Parameters* `padding`: so many entries of `-inf` are added on both sides, at most half of
    `kernel_size`. `dilation`: the distance between entries of a window. `return_indices`: give the
    place of each maximum too, as `max_unpool1d` takes it: a pair `(y, indices)`.

    *Raises* `ShapeError` for an input of other axes, windows that do not fit, or too much padding;
    `DtypeError` unless the input is of real numbers.

    *Notes* The whole gradient goes to the largest entry, of equal ones to the first. NaN counts as
    the largest; of several the last gets the gradient. All this is torch's choice.

    >>> import numpy as np
    >>> max_pool1d(np.asarray([[1.0, 3.0, 2.0, 0.0]]), 2)
    array([[3., 2.]])
    >>> max_pool1d(np.asarray([[1.0, 3.0, 2.0, 0.0]]), 3, stride=1, return_indices=True)[1]
    array([[1, 1]])
    """
    settings = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool("max_pool1d", 1, input, *settings, return_indices)


def max_pool2d(
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest entry of each window over two axes.

    *Shape* `(N, C, H, W) -> (N, C, H', W')`, with or without `N`; sizes and arguments as in
    `max_pool1d`, each an integer or one for each axis. Indices count through a plane: `h W + w`.

    >>> import numpy as np
    >>> max_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
    array([[[ 5.,  7.],
            [13., 15.]]])
    """
    settings = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool("max_pool2d", 2, input, *settings, return_indices)


def max_pool3d(
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest entry of each window over three axes.

    *Shape* `(N, C, D, H, W) -> (N, C, D', H', W')`, with or without `N`; sizes and arguments as in
    `max_pool1d`, each an integer or one for each axis. Indices count through a volume:
    `(d H + h) W + w`.
    """
    settings = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool("max_pool3d", 3, input, *settings, return_indices)


def _max_pool(
    name: str,
    n: int,
    input: Array,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    dilation: Ints,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    numbers(name, input=input)
    lines = lines_of(name, n, input, kernel_size, stride, padding, dilation, ceil_mode)
    y = maximum_of(input, lines)
    return (y, positions_of(input, lines)) if return_indices else y


def avg_pool1d(
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """The mean of each window along one axis.

    `y[n, c, l] = 1/K sum over k of  x[n, c, stride l + k - padding]`

    *Shape* `(N, C, L) -> (N, C, L')`, with or without `N`.

    *Parameters* `padding`: so many zeros are added on both sides, at most half of `kernel_size`.
    `count_include_pad`: these zeros count in the mean; without it `K` is the number of entries of
    the input in the window. What `ceil_mode` lets a window reach beyond the padding never counts.

    *Raises* `ShapeError` for an input of other axes, windows that do not fit, or too much padding;
    `DtypeError` unless the input is of real floating numbers.

    *Notes* float16 is summed in float32.

    >>> import numpy as np
    >>> avg_pool1d(np.asarray([[1.0, 3.0, 2.0]]), 2, padding=1)
    array([[0.5, 2.5]])
    """
    settings = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    return _avg_pool("avg_pool1d", 1, input, *settings, None)


def avg_pool2d(
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The mean of each window over two axes.

    *Shape* `(N, C, H, W) -> (N, C, H', W')`, with or without `N`; sizes and arguments as in
    `avg_pool1d`, each an integer or one for each axis.

    *Parameters* `divisor_override`: divide the sums by this number instead of the count.

    >>> import numpy as np
    >>> avg_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
    array([[[ 2.5,  4.5],
            [10.5, 12.5]]])
    """
    settings = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    return _avg_pool("avg_pool2d", 2, input, *settings, divisor_override)


def avg_pool3d(
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The mean of each window over three axes.

    *Shape* `(N, C, D, H, W) -> (N, C, D', H', W')`, with or without `N`; sizes and arguments as in
    `avg_pool2d`, each an integer or one for each axis.
    """
    settings = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    return _avg_pool("avg_pool3d", 3, input, *settings, divisor_override)


def _avg_pool(
    name: str,
    n: int,
    input: Array,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Array:
    real(name, input=input)
    lines = lines_of(name, n, input, kernel_size, stride, padding, 1, ceil_mode)
    if divisor == 0:
        raise ArgumentError(f"{name}: expected divisor_override other than 0; None for the count")
    counted = tuple(line.pads[0] for line in lines) if count_include_pad else None
    return mean_of(input, lines, counted, divisor)


def lp_pool1d(
    input: Array,
    norm_type: int | float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of each window along one axis, `p` being `norm_type`.

    `y[n, c, l] = (sum over k of  x[n, c, stride l + k]^p)^(1/p)`

    *Shape* `(N, C, L) -> (N, C, L')`, with or without `N`.

    *Parameters* `norm_type`: any number but 0. `inf` gives the largest absolute value, `-inf` the
    smallest.

    *Raises* `ShapeError` for an input of other axes or windows that do not fit; `ValueError` for a
    norm of 0; `DtypeError` unless the input is of real floating numbers.

    *Notes* There is no absolute value in the formula: negative entries with an odd or fractional
    `p` count as negative, or give NaN. Where a sum is 0 the gradient is 0. A window that
    `ceil_mode` lets reach beyond the end counts as if the missing entries had the mean of the
    others. All this is torch's choice.

    >>> import numpy as np
    >>> lp_pool1d(np.asarray([[3.0, 4.0, 0.0, 5.0]]), 2, 2)
    array([[5., 5.]])
    """
    return _lp_pool("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Array,
    norm_type: int | float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of each window over two axes.

    *Shape* `(N, C, H, W) -> (N, C, H', W')`, with or without `N`; arguments as in `lp_pool1d`, each
    an integer or one for each axis.
    """
    return _lp_pool("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Array,
    norm_type: int | float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of each window over three axes.

    *Shape* `(N, C, D, H, W) -> (N, C, D', H', W')`, with or without `N`; arguments as in
    `lp_pool1d`, each an integer or one for each axis.
    """
    return _lp_pool("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode)


def _lp_pool(
    name: str,
    n: int,
    input: Array,
    norm_type: int | float,
    kernel_size: Ints,
    stride: Ints | None,
    ceil_mode: bool,
) -> Array:
    real(name, input=input)
    lines = lines_of(name, n, input, kernel_size, stride, 0, 1, ceil_mode)
    if norm_type == 0:
        raise ArgumentError(f"{name}: expected norm_type other than 0, of which there is no root")
    if math.isinf(norm_type):
        size = array_namespace(input).abs(input)
        return maximum_of(size, lines) if norm_type > 0 else -maximum_of(-size, lines)
    mean = mean_of(input**norm_type, lines, None, None)
    return root_of(mean * count_of(lines), norm_type)
