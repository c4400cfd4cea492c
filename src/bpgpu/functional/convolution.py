"""The convolutions as torch calls them: arguments checked, padding resolved, then one of the maps of `conv.py`."""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.namespace import array_namespace
from bpgpu.backend.windows import Sizes, window_counts
from bpgpu.errors import ShapeError
from bpgpu.functional.arguments import Array, floating, same_dtype, tupled
from bpgpu.functional.conv import Geometry, convolve, spread
from bpgpu.functional.windows import check_counts

Ints = int | tuple[int, ...]
_LETTERS = {1: "L", 2: "H, W", 3: "D, H, W"}


def conv1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: str | Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Array:
    """Convolution over one axis (cross-correlation, as everywhere in neural networks).

    `y[n, o, l] = b[o] + sum over c, k of  w[o, c, k] x[n, c, stride l + dilation k - padding]`

    *Shape* `(N, C, L), (O, C / groups, K), (O,) -> (N, O, L')`, with or without `N`;
    `L' = (L + 2 padding - dilation (K - 1) - 1) // stride + 1`.

    *Parameters* `padding`: zeros on both sides; `"valid"` for none, `"same"` for `L' = L` (with
    stride 1; of an odd number, one more after than before). `groups`: channels fall into so many
    groups that do not see each other; it divides `C` and `O`.

    *Raises* `ShapeError` for shapes that do not belong together, or a kernel that does not fit.

    >>> import numpy as np
    >>> conv1d(np.asarray([[1.0, 2.0, 4.0]]), np.asarray([[[1.0, -1.0]]]))
    array([[-1., -2.]])
    """
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: str | Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Array:
    """Convolution over two axes.

    *Shape* `(N, C, H, W), (O, C / groups, kh, kw), (O,) -> (N, O, H', W')`, with or without `N`;
    sizes and arguments as in `conv1d`, each an integer or one for each axis.

    >>> import numpy as np
    >>> conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), np.asarray([0.5]))
    array([[[[4.5, 4.5],
             [4.5, 4.5]]]])
    """
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: str | Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Array:
    """Convolution over three axes.

    *Shape* `(N, C, D, H, W), (O, C / groups, kd, kh, kw), (O,) -> (N, O, D', H', W')`, with or
    without `N`; sizes and arguments as in `conv1d`, each an integer or one for each axis.
    """
    return _conv("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Array:
    """Transposed convolution over one axis: every input puts a copy of the kernel, times its value,
    into the output.

    It is the gradient of `conv1d` with respect to its input, not its inverse.

    *Shape* `(N, C, L), (C, O / groups, K), (O,) -> (N, O, L')`, with or without `N`;
    `L' = (L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1`.

    *Parameters* `padding`: so much is cut off on both sides. `output_padding`: so much is added at
    the end, since a convolution of stride above 1 takes several sizes to one; it is smaller than
    the stride or the dilation.

    *Raises* `ShapeError` for shapes that do not belong together, or an output without any place.

    *References* M. Zeiler et al. (2010), "Deconvolutional networks".

    >>> import numpy as np
    >>> conv_transpose1d(np.asarray([[1.0, 2.0]]), np.asarray([[[1.0, 3.0]]]), stride=2)
    array([[1., 3., 2., 6.]])
    """
    name = "conv_transpose1d"
    settings = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose(name, 1, input, weight, bias, *settings)


def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Array:
    """Transposed convolution over two axes: `(N, C, H, W), (C, O / groups, kh, kw), (O,) -> (N, O,
    H', W')`.

    Sizes and arguments as in `conv_transpose1d`, each an integer or one for each axis.
    """
    name = "conv_transpose2d"
    settings = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose(name, 2, input, weight, bias, *settings)


def conv_transpose3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Array:
    """Transposed convolution over three axes: `(N, C, D, H, W), (C, O / groups, kd, kh, kw), (O,)
    -> (N, O, ...)`.

    Sizes and arguments as in `conv_transpose1d`, each an integer or one for each axis.
    """
    name = "conv_transpose3d"
    settings = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose(name, 3, input, weight, bias, *settings)


def _conv(
    name: str,
    n: int,
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: Ints,
    padding: str | Ints,
    dilation: Ints,
    groups: int,
) -> Array:
    _check_arrays(name, n, input, weight, bias)
    step = tupled(name, "stride", stride, n, least=1)
    gap = tupled(name, "dilation", dilation, n, least=1)
    kernel = tuple(weight.shape[2:])
    groups = _checked_groups(name, groups, weight.shape[0], "output channels")
    channels = input.shape[-n - 1]
    if channels != weight.shape[1] * groups:
        raise ShapeError(
            f"{name}: expected input ({'N, ' if input.ndim == n + 2 else ''}{weight.shape[1] * groups}, "
            f"{_LETTERS[n]}), "
            f"got {tuple(input.shape)}: the weight {tuple(weight.shape)} takes {weight.shape[1]} channels in each of "
            f"{groups} group{'s' if groups > 1 else ''}"
        )
    _check_bias(name, bias, weight.shape[0])
    pads = _pads(name, padding, n, kernel, step, gap)
    sizes = tuple(input.shape[-n:])
    around = tuple(s + a + b for s, (a, b) in zip(sizes, pads, strict=True))
    counts = window_counts(around, kernel, step, gap)
    check_counts(name, counts, around, kernel, gap)
    geometry = Geometry(sizes, kernel, step, pads, gap, groups, counts)
    return _batched(input, n, lambda x: convolve(x, weight, bias, geometry))


def _conv_transpose(
    name: str,
    n: int,
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: Ints,
    padding: Ints,
    output_padding: Ints,
    groups: int,
    dilation: Ints,
) -> Array:
    _check_arrays(name, n, input, weight, bias)
    step = tupled(name, "stride", stride, n, least=1)
    gap = tupled(name, "dilation", dilation, n, least=1)
    cut = tupled(name, "padding", padding, n)
    extra = tupled(name, "output_padding", output_padding, n)
    groups = _checked_groups(name, groups, weight.shape[0], "input channels")
    if input.shape[-n - 1] != weight.shape[0]:
        raise ShapeError(
            f"{name}: expected input ({'N, ' if input.ndim == n + 2 else ''}{weight.shape[0]}, {_LETTERS[n]}), got "
            f"{tuple(input.shape)}: the weight is {tuple(weight.shape)}, input channels first"
        )
    _check_bias(name, bias, weight.shape[1] * groups)
    for e, t, d in zip(extra, step, gap, strict=True):
        if e >= max(t, d):
            raise ShapeError(
                f"{name}: output_padding must be smaller than stride or dilation, got "
                f"output_padding={output_padding}, "
                f"stride={stride}, dilation={dilation}"
            )
    kernel, given = tuple(weight.shape[2:]), tuple(input.shape[-n:])
    sizes = tuple(
        (s - 1) * t - 2 * p + d * (k - 1) + e + 1
        for s, t, p, d, k, e in zip(given, step, cut, gap, kernel, extra, strict=True)
    )
    if any(s < 1 for s in sizes):
        raise ShapeError(
            f"{name}: the output would have size {sizes}; use less padding or a larger kernel"
        )
    geometry = Geometry(sizes, kernel, step, tuple((p, p) for p in cut), gap, groups, given)
    y = _batched(input, n, lambda x: spread(x, weight, geometry))
    if bias is None:
        return y
    return y + array_namespace(y, bias).reshape(bias, (-1, *[1] * n))


def _batched(input: Array, n: int, f: Any) -> Array:
    """Give `f` an input with an axis of examples, whether the caller's has one or not."""
    if input.ndim == n + 2:
        return f(input)
    xp = array_namespace(input)
    return xp.squeeze(f(xp.expand_dims(input, axis=0)), axis=0)


def _check_arrays(name: str, n: int, input: Array, weight: Array, bias: Array | None) -> None:
    floating(name, input=input, weight=weight, bias=bias)
    same_dtype(name, input=input, bias=bias, weight=weight)
    if weight.ndim != n + 2:
        raise ShapeError(f"{name}: expected a weight of {n + 2} axes, got {tuple(weight.shape)}")
    if input.ndim not in (n + 1, n + 2):
        raise ShapeError(
            f"{name}: expected input (N, C, {_LETTERS[n]}) or (C, {_LETTERS[n]}), got {tuple(input.shape)}"
        )


def _check_bias(name: str, bias: Array | None, channels: int) -> None:
    if bias is not None and tuple(bias.shape) != (channels,):
        raise ShapeError(f"{name}: expected a bias of shape ({channels},), got {tuple(bias.shape)}")


def _checked_groups(name: str, groups: int, channels: int, what: str) -> int:
    (found,) = tupled(name, "groups", groups, 1, least=1)
    if channels % found:
        raise ShapeError(f"{name}: groups={groups} must divide the {channels} {what} of the weight")
    return found


def _pads(
    name: str, padding: str | Ints, n: int, kernel: Sizes, stride: Sizes, dilation: Sizes
) -> tuple[tuple[int, int], ...]:
    """Zeros before and after along each axis."""
    if padding == "valid":
        return ((0, 0),) * n
    if padding == "same":
        if any(t != 1 for t in stride):
            raise ShapeError(f"{name}: padding='same' needs stride 1, got stride {stride}")
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((t // 2, t - t // 2) for t in totals)
    if isinstance(padding, str):
        raise ShapeError(f"{name}: padding must be 'valid', 'same' or integers, got {padding!r}")
    return tuple((p, p) for p in tupled(name, "padding", padding, n))
