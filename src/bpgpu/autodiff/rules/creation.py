"""Making arrays from values that may be traced: the values keep their gradient.

All of it is composed of functions that have derivatives. `xp` is the traced namespace, `xp.xp` the plain one under it.
"""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.array import Array, is_live, raw
from bpgpu.autodiff.dtypes import is_floating, kind
from bpgpu.autodiff.rule import SCALARS, rule
from bpgpu.autodiff.rules.indexing import check_room
from bpgpu.errors import ShapeError


@rule
def tril(xp: Any, x: Any, /, k: int = 0) -> Any:
    return xp.tril(x, k=k), lambda g: xp.tril(g, k=k)


@rule
def triu(xp: Any, x: Any, /, k: int = 0) -> Any:
    return xp.triu(x, k=k), lambda g: xp.triu(g, k=k)


def asarray(
    xp: Any, obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None
) -> Any:
    """A traced array of `obj`; nested lists may hold traced arrays among numbers.

    The same handle where nothing has to change, so that assignment to it is seen under both names.
    """
    if type(obj) is not Array:
        if isinstance(obj, (list, tuple)) and (home := _first_array(obj)) is not None:
            if copy is False:
                raise ValueError(
                    "asarray: a list cannot become an array without a copy; pass copy=None"
                )
            dtype = _common_dtype(xp, obj) if dtype is None else dtype
            return _stacked(xp, obj, dtype, home.device if device is None else device)
        return Array(xp.xp.asarray(obj, dtype=dtype, device=device, copy=copy))
    cast = dtype is not None and obj.dtype != dtype
    moved = device is not None and device != obj.device
    if copy is False and (cast or moved):
        raise ValueError(
            f"asarray: an array of {obj.dtype} on {obj.device} cannot change without a copy; pass copy=None"
        )
    if cast:
        obj = xp.astype(obj, dtype)
    if moved:
        obj = obj.to_device(device)
    return Array(obj.value, obj.tape, obj.index) if copy else obj


def _first_array(obj: Any) -> Any:
    """The first traced array in nested lists."""
    if type(obj) is Array:
        return obj
    if isinstance(obj, (list, tuple)):
        return next((x for x in map(_first_array, obj) if x is not None), None)
    return None


def _leaves(obj: Any) -> list[Any]:
    if isinstance(obj, (list, tuple)):
        return [leaf for part in obj for leaf in _leaves(part)]
    return [obj]


def _common_dtype(xp: Any, obj: Any) -> Any:
    """The dtype of the arrays in nested lists; numbers beside them follow it, as they do in `x + 1.0`."""
    leaves = _leaves(obj)
    return xp.result_type(*[x if type(x) in SCALARS else raw(x).dtype for x in leaves])


def _stacked(xp: Any, obj: Any, dtype: Any, device: Any) -> Any:
    if not isinstance(obj, (list, tuple)):
        return asarray(xp, obj, dtype=dtype, device=device)
    rows = [_stacked(xp, x, dtype, device) for x in obj]
    shapes = sorted({tuple(row.shape) for row in rows})
    if len(shapes) > 1:
        raise ShapeError(
            f"asarray: the parts of a list must have equal shapes, got {' and '.join(map(str, shapes))}"
        )
    return xp.stack(rows) if rows else asarray(xp, xp.xp.zeros((0,), dtype=dtype, device=device))


def from_dlpack(xp: Any, x: Any, /, *, device: Any = None, copy: bool | None = None) -> Any:
    """A traced array stays the same handle, with its gradient; memory of other libraries becomes a constant."""
    if type(x) is Array:
        return asarray(xp, x, device=device, copy=copy)
    options = {k: v for k, v in (("device", device), ("copy", copy)) if v is not None}
    return Array(xp.xp.from_dlpack(x, **options))


def full(
    xp: Any, shape: int | tuple[int, ...], fill_value: Any, *, dtype: Any = None, device: Any = None
) -> Any:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return xp.broadcast_to(asarray(xp, fill_value, dtype=dtype, device=device), shape)


def full_like(xp: Any, x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    if type(fill_value) is not Array:
        return Array(xp.xp.full_like(raw(x), fill_value, dtype=dtype, device=device))
    if dtype is None:
        dtype = x.dtype
        if is_live(fill_value) and is_floating(fill_value):
            check_room("full_like", dtype, fill_value.dtype, "pass dtype=fill_value.dtype")
    device = x.device if device is None else device
    return full(xp, x.shape, fill_value, dtype=dtype, device=device)


def linspace(
    xp: Any,
    start: Any,
    stop: Any,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: Any = None,
    endpoint: bool = True,
) -> Any:
    """`start (1 - t) + stop t` for `t` from 0 to 1, so that both ends are hit exactly."""
    home = next(x for x in (start, stop) if is_floating(x))
    real = xp.real(home).dtype if kind(home.dtype) == "complex" else home.dtype
    device = home.device if device is None else device
    t = xp.linspace(0.0, 1.0, num, dtype=real, device=device, endpoint=endpoint)
    t = xp.reshape(t, (num, *(1,) * max(getattr(start, "ndim", 0), getattr(stop, "ndim", 0))))
    y = start * (1 - t) + stop * t
    return y if dtype is None else xp.astype(y, dtype)


def arange(
    xp: Any,
    start: Any,
    /,
    stop: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
) -> Any:
    """`start + step i` for `i` from 0. How many there are is no matter of the gradient."""
    if stop is None:
        start, stop = 0, start
    if device is None:
        device = next(v.device for v in (start, stop, step) if is_floating(v))
    bounds = [float(raw(v)) if is_floating(v) else raw(v) for v in (start, stop, step)]
    plain = xp.xp.arange(*bounds, dtype=dtype, device=device)
    if kind(plain.dtype) == "other":
        return Array(plain)
    y = start + step * Array(xp.xp.arange(plain.shape[0], dtype=plain.dtype, device=device))
    return y if dtype is None else xp.astype(y, dtype)


COMPOSED = {
    "arange": arange,
    "asarray": asarray,
    "from_dlpack": from_dlpack,
    "full": full,
    "full_like": full_like,
    "linspace": linspace,
}
