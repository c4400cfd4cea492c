"""Random arrays of a key: words, uniform, integers, masks, permutations."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import DtypeError
from bpgpu.kernels import find
from bpgpu.random.keys import (
    Array,
    Key,
    RandomError,
    checked,
    checked_count,
    checked_integer,
    checked_shape,
    device_of,
    host,
    key_of_words,
)
from bpgpu.random.threefry import blocks, draw, each_tile

Shape = int | Sequence[int]


def bits(key: Key, shape: Shape) -> Array:
    """Random words: int32, each of the 2**32 values equally likely.

    Word `i`, in row-major order, is the exclusive or of the two words of block `i`, so it does not depend on the shape.
    The words are those of `jax.random.bits` in the mode `jax_threefry_partitionable=True`, JAX's default since 0.5,
    read as signed integers.

    *Raises* `ShapeError` for a negative size; `DtypeError`, `ShapeError` if `key` is no key.

    >>> from bpgpu.random import key
    >>> bits(key(0), (3,))
    array([-224768089,  -91998574, 1427181096], dtype=int32)
    """
    key, shape = checked(key), checked_shape(shape)
    words = draw(key, math.prod(shape), lambda xp, x0, x1: x0 ^ x1)
    return namespace_of(key).reshape(words, shape)


def uniform(
    key: Key, shape: Shape, dtype: Any = "float32", low: float = 0.0, high: float = 1.0
) -> Array:
    """Floating numbers uniform in [low, high).

    In [0, 1) they are the multiples of 2**-23 (float32) or 2**-52 (float64), each equally likely: the upper bits of a
    word, or of both words of a block, as in `jax.random.uniform`. These are stretched to `u * (high - low) + low`;
    where rounding would give `high`, the result is the number below it.

    *Parameters* `dtype` is float32 or float64, by name or as the library's object. `low` and `high` are rounded to it.

    *Raises* `RandomError` unless `low < high` in this dtype, both finite and not further apart than its largest number;
    `DtypeError` for another dtype, or float64 where the library has none.

    *Notes* In [0, 1), bit for bit the same everywhere. Elsewhere a compiler that fuses the product and the sum (XLA)
    may change the last bit.

    >>> from bpgpu.random import key
    >>> uniform(key(0), (2,))
    array([0.947667 , 0.9785799], dtype=float32)
    """
    key, shape = checked(key), checked_shape(shape)
    name, real = floating(namespace_of(key), dtype)
    low, high, span, last = _interval(low, high, name)

    def values(xp: Any, x0: Array, x1: Array) -> Array:
        if name == "float32":
            u = xp.astype(((x0 ^ x1) >> 9) & 0x7FFFFF, real) * 2.0**-23
        else:
            upper = xp.astype((x0 >> 6) & 0x3FFFFFF, real)
            lower = xp.astype(((x0 & 0x3F) << 20) | ((x1 >> 12) & 0xFFFFF), real)
            u = (upper * 2.0**26 + lower) * 2.0**-52
        if (low, high) == (0.0, 1.0):
            return u
        return xp.minimum(u * span + low, xp.full((1,), last, dtype=real, device=device_of(key)))

    return namespace_of(key).reshape(draw(key, math.prod(shape), values), shape)


def floating(xp: Any, dtype: Any) -> tuple[str, Any]:
    """The name and the library's object of a dtype that can be drawn, or an error."""
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", None)
    name = str(name or getattr(dtype, "name", dtype)).rpartition(".")[2]
    if name not in ("float32", "float64"):
        raise DtypeError(
            f"dtype: expected float32 or float64, got {name}; draw float32 and cast with xp.astype"
        )
    if name == "float64" and name not in xp.__array_namespace_info__().dtypes():
        raise DtypeError(
            f"dtype: {xp.__name__} has no float64 as it is set up; draw float32, or for JAX call "
            'jax.config.update("jax_enable_x64", True) first'
        )
    return name, getattr(xp, name)


