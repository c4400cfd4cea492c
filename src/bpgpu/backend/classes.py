"""Class labels and scores: few entries of a large array, one for each row.

The standard has words for all of it; here is what is faster in one library or another. In NumPy a small array costs as
many microseconds as functions are called, a large one as often as memory is touched for the first time.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of
from bpgpu.backend.look import at_hand

_NUMPY = "array_api_compat.numpy"
_IN_PLACE = frozenset((_NUMPY, "array_api_compat.cupy", "array_api_compat.torch"))
_UNSIGNED = {np.dtype(f"i{n}"): np.dtype(f"u{n}") for n in (1, 2, 4, 8)}


def within(x: Any, count: int) -> bool | None:
    """True if all integers of `x` are in `[0, count)`; `None` if they may not be looked at."""
    if not at_hand(x):
        return None
    if 0 in x.shape:
        return True
    if isinstance(x, np.ndarray) and x.dtype in _UNSIGNED:
        x = x.view(_UNSIGNED[x.dtype])  # without a sign, negative numbers are large
        return bool(np.maximum.reduce(x, None) < count)
    xp = namespace_of(x)
    return int(xp.min(x)) >= 0 and int(xp.max(x)) < count


def places(x: Any, index: Any) -> tuple[Any, ...]:
    """The key that reads `x`, `(N, C)` or `(N, C, D)`, at one class for each of the others.

    `index` is `(N,)` or `(N, D)`, and so is `x[places(x, index)]`.
    """
    if isinstance(index, np.ndarray):
        arange = np.arange
    else:
        xp = namespace_of(index)
        arange = functools.partial(xp.arange, device=backend_of(xp).device_of(index))
    rows = arange(x.shape[0])
    if len(x.shape) == 2:
        return rows, index
    return rows[:, None], index, arange(x.shape[2])[None, :]


def exponentials(xp: Any, x: Any, key: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """With `z` the scores less the largest along axis 1: `z` at `key`, `exp(z)`, and its sum along that axis."""
    if xp.__name__ == _NUMPY:
        z = x - np.maximum.reduce(x, axis=1, keepdims=True)
        picked = z[key]
        e = np.exp(z, out=z)
        return picked, e, np.add.reduce(e, axis=1, keepdims=True)
    z = x - xp.max(x, axis=1, keepdims=True)
    e = xp.exp(z)
    return z[key], e, xp.sum(e, axis=1, keepdims=True)


def subtract_at(xp: Any, x: Any, key: tuple[Any, ...], v: Any) -> Any:
    """`x` with `v` subtracted at `key`, where no position is named twice.

    The caller gives `x` up: it is changed in place where the library can.
    """
    if xp.__name__ in _IN_PLACE:
        x[key] -= v
        return x
    if hasattr(x, "at"):  # JAX
        return x.at[key].add(-v)
    return x - backend_of(xp).scatter_add(x.shape, key, xp.zeros_like(x[key]) + v)
