"""Transposed convolution layers in 1, 2 and 3 dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional.arguments import Array, tupled
from bpgpu.nn.conv import ConvBase, Ints


class _ConvTranspose(ConvBase):
    function: ClassVar[Callable[..., Array]]
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Ints = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ArgumentError(
                f"{type(self).__name__}: expected padding_mode 'zeros', got {padding_mode!r}"
            )
        padding = tupled(type(self).__name__, "padding", padding, self.n)
        settings = (in_channels, out_channels, kernel_size, stride, padding, dilation)
        rest = (output_padding, groups, bias, padding_mode, device, dtype)
        super().__init__(*settings, *rest)

    def forward(self, input: Array, output_size: Sequence[int] | None = None) -> Array:
        self.check_channels(input)
        extra = self.output_padding
        if output_size is not None:
            extra = self._missing(tuple(input.shape), tuple(output_size))
        settings = (self.stride, self.padding, extra, self.groups, self.dilation)
        return type(self).function(input, self.weight, self.bias, *settings)

    def _missing(self, shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
        """The `output_padding` that gives the wanted size."""
        n = self.n
        sizes = wanted[-n:]
        if len(wanted) not in (n, len(shape)) or len(shape) < n:
            raise ShapeError(
                f"expected output_size of {n} sizes, got {wanted} for an input of shape {shape}"
            )
        cut = tupled(type(self).__name__, "padding", self.padding, n)
        settings = zip(shape[-n:], self.stride, cut, self.dilation, self.kernel_size, strict=True)
        least = [(s - 1) * t - 2 * p + d * (k - 1) + 1 for s, t, p, d, k in settings]
        most = [a + t - 1 for a, t in zip(least, self.stride, strict=True)]
        if any(not a <= s <= b for a, s, b in zip(least, sizes, most, strict=True)):
            raise ShapeError(
                f"expected output_size from {tuple(least)} to {tuple(most)}, got {sizes}, for an "
                f"input of shape {shape}"
            )
        return tuple(s - a for s, a in zip(sizes, least, strict=True))


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution over one axis: every input puts a copy of the kernel, times its value,
    into the output.

    It is the gradient of a convolution with respect to its input (not its inverse), and makes
    signals longer as a convolution of the same stride makes them shorter.

    *Shape* `(N, C, L) -> (N, O, L')`, with or without `N`; `C = in_channels`, `O = out_channels`,
    `L' = (L - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1`.

    *Attributes* `weight` of shape `(C, O / groups, kernel_size)` and `bias` of shape `(O,)`, both
    drawn uniformly from `(-k, k)`, `k = 1 / sqrt(O / groups * kernel_size)`.

    *Parameters* `stride` (1). `padding`: so much is cut off on both sides (0). `output_padding`: so
    much is added at the end (0), since a convolution of stride above 1 takes several sizes to one;
    or give `output_size` in the call. `groups` (1), `bias` (True), `dilation` (1). `padding_mode`:
    `"zeros"` only. `device`, `dtype`: of the weights (float32).

    *Raises* `ShapeError` for sizes out of range, `ArgumentError` for settings that do not go
    together; in the call, `ShapeError` for other channels or an output size out of reach.

    *References* M. Zeiler et al. (2010), "Deconvolutional networks".

    >>> import numpy as np
    >>> up = ConvTranspose1d(4, 2, 3, stride=2, padding=1)
    >>> up(np.ones((1, 4, 5), dtype=np.float32), output_size=(10,)).shape
    (1, 2, 10)
    """

    n = 1
    function = F.conv_transpose1d


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution over two axes.

    *Shape* `(N, C, H, W) -> (N, O, H', W')`, with or without `N`; sizes as in `ConvTranspose1d`,
    along each axis.

    *Attributes* `weight` of shape `(C, O / groups, kh, kw)` and `bias` of shape `(O,)`, drawn as in
    `ConvTranspose1d`.

    *Parameters*, *Raises* as for `ConvTranspose1d`; sizes are one integer, or one for each axis.
    """

    n = 2
    function = F.conv_transpose2d


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution over three axes.

    *Shape* `(N, C, D, H, W) -> (N, O, D', H', W')`, with or without `N`; sizes as in
    `ConvTranspose1d`, along each axis.

    *Attributes* `weight` of shape `(C, O / groups, kd, kh, kw)` and `bias` of shape `(O,)`, drawn as
    in `ConvTranspose1d`.

    *Parameters*, *Raises* as for `ConvTranspose1d`; sizes are one integer, or one for each axis.
    """

    n = 3
    function = F.conv_transpose3d
