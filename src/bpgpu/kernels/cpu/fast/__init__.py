"""Kernels compiled by numba, the extra `fast`. They come before those in NumPy."""

from bpgpu.kernels.cpu.fast import (
    attention,
    columns,
    conv,
    elementwise,
    linear,
    norm,
    pool,
    recurrent,
    winograd,
)

__all__ = [
    "attention",
    "columns",
    "conv",
    "elementwise",
    "linear",
    "norm",
    "pool",
    "recurrent",
    "winograd",
]
