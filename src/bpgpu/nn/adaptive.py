"""Pooling layers that take inputs of any size to one size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.functional.arguments import Array
from bpgpu.nn.module import Module

Sizes = int | None | tuple[int | None, ...]


class _AdaptiveAvgPool(Module):
    function: ClassVar[Callable[..., Array]]

    def __init__(self, output_size: Sizes) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Array) -> Array:
        return type(self).function(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of windows that are chosen so that there are `output_size` of them.

    Window `i` goes from `floor(i L / L')` to `ceil((i + 1) L / L')`; neighbours may overlap.

    *Shape* `(N, C, L) -> (N, C, L')`, with or without `N`; `L' = output_size`.

    *Parameters* `output_size`.

    >>> import numpy as np
    >>> AdaptiveAvgPool1d(2)(np.asarray([[1.0, 3.0, 2.0]]))
    array([[2. , 2.5]])
    """

    function = F.adaptive_avg_pool1d


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """`AdaptiveAvgPool1d` over both axes of an image: `(N, C, H, W) -> (N, C, *output_size)`.

    *Parameters* `output_size`: one integer for a square, or (H', W'); `None` leaves an axis as it is.
    """

    function = F.adaptive_avg_pool2d


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """`AdaptiveAvgPool1d` over the three axes of a volume: `(N, C, D, H, W) -> (N, C, *output_size)`.

    *Parameters* `output_size`: one integer for a cube, or (D', H', W'); `None` leaves an axis as it is.
    """

    function = F.adaptive_avg_pool3d


class _AdaptiveMaxPool(_AdaptiveAvgPool):
    function: ClassVar[Callable[..., Any]]

    def __init__(self, output_size: Sizes, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Array) -> Any:
        return type(self).function(input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest numbers of windows that are chosen so that there are `output_size` of them.

    *Shape* and windows as for `AdaptiveAvgPool1d`.

    *Parameters* `output_size`. `return_indices`: give the places of the largest as well (False).
    """

    function = F.adaptive_max_pool1d


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """`AdaptiveMaxPool1d` over both axes of an image: `(N, C, H, W) -> (N, C, *output_size)`.

    *Parameters* `output_size`: one integer for a square, or (H', W'); `None` leaves an axis as it is.
    `return_indices` (False).
    """

    function = F.adaptive_max_pool2d


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """`AdaptiveMaxPool1d` over the three axes of a volume: `(N, C, D, H, W) -> (N, C, *output_size)`.

    *Parameters* `output_size`: one integer for a cube, or (D', H', W'); `None` leaves an axis as it is.
    `return_indices` (False).
    """

    function = F.adaptive_max_pool3d
