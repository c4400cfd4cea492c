"""Convolution layers in 1, 2 and 3 dimensions. Their transposes are in `conv_transpose.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional.arguments import Array, tupled
from bpgpu.nn import init
from bpgpu.nn.module import Module
from bpgpu.nn.parameter import Parameter

Ints = int | tuple[int, ...]
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class ConvBase(Module):
    """What convolutions and their transposes have in common: settings and weights."""

    weight: Array
    bias: Array | None
    n: ClassVar[int]
    """How many axes the kernel moves along."""
    transposed: ClassVar[bool] = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints,
        padding: str | Ints,
        dilation: Ints,
        output_padding: Ints,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        name, n = type(self).__name__, self.n
        (self.in_channels,) = tupled(name, "in_channels", in_channels, 1)
        (self.out_channels,) = tupled(name, "out_channels", out_channels, 1)
        self.kernel_size = tupled(name, "kernel_size", kernel_size, n, least=1)
        self.stride = tupled(name, "stride", stride, n, least=1)
        self.dilation = tupled(name, "dilation", dilation, n, least=1)
        self.output_padding = tupled(name, "output_padding", output_padding, n)
        (self.groups,) = tupled(name, "groups", groups, 1, least=1)
        self.padding_mode = padding_mode
        self.padding: str | tuple[int, ...] = (
            padding if isinstance(padding, str) else tupled(name, "padding", padding, n)
        )
        self._check()
        ends = (self.in_channels, self.out_channels)
        first, second = ends if self.transposed else ends[::-1]
        shape = (first, second // self.groups, *self.kernel_size)
        self.weight = Parameter(init.new(shape, device, dtype))
        b = Parameter(init.new((self.out_channels,), device, dtype)) if bias else None
        self.register_parameter("bias", b)
        self.reset_parameters()

    def _check(self) -> None:
        name = type(self).__name__
        for what in ("in_channels", "out_channels"):
            if getattr(self, what) % self.groups:
                raise ArgumentError(
                    f"{name}: groups={self.groups} must divide {what}={getattr(self, what)}"
                )
        if isinstance(self.padding, str) and self.padding not in ("same", "valid"):
            raise ArgumentError(
                f"{name}: expected padding as 'same', 'valid' or integers, got {self.padding!r}"
            )
        if self.padding == "same" and any(s != 1 for s in self.stride):
            raise ArgumentError(f"{name}: padding='same' needs stride 1, got stride {self.stride}")
        if self.padding_mode not in PADDING_MODES:
            raise ArgumentError(
                f"{name}: expected padding_mode as one of {', '.join(PADDING_MODES)}, got "
                f"{self.padding_mode!r}"
            )

    def check_channels(self, input: Array) -> None:
        """Raise for an input of other channels than the layer is made for."""
        n, shape = self.n, tuple(input.shape)
        if len(shape) in (n + 1, n + 2) and shape[-n - 1] != self.in_channels:
            batch = "N, " if len(shape) == n + 2 else ""
            letters = ("L", "H, W", "D, H, W")[n - 1]
            raise ShapeError(
                f"expected input ({batch}{self.in_channels}, {letters}), got {shape}: in_channels "
                f"is {self.in_channels}; did you swap two layers?"
            )

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.weight = init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            k = 1 / math.sqrt(init.fans(self.weight)[0] or 1)
            self.bias = init.uniform_(self.bias, -k, k)

    def extra_repr(self) -> str:
        n = self.n
        optional: tuple[tuple[str, Any, Any], ...] = (
            ("padding", self.padding, (0,) * n),
            ("dilation", self.dilation, (1,) * n),
            ("output_padding", self.output_padding, (0,) * n),
            ("groups", self.groups, 1),
            ("bias", self.bias is not None, True),
            ("padding_mode", self.padding_mode, "zeros"),
        )
        shown = [f", {name}={value}" for name, value, default in optional if value != default]
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}{''.join(shown)}"
        )


class _Conv(ConvBase):
    function: ClassVar[Callable[..., Array]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: str | Ints = 0,
        dilation: Ints = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        settings = (in_channels, out_channels, kernel_size, stride, padding, dilation)
        super().__init__(*settings, 0, groups, bias, padding_mode, device, dtype)

    def forward(self, input: Array) -> Array:
        self.check_channels(input)
        padding: str | Ints = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._pads(), mode=self.padding_mode), 0
        settings = (self.stride, padding, self.dilation, self.groups)
        return type(self).function(input, self.weight, self.bias, *settings)

    def _pads(self) -> tuple[int, ...]:
        """How much before and after each axis, the last axis first, as `pad` takes it."""
        if isinstance(self.padding, str):
            same = self.padding == "same"
            reach = zip(self.dilation, self.kernel_size, strict=True)
            totals = [d * (k - 1) if same else 0 for d, k in reach]
            pairs = [(t // 2, t - t // 2) for t in totals]
        else:
            pairs = [(p, p) for p in self.padding]
        return tuple(p for pair in reversed(pairs) for p in pair)


class Conv1d(_Conv):
    """Convolution over one axis, with learned kernels (cross-correlation, as everywhere in neural
    networks): `y[o, l] = b[o] + sum over c, k of w[o, c, k] x[c, stride l + dilation k - padding]`.

    *Shape* `(N, C, L) -> (N, O, L')`, with or without `N`; `C = in_channels`, `O = out_channels`,
    `L' = (L + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1`.

    *Attributes* `weight` of shape `(O, C / groups, kernel_size)` and `bias` of shape `(O,)`, both
    drawn uniformly from `(-k, k)`, `k = 1 / sqrt(C / groups * kernel_size)`.

    *Parameters* `stride` (1). `padding`: on both sides (0), or `"valid"` for none, `"same"` for `L' =
    L`. `dilation`: from one place of the kernel to the next (1). `groups`: channels fall into so
    many groups that do not see each other (1). `bias`: whether `b` is there. `padding_mode`:
    `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`. `device`, `dtype`: of the weights
    (float32).

    *Raises* `ShapeError` for sizes out of range, `ArgumentError` for settings that do not go
    together; in the call, `ShapeError` for other channels or a kernel that does not fit.

    *References* Y. LeCun et al. (1989), "Backpropagation applied to handwritten zip code
    recognition".

    >>> import numpy as np
    >>> Conv1d(16, 33, 3, stride=2)(np.ones((20, 16, 50), dtype=np.float32)).shape
    (20, 33, 24)
    """

    n = 1
    function = F.conv1d


class Conv2d(_Conv):
    """Convolution over two axes, with learned kernels.

    *Shape* `(N, C, H, W) -> (N, O, H', W')`, with or without `N`; sizes as in `Conv1d`, along each
    axis.

    *Attributes* `weight` of shape `(O, C / groups, kh, kw)` and `bias` of shape `(O,)`, both drawn
    uniformly from `(-k, k)`, `k = 1 / sqrt(C / groups * kh * kw)`.

    *Parameters*, *Raises* as for `Conv1d`; sizes are one integer, or one for each axis.

    >>> import numpy as np
    >>> Conv2d(3, 8, (3, 5), padding=(1, 2))(np.ones((2, 3, 9, 9), dtype=np.float32)).shape
    (2, 8, 9, 9)
    """

    n = 2
    function = F.conv2d


class Conv3d(_Conv):
    """Convolution over three axes, with learned kernels.

    *Shape* `(N, C, D, H, W) -> (N, O, D', H', W')`, with or without `N`; sizes as in `Conv1d`, along
    each axis.

    *Attributes* `weight` of shape `(O, C / groups, kd, kh, kw)` and `bias` of shape `(O,)`, drawn as
    in `Conv2d`.

    *Parameters*, *Raises* as for `Conv1d`; sizes are one integer, or one for each axis.
    """

    n = 3
    function = F.conv3d
