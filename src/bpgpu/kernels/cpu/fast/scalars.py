"""Functions of one float32 number, written so that loops over them are vectorised.

The exponential is `2^k` times a polynomial of degree 7 over `[-log(2) / 2, log(2) / 2]` (that of
the Cephes library): at most 2 units in the last place.
"""

from __future__ import annotations

from typing import Any

from numpy import float32, int32

from bpgpu.kernels.cpu.fast.compiling import inlined

f = float32


@inlined
def exp(x: Any) -> Any:
    """For `x` up to 88; larger numbers count as 88, and from -87 downwards it is 0."""
    z = x if x > f(-87) else f(-87)  # noqa: FURB136 - so, NaN becomes a number
    z = z if z < f(88) else f(88)  # noqa: FURB136
    k = int32(z * f(1.44269504088896341) + f(127.5))  # of a positive number: the floor
    n = f(k) - f(127)
    z = z - n * f(0.693359375)
    z = z + n * f(2.12194440e-4)
    p = f(1.9875691500e-4)
    p = p * z + f(1.3981999507e-3)
    p = p * z + f(8.3334519073e-3)
    p = p * z + f(4.1665795894e-2)
    p = p * z + f(1.6666665459e-1)
    p = p * z + f(5.0000001201e-1)
    p = p * z * z + z + f(1)
    p = p * int32(k << int32(23)).view(float32)
    p = p if x >= f(-87) else f(0)
    return p if x == x else x


@inlined
def tanh(x: Any) -> Any:
    return f(1) - f(2) / (exp(f(2) * x) + f(1))


@inlined
def sigmoid(x: Any) -> Any:
    return f(1) / (f(1) + exp(-x))
