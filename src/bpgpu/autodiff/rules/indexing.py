"""Derivatives of indexing and assignment. The transpose of reading at positions is adding at them."""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.array import Array
from bpgpu.autodiff.rule import SCALARS, Rule, rule, unbroadcast
from bpgpu.backend import backend_of


@rule
def scatter_add(xp: Any, g: Any, /, shape: tuple[int, ...], key: Any) -> Any:
    """Zeros of `shape` with `g` added at `key`."""
    if type(g) is Array:
        return scatter_add(g, shape, key), lambda h: h[key]
    return backend_of(xp).scatter_add(shape, key, g), lambda h: h[key]


@rule
def getitem(xp: Any, x: Any, /, key: Any) -> Any:
    shape = x.shape
    return x[key], lambda g: scatter_add(g, shape, key)


@rule(arrays=2)
def setitem(xp: Any, x: Any, v: Any, /, key: Any) -> Any:
    """`x` with `v` at `key`: the gradient of what was overwritten is zero."""
    nested = type(x) is Array or type(v) is Array
    y = setitem(x, v, key) if nested else backend_of(xp).assign(x, key, v)
    if type(v) in SCALARS:
        return y, lambda g: setitem(g, 0, key), None
    shape = v.shape
    return y, lambda g: setitem(g, 0, key), lambda g: unbroadcast(xp, g[key], shape)
