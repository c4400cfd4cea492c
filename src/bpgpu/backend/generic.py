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

    asks_arrays = False
    """True if the functions of the library ask arrays of other kinds what to do, as those of NumPy and torch do."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    def one(self, x: Any) -> Any:
        """The number 1 as an array like the scalar `x`."""
        return self.xp.ones_like(x)

    def copy_into(self, x: Any, value: Any) -> Any:
        """Write `value` over `x`, in place where the library can; the array that now holds it."""
        if hasattr(x, "at"):  # immutable
            return value
        x[...] = value
        return x

    # ---- assignment and its transpose

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
        axis = indexed_axis(key, len(shape))
        if axis is not None and not hasattr(g, "at"):
            return self._add_along(shape, axis, indices_of(key), g)
        zeros = xp.zeros(shape, dtype=g.dtype, device=self.device_of(g))
        if hasattr(zeros, "at"):
            return zeros.at[key].add(g)
        parts = key if isinstance(key, tuple) else (key,)
        if not any(isinstance(k, list) or is_integers(k) for k in parts):
            key = tuple(k for k in parts if k is not None)
            zeros[key] = xp.reshape(g, zeros[key].shape)  # without the new axes, which some refuse
            return zeros
        places = xp.reshape(self._places(shape, key, self.device_of(g)), (-1,))
        summed = self.sum_rows(math.prod(shape), places, xp.reshape(g, (-1, 1)))
        return xp.reshape(summed, shape)

    def _add_along(self, shape: tuple[int, ...], axis: int, indices: Any, g: Any) -> Any:
        """`scatter_add` where one axis is read at an array of positions and the others as they are: an embedding."""
        xp = self.xp
        n, others = shape[axis], (*shape[:axis], *shape[axis + 1 :])
        new = tuple(range(axis, axis + indices.ndim))  # the axes of g that the indices made
        rest = tuple(i for i in range(g.ndim) if i not in new)
        rows = g if axis == 0 else xp.permute_dims(g, new + rest)
        rows = xp.reshape(rows, (math.prod(indices.shape), math.prod(others)))
        places = xp.asarray(indices, dtype=xp.int64, device=self.device_of(g))
        places = xp.reshape(places, (-1,))
        places = xp.where(places < 0, places + n, places)
        summed = xp.reshape(self.sum_rows(n, places, rows), (n, *others))
        return summed if axis == 0 else xp.moveaxis(summed, 0, axis)

    def _places(self, shape: tuple[int, ...], key: Any, device: Any) -> Any:
        """The positions that `key` reads in a flat array, without an array of all positions."""
        xp = self.xp
        places: Any = 0
        for axis, n in enumerate(shape):
            column = (n, *(1,) * (len(shape) - axis - 1))
            along = xp.arange(n, device=device) * math.prod(shape[axis + 1 :])
            places = places + xp.broadcast_to(xp.reshape(along, column), shape)[key]
        return places

    def sum_rows(self, count: int, places: Any, rows: Any) -> Any:
        """An array of `count` rows; row `i` is the sum of the `rows` whose place is `i`."""
        xp = self.xp
        out = xp.zeros((count, rows.shape[1]), dtype=rows.dtype, device=self.device_of(rows))
        if hasattr(out, "index_add"):  # torch
            return out.index_add(0, places, rows)
        ids = xp.reshape(xp.arange(count, device=self.device_of(rows)), (-1, 1))
        step = max(1, 2**22 // max(count, 1))
        for start in range(0, rows.shape[0], step):  # a product with a one-hot matrix, in blocks
            block = slice(start, min(start + step, rows.shape[0]))
            hot = ids == xp.reshape(places[block], (1, -1))
            out = out + xp.astype(hot, rows.dtype) @ rows[block, :]
        return out

    def last_written(self, shape: tuple[int, ...], key: Any, like: Any) -> Any:
        """For each value assigned at `key`: is it the one that stays, if a position occurs several times?"""
        xp = self.xp
        device = self.device_of(like)
        order = xp.reshape(xp.arange(math.prod(like.shape), device=device), like.shape)
        blank = xp.zeros(shape, dtype=order.dtype, device=device)
        return self.assign(blank, key, order)[key] == order

    # ---- where arrays live

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

        from bpgpu.backend.host import to_numpy

        if not hasattr(x, "detach"):  # what torch's graph refuses stays refused
            x = to_numpy(x)
        return np.asarray(x, dtype=dtype, copy=copy)

    def add_at(self, x: Any, key: Any, g: Any) -> bool:
        """Add `g` to `x[key]` in place, if the library can and each position is named once; whether it was done."""
        return False

    # ---- who owns memory

    def identity(self, x: Any) -> Any:
        """What tells `x` from every other array, to be kept in a set."""
        return id(x)

    def own(self, arrays: list[Any], others: list[Any]) -> list[Any]:
        """Arrays that may be changed in place: none shares memory with another of them or with `others`.

        A library of which nothing is known gets copies, unless its arrays never change.
        """
        return [
            x if x is None or hasattr(x, "at") else self.xp.asarray(x, copy=True) for x in arrays
        ]


class StridedBackend(Backend):
    """Libraries whose arrays are strided views of a memory that `base` tells: NumPy and CuPy."""

    def scatter_add(self, shape: tuple[int, ...], key: Any, g: Any) -> Any:
        zeros = self.xp.zeros(shape, dtype=g.dtype, device=self.device_of(g))
        if repeats(key):
            self.xp.add.at(zeros, key, g)
        else:
            zeros[key] = g
        return zeros

    def add_at(self, x: Any, key: Any, g: Any) -> bool:
        if not _is_basic(key) or x.dtype != g.dtype or not hasattr(x, "__iadd__"):
            return False
        part = x[key]
        if part.shape == ():
            x[key] = part + g
        else:
            part += g
        return True

    def own(self, arrays: list[Any], others: list[Any]) -> list[Any]:
        seen = {id(_owner(x)) for x in others}
        out = []
        for x in arrays:
            if hasattr(x, "__iadd__"):  # NumPy's scalars never change
                owner = _owner(x)
                if id(owner) in seen or (owner is not x and not _is_writeable(x)):
                    owner = x = x.copy()
                seen.add(id(owner))
            out.append(x)
        return out


def _owner(x: Any) -> Any:
    """The array whose memory `x` looks at: itself unless it is a view."""
    base = getattr(x, "base", None)
    while base is not None:
        x, base = base, getattr(base, "base", None)
    return x


def _is_writeable(x: Any) -> bool:
    """False for a view that broadcasting made, in which one place in memory stands for several entries."""
    return 0 not in x.strides and getattr(x.flags, "writeable", True)


# ---- what an index reads


def _is_basic(key: Any) -> bool:
    """True for an index of slices and integers, whose result is a view."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(k is None or k is Ellipsis or type(k) in (int, slice) for k in parts)


