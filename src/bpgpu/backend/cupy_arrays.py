"""CuPy's arrays: the standard as array-api-compat gives it, and the services, with what CuPy 14 lacks put right.

Each correction has its reason beside it. None of them waits for the device or copies from the host, so that all may
stand in a step that is captured as a CUDA graph.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

from bpgpu.backend import joining
from bpgpu.backend.generic import Backend, StridedBackend, repeats

ON_DEVICE = ("arange", "empty", "eye", "full", "linspace", "ones", "zeros")
LIKE = ("empty_like", "full_like", "ones_like", "zeros_like")

DENSE = 2**32
"""Rows are added up by a product with a one-hot matrix while it takes at most so many multiplications."""

ATOMIC = frozenset(
    ("int32", "uint32", "uint64", "float16", "float32", "float64", "complex64", "complex128")
)
"""The dtypes that CuPy adds at positions; of others it raises."""


@functools.cache
def namespace() -> Any:
    """`array_api_compat.cupy`, corrected. A module, as the namespaces of other libraries are."""
    import array_api_compat.cupy as base

    return completed(base)


def completed(base: Any) -> ModuleType:
    """The namespace with its corrections."""
    xp = ModuleType(base.__name__)
    names = [n for n in vars(base) if not n.startswith("__") or n.startswith("__array")]
    xp.__dict__.update({name: getattr(base, name) for name in names})
    for name in ON_DEVICE:
        xp.__dict__[name] = _on_device(getattr(base, name))
    for name in LIKE:
        xp.__dict__[name] = _beside(getattr(base, name), base)
    xp.__dict__["stack"] = functools.partial(joining.stack, base)
    xp.__dict__["concat"] = functools.partial(joining.concat, base)
    xp.__dict__["clip"] = functools.partial(_clip, base)
    xp.__dict__["isin"] = functools.partial(_isin, base)
    xp.__dict__["argmax"] = functools.partial(_extremum, base, base.argmax, base.max)
    xp.__dict__["argmin"] = functools.partial(_extremum, base, base.argmin, base.min)
    xp.__dict__["searchsorted"] = functools.partial(_searchsorted, base)
    return xp


def _on_device(f: Callable[..., Any]) -> Callable[..., Any]:
    """array-api-compat drops `device=` here: the array would be made on the device of now."""

    @functools.wraps(f)
    def made(*args: Any, device: Any = None, **options: Any) -> Any:
        if device is None:
            return f(*args, **options)
        with device:
            return f(*args, **options)

    return made


def _beside(f: Callable[..., Any], base: Any) -> Callable[..., Any]:
    """The same, and without `device=` the array belongs beside its example."""

    @functools.wraps(f)
    def made(x: Any, /, *args: Any, device: Any = None, **options: Any) -> Any:
        device = x.device if device is None else device
        if device.id == base.cuda.runtime.getDevice():
            return f(x, *args, **options)
        with device:
            return f(x, *args, **options)

    return made


def _clip(base: Any, x: Any, /, min: Any = None, max: Any = None) -> Any:
    """array-api-compat writes at masks, which makes the host wait. NaN stays NaN, as there."""
    if min is None and max is None:
        return base.positive(x) if x.dtype != base.bool else x.copy()
    for bound, pick in ((min, base.maximum), (max, base.minimum)):
        if bound is not None:
            bound = bound.astype(x.dtype, copy=False) if hasattr(bound, "dtype") else bound
            x = pick(x, bound)
    return x


def _extremum(
    base: Any,
    places: Callable[..., Any],
    values: Callable[..., Any],
    x: Any,
    /,
    *,
    axis: int | None = None,
    keepdims: bool = False,
) -> Any:
    """CuPy's search starts at the largest finite number, and so misses infinities. Of NaN, the first is found."""
    if x.dtype.kind != "f" or x.size == 0:
        found = places(x, axis=axis)
    else:
        best = values(x, axis=axis, keepdims=True)
        found = base.argmax((x == best) | (x != x), axis=axis)
    if not keepdims:
        return found
    return found.reshape((1,) * x.ndim) if axis is None else base.expand_dims(found, axis=axis)


def _isin(base: Any, x1: Any, x2: Any, /, *, invert: bool = False) -> Any:
    """array-api-compat copies numbers from the host; `full` writes them by a launch."""
    one = x1 if hasattr(x1, "dtype") else base.full((), x1)
    two = x2 if hasattr(x2, "dtype") else base.full((), x2)
    return base.isin(one, two, invert=invert)


def _searchsorted(base: Any, x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Any:
    """The same."""
    if not hasattr(x2, "dtype"):
        x2 = base.full((), x2, dtype=x1.dtype)
    return base.searchsorted(x1, x2, side=side, sorter=sorter)


class CupyBackend(StridedBackend):
    """What the standard lacks, by CuPy."""

    def assign(self, x: Any, key: Any, value: Any) -> Any:
        """Of several values for one position the last stays, as in NumPy; CuPy leaves open which."""
        new = x.copy()
        if not repeats(key):
            new[key] = value
            return new
        order, winner = self._winners(x.shape, key)
        values = self.xp.broadcast_to(self.xp.asarray(value, dtype=x.dtype), order.shape)
        values = values.reshape(-1)
        if values.size == 0:
            return new
        picked = values[self.xp.maximum(winner, 0)]
        return self.xp.where(winner >= 0, picked, new)

    def last_written(self, shape: tuple[int, ...], key: Any, like: Any) -> Any:
        order, winner = self._winners(shape, key)
        return winner[key] == order

    def _winners(self, shape: tuple[int, ...], key: Any) -> tuple[Any, Any]:
        """The numbers of the values in order, and for each position the number of its last one, or -1."""
        xp = self.xp
        blank = xp.zeros(shape, dtype=xp.int32)
        read = blank[key].shape
        order = xp.arange(math.prod(read), dtype=xp.int32).reshape(read)
        winner = blank - 1
        xp.maximum.at(winner, key, order)
        return order, winner

    def scatter_add(self, shape: tuple[int, ...], key: Any, g: Any) -> Any:
        """`add.at` adds in the order in which threads come, so that sums differ from run to run; see `sum_rows`."""
        if repeats(key):
            return Backend.scatter_add(self, shape, key, g)
        zeros = self.xp.zeros(shape, dtype=g.dtype, device=self.device_of(g))
        zeros[key] = g
        return zeros

    def sum_rows(self, count: int, places: Any, rows: Any) -> Any:
        """By a product with a one-hot matrix, always in the same order; where that is too large, by atomic additions.

        Those are exact for integers; sums of floating numbers may then differ in their last digits between runs.
        """
        if str(rows.dtype) == "bfloat16":
            return self.sum_rows(count, places, rows.astype("float32")).astype(rows.dtype)
        floating = rows.dtype.kind in "fc"
        if floating and count * rows.shape[0] * rows.shape[1] <= DENSE:
            return Backend.sum_rows(self, count, places, rows)
        name = str(rows.dtype)
        exact = {"int64": "uint64", "uint64": "uint64"}.get(name, name if floating else "int32")
        if exact not in ATOMIC:
            return Backend.sum_rows(self, count, places, rows)
        wide = rows.view(exact) if name == "int64" else rows.astype(exact, copy=False)
        out = self.xp.zeros((count, rows.shape[1]), dtype=wide.dtype, device=self.device_of(rows))
        self.xp.add.at(out, places, wide)
        return out.view(name) if name == "int64" else out.astype(rows.dtype, copy=False)
