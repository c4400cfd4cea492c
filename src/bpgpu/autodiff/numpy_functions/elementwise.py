"""Elementwise functions of NumPy beyond the standard, written in terms of those that are in it."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.numpy_functions.table import Table
from bpgpu.autodiff.rule import elementwise

RENAMED = {
    "absolute": "abs",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "conjugate": "conj",
    "fabs": "abs",
    "fix": "trunc",
    "invert": "bitwise_invert",
    "left_shift": "bitwise_left_shift",
    "power": "pow",
    "right_shift": "bitwise_right_shift",
    "rint": "round",
}
"""NumPy's names of functions that the standard has under another."""

FUNCTIONS = table = Table()


@elementwise
def _cbrt(xp: Any, x: Any) -> Any:
    y = xp.sign(x) * xp.abs(x) ** (1 / 3)
    return y, lambda g: g / (3 * y * y)


@table()
def cbrt(xp: Any, x: Any) -> Any:
    return _cbrt(x)


@table()
def exp2(xp: Any, x: Any) -> Any:
    return 2.0**x


@table("degrees", "rad2deg")
def degrees(xp: Any, x: Any) -> Any:
    return x * (180 / math.pi)


@table("radians", "deg2rad")
def radians(xp: Any, x: Any) -> Any:
    return x * (math.pi / 180)


@table(arrays=("x", "y"))
def logaddexp2(xp: Any, x: Any, y: Any) -> Any:
    return xp.logaddexp(x * math.log(2), y * math.log(2)) / math.log(2)


@table(arrays=("x", "y"))
def float_power(xp: Any, x: Any, y: Any) -> Any:
    """`x**y` in double precision at least."""
    wide = [xp.astype(v, xp.float64) if _is_narrow(v) else v for v in (x, y)]
    return xp.pow(*wide)


def _is_narrow(x: Any) -> bool:
    return hasattr(x, "dtype") and kind(x.dtype) != "complex"


@table(arrays=("x", "h"))
def heaviside(xp: Any, x: Any, h: Any) -> Any:
    """A step from 0 to 1, with the value `h` on it. The derivative is 0 on both sides, and 0 on the step."""
    return xp.where(x == 0, h, (xp.sign(x) + 1) / 2)


@table(arrays=("x", "y"))
def fmax(xp: Any, x: Any, y: Any) -> Any:
    """The larger of two; of a number and NaN, the number."""
    x, y = _pair(xp, x, y)
    return xp.where(xp.isnan(x), y, xp.where(xp.isnan(y), x, xp.maximum(x, y)))


@table(arrays=("x", "y"))
def fmin(xp: Any, x: Any, y: Any) -> Any:
    x, y = _pair(xp, x, y)
    return xp.where(xp.isnan(x), y, xp.where(xp.isnan(y), x, xp.minimum(x, y)))


def _pair(xp: Any, x: Any, y: Any) -> Any:
    """Both as arrays."""
    like = x if hasattr(x, "dtype") else y
    return [v if hasattr(v, "dtype") else xp.asarray(v, dtype=like.dtype) for v in (x, y)]


@table(arrays=("x", "y"))
def fmod(xp: Any, x: Any, y: Any) -> Any:
    """The remainder with the sign of `x`."""
    return xp.sign(x) * xp.remainder(abs(x), abs(y))


@table("divmod", arrays=("x", "y"))
def divmod_(xp: Any, x: Any, y: Any) -> Any:
    return xp.floor_divide(x, y), xp.remainder(x, y)


@table()
def modf(xp: Any, x: Any) -> Any:
    """The fractional and the whole part."""
    whole = xp.trunc(x)
    return x - whole, whole


@table(arrays=("x", "i"))
def ldexp(xp: Any, x: Any, i: Any) -> Any:
    return x * 2.0**i


@table()
def sinc(xp: Any, x: Any) -> Any:
    """`sin(pi x) / (pi x)`, by its series at 0, so that the derivatives are right there too."""
    at_zero = x == 0
    z = math.pi * xp.where(at_zero, xp.ones_like(x), x)
    return xp.where(at_zero, 1 - (math.pi * x) ** 2 / 6, xp.sin(z) / z)


@table("round", "around")
def round_(xp: Any, a: Any, decimals: int = 0) -> Any:
    return xp.round(a) if decimals == 0 else xp.round(a * 10.0**decimals) / 10.0**decimals


@table(arrays=("a", "a_min", "a_max", "min", "max"))
def clip(
    xp: Any, a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None
) -> Any:
    return xp.clip(a, a_min if min is None else min, a_max if max is None else max)


@table()
def nan_to_num(
    xp: Any,
    x: Any,
    copy: bool = True,
    nan: float = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Any:
    """What was replaced gets no gradient."""
    if kind(x.dtype) == "complex":
        parts = [
            nan_to_num(xp, part, copy, nan, posinf, neginf) for part in (xp.real(x), xp.imag(x))
        ]
        return parts[0] + 1j * parts[1]
    largest = xp.finfo(x.dtype).max
    infinite = xp.isinf(x)
    x = xp.where(xp.isnan(x), xp.full_like(x, nan), x)
    x = xp.where(infinite & (x > 0), xp.full_like(x, largest if posinf is None else posinf), x)
    return xp.where(infinite & (x < 0), xp.full_like(x, -largest if neginf is None else neginf), x)


@table()
def real(xp: Any, val: Any) -> Any:
    return xp.real(val) if kind(val.dtype) == "complex" else val


@table()
def imag(xp: Any, val: Any) -> Any:
    return xp.imag(val) if kind(val.dtype) == "complex" else xp.zeros_like(val)


@table()
def angle(xp: Any, z: Any, deg: bool = False) -> Any:
    if kind(z.dtype) != "complex":
        z = z + 0j
    a = xp.atan2(xp.imag(z), xp.real(z))
    return a * (180 / math.pi) if deg else a


@table(arrays=("x", "y"))
def where(xp: Any, condition: Any, x: Any = None, y: Any = None) -> Any:
    condition = xp.asarray(condition)
    if x is None and y is None:
        return xp.nonzero(condition)
    if "bool" not in str(condition.dtype):
        condition = condition != 0
    return xp.where(condition, x, y)


@table(arrays=())
def select(xp: Any, condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """The first choice whose condition holds."""
    choices = [xp.asarray(c) for c in choicelist]
    y = as_choice(xp, default, choices[0])
    for condition, choice in reversed(list(zip(condlist, choices, strict=True))):
        y = xp.where(xp.asarray(condition), choice, y)
    return y


def as_choice(xp: Any, x: Any, like: Any) -> Any:
    return xp.asarray(x, dtype=None if hasattr(x, "dtype") else like.dtype)