def repeats(key: Any) -> bool:
    """True if indexing with `key` may read one position more than once: it holds an array of integers."""
    parts = key if isinstance(key, tuple) else (key,)
    return any(isinstance(k, list) or is_indices(k) for k in parts)


def is_integers(k: Any) -> bool:
    """True for an array of integers in an index."""
    if k is None or k is Ellipsis or isinstance(k, (int, slice, list)):
        return False
    return "bool" not in str(k.dtype)


def is_indices(k: Any) -> bool:
    """True for an array of integers with at least one axis."""
    return is_integers(k) and k.shape != ()


def indexed_axis(key: Any, ndim: int) -> int | None:
    """The axis that `key` reads at an array of positions, if it reads all others as they are.

    >>> import numpy as np
    >>> indexed_axis((..., np.asarray([0, 0]), slice(None)), 3)
    1
    """
    parts = key if isinstance(key, tuple) else (key,)
    found = [i for i, k in enumerate(parts) if is_indices(k)]
    if len(found) != 1:
        return None
    (axis,) = found
    whole = all(
        i == axis or k is Ellipsis or (isinstance(k, slice) and k == slice(None))
        for i, k in enumerate(parts)
    )
    if not whole:
        return None
    behind = any(k is Ellipsis for k in parts[:axis])
    return ndim - (len(parts) - axis) if behind else axis


def indices_of(key: Any) -> Any:
    """The array of integers in an index."""
    parts = key if isinstance(key, tuple) else (key,)
    return next(k for k in parts if is_indices(k))
