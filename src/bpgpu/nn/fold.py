"""Patches of images as columns, and back."""

from __future__ import annotations

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.functional.arguments import Array, tupled
from bpgpu.nn.module import Module

Ints = int | tuple[int, int]


class Unfold(Module):
    """The patches of an image that a kernel sees as it moves, as columns.

    *Shape* `(N, C, H, W) -> (N, C * kh * kw, L)`, with or without `N`; `L` is the number of places of
    the kernel, `prod((S + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1)` over both axes.

    *Parameters* `kernel_size`, `dilation` (1), `padding` (0), `stride` (1): one integer, or one for
    each axis.

    *Raises* `ShapeError` for sizes out of range, or, in the call, a kernel that does not fit.

    >>> import numpy as np
    >>> Unfold((2, 3))(np.ones((2, 5, 3, 4))).shape
    (2, 30, 4)
    """

    def __init__(
        self, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1
    ) -> None:
        super().__init__()
        _check("Unfold", kernel_size, dilation, padding, stride)
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Array) -> Array:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, "
            f"stride={self.stride}"
        )


class Fold(Module):
    """An image from columns of patches: each is added at its place, so that overlapping ones sum.

    It is the transpose of `Unfold` (not its inverse).

    *Shape* `(N, C * kh * kw, L) -> (N, C, *output_size)`, with or without `N`.

    *Parameters* `output_size`: height and width. `kernel_size`, `dilation` (1), `padding` (0),
    `stride` (1): one integer, or one for each axis.

    *Raises* `ShapeError` for sizes out of range, or, in the call, columns that do not belong to them.

    >>> import numpy as np
    >>> Fold((4, 5), (2, 2))(np.ones((1, 12, 12))).shape
    (1, 3, 4, 5)
    """

    def __init__(
        self,
        output_size: Ints,
        kernel_size: Ints,
        dilation: Ints = 1,
        padding: Ints = 0,
        stride: Ints = 1,
    ) -> None:
        super().__init__()
        tupled("Fold", "output_size", output_size, 2)
        _check("Fold", kernel_size, dilation, padding, stride)
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Array) -> Array:
        settings = (self.kernel_size, self.dilation, self.padding, self.stride)
        return F.fold(input, self.output_size, *settings)

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, "
            f"dilation={self.dilation}, padding={self.padding}, stride={self.stride}"
        )


def _check(layer: str, kernel_size: Ints, dilation: Ints, padding: Ints, stride: Ints) -> None:
    tupled(layer, "kernel_size", kernel_size, 2, least=1)
    tupled(layer, "dilation", dilation, 2, least=1)
    tupled(layer, "padding", padding, 2)
    tupled(layer, "stride", stride, 2, least=1)
