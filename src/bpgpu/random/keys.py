"""Keys: 64 bits from which random numbers follow, kept as an array, so that compilers see data and not a constant."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

from bpgpu.autodiff.array import raw
from bpgpu.backend.libraries import namespace_of
from bpgpu.device import device as find_device
from bpgpu.errors import BpgpuError, DtypeError, ShapeError

Array = Any
Key = Any
"""An int32 array of shape (2,): the high and the low word of 64 bits. Any library, any device."""


class RandomError(BpgpuError, ValueError):
    """A seed, a probability, a count or a bound of a random function is out of its range."""


def key(seed: int, device: Any = None, *, like: Array | None = None) -> Key:
    """The key of a seed: its 64 bits as two words.

    *Parameters* `seed` is an integer in [0, 2**64). `device` is where the key is made, and with it everything drawn
    from it: a `Device` or a name; the host by default. `like` asks for the library and the device of an array.

    *Returns* an int32 array of shape (2,), `(seed // 2**32, seed % 2**32)`: the words of `jax.random.key(seed)`.

    *Raises* `DtypeError` if the seed is no integer, `RandomError` if it does not fit into 64 bits.

    >>> key(7)
    array([0, 7], dtype=int32)
    """
    word = checked_integer(seed, "seed")
    if not 0 <= word < 1 << 64:
        raise RandomError(
            f"seed: expected an integer in [0, 2**64), got {word}; take it modulo 2**64"
        )
    return key_of_words(word >> 32, word & 0xFFFFFFFF, device, like)


def key_of_words(high: int, low: int, device: Any = None, like: Array | None = None) -> Key:
    """A key of two words in [0, 2**32), at the place that `key` describes."""
    words = [w - (w >> 31 << 32) for w in (high, low)]
    if like is not None:
        like = raw(like)
        xp = namespace_of(like)
        return xp.asarray(words, dtype=xp.int32, device=device_of(like))
    xp = host()
    made = xp.asarray(words, dtype=xp.int32)
    if device is None:
        return made
    return find_device(device).asarray(made)


@functools.cache
def host() -> Any:
    """The namespace of arrays in the memory of the host."""
    return find_device("cpu").xp


def device_of(x: Array) -> Any:
    """The device of an array, in its library's own words; `None`, the default, for JAX's arrays without one."""
    return getattr(x, "device", None)


_REMEDY = "make keys with bpgpu.random.key(seed), more of them with split(key)"


def checked(key: Key) -> Key:
    """The key as a plain array, or an error that says what is wrong with it."""
    key = raw(key)
    try:
        if key.dtype == namespace_of(key).int32 and key.shape == (2,):
            return key
    except (AttributeError, TypeError):  # no array at all
        pass
    got = type(key).__name__
    if hasattr(key, "dtype") and hasattr(key, "shape"):
        got = f"an array of {key.dtype} of shape {tuple(key.shape)}"
        if str(key.dtype).rpartition(".")[2] == "int32":
            raise ShapeError(f"key: expected one key, an array of shape (2,), got {got}; {_REMEDY}")
    raise DtypeError(f"key: expected an int32 array of shape (2,), got {got}; {_REMEDY}")


def checked_shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    """The shape as a tuple of sizes, or an error that says what is wrong with it."""
    try:
        sizes = tuple(operator.index(n) for n in shape)  # type: ignore[union-attr]
    except TypeError:
        try:
            sizes = (operator.index(shape),)  # type: ignore[arg-type]
        except TypeError:
            raise ShapeError(
                f"shape: expected sizes as a tuple of integers, got {shape!r}"
            ) from None
    if any(n < 0 for n in sizes):
        raise ShapeError(f"shape: expected sizes of at least 0, got {sizes}")
    return sizes


def checked_count(n: int, name: str) -> int:
    """A count of things, or an error."""
    count = checked_integer(n, name)
    if count < 0:
        raise RandomError(f"{name}: expected at least 0, got {count}")
    return count


def checked_integer(value: int, name: str) -> int:
    """A Python integer, or an error."""
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise DtypeError(f"{name}: expected an integer, got {value!r} of {type(value).__name__}")
