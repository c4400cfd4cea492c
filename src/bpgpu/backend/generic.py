"""What the standard lacks, for any array library: the fallback of every backend.

Libraries differ in how one adds at repeated positions or makes a changed copy. Where a method of the array tells that a
library has its own way (`at` of JAX, `index_add` of torch), it is used; else the standard must do.
"""

from __future__ import annotations

import math
from typing import Any


class Backend:
    """The services of one array library. `xp` is its array-api-compat namespace."""

    one_device = False
    """True if all arrays of the library live on one device, so that there is nothing to check."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    def one(self, x: Any) -> Any:
        """The number 1 as an array like the scalar `x`."""
        return self.xp.ones_like(x)

    def assign(self, x: Any, key: Any, value: Any) -> Any:
        """A copy of `x` with `x[key] = value`."""
        if hasattr(x, "at"):  # immutable arrays, as JAX has them
            return x.at[key].set(value)
        new = self.xp.asarray(x, copy=True)
        new[key] = value
        return new

    def scatter_add(self, shape: tuple[int, ...], key: Any, g: Any) -> Any:
        """Zeros of `shape` with `g` added at `key`: once for each time that a position occurs in it."""
        xp = self.xp
        zeros = xp.zeros(shape, dtype=g.dtype, device=self.device_of(g))
        if hasattr(zeros, "at"):
            return zeros.at[key].add(g)
        if not repeats(key):
            zeros[key] = g
            return zeros
        count = math.prod(shape)
        places = xp.reshape(xp.arange(count, device=self.device_of(g)), shape)[key]
        places, flat = xp.reshape(places, (-1,)), xp.reshape(g, (-1,))
        if hasattr(zeros, "index_add"):
            summed = xp.reshape(zeros, (-1,)).index_add(0, places, flat)
        else:
            summed = self._sum_by_place(count, places, flat)
        return xp.reshape(summed, shape)

    def _sum_by_place(self, count: int, places: Any, values: Any) -> Any:
        """Sum values of equal place in standard functions only: a product with a one-hot matrix, in blocks."""
        xp = self.xp
        out = xp.zeros((count,), dtype=values.dtype, device=self.device_of(values))
        step = max(1, 2**22 // max(count, 1))
        for start in range(0, values.shape[0], step):
            block = slice(start, start + step)
            hot = places[None, block] == xp.arange(count, device=self.device_of(values))[:, None]
            out = out + xp.astype(hot, values.dtype) @ values[block]
        return out

    def device_of(self, x: Any) -> Any:
        """The device of an array, in the library's own words."""
        from array_api_compat import device

        return device(x)

    def to_device(self, x: Any, device: Any, stream: Any = None) -> Any:
        """The array on another device, in the library's own words."""
        from array_api_compat import to_device

        return to_device(x, device) if stream is None else to_device(x, device, stream=stream)

    def to_numpy(self, x: Any, dtype: Any = None, copy: bool | None = None) -> Any:
        """A NumPy array of the same values."""
        import numpy as np

        return np.asarray(x, dtype=dtype, copy=copy)

    def own(self, arrays: list[Any], others: list[Any]) -> list[Any]:
        """Arrays that may be changed in place: none shares memory with another of them or with `others`.

        Here only identical objects are told apart; a backend whose arrays are views does better.
        """
        seen = {id(x) for x in others}
        out = []
        for x in arrays:
            if x is not None and id(x) in seen:
                x = self.xp.asarray(x, copy=True)
            seen.add(id(x))
            out.append(x)
        return out


def repeats(key: Any) -> bool:
    """True if indexing with `key` may read one position more than once: it holds an array of integers."""
    parts = key if isinstance(key, tuple) else (key,)
    return any(
        isinstance(k, list)
        or (getattr(k, "shape", ()) != () and "bool" not in str(k.dtype))
        for k in parts
    )
