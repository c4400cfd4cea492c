"""Kernels for NumPy's arrays."""

from bpgpu.kernels.cpu import attention, conv, gelu, norm, pool, recurrent, update

__all__ = ["attention", "conv", "gelu", "norm", "pool", "recurrent", "update"]
