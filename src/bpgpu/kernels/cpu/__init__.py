"""Kernels for NumPy's arrays."""

from bpgpu.kernels.cpu import conv, norm, pool, recurrent

__all__ = ["conv", "norm", "pool", "recurrent"]
