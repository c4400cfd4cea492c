"""Keys from keys: split, fold_in, advance."""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.array import raw
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import DtypeError, ShapeError
from bpgpu.kernels import find
from bpgpu.random.keys import Array, Key, RandomError, checked, checked_count
from bpgpu.random.threefry import blocks, threefry2x32


def split(key: Key, n: int = 2) -> tuple[Key, ...]:
    """`n` keys from one; use them, and the old one no more.

    Child `i` is block `i` of the key. So it is independent of `n`, and equal to `fold_in(key, i)` and to row `i` of
    `jax.random.split(key, n)`.

    *Raises* `RandomError` if `n` is negative; `DtypeError`, `ShapeError` if `key` is no key.

    >>> from bpgpu.random import key
    >>> a, b = split(key(0))
    >>> a, b
    (array([ 1797259609, -1715843330], dtype=int32), array([ 928981903, -841280227], dtype=int32))
    """
    key, n = checked(key), checked_count(n, "n")
    rows = namespace_of(key).stack(blocks(key, n), axis=1)
    return tuple(rows[i, :] for i in range(n))


def fold_in(key: Key, data: int | Array) -> Key:
    """The key of a key and a number, such as a step, an epoch or the rank of a process.

    *Parameters* `data` is an integer in [0, 2**64), or an integer array of one element whose low 32 bits are used:
    this may be state that changes from step to step under a compiler.

    *Returns* block `data` of the key, as `jax.random.fold_in(key, data)`; so use a key either for `fold_in` or for
    drawing, not for both.

    *Raises* `RandomError` if the number is out of range, `DtypeError` if it is no integer, `ShapeError` if it is an
    array of more than one element.

    >>> from bpgpu.random import key
    >>> fold_in(key(0), 1)
    array([ 928981903, -841280227], dtype=int32)
    """
    key = checked(key)
    if isinstance(data, int) and not isinstance(data, bool):
        if not 0 <= data < 1 << 64:
            raise RandomError(f"data: expected an integer in [0, 2**64), got {data}")
        x0, x1 = blocks(key, 1, data)
        return namespace_of(key).concat([x0, x1])
    return _fold_in_array(key, data)


def _fold_in_array(key: Key, data: Any) -> Key:
    xp = namespace_of(key)
    data = raw(data)
    dtype = getattr(data, "dtype", None)
    if dtype is None or not hasattr(data, "shape") or "int" not in str(dtype):
        raise DtypeError(
            f"data: expected an integer or an integer array of one element, got {data!r}"
        )
    if any(n != 1 for n in data.shape):
        raise ShapeError(f"data: expected one element, got the shape {tuple(data.shape)}")
    low = xp.reshape(xp.astype(data, xp.int32), (1,))
    return xp.concat(threefry2x32(key[0:1], key[1:2], low ^ low, low))


def advance(key: Key) -> Key:
    """The key after this one in a sequence of 2**32 keys: its low word plus one.

    One addition instead of a hash: for a layer that draws at each step, holds its key as state, and replaces it by the
    next. The keys of a sequence are as independent as any: to the cipher, a key is 64 bits without structure. Begin
    each sequence at a key of its own, from `split`.

    >>> from bpgpu.random import key
    >>> advance(key(7))
    array([0, 8], dtype=int32)
    """
    key = checked(key)
    xp = namespace_of(key)
    if (run := find("key_after", xp, key)) is not None:
        return run(key)
    return xp.concat([key[0:1], key[1:2] + 1])
