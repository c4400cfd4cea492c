"""Derivatives of elementwise functions of one operand: a table of calculus, read from top to bottom.

Where a derivative is infinite (`sqrt` at 0, `log` at 0, `asin` at 1), so is the gradient. Where a function has a kink,
the rule states which value it takes there.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.rule import ZERO, Elementwise, elementwise, rule


def quotient(xp: Any, a: Any, b: Any) -> Any:
    """`a / b`, and 0 with all its derivatives where `b` is 0."""
    zero = b == 0
    return xp.where(zero, 0, a / xp.where(zero, 1, b))


# ---- exponentials, logarithms, powers


@elementwise
def exp(xp: Any, x: Any) -> Any:
    y = xp.exp(x)
    return y, lambda g: g * y


@elementwise
def expm1(xp: Any, x: Any) -> Any:
    y = xp.expm1(x)
    return y, lambda g: g * (y + 1)


@elementwise
def log(xp: Any, x: Any) -> Any:
    return xp.log(x), lambda g: g / x


@elementwise
def log1p(xp: Any, x: Any) -> Any:
    return xp.log1p(x), lambda g: g / (1 + x)


@elementwise
def log2(xp: Any, x: Any) -> Any:
    return xp.log2(x), lambda g: g / (math.log(2) * x)


@elementwise
def log10(xp: Any, x: Any) -> Any:
    return xp.log10(x), lambda g: g / (math.log(10) * x)


@elementwise
def sqrt(xp: Any, x: Any) -> Any:
    """The derivative at 0 is infinite."""
    y = xp.sqrt(x)
    return y, lambda g: g / (2 * y)


@elementwise
def square(xp: Any, x: Any) -> Any:
    return xp.square(x), lambda g: g * (2 * x)


@elementwise
def reciprocal(xp: Any, x: Any) -> Any:
    y = xp.reciprocal(x)
    return y, lambda g: -g * (y * y)


@elementwise
def negative(xp: Any, x: Any) -> Any:
    return -x, lambda g: -g


@elementwise
def positive(xp: Any, x: Any) -> Any:
    return +x, None


# ---- trigonometric functions and their inverses


@elementwise
def sin(xp: Any, x: Any) -> Any:
    return xp.sin(x), lambda g: g * xp.cos(x)


@elementwise
def cos(xp: Any, x: Any) -> Any:
    return xp.cos(x), lambda g: -g * xp.sin(x)


@elementwise
def tan(xp: Any, x: Any) -> Any:
    y = xp.tan(x)
    return y, lambda g: g * (1 + y * y)


@elementwise
def asin(xp: Any, x: Any) -> Any:
    return xp.asin(x), lambda g: g / _leg(xp, x)


@elementwise
def acos(xp: Any, x: Any) -> Any:
    return xp.acos(x), lambda g: -g / _leg(xp, x)


def _leg(xp: Any, x: Any) -> Any:
    """The square root of `1 - x²`; for complex `x` the one that is right on the branch cuts too."""
    if kind(x.dtype) != "complex":
        return xp.sqrt((1 - x) * (1 + x))
    # an imaginary part of -0.0, which tells the side of the cut, is kept by `x - -1` and lost by `x + 1`
    return xp.sqrt(-x - -1) * xp.sqrt(x - -1)


@elementwise
def atan(xp: Any, x: Any) -> Any:
    return xp.atan(x), lambda g: g / (1 + x * x)


# ---- hyperbolic functions and their inverses


@elementwise
def sinh(xp: Any, x: Any) -> Any:
    return xp.sinh(x), lambda g: g * xp.cosh(x)


@elementwise
def cosh(xp: Any, x: Any) -> Any:
    return xp.cosh(x), lambda g: g * xp.sinh(x)


@elementwise
def tanh(xp: Any, x: Any) -> Any:
    y = xp.tanh(x)
    return y, lambda g: g * (1 - y * y)


@elementwise
def asinh(xp: Any, x: Any) -> Any:
    return xp.asinh(x), lambda g: g / xp.sqrt(1 + x * x)


@elementwise
def acosh(xp: Any, x: Any) -> Any:
    """Two roots, since the root of `x² - 1` has the wrong sign for complex `x` with a negative real part."""
    return xp.acosh(x), lambda g: g / (xp.sqrt(x - 1) * xp.sqrt(x + 1))


@elementwise
def atanh(xp: Any, x: Any) -> Any:
    return xp.atanh(x), lambda g: g / ((1 - x) * (1 + x))


# ---- absolute value and sign


@elementwise
def abs(xp: Any, x: Any) -> Any:
    """The derivative at 0 is 0. For complex numbers the gradient points away from the origin: `z / |z|`.

    The result is always real, so the engine does not conjugate around the pull.
    """
    y = xp.abs(x)
    if kind(x.dtype) == "complex":
        return y, lambda g: g * quotient(xp, x, y)
    return y, lambda g: g * xp.sign(x)


@rule(conjugate=False)
def sign(xp: Any, x: Any) -> Any:
    """Constant for real numbers. For complex ones, `z / |z|`, which only turning `z` changes; at 0, 0."""
    s = xp.sign(x)
    if kind(x.dtype) != "complex":
        return s, ZERO

    def pull(g: Any) -> Any:
        outward = xp.real(xp.conj(s) * g)
        return quotient(xp, g - outward * s, xp.abs(x))

    return s, pull


# ---- steps: constant between their jumps


@rule
def floor(xp: Any, x: Any) -> Any:
    """The derivative is 0, at the jumps too."""
    return xp.floor(x), ZERO


@rule
def ceil(xp: Any, x: Any) -> Any:
    """The derivative is 0, at the jumps too."""
    return xp.ceil(x), ZERO


@rule
def trunc(xp: Any, x: Any) -> Any:
    """The derivative is 0, at the jumps too."""
    return xp.trunc(x), ZERO


@rule
def round(xp: Any, x: Any) -> Any:
    """The derivative is 0, at the jumps too."""
    return xp.round(x), ZERO


# ---- parts of complex numbers, and dtypes


@functools.partial(Elementwise, conjugate=False)
def conj(xp: Any, x: Any) -> Any:
    return xp.conj(x), xp.conj


@rule(conjugate=False)
def real(xp: Any, x: Any) -> Any:
    return xp.real(x), None


@rule(conjugate=False)
def imag(xp: Any, x: Any) -> Any:
    """A step along `i` changes it, so the gradient points along `i`."""
    dtype = x.dtype
    if kind(dtype) != "complex":
        return xp.imag(x), ZERO
    return xp.imag(x), lambda g: xp.astype(g, dtype) * 1j


@rule
def astype(xp: Any, x: Any, dtype: Any, /, *, copy: bool = True) -> Any:
    """The gradient is cast back. A cast to integers or truth values gives a constant."""
    return xp.astype(x, dtype, copy=copy), None


def cast(xp: Any, x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """The same handle where nothing has to change; a move to another device is recorded as such."""
    y = x if not copy and x.dtype == dtype else astype(x, dtype, copy=copy)
    return y if device is None else xp.to_device(y, device)


COMPOSED = {"astype": cast}
