"""Pooling layers: windows of the input become one number each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.functional.arguments import Array, tupled
from bpgpu.nn.module import Module

Ints = int | tuple[int, ...]


class Pool(Module):
    """Base of poolings: the settings of the window, and which of them `repr` shows."""

    n: ClassVar[int]
    function: ClassVar[Callable[..., Any]]
    shown: ClassVar[tuple[str, ...]] = ("kernel_size", "stride", "padding")

    def _window(self, kernel_size: Any, stride: Any, padding: Any = 0, dilation: Any = 1) -> None:
        """Raise unless these make a window."""
        name, n = type(self).__name__, self.n
        tupled(name, "kernel_size", kernel_size, n, least=1)
        if stride is not None:
            tupled(name, "stride", stride, n, least=1)
        tupled(name, "padding", padding, n)
        tupled(name, "dilation", dilation, n, least=1)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)


class _MaxPool(Pool):
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        dilation: Ints = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self._window(kernel_size, stride, padding, dilation)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Array) -> Any:
        return type(self).function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )


class MaxPool1d(_MaxPool):
    """The largest number of each window.

    *Shape* `(N, C, L) -> (N, C, L')`, with or without `N`; `L' = floor((L + 2 padding - dilation
    (kernel_size - 1) - 1) / stride) + 1`, rounded up instead with `ceil_mode`.

    *Parameters* `kernel_size`. `stride`: the kernel's size by default. `padding`: so much of minus
    infinity on both sides, at most half of the kernel (0). `dilation` (1). `return_indices`: give the
    places of the largest as well, for `MaxUnpool1d` (False). `ceil_mode`: windows may reach beyond
    the end (False).

    *Raises* `ShapeError` for sizes out of range, or, in the call, a window that does not fit.

    >>> import numpy as np
    >>> MaxPool1d(2)(np.asarray([[1.0, 3.0, 2.0, 0.0]]))
    array([[3., 2.]])
    """

    n = 1
    function = F.max_pool1d


class MaxPool2d(_MaxPool):
    """The largest number of each window of an image.

    *Shape* `(N, C, H, W) -> (N, C, H', W')`, with or without `N`; sizes as in `MaxPool1d`, along each
    axis.

    *Parameters*, *Raises* as for `MaxPool1d`; sizes are one integer, or one for each axis.
    """

    n = 2
    function = F.max_pool2d


class MaxPool3d(_MaxPool):
    """The largest number of each window of a volume.

    *Shape* `(N, C, D, H, W) -> (N, C, D', H', W')`, with or without `N`; sizes as in `MaxPool1d`.

    *Parameters*, *Raises* as for `MaxPool1d`; sizes are one integer, or one for each axis.
    """

    n = 3
    function = F.max_pool3d


class AvgPool1d(Pool):
    """The mean of each window.

    *Shape* `(N, C, L) -> (N, C, L')`, with or without `N`; `L' = floor((L + 2 padding - kernel_size) /
    stride) + 1`, rounded up instead with `ceil_mode`.

    *Parameters* `kernel_size`. `stride`: the kernel's size by default. `padding`: so many zeros on
    both sides, at most half of the kernel (0). `ceil_mode`: windows may reach beyond the end (False).
    `count_include_pad`: those zeros count in the mean (True).

    *Raises* `ShapeError` for sizes out of range, or, in the call, a window that does not fit.

    >>> import numpy as np
    >>> AvgPool1d(2)(np.asarray([[1.0, 3.0, 2.0, 0.0]]))
    array([[2., 1.]])
    """

    n = 1

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self._window(kernel_size, stride, padding)
        name = "AvgPool1d"
        self.kernel_size = tupled(name, "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else tupled(name, "stride", stride, 1)
        self.padding = tupled(name, "padding", padding, 1)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Array) -> Array:
        settings = (self.kernel_size, self.stride, self.padding)
        return F.avg_pool1d(input, *settings, self.ceil_mode, self.count_include_pad)


class _AvgPool(Pool):
    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self._window(kernel_size, stride, padding)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Array) -> Array:
        return type(self).function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class AvgPool2d(_AvgPool):
    """The mean of each window of an image.

    *Shape* `(N, C, H, W) -> (N, C, H', W')`, with or without `N`; sizes as in `AvgPool1d`, along each
    axis.

    *Parameters*, *Raises* as for `AvgPool1d`; sizes are one integer, or one for each axis.
    `divisor_override`: divide the sum of each window by this number.
    """

    n = 2
    function = F.avg_pool2d


class AvgPool3d(_AvgPool):
    """The mean of each window of a volume.

    *Shape* `(N, C, D, H, W) -> (N, C, D', H', W')`, with or without `N`; sizes as in `AvgPool1d`.

    *Parameters*, *Raises* as for `AvgPool2d`.
    """

    n = 3
    function = F.avg_pool3d


class _LPPool(Pool):
    shown = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(
        self,
        norm_type: float,
        kernel_size: Ints,
        stride: Ints | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self._window(kernel_size, stride)
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input: Array) -> Array:
        settings = (self.norm_type, self.kernel_size, self.stride, self.ceil_mode)
        return type(self).function(input, *settings)


class LPPool1d(_LPPool):
    """The p-norm of each window: `(sum x^p)^(1/p)`.

    *Shape* as for `AvgPool1d`, without padding.

    *Parameters* `norm_type`: the order `p`; 1 for the sum, infinity for the largest. `kernel_size`.
    `stride`: the kernel's size by default. `ceil_mode`: windows may reach beyond the end (False).

    *Notes* Where the sum is 0, so is the gradient.
    """

    n = 1
    function = F.lp_pool1d


class LPPool2d(_LPPool):
    """`LPPool1d` over windows of an image; sizes are one integer, or one for each axis."""

    n = 2
    function = F.lp_pool2d


class LPPool3d(_LPPool):
    """`LPPool1d` over windows of a volume; sizes are one integer, or one for each axis."""

    n = 3
    function = F.lp_pool3d
