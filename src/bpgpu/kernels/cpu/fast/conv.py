"""The gradient of the input of a convolution of images with a stride: columns added up, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpgpu.kernels.cpu import conv as in_numpy
from bpgpu.kernels.cpu.fast.compiling import compiled
from bpgpu.kernels.registry import kernel


def _accepts(g: Any, w: Any, geometry: Any) -> bool:
    return (
        g.ndim == 4
        and set(geometry.stride) != {1}
        and not geometry.is_product
        and in_numpy.accepts(g, w, geometry)
    )


@kernel("spread", in_numpy.NUMPY, _accepts)
def spread(g: Any, w: Any, geometry: Any) -> Any:
    """As `cpu.conv` has it."""
    return in_numpy.scattered(np.moveaxis(g, 1, -1), w, geometry, _add_columns)


def _add_columns(out: Any, columns: Any, geometry: Any) -> None:
    _add(out, columns, *geometry.kernel, *geometry.stride, *geometry.dilation)


@compiled
def _add(
    out: Any, columns: Any, high: int, wide: int, down: int, right: int, d_down: int, d_right: int
) -> None:
    n, h, w, _, c = columns.shape
    for e in range(n):
        for i in range(h):
            for j in range(w):
                for k in range(high * wide):
                    to = out[e, i * down + k // wide * d_down, j * right + k % wide * d_right]
                    part = columns[e, i, j, k]
                    for m in range(c):
                        to[m] += part[m]