def _interval(low: float, high: float, name: str) -> tuple[float, float, float, float]:
    """The bounds, their distance and the largest number below `high`, all exact in the dtype."""
    try:
        low, high = rounded(float(low), name), rounded(float(high), name)
        span = rounded(high - low, name)
    except (TypeError, ValueError, OverflowError):
        raise RandomError(
            f"low, high: expected numbers that {name} can hold, not further apart than its largest, got {low!r} and "
            f"{high!r}"
        ) from None
    if not (low < high and math.isfinite(span)):
        raise RandomError(
            f"low, high: expected finite numbers of {name} with low < high, got {low} and {high}"
        )
    return low, high, span, _below(high, name)


def rounded(x: float, name: str) -> float:
    """`x` rounded to the dtype."""
    return x if name == "float64" else float(struct.unpack("<f", struct.pack("<f", x))[0])


def _below(x: float, name: str) -> float:
    """The largest number of the dtype below `x` that is no subnormal, since some libraries flush these to zero."""
    if name == "float64":
        return -(2.0**-1022) if x == 0 else math.nextafter(x, -math.inf)
    if x == 0:
        return -(2.0**-126)
    word = struct.unpack("<i", struct.pack("<f", x))[0]
    return float(struct.unpack("<f", struct.pack("<i", word - 1 if x > 0 else word + 1))[0])


def randint(key: Key, shape: Shape, low: int, high: int) -> Array:
    """Integers in [low, high), int32.

    `low + floor(b * (high - low) / 2**64)` with the 64 bits `b` of a block: no value is favoured by more than
    `(high - low) / 2**64`, below 1 in 2**32.

    *Raises* `RandomError` unless `-2**31 <= low < high <= 2**31`.

    >>> from bpgpu.random import key
    >>> randint(key(0), (8,), 0, 10)
    array([4, 2, 9, 5, 5, 3, 8, 6], dtype=int32)
    """
    key, shape = checked(key), checked_shape(shape)
    low, high = checked_integer(low, "low"), checked_integer(high, "high")
    if not -(1 << 31) <= low < high <= 1 << 31:
        raise RandomError(
            f"low, high: expected integers with -2**31 <= low < high <= 2**31, got {low} and {high}"
        )
    span = high - low

    def values(xp: Any, x0: Array, x1: Array) -> Array:
        if span == 1 << 32:
            return x0
        upper, lower = _product(x0, span)
        carry = _product(x1, span)[0]
        over = _unsigned(lower + carry) < _unsigned(lower)
        return upper + xp.astype(over, xp.int32) + low

    return namespace_of(key).reshape(draw(key, math.prod(shape), values), shape)


def _unsigned(word: Array) -> Array:
    """A word that compares as the given one would if it had no sign."""
    return word ^ -(1 << 31)


def _product(word: Array, factor: int) -> tuple[Array, Array]:
    """The upper and the lower word of the product of unsigned words, by halves of 16 bits."""
    high, low = factor >> 16, factor & 0xFFFF
    above, below = (word >> 16) & 0xFFFF, word & 0xFFFF
    a = below * low
    b = above * low + ((a >> 16) & 0xFFFF)
    c = below * high + (b & 0xFFFF)
    upper = above * high + ((b >> 16) & 0xFFFF) + ((c >> 16) & 0xFFFF)
    return upper, (c << 16) | (a & 0xFFFF)


