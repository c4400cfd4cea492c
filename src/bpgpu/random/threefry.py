"""Threefry-2x32 with 20 rounds: two words of a counter in, two random words out, under a key of two words.

All that random numbers need is here: no state, only a function from (key, counter) to 64 bits. It is written in 32-bit
integers of the Array API standard, whose addition wraps and whose logical shift to the right is a shift and a mask, so
that every array library computes the same bits. int32 it is because all of them compute with it: torch has few unsigned
operations, JAX no 64-bit integers unless asked.

*References* John Salmon, Mark Moraes, Ron Dror, David Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3",
section 3.3 and table 2.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bpgpu.backend.libraries import namespace_of
from bpgpu.kernels import find
from bpgpu.random.keys import Array, device_of

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
"""Makes the third word of the key schedule differ from zero for the key of zeros."""

SEGMENT = 1 << 30
"""The most blocks computed at once: int32 counts them."""
TILE = 1 << 15
"""The most blocks computed at once on the host: the arrays in use stay in the cache of a core."""


def threefry2x32(
    key0: Array, key1: Array, x0: Array, x1: Array, by: Sequence[Any] = range(33)
) -> tuple[Array, Array]:
    """The block function: 20 rounds of add, rotate, xor; words of the key are added after each fourth.

    *Shape* `x1` (N,); the others (N,) or (1,). Not 0-d, since NumPy warns when scalars wrap. All are int32, or all
    uint32.

    *Parameters* `by` holds the numbers by which words are shifted, as NumPy takes arrays more quickly than integers.

    >>> import numpy as np
    >>> zero = np.zeros(1, dtype=np.uint32)
    >>> [hex(word[0]) for word in threefry2x32(zero, zero, zero, zero)]  # as in the test vectors of Random123
    ['0x6b200159', '0x99ba4efe']
    """
    signed = "uint" not in str(key0.dtype)
    schedule = (key0, key1, key0 ^ key1 ^ PARITY)
    x1 = x1 + key1
    x0 = (x0 + key0) + (x1 ^ x1)  # in the full shape, to be changed in place
    for i in range(5):
        for r in ROTATIONS[i % 2]:
            x0 += x1
            low = x1 >> by[32 - r]
            if signed:
                low &= (1 << r) - 1  # clears the copies of the sign
            x1 <<= by[r]
            x1 |= low
            x1 ^= x0
        x0 += schedule[(i + 1) % 3]
        x1 += schedule[(i + 2) % 3] + (i + 1)
    return x0, x1


def blocks(key: Array, count: int, start: int = 0) -> tuple[Array, Array]:
    """Blocks `start` to `start + count` of a key: two int32 arrays of `count` words.

    Block `i` is the cipher of the counter `(i // 2**32, i % 2**32)`.
    """
    parts = list(each_tile(key, count, start))
    if len(parts) == 1:
        return parts[0]
    xp = namespace_of(key)
    return xp.concat([x0 for x0, _ in parts]), xp.concat([x1 for _, x1 in parts])


def draw(key: Array, count: int, values: Callable[[Any, Array, Array], Array]) -> Array:
    """`values(xp, x0, x1)` of the first `count` blocks: how random numbers are made of words, tile by tile."""
    xp = namespace_of(key)
    parts = [values(xp, x0, x1) for x0, x1 in each_tile(key, count)]
    return parts[0] if len(parts) == 1 else xp.concat(parts)


def each_tile(key: Array, count: int, start: int = 0) -> Iterator[tuple[Array, Array]]:
    """The blocks in order, as many at a time as suits the library; at least one tile, which may be empty."""
    xp, device = namespace_of(key), device_of(key)
    # NumPy alone calls its device by a word. There, tiles pay, and unsigned words, which need no mask after a shift.
    on_host = isinstance(device, str)
    dtype, most = (xp.uint32, TILE) if on_host else (xp.int32, SEGMENT)
    words = xp.astype(key, dtype, copy=False)
    if not on_host and (run := find("blocks_of_key", xp, words, count, start)) is not None:
        yield run(words, count, start)
        return
    key0, key1 = words[0:1], words[1:2]
    end = start + count
    while True:
        high, low = divmod(start, 1 << 32)
        n = min(end - start, most, (1 << 32) - low)
        x1 = xp.arange(n, dtype=dtype, device=device)
        if low:
            x1 += _wrapped(low, on_host)
        x0 = xp.zeros((1,), dtype=dtype, device=device) + _wrapped(high, on_host)
        if on_host:
            x0, x1 = threefry2x32(key0, key1, x0, x1, _shifts(xp))
            yield xp.astype(x0, xp.int32), xp.astype(x1, xp.int32)
        else:
            yield threefry2x32(key0, key1, x0, x1)
        start += n
        if start >= end:
            return


@functools.cache
def _shifts(xp: Any) -> list[Array]:
    return [xp.asarray(r, dtype=xp.uint32) for r in range(33)]


def _wrapped(word: int, unsigned: bool) -> int:
    """The integer of the dtype that has the bits of `word`."""
    return word if unsigned or word < 1 << 31 else word - (1 << 32)
