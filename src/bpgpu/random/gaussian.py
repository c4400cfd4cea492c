"""Normal numbers, made of random words by sums, products and quotients only.

The last bits of `log` and `cos`, even of `sqrt`, differ between libraries, and so would numbers made with them. The
basic operations are rounded the same way everywhere, so these numbers are the same bits everywhere.

*References* Michael Wichura (1988), "Algorithm AS 241: the percentage points of the normal distribution", Applied
Statistics 37: PPND7 for float32 (relative error 1e-7), PPND16 for float64 (1e-16).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from bpgpu.backend.libraries import namespace_of
from bpgpu.random.draws import Shape, floating
from bpgpu.random.keys import Array, Key, checked, checked_shape
from bpgpu.random.threefry import draw


class Quantile(NamedTuple):
    """Rational approximations (numerator, denominator; ascending powers) of the normal quantile."""

    centre: tuple[Sequence[float], Sequence[float]]
    """In 0.425**2 - q**2, times q, where the probability 0.5 + q is at most 0.425 from the middle."""
    tail: tuple[Sequence[float], Sequence[float]]
    """In r - 1.6, where r = sqrt(-log(tail probability)) is at most 5."""
    far: tuple[Sequence[float], Sequence[float]] | None
    """In r - 5, beyond; a tail probability below 1.4e-11 is not met with 32 bits."""
    powers: Sequence[int]
    """Of two, by which the logarithm scales its argument."""
    terms: int
    """Of the series of the logarithm."""
    steps: int
    """Of the iteration for the square root."""


PPND7 = Quantile(
    (
        (3.3871327179e0, 5.0434271938e1, 1.5929113202e2, 5.9109374720e1),
        (1.0, 1.7895169469e1, 7.8757757664e1, 6.7187563600e1),
    ),
    (
        (1.4234372777e0, 2.7568153900e0, 1.3067284816e0, 1.7023821103e-1),
        (1.0, 7.3700164250e-1, 1.2021132975e-1),
    ),
    None,
    (16, 8, 4, 2, 1, 1),
    5,
    3,
)
PPND16 = Quantile(
    (
        (
            3.3871328727963666080e0,
            1.3314166789178437745e2,
            1.9715909503065514427e3,
            1.3731693765509461125e4,
            4.5921953931549871457e4,
            6.7265770927008700853e4,
            3.3430575583588128105e4,
            2.5090809287301226727e3,
        ),
        (
            1.0,
            4.2313330701600911252e1,
            6.8718700749205790830e2,
            5.3941960214247511077e3,
            2.1213794301586595867e4,
            3.9307895800092710610e4,
            2.8729085735721942674e4,
            5.2264952788528545610e3,
        ),
    ),
    (
        (
            1.42343711074968357734e0,
            4.63033784615654529590e0,
            5.76949722146069140550e0,
            3.64784832476320460504e0,
            1.27045825245236838258e0,
            2.41780725177450611770e-1,
            2.27238449892691845833e-2,
            7.74545014278341407640e-4,
        ),
        (
            1.0,
            2.05319162663775882187e0,
            1.67638483018380384940e0,
            6.89767334985100004550e-1,
            1.48103976427480074590e-1,
            1.51986665636164571966e-2,
            5.47593808499534494600e-4,
            1.05075007164441684324e-9,
        ),
    ),
    (
        (
            6.65790464350110377720e0,
            5.46378491116411436990e0,
            1.78482653991729133580e0,
            2.96560571828504891230e-1,
            2.65321895265761230930e-2,
            1.24266094738807843860e-3,
            2.71155556874348757815e-5,
            2.01033439929228813265e-7,
        ),
        (
            1.0,
            5.99832206555887937690e-1,
            1.36929880922735805310e-1,
            1.48753612908506148525e-2,
            7.86869131145613259100e-4,
            1.84631831751005468180e-5,
            1.42151175831644588870e-7,
            2.04426310338993978564e-15,
        ),
    ),
    (32, 16, 8, 4, 2, 1, 1),
    11,
    4,
)


def normal(key: Key, shape: Shape, dtype: Any = "float32") -> Array:
    """Normal numbers of mean 0 and variance 1.

    The quantile of a random probability: of (b + 1/2) / 2**32 for the 32 bits `b` of a word (float32), or of
    (b + 1/2) / 2**64 for the 64 bits of a block (float64). Both signs and both tails are treated alike; the largest
    number that can come is 6.3 (float32) or 9.2 (float64).

    *Parameters* `dtype` is float32 or float64, by name or as the library's object.

    *Raises* `ShapeError` for a negative size; `DtypeError` for another dtype, or float64 where the library has none.

    *Notes* Bit for bit the same on every device and in every library that rounds the basic operations correctly, which
    all do when they run them one by one. A compiler that fuses products and sums (XLA) changes the last bits. Initial
    weights are drawn on the host and copied, so nothing can change them.

    >>> from bpgpu.random import key
    >>> normal(key(0), (2,))
    array([-0.13155763, -0.05371802], dtype=float32)
    """
    key, shape = checked(key), checked_shape(shape)
    name, real = floating(namespace_of(key), dtype)

    def values(xp: Any, x0: Array, x1: Array) -> Array:
        first = x0 ^ x1 if name == "float32" else x0
        sign = first >> 31  # 0 or -1
        words = (first ^ sign,) if name == "float32" else (x0 ^ sign, x1 ^ sign)
        fit = PPND7 if name == "float32" else PPND16
        z = quantile(xp, _scaled(xp, words, real), _tail(xp, words, real), fit)
        return z * (xp.astype(sign, real) * 2.0 + 1.0)

    return namespace_of(key).reshape(draw(key, math.prod(shape), values), shape)


def _scaled(xp: Any, words: tuple[Array, ...], real: Any) -> Array:
    """(b + 1/2) / 2**32 of a non-negative word, or (b + 1/2) / 2**64 of two: in (0, 1/2], never rounded to zero."""
    x = xp.astype(words[0], real)
    if len(words) == 1:
        return (x + 0.5) * 2.0**-32
    halves = (words[1] >> 16) & 0xFFFF, words[1] & 0xFFFF
    low = xp.astype(halves[0], real) * 2.0**16 + xp.astype(halves[1], real)
    return (x * 2.0**32 + low + 0.5) * 2.0**-64


def _tail(xp: Any, words: tuple[Array, ...], real: Any) -> Array:
    """1/2 less the number of `_scaled`, without cancellation: the complement of the bits."""
    return _scaled(xp, (words[0] ^ 0x7FFFFFFF, *(w ^ -1 for w in words[1:])), real)


def quantile(xp: Any, q: Array, tail: Array, fit: Quantile) -> Array:
    """The z > 0 that a normal number exceeds with probability `tail`, `q = 1/2 - tail`.

    All fits are evaluated everywhere, also where they do not hold; no denominator has a zero there.
    """
    r = _sqrt(-_log(xp, tail, fit), fit.steps)
    z = _ratio(fit.tail, r - 1.6)
    if fit.far is not None:
        z = xp.where(r > 5.0, _ratio(fit.far, r - 5.0), z)
    return xp.where(q > 0.425, z, q * _ratio(fit.centre, 0.180625 - q * q))


def _ratio(fit: tuple[Sequence[float], Sequence[float]], x: Array) -> Array:
    return _polynomial(fit[0], x) / _polynomial(fit[1], x)


def _polynomial(coefficients: Sequence[float], x: Array) -> Array:
    """By Horner's rule, ascending powers."""
    *rest, last, highest = coefficients
    y = x * highest + last
    for c in reversed(rest):
        y *= x
        y += c
    return y


