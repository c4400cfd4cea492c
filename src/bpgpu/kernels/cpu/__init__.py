"""Kernels for NumPy's arrays."""

from bpgpu.kernels.cpu import conv, pool

__all__ = ["conv", "pool"]
