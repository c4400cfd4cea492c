"""Writing to places of a new array: in place where the library can, else as a changed copy."""

from __future__ import annotations

from typing import Any

from bpgpu.backend import backend_of
from bpgpu.backend.libraries import library_of


def put_at(out: Any, at: Any, x: Any) -> Any:
    """`out` with `x` at `at`. The caller gives `out` up."""
    if hasattr(out, "at"):  # immutable
        return out.at[at].set(x)
    out[at] = x
    return out


def add_at(out: Any, at: Any, x: Any) -> Any:
    """`out` with `x` added at `at`, which names no position twice. The caller gives `out` up."""
    if hasattr(out, "at"):  # immutable
        return out.at[at].add(x)
    out[at] += x
    return out


def written(xp: Any, count: int, places: Any, x: Any) -> Any:
    """`count` zeros with the entries of `x` written to `places`. Of several for one place, one stays:
    in NumPy the last."""
    backend = backend_of(xp)
    out = xp.zeros((count,), dtype=x.dtype, device=backend.device_of(x))
    if library_of(x) in _WRITERS:
        return put_at(out, places, x)
    if 0 in places.shape:
        return out
    order = xp.argsort(places, stable=True)  # the standard cannot write, but it can add
    sorted_places = xp.take(places, order)
    last = xp.concat([sorted_places[1:] != sorted_places[:-1], _one(xp, places)])
    x = xp.where(last, xp.take(x, order), xp.zeros_like(x))
    return backend.scatter_add((count,), (sorted_places,), x)


def _one(xp: Any, like: Any) -> Any:
    return xp.ones((1,), dtype=xp.bool, device=backend_of(xp).device_of(like))


_WRITERS = frozenset(("numpy", "cupy", "torch", "jax"))
"""Libraries that assign to arrays of places."""
