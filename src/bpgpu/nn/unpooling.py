"""The way back from max pooling, as layers."""

from __future__ import annotations

from collections.abc import Sequence

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.functional.arguments import Array, tupled
from bpgpu.nn.pooling import Ints, Pool


class _MaxUnpool(Pool):
    def __init__(self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0) -> None:
        super().__init__()
        self._window(kernel_size, stride, padding)
        name, n = type(self).__name__, self.n
        self.kernel_size = tupled(name, "kernel_size", kernel_size, n)
        self.stride = self.kernel_size if stride is None else tupled(name, "stride", stride, n)
        self.padding = tupled(name, "padding", padding, n)

    def forward(
        self, input: Array, indices: Array, output_size: Sequence[int] | None = None
    ) -> Array:
        settings = (self.kernel_size, self.stride, self.padding)
        return type(self).function(input, indices, *settings, output_size)


class MaxUnpool1d(_MaxUnpool):
    """The largest numbers back at their places, zeros at all others: a partial inverse of `MaxPool1d`.

    *Shape* input and indices `(N, C, L) -> (N, C, L')`, with or without `N`; `L' = (L - 1) stride - 2
    padding + kernel_size`, or as `output_size` says in the call, since pooling takes several sizes to
    one.

    *Parameters* `kernel_size`; `stride`: the kernel's size by default; `padding` (0): those of the
    pooling.

    *Raises* `ShapeError` for sizes out of range, or, in the call, an output size out of reach.
    """

    n = 1
    function = F.max_unpool1d


class MaxUnpool2d(_MaxUnpool):
    """`MaxUnpool1d` for images; sizes are one integer, or one for each axis."""

    n = 2
    function = F.max_unpool2d


class MaxUnpool3d(_MaxUnpool):
    """`MaxUnpool1d` for volumes; sizes are one integer, or one for each axis."""

    n = 3
    function = F.max_unpool3d
