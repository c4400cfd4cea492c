"""Normalisations: numbers are shifted to mean 0 and scaled to variance 1, over one set of axes or another.

    z = (x - m) / sqrt(v + eps),   y = w z + b

with the mean `m` and the variance `v` (dividing by `n`) over those axes. With `gz = w g` the gradient is

    gx = (gz - mean(gz) - z mean(gz z)) / sqrt(v + eps),   gw = sum(g z),   gb = sum(g)

since `m` and `v` depend on every `x`: the second term is what comes back through `m`, the third what comes back
through `v`. RMS norm leaves out the mean, and with it the second term. float16 is computed in float32.
"""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.control import stop_gradient
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import joint, rule, unbroadcast
from bpgpu.autodiff.state import write_into
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ShapeError
from bpgpu.functional.arguments import Array, axis_of, floating
from bpgpu.functional.windows import zero_pad
from bpgpu.kernels import compute, find

Shape = tuple[int, ...]


@rule(arrays=3)
def standardize(
    xp: Any, x: Any, w: Any, b: Any, /, axes: Shape, shape: Shape, eps: float, centre: bool = True
) -> Any:
    """`y = w z + b` with the mean and variance over `axes`; `shape` is how `w` and `b` stand against `x`.

    Also gives the mean and the variance, as constants.
    """
    operands = (x, w, b, axes, shape, eps, centre)
    if (run := find("standardize", xp, *operands)) is not None:
        values, fast_pull = run(*operands)
        return values, joint(fast_pull)
    return _standardize(xp, *operands)


def _standardize(
    xp: Any, x: Any, w: Any, b: Any, axes: Shape, shape: Shape, eps: float, centre: bool
) -> Any:
    dtype = x.dtype
    x = _wide(xp, x)
    mean = xp.mean(x, axis=axes, keepdims=True)
    d = x - mean if centre else x
    variance = xp.mean(d * d, axis=axes, keepdims=True)
    inverse = 1 / xp.sqrt(variance + eps)
    z = d * inverse
    scale = None if w is None else xp.reshape(_wide(xp, w), shape)
    y = z if scale is None else z * scale
    y = y if b is None else y + xp.reshape(_wide(xp, b), shape)

    def pull_x(gs: Any) -> Any:
        gz = _wide(xp, gs[0])
        gz = gz if scale is None else gz * scale
        g = gz - z * xp.mean(gz * z, axis=axes, keepdims=True)
        if centre:
            g = g - xp.mean(gz, axis=axes, keepdims=True)
        return xp.astype(g * inverse, dtype, copy=False)

    def pull_w(gs: Any) -> Any:
        g = unbroadcast(xp, _wide(xp, gs[0]) * z, shape)
        return xp.astype(xp.reshape(g, w.shape), w.dtype, copy=False)

    def pull_b(gs: Any) -> Any:
        g = unbroadcast(xp, _wide(xp, gs[0]), shape)
        return xp.astype(xp.reshape(g, b.shape), b.dtype, copy=False)

    return (xp.astype(y, dtype, copy=False), mean, variance), pull_x, pull_w, pull_b


def _wide(xp: Any, x: Any) -> Any:
    """At least float32: sums of many half-precision numbers would lose their digits."""
    return xp.astype(x, xp.float32) if xp.finfo(x.dtype).bits < 32 else x


