"""Derivatives of elementwise functions of two operands and more. Broadcasting is added by the engine.

Operands may be Python numbers, and integers beside floating arrays.
"""

from __future__ import annotations

import functools
from typing import Any

from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.rule import SCALARS, ZERO, Binary, broadcasting
from bpgpu.autodiff.rules.elementwise import quotient

# ---- the four operations, powers and remainders


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
    """`y x^(y-1)` and `x^y log(x)`, which have no meaning at some places where the power has one.

    At `x = 0` the derivative with respect to `x` is 0 if `y = 0`, and that with respect to `y` is 0 if `y >= 0`.
    For negative real `x` the latter is NaN: the power exists at isolated exponents only.
    """
    z = x**y
    if type(y) in SCALARS:
        if y == 2:
            return z, lambda g: g * (2 * x), None
        if y == 0:
            return z, xp.zeros_like, None
        return z, lambda g: g * (y * x ** (y - 1)), None

    def pull_x(g: Any) -> Any:
        a, b = _like(xp, x, z), _like(xp, y, z)
        one = (a == 0) & (b == 0)  # 0**0
        return g * xp.where(one, 0, b * xp.where(one, 1, a) ** (b - 1))

    def pull_y(g: Any) -> Any:
        a, b = _like(xp, x, z), _like(xp, y, z)
        rising = b if kind(b.dtype) == "real" else xp.real(b)
        flat = (a == 0) & (rising >= 0)
        return g * (z * xp.log(xp.where(flat, 1, a)))

    return z, pull_x, pull_y


def _like(xp: Any, v: Any, z: Any) -> Any:
    """An operand, number or array, in the dtype of the result."""
    if type(v) in SCALARS:
        return xp.zeros_like(z) + v
    return v if v.dtype == z.dtype else xp.astype(v, z.dtype)


@broadcasting
def remainder(xp: Any, x: Any, y: Any) -> Any:
    """`x - y floor(x/y)`, with the derivative of the piece to the right at its jumps."""
    return x % y, None, lambda g: -(g * (x // y))


@broadcasting
def floor_divide(xp: Any, x: Any, y: Any) -> Any:
    """The derivative is 0, at the jumps too."""
    return x // y, xp.zeros_like, xp.zeros_like


# ---- the plane: length, angle, sign


@broadcasting
def hypot(xp: Any, x: Any, y: Any) -> Any:
    """The derivative at the origin is 0."""
    h = xp.hypot(x, y)
    return h, lambda g: g * quotient(xp, x, h), lambda g: g * quotient(xp, y, h)


@broadcasting
def atan2(xp: Any, y: Any, x: Any) -> Any:
    """The angle of the point `(x, y)`. The derivative at the origin, where there is no angle, is 0."""

    def turn(g: Any, a: Any) -> Any:
        h = xp.hypot(x, y)
        near = xp.where(xp.isinf(h), 0, _like(xp, a, h))  # nothing turns a point at infinity
        return g * quotient(xp, quotient(xp, near, h), h)

    return xp.atan2(y, x), lambda g: turn(g, x), lambda g: -turn(g, y)


@broadcasting
def copysign(xp: Any, x: Any, y: Any) -> Any:
    """The derivative at `x = 0` is 0, like that of the absolute value."""
    z = xp.copysign(x, y)
    return z, lambda g: g * (xp.sign(x) * xp.sign(z)), ZERO


# ---- selection


@broadcasting
def maximum(xp: Any, x: Any, y: Any) -> Any:
    """Equal operands get half of the gradient each. Where one is NaN, both get all of it."""
    return (
        xp.maximum(x, y),
        lambda g: _of_winner(xp, g, x == y, x < y),
        lambda g: _of_winner(xp, g, x == y, y < x),
    )


@broadcasting
def minimum(xp: Any, x: Any, y: Any) -> Any:
    """Equal operands get half of the gradient each. Where one is NaN, both get all of it."""
    return (
        xp.minimum(x, y),
        lambda g: _of_winner(xp, g, x == y, y < x),
        lambda g: _of_winner(xp, g, x == y, x < y),
    )


def _of_winner(xp: Any, g: Any, tied: Any, lost: Any) -> Any:
    return xp.where(tied, g / 2, xp.where(lost, 0, g))


@broadcasting
def logaddexp(xp: Any, x: Any, y: Any) -> Any:
    """The weights `exp(x - z)` and `exp(y - z)`, which sum to 1; equal infinities get a half each."""
    z = xp.logaddexp(x, y)

    def weight(v: Any) -> Any:
        endless = xp.isinf(z) & (v == z)
        w = xp.exp(xp.where(endless, 0, v) - xp.where(endless, 0, z))
        return xp.where(endless & (x == y), w / 2, w)

    return z, lambda g: g * weight(x), lambda g: g * weight(y)


@functools.partial(Binary, arrays=3)
def clip(xp: Any, x: Any, low: Any, high: Any) -> Any:
    """At a limit the gradient goes to `x`, beyond it to the limit; if the limits are the wrong way round, to `high`."""

    def pull_x(g: Any) -> Any:
        if low is not None:
            g = xp.where(x < low, 0, g)
        return g if high is None else xp.where(x > high, 0, g)

    def pull_low(g: Any) -> Any:
        g = xp.where(x < low, g, 0)
        return g if high is None else xp.where(low > high, 0, g)

    def pull_high(g: Any) -> Any:
        beyond = x > high if low is None else (x > high) | (low > high)
        return xp.where(beyond, g, 0)

    return xp.clip(x, low, high), pull_x, pull_low, pull_high


def clip_to(xp: Any, x: Any, /, min: Any = None, max: Any = None) -> Any:
    """Limits may be given by keyword, and be arrays with a gradient."""
    return clip(x, min, max)


COMPOSED = {"clip": clip_to}
