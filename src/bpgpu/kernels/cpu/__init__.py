"""Kernels for NumPy's arrays."""

from bpgpu.kernels.cpu import conv

__all__ = ["conv"]