def batch_norm(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Array:
    """Normalise each channel over the examples and all other axes.

    With `training` by the statistics of this batch; the running ones then move towards them: `running = (1 -
    momentum) running + momentum batch`, with the variance dividing by `n - 1`. Given arrays are updated in place
    where their library can; `batch_norm_with_statistics` returns them instead. Without `training` the running
    statistics are used, as constants.

    *Shape* `(N, C, ...) -> (N, C, ...)`; all others `(C,)`, or absent.

    *Parameters* `momentum` is the weight of the new value. `eps` is added to the variance.

    *Raises* `ShapeError` for parameters of another shape, or if a channel has a single value to learn from.

    *References* S. Ioffe and C. Szegedy (2015), "Batch normalization".

    >>> import numpy as np
    >>> batch_norm(np.asarray([[1.0], [3.0]]), None, None, training=True, eps=0.0)
    array([[-1.],
           [ 1.]])
    """
    y, mean, variance = batch_norm_with_statistics(
        input, running_mean, running_var, weight, bias, training, momentum, eps
    )
    if training:
        for running, new in ((running_mean, mean), (running_var, variance)):
            if running is not None:
                write_into(running, new)
    return y


def batch_norm_with_statistics(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, Array | None, Array | None]:
    """`batch_norm` that changes nothing: it returns the output and the new running mean and variance."""
    name = "batch_norm"
    channels = _check_channels(name, input, running_mean, running_var, weight, bias)
    if not training and (running_mean is None or running_var is None):
        raise ShapeError(f"{name}: training=False needs running_mean and running_var; pass both")
    shape = (1, channels, *[1] * (input.ndim - 2))
    xp = array_namespace(input, weight, bias)
    if not training:
        y = _by_running(xp, input, running_mean, running_var, weight, bias, shape, eps)
        return y, running_mean, running_var
    count = math.prod(input.shape) // max(channels, 1)
    if count == 1:
        raise ShapeError(
            f"{name}: expected more than one value for each channel in training, got input {tuple(input.shape)}; use "
            "a larger batch, or eval()"
        )
    if count == 0:
        return _empty(input, weight, bias, shape), running_mean, running_var
    axes = (0, *range(2, input.ndim))
    y, mean, variance = standardize(input, weight, bias, axes, shape, eps)
    unbiased = count / (count - 1)
    return (
        y,
        _moved(running_mean, mean, momentum),
        _moved(running_var, variance, momentum, unbiased),
    )


def _moved(running: Array | None, new: Array, momentum: Any, factor: float = 1.0) -> Array | None:
    """The running statistic, moved towards `factor` times that of the batch, in its own dtype: a constant."""
    if running is None:
        return None
    operands = (raw(running), raw(new), raw(momentum), factor)
    moved = compute("moved", _move, namespace_of(operands[1]), *operands)
    return Traced(moved) if Traced in (type(running), type(new)) else moved


def _move(xp: Any, running: Any, new: Any, momentum: Any, factor: float) -> Any:
    new = xp.astype(xp.reshape(new, running.shape), running.dtype, copy=False)
    return (1 - momentum) * running + momentum * (factor * new)


def _by_running(
    xp: Any, x: Any, mean: Any, variance: Any, w: Any, b: Any, shape: Shape, eps: float
) -> Any:
    """`w (x - m) / sqrt(v + eps) + b` with given statistics, as one product and one sum over the data."""
    mean, variance = stop_gradient(mean), stop_gradient(variance)
    scale = 1 / xp.sqrt(xp.asarray(variance) + eps)
    scale = scale if w is None else scale * w
    shift = -xp.asarray(mean) * scale
    shift = shift if b is None else shift + b
    return xp.astype(affine(x, scale, shift, shape), x.dtype, copy=False)


@rule(arrays=3)
def affine(xp: Any, x: Any, scale: Any, shift: Any, /, shape: Shape) -> Any:
    """`y = scale x + shift`; `shape` is how the two stand against `x`."""
    return (
        compute("affine", _affine, xp, x, scale, shift, shape),
        lambda g: xp.astype(g * xp.reshape(scale, shape), x.dtype, copy=False),
        lambda g: xp.reshape(unbroadcast(xp, g * x, shape), scale.shape),
        lambda g: xp.reshape(unbroadcast(xp, g, shape), shift.shape),
    )


def _affine(xp: Any, x: Any, scale: Any, shift: Any, shape: Shape) -> Any:
    return x * xp.reshape(scale, shape) + xp.reshape(shift, shape)


def instance_norm(
    input: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Array:
    """Normalise each channel of each example over its other axes.

    Without `use_input_stats` the running statistics are used; with it, given running statistics move towards the
    mean over the examples, as in `batch_norm`.

    *Shape* `(N, C, ...) -> (N, C, ...)`, at least one axis after `C`; all others `(C,)`, or absent.

    *References* D. Ulyanov et al. (2016), "Instance normalization: the missing ingredient for fast stylization".
    """
    y, mean, variance = instance_norm_with_statistics(
        input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )
    if use_input_stats:
        for running, new in ((running_mean, mean), (running_var, variance)):
            if running is not None:
                write_into(running, new)
    return y


def instance_norm_with_statistics(
    input: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, Array | None, Array | None]:
    """`instance_norm` that changes nothing: it returns the output and the new running mean and variance."""
    name = "instance_norm"
    channels = _check_channels(name, input, running_mean, running_var, weight, bias)
    shape = (1, channels, *[1] * (input.ndim - 2))
    xp = array_namespace(input, weight, bias)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ShapeError(
                f"{name}: use_input_stats=False needs running_mean and running_var; pass both"
            )
        y = _by_running(xp, input, running_mean, running_var, weight, bias, shape, eps)
        return y, running_mean, running_var
    count = math.prod(input.shape[2:])
    if input.ndim < 3 or count == 1:
        raise ShapeError(
            f"{name}: expected more than one value for each channel of an example, got input {tuple(input.shape)}"
        )
    if math.prod(input.shape) == 0:
        return _empty(input, weight, bias, shape), running_mean, running_var
    axes = tuple(range(2, input.ndim))
    y, mean, variance = standardize(input, weight, bias, axes, shape, eps)
    unbiased = count / (count - 1)
    return (
        y,
        _moved(running_mean, _over_examples(running_mean, mean), momentum),
        _moved(running_var, _over_examples(running_var, variance), momentum, unbiased),
    )


def _over_examples(running: Array | None, new: Array) -> Array:
    return new if running is None else array_namespace(new).mean(new, axis=0)


def layer_norm(
    input: Array,
    normalized_shape: Shape | list[int],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    """Normalise each example over its last axes, those of `normalized_shape`.

    *Shape* `(*, *normalized_shape)`, and the same for the output; `weight` and `bias` have `normalized_shape`.

    *References* J. Ba et al. (2016), "Layer normalization".

    >>> import numpy as np
    >>> layer_norm(np.asarray([[1.0, 3.0]]), (2,), eps=0.0)
    array([[-1.,  1.]])
    """
    axes, shape = _last_axes("layer_norm", input, normalized_shape, weight, bias)
    if math.prod(input.shape) == 0:
        return _empty(input, weight, bias, shape)
    return standardize(input, weight, bias, axes, shape, eps)[0]


def rms_norm(
    input: Array,
    normalized_shape: Shape | list[int],
    weight: Array | None = None,
    eps: float | None = None,
) -> Array:
    """Divide each example by its root mean square over the last axes: `y = w x / sqrt(mean(x^2) + eps)`.

    *Parameters* `eps`: by default the distance from 1 to the next number of the dtype.

    *References* B. Zhang and R. Sennrich (2019), "Root mean square layer normalization".
    """
    axes, shape = _last_axes("rms_norm", input, normalized_shape, weight, None)
    if math.prod(input.shape) == 0:
        return _empty(input, weight, None, shape)
    small = float(array_namespace(input).finfo(input.dtype).eps) if eps is None else eps
    return standardize(input, weight, None, axes, shape, small, False)[0]


def group_norm(
    input: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    """Normalise each example over the channels of a group and all other axes.

    *Shape* `(N, C, ...) -> (N, C, ...)`; `weight` and `bias` are `(C,)`. `num_groups` divides `C`.

    *References* Y. Wu and K. He (2018), "Group normalization".
    """
    name = "group_norm"
    channels = _check_channels(name, input, None, None, weight, bias)
    if num_groups < 1 or channels % num_groups:
        raise ShapeError(f"{name}: num_groups={num_groups} must divide the {channels} channels")
    xp = array_namespace(input, weight, bias)
    per_channel = (1, channels, *[1] * (input.ndim - 2))
    if math.prod(input.shape) == 0:
        return _empty(input, weight, bias, per_channel)
    groups = xp.reshape(input, (input.shape[0], num_groups, -1))
    if groups.shape[2] * input.shape[0] == 1:
        raise ShapeError(
            f"{name}: expected more than one value for each group, got input {tuple(input.shape)}"
        )
    y = xp.reshape(standardize(groups, None, None, (2,), (1, 1, 1), eps)[0], input.shape)
    y = y if weight is None else y * xp.reshape(weight, per_channel)
    return y if bias is None else y + xp.reshape(bias, per_channel)


def local_response_norm(
    input: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """Divide each channel by the power of its `size` neighbours: `y = x / (k + alpha mean(x^2))^beta`.

    The mean runs over the channels `c - size // 2` to `c + (size - 1) // 2`; those beyond the edge count as 0.

    *Shape* `(N, C, ...) -> (N, C, ...)`, at least three axes.

    *References* A. Krizhevsky et al. (2012), "ImageNet classification with deep convolutional neural networks",
    section 3.3.
    """
    name = "local_response_norm"
    floating(name, input=input)
    if input.ndim < 3:
        raise ShapeError(
            f"{name}: expected input (N, C, ...) of at least 3 axes, got {tuple(input.shape)}"
        )
    if size < 1:
        raise ShapeError(f"{name}: expected size of at least 1, got {size}")
    channels = input.shape[1]
    around = (size // 2, (size - 1) // 2)
    squares = zero_pad(input * input, (around, *[(0, 0)] * (input.ndim - 2)))
    total = squares[:, :channels, ...]
    for i in range(1, size):
        total = total + squares[:, i : i + channels, ...]
    return input / (total * (alpha / size) + k) ** beta


def normalize(input: Array, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Array:
    """Divide by the p-norm along an axis: `y = x / max(||x||_p, eps)`.

    >>> import numpy as np
    >>> normalize(np.asarray([[3.0, 4.0]]))
    array([[0.6, 0.8]])
    """
    floating("normalize", input=input)
    axis = axis_of("normalize", dim, input.ndim)
    xp = array_namespace(input)
    if input.ndim == 0:
        return xp.reshape(normalize(xp.reshape(input, (1,)), p, 0, eps), ())
    norm = xp.linalg.vector_norm(input, ord=p, axis=axis, keepdims=True)
    return input / xp.clip(norm, min=eps)


def _last_axes(
    name: str, input: Array, normalized_shape: Any, weight: Array | None, bias: Array | None
) -> tuple[Shape, Shape]:
    """The axes of `normalized_shape`, and how the parameters stand against the input."""
    floating(name, input=input, weight=weight, bias=bias)
    shape = (
        tuple(normalized_shape) if not isinstance(normalized_shape, int) else (normalized_shape,)
    )
    if not shape or tuple(input.shape[-len(shape) :]) != shape or input.ndim < len(shape):
        raise ShapeError(
            f"{name}: expected input (*, {', '.join(map(str, shape))}), got {tuple(input.shape)}; "
            "normalized_shape is "
            f"{shape}"
        )
    for what, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and tuple(parameter.shape) != shape:
            raise ShapeError(
                f"{name}: expected {what} of shape {shape}, got {tuple(parameter.shape)}"
            )
    first = input.ndim - len(shape)
    return tuple(range(first, input.ndim)), (*[1] * first, *shape)


def _check_channels(name: str, input: Array, *parameters: Array | None) -> int:
    """The number of channels, after a check that all parameters have one number for each."""
    floating(name, input=input)
    if input.ndim < 2:
        raise ShapeError(f"{name}: expected input (N, C, ...), got {tuple(input.shape)}")
    channels: int = input.shape[1]
    names = ("running_mean", "running_var", "weight", "bias")
    for what, parameter in zip(names, parameters, strict=True):
        if parameter is not None and tuple(parameter.shape) != (channels,):
            raise ShapeError(
                f"{name}: expected {what} of shape ({channels},), got {tuple(parameter.shape)}: the input "
                f"{tuple(input.shape)} has {channels} channels"
            )
    return channels


def _empty(input: Array, weight: Array | None, bias: Array | None, shape: Shape) -> Array:
    """The output for an input without entries; the parameters stay on the tape, with gradient 0."""
    xp = array_namespace(input, weight, bias)
    y = xp.asarray(input)
    y = y if weight is None else y * xp.reshape(weight, shape)
    return y if bias is None else y + xp.reshape(bias, shape)
