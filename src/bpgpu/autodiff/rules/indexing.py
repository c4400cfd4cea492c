"""Derivatives of indexing and assignment. The transpose of reading at positions is adding at them."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import Array, device_of, is_live, namespace_of, raw
from bpgpu.autodiff.dtypes import is_floating, kind
from bpgpu.autodiff.rule import SCALARS, part, rule, unbroadcast
from bpgpu.backend import backend_of
from bpgpu.backend.generic import indexed_axis, indices_of, repeats
from bpgpu.backend.libraries import namespace_of as plain_namespace
from bpgpu.errors import DtypeError, ShapeError


@rule
def scatter_add(xp: Any, g: Any, /, shape: tuple[int, ...], key: Any) -> Any:
    """Zeros of `shape` with `g` added at `key`."""
    nested = type(g) is Array
    y = scatter_add(g, shape, key) if nested else backend_of(xp).scatter_add(shape, key, g)
    return y, lambda h: read(xp, h, key)


def read(xp: Any, x: Any, key: Any) -> Any:
    """`x[key]`, by `take` where that is the standard's way to say it."""
    axis = indexed_axis(key, x.ndim)
    if axis is None or indices_of(key).ndim > 1:
        return x[key]
    return xp.take(x, indices_of(key), axis=axis)


@rule
def getitem(xp: Any, x: Any, /, key: Any) -> Any:
    """Slices, integers, masks, arrays of integers: an entry that is read twice gets both gradients."""
    shape = x.shape

    def add(whole: Any, g: Any) -> bool:
        return backend_of(xp).add_at(whole, key, g)

    return x[key], part(lambda g: scatter_add(g, shape, key), add)


@rule
def take(xp: Any, x: Any, indices: Any, /, axis: int | None = None, **options: Any) -> Any:
    y = xp.take(x, indices, axis=axis, **options)
    shape = x.shape
    if axis is None:
        return y, lambda g: xp.reshape(scatter_add(g, (math.prod(shape),), indices), shape)
    before = (slice(None),) * (axis % len(shape))
    return y, lambda g: scatter_add(g, shape, (*before, indices, ...))


@rule
def take_along_axis(xp: Any, x: Any, indices: Any, /, axis: int = -1) -> Any:
    """At each place of `indices`, its own axis is read there and all other axes are read in step."""
    y = xp.take_along_axis(x, indices, axis=axis)
    shape = x.shape
    n = len(shape)

    def steps(i: int) -> Any:
        line = xp.arange(shape[i], device=device_of(indices))
        return raw(xp.reshape(line, tuple(-1 if j == i else 1 for j in range(n))))

    def pull(g: Any) -> Any:
        key = tuple(indices if i == axis % n else steps(i) for i in range(n))
        return scatter_add(g, shape, key)

    return y, pull


@rule(arrays=2)
def setitem(xp: Any, x: Any, v: Any, /, key: Any) -> Any:
    """`x` with `v` at `key`. What was overwritten gets no gradient.

    If `key` names a position several times, the value that stays there gets the whole gradient and the others none: in
    NumPy the last. Which one stays is the library's choice where it writes in parallel (CuPy, JAX, torch on CUDA).
    """
    nested = type(x) is Array or type(v) is Array
    y = setitem(x, v, key) if nested else backend_of(xp).assign(x, key, v)
    if type(v) in SCALARS:
        return y, lambda g: setitem(g, 0, key), None
    shape, full = v.shape, x.shape

    def pull_value(g: Any) -> Any:
        g = g[key]
        if repeats(key):
            g = xp.where(stays(full, key, raw(g)), g, xp.zeros_like(g))
        leading = max(len(shape) - g.ndim, 0)  # a value may have axes of size 1 on top
        return xp.reshape(unbroadcast(xp, g, shape[leading:]), shape)

    return y, lambda g: setitem(g, 0, key), pull_value


def stays(shape: tuple[int, ...], key: Any, like: Any) -> Any:
    """A mask of the values assigned at `key` that are not overwritten by others in the same assignment."""
    return backend_of(plain_namespace(like)).last_written(shape, key, like)


# ---- what the array object does with it


def assigned(x: Array, value: Any, key: Any) -> Array:
    """The new value for the handle `x` after `x[key] = value`."""
    if isinstance(value, (list, tuple)):
        value = namespace_of(x).asarray(value)
    if type(value) is Array and is_floating(value) and is_live(value):
        check_room(
            "x[key] = value", x.dtype, value.dtype, "cast x first: x = xp.astype(x, value.dtype)"
        )
    new: Array = setitem(x, value, key)
    return new


def check_room(name: str, room: Any, dtype: Any, remedy: str) -> None:
    """Raise if values of `dtype`, whose gradient is wanted, do not fit into an array of dtype `room`."""
    if kind(room) == "other" or (kind(dtype) == "complex" and kind(room) == "real"):
        raise DtypeError(
            f"{name}: values of dtype {dtype} cannot become {room} without losing their gradient; {remedy}"
        )


def fitted_into(x: Array, new: Array) -> Array:
    """The result of `x += y` with the dtype of `x`. As for plain arrays, it must have its shape and kind."""
    remedy = "write x = x + y, which makes a new array"
    if new.shape != x.shape:
        raise ShapeError(
            f"in-place operator: the result has shape {new.shape}, x has shape {x.shape}; {remedy}"
        )
    if new.dtype == x.dtype:
        return new
    if kind(new.dtype) != kind(x.dtype) and kind(x.dtype) != "complex":
        raise DtypeError(
            f"in-place operator: the result has dtype {new.dtype}, x cannot hold it with dtype {x.dtype}; {remedy}"
        )
    return namespace_of(x).astype(new, x.dtype)  # type: ignore[no-any-return]


def unwrapped_key(key: Any) -> Any:
    """An index as rules see it: plain arrays in place of traced ones."""
    if type(key) is Array:
        return raw(key)
    if isinstance(key, tuple):
        return tuple([unwrapped_key(k) for k in key])
    if isinstance(key, list):
        return [unwrapped_key(k) for k in key]
    if isinstance(key, slice):
        ends = (key.start, key.stop, key.step)
        if Array in map(type, ends):
            return slice(*[k.__index__() if type(k) is Array else k for k in ends])
    return key
