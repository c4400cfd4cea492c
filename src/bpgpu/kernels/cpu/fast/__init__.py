"""Kernels compiled by numba, the extra `fast`. They come before those in NumPy."""

from bpgpu.kernels.cpu.fast import attention, conv, elementwise, norm, pool, recurrent

__all__ = ["attention", "conv", "elementwise", "norm", "pool", "recurrent"]
