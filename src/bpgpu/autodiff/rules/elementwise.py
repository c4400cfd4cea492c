"""Derivatives of elementwise functions: a table of calculus, read from top to bottom."""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.rule import SCALARS, ZERO, broadcasting, elementwise, rule

@broadcasting
def add(xp: Any, x: Any, y: Any) -> Any:
    return x + y, None, None


@broadcasting
def subtract(xp: Any, x: Any, y: Any) -> Any:
    return x - y, None, lambda g: -g


@broadcasting
def multiply(xp: Any, x: Any, y: Any) -> Any:
    return x * y, lambda g: g * y, lambda g: g * x


@broadcasting
def divide(xp: Any, x: Any, y: Any) -> Any:
    q = x / y
    return q, lambda g: g / y, lambda g: -(g * q) / y


@broadcasting
def pow(xp: Any, x: Any, y: Any) -> Any:
    if type(y) in SCALARS and y == 2:
        return x**2, lambda g: g * (2 * x), None
    z = x**y
    return z, lambda g: g * (y * x ** (y - 1)), lambda g: g * z * xp.log(x)


@broadcasting
def remainder(xp: Any, x: Any, y: Any) -> Any:
    return x % y, None, lambda g: -(g * xp.floor(x / y))


@broadcasting
def floor_divide(xp: Any, x: Any, y: Any) -> Any:
    return x // y, ZERO, ZERO


@elementwise
def exp(xp: Any, x: Any) -> Any:
    y = xp.exp(x)
    return y, lambda g: g * y


@elementwise
def tanh(xp: Any, x: Any) -> Any:
    y = xp.tanh(x)
    return y, lambda g: g * (1 - y * y)


@elementwise
def sin(xp: Any, x: Any) -> Any:
    return xp.sin(x), lambda g: g * xp.cos(x)


@elementwise
def cos(xp: Any, x: Any) -> Any:
    return xp.cos(x), lambda g: g * -xp.sin(x)


@elementwise
def negative(xp: Any, x: Any) -> Any:
    return -x, lambda g: -g


@elementwise
def positive(xp: Any, x: Any) -> Any:
    return +x, None


@rule(conjugate=False)
def conj(xp: Any, x: Any) -> Any:
    return xp.conj(x), lambda g: xp.conj(g)


@rule(conjugate=False)
def real(xp: Any, x: Any) -> Any:
    return xp.real(x), None


@rule(conjugate=False)
def imag(xp: Any, x: Any) -> Any:
    dtype = x.dtype
    return xp.imag(x), lambda g: xp.astype(g, dtype) * 1j


@rule
def astype(xp: Any, x: Any, dtype: Any, /, **options: Any) -> Any:
    return xp.astype(x, dtype, **options), None


@rule(conjugate=False)
def abs(xp: Any, x: Any) -> Any:
    """The derivative at 0 is 0. For complex numbers it points away from the origin: z / |z|."""
    y = xp.abs(x)
    return y, lambda g: g * xp.sign(x)