def mask(key: Key, shape: Shape, keep: float) -> tuple[Array, float]:
    """A mask that is true with probability `keep`, and the probability that was really used.

    A random integer of 16 bits is compared with `round(keep * 2**16)` if that changes neither `keep` nor `1 - keep` by
    more than 1e-3 of itself, else one of 32 bits with `round(keep * 2**32)`. Dropout divides by the probability that is
    returned, so its mean is exact. `keep = 0` and `keep = 1` are exact and draw nothing.

    *Layout* `n` elements in row-major order are filled from `ceil(n / 4)` blocks: first the upper halves of all first
    words, then their lower halves, then the halves of the second words alike; with 32 bits from `ceil(n / 2)` blocks,
    all first words and then all second ones. So a mask depends on its size, not on its shape.

    *Raises* `RandomError` unless `0 <= keep <= 1`; `ShapeError` for a negative size.

    >>> from bpgpu.random import key
    >>> mask(key(0), (6,), 0.9)
    (array([False,  True,  True,  True,  True,  True]), 0.899993896484375)
    """
    width, used = mask_probability(keep)
    return mask_of_bits(checked(key), checked_shape(shape), width, used), used


def mask_of_bits(key: Key, shape: tuple[int, ...], width: int, used: float) -> Array:
    """The mask by what `mask_probability` gives."""
    xp, n = namespace_of(key), math.prod(shape)
    if width == 0:
        return xp.full(shape, used == 1.0, dtype=xp.bool, device=device_of(key))
    if (run := find("mask_of_key", xp, key, shape, width, used)) is not None:
        return run(key, shape, width, used)
    limit = int(used * 2.0**32) - (1 << 31)  # compared as signed words
    planes: list[list[Array]] = [[] for _ in range(64 // width)]
    for words in each_tile(key, -(-n * width // 64)):
        for i, word in enumerate(words):
            if width == 32:
                planes[i].append(word < limit)
            else:  # the lower bits of the limit are 0, so they decide nothing
                planes[2 * i].append(word < limit)
                planes[2 * i + 1].append((word << 16) < limit)
    flat = xp.concat([tile for plane in planes for tile in plane])
    return xp.reshape(flat if flat.shape[0] == n else flat[:n], shape)


def mask_probability(keep: float) -> tuple[int, float]:
    """How many bits an element of a mask takes (16, 32, or 0 where nothing is drawn), and the probability used.

    >>> mask_probability(0.75), mask_probability(0.999), mask_probability(1)
    ((16, 0.75), (32, 0.9990000000689179), (0, 1.0))
    """
    try:
        p = float(keep)
    except (TypeError, ValueError):
        p = math.nan
    if not 0 <= p <= 1:
        raise RandomError(f"keep: expected a probability in [0, 1], got {keep!r}")
    if p in (0, 1):
        return 0, p
    used = round(p * 2**16) / 2**16
    if 0 < used < 1 and abs(used - p) <= 1e-3 * min(p, 1 - p):
        return 16, used
    return 32, min(max(round(p * 2**32), 1), 2**32 - 1) / 2**32


def permutation(key: Key, n: int) -> Array:
    """The numbers 0 to n-1 in random order, every order equally likely.

    The order that sorts the 64 bits of `n` blocks, read as signed integers. If two of them are equal, which happens
    with a probability near `n**2 / 2**65`, all are drawn again from the next `n` blocks; so ties favour no order, and
    no detail of a sorting routine matters.

    *Returns* an integer array of the library's default integer dtype, where the key is. It is drawn on the host; a key
    on another device is read, which waits for the device.

    *Raises* `RandomError` if `n` is negative.

    >>> from bpgpu.random import key
    >>> permutation(key(1), 5)
    array([2, 3, 0, 4, 1])
    """
    key, n = checked(key), checked_count(n, "n")
    xp = host()
    here = key_of_words(int(key[0]) & 0xFFFFFFFF, int(key[1]) & 0xFFFFFFFF)
    start = 0
    while True:
        x0, x1 = (xp.astype(x, xp.int64) for x in blocks(here, n, start))
        numbers = (x0 << 32) | (x1 & 0xFFFFFFFF)
        order = xp.argsort(numbers, stable=False)
        ordered = xp.take(numbers, order)
        if not bool(xp.any(ordered[1:] == ordered[:-1])):
            return namespace_of(key).asarray(order, device=device_of(key))
        start += n
