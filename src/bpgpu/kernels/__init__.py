"""Accelerators of single functions, each for one array library.

Delete this folder and every result stays the same but for rounding and speed. `registry` finds the
kernel for a call, if there is one; `BPGPU_ACCEL=0` switches all of them off.
"""

from bpgpu.kernels.registry import (
    LISTED,
    MIDDLE,
    MULTIPLIED,
    compute,
    contraction,
    find,
    multiplication,
    switched_off,
)

__all__ = [
    "LISTED",
    "MIDDLE",
    "MULTIPLIED",
    "compute",
    "contraction",
    "find",
    "multiplication",
    "switched_off",
]
