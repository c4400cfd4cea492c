"""`Module.to`: every array of a model to another device or dtype, ties kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from bpgpu import tree as trees
from bpgpu.autodiff.dtypes import is_floating, kind
from bpgpu.backend.libraries import namespace_of
from bpgpu.device import Device, to_device
from bpgpu.errors import DtypeError

if TYPE_CHECKING:
    from bpgpu.nn.module import Module

M = TypeVar("M", bound="Module")

_DTYPES = ("float16", "bfloat16", "float32", "float64")


def moved(module: M, device: Any, dtype: Any) -> M:
    """Move and cast in place. New arrays are all made before the first one is put in."""
    if dtype is None and device is not None and not _names_device(device):
        device, dtype = None, device

    def one(x: Any) -> Any:
        y = x if dtype is None or not is_floating(x) else cast(x, dtype)
        return y if device is None else to_device(y, device)

    return mapped(module, one)


def mapped(module: M, function: Callable[[Any], Any]) -> M:
    """Put `function(x)` in the place of each array, once for all places of one array."""
    memo: dict[int, Any] = {}

    def one(x: Any) -> Any:
        if id(x) not in memo:
            memo[id(x)] = function(x)
        return memo[id(x)]

    plans = [(m, _new_fields(m, one)) for m in module.modules()]
    for m, fields in plans:
        m.__dict__.update(fields)
    return module


def _new_fields(module: Module, one: Callable[[Any], Any]) -> dict[str, Any]:
    return {
        name: new
        for name, value in module.__dict__.items()
        if name not in ("_parameters", "_buffers") and (new := _mapped(value, one)) is not value
    }


def _mapped(value: Any, one: Callable[[Any], Any]) -> Any:
    """An attribute with its arrays mapped, also those in lists, tuples and dicts; Modules move
    themselves."""
    if trees.is_array(value):
        return one(value)
    if type(value) in (list, tuple):
        new = [_mapped(v, one) for v in value]
        return value if all(a is b for a, b in zip(new, value, strict=True)) else type(value)(new)
    if type(value) is dict:
        found = {k: _mapped(v, one) for k, v in value.items()}
        return value if all(found[k] is value[k] for k in value) else found
    return value


def _names_device(x: Any) -> bool:
    return isinstance(x, Device) or (isinstance(x, str) and x not in _DTYPES)


def cast(x: Any, dtype: Any) -> Any:
    """The floating array in a dtype given by name or as an object of any library."""
    name = str(getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or dtype)
    name = name.rpartition(".")[2]
    xp = namespace_of(x)
    if name not in _DTYPES or not hasattr(xp, name):
        raise DtypeError(f"to: expected a floating dtype ({', '.join(_DTYPES)}), got {dtype!r}")
    if kind(x.dtype) == "complex":
        return x
    return xp.astype(x, getattr(xp, name), copy=False)
