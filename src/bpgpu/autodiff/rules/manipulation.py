"""Derivatives of functions that move entries and leave values alone: each pull moves them back."""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.array import Array, raw
from bpgpu.autodiff.rule import rule, unbroadcast


@rule
def reshape(xp: Any, x: Any, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Any:
    old = x.shape
    y = xp.reshape(x, shape) if copy is None else xp.reshape(x, shape, copy=copy)
    return y, lambda g: xp.reshape(g, old)


@rule
def permute_dims(xp: Any, x: Any, /, axes: tuple[int, ...]) -> Any:
    axes = tuple(a % x.ndim for a in axes)
    inverse = tuple(axes.index(i) for i in range(len(axes)))
    return xp.permute_dims(x, axes), lambda g: xp.permute_dims(g, inverse)


@rule
def broadcast_to(xp: Any, x: Any, /, shape: tuple[int, ...]) -> Any:
    old = x.shape
    return xp.broadcast_to(x, shape), lambda g: unbroadcast(xp, g, old)


@rule
def expand_dims(xp: Any, x: Any, /, *, axis: int = 0) -> Any:
    old = x.shape
    return xp.expand_dims(x, axis=axis), lambda g: xp.reshape(g, old)


@rule
def squeeze(xp: Any, x: Any, /, axis: int | tuple[int, ...]) -> Any:
    old = x.shape
    return xp.squeeze(x, axis=axis), lambda g: xp.reshape(g, old)


@rule
def stack(xp: Any, *xs: Any, axis: int = 0) -> Any:
    y = xp.stack(list(xs), axis=axis)
    before = (slice(None),) * (axis % y.ndim)
    return y, *[lambda g, i=i: g[(*before, i, ...)] for i in range(len(xs))]


@rule
def to_device(xp: Any, x: Any, /, device: Any, *, stream: Any = None) -> Any:
    if type(x) is Array:
        home = x.device
        return x.to_device(device, stream=stream), lambda g: g.to_device(home)
    from bpgpu.backend import backend_of

    backend = backend_of(xp)
    home = backend.device_of(x)
    return backend.to_device(x, device, stream), lambda g: backend.to_device(g, home)


def asarray(
    xp: Any, obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None
) -> Array:
    """The same handle where nothing has to change, so that assignment to it is seen under both names."""
    if type(obj) is not Array:
        if isinstance(obj, (list, tuple)) and _holds_arrays(obj):
            new: Array = xp.stack([asarray(xp, v, dtype=dtype, device=device) for v in obj])
            return new
        return Array(xp.xp.asarray(obj, dtype=dtype, device=device, copy=copy))
    if dtype is not None and obj.dtype != dtype:
        if copy is False:
            raise ValueError(
                f"asarray: copy=False, but {obj.dtype} cannot become {dtype} without a copy"
            )
        obj = xp.astype(obj, dtype)
    elif copy:
        obj = Array(obj.value, obj.tape, obj.index)
    if device is not None and device != obj.device:
        obj = obj.to_device(device)
    return obj


def _holds_arrays(obj: Any) -> bool:
    return any(
        type(v) is Array or (isinstance(v, (list, tuple)) and _holds_arrays(v)) for v in obj
    )


COMPOSED = {"asarray": asarray}
