"""Kernels for CuPy's arrays: products by cuBLASLt, and our own, whose sources are in `source/`.

This file imports nothing, so that what needs no CuPy can be had without it; `every` has all kernels.
"""