def _log(xp: Any, y: Array, fit: Quantile) -> Array:
    """The logarithm of probabilities, at most 1/2 and at least 2**-33 (float32) or 2**-65 (float64).

    `y` is brought into [0.7, 1.4] by exact powers of two; there, `log y = 2 artanh(s)`, `s = (y - 1) / (y + 1)`, by
    its series in `s**2 < 0.03`. The smallest probability alone ends at 1/2, where the series has lost half its digits,
    but the logarithm of the power of two, forty times as large, has not.
    """
    exponent = xp.zeros_like(y)
    for n in fit.powers:
        limit = 2.0**-n if n > 1 else math.sqrt(0.5)
        small = xp.astype(y < limit, y.dtype)  # 0 or 1, which is quicker than `where`
        y = y * (small * (2.0**n - 1.0) + 1.0)
        exponent += small * float(n)
    s = (y - 1.0) / (y + 1.0)
    series = _polynomial([1 / (2 * i + 1) for i in range(fit.terms)], s * s)
    return 2.0 * s * series - exponent * math.log(2)


def _sqrt(x: Array, steps: int) -> Array:
    """The square root of numbers in [2.5, 46] by Heron's rule; the first guess is 15 % off at most."""
    y = x * 0.135 + 1.2
    for _ in range(steps):
        y = (y + x / y) * 0.5
    return y
