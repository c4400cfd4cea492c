"""Random numbers for functions: drawn from the key that is given, else from this thread's stream of keys."""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.array import raw
from bpgpu.autodiff.rule import library_name
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import LibraryError
from bpgpu.functional.arguments import Array
from bpgpu.random import draws
from bpgpu.random.keys import checked, device_of
from bpgpu.random.stream import next_key


def key_for(function: str, key: Any, x: Array) -> Any:
    """A key where the array `x` lives. A key of NumPy may be given for every library; the numbers are the same."""
    if key is None:
        return next_key(like=x)
    key, x = checked(key), raw(x)
    xp, home = namespace_of(x), namespace_of(key)
    if home is xp:
        return key
    if home.__name__ != "array_api_compat.numpy":
        raise LibraryError(
            f"{function}: the key is an array of {library_name(home)}, the input one of "
            f"{library_name(xp)}; make it with bpgpu.random.key(seed, like=input)"
        )
    return xp.asarray(key.tolist(), dtype=xp.int32, device=device_of(x))


def uniform(function: str, key: Any, x: Array, low: float = 0.0, high: float = 1.0) -> Array:
    """Numbers uniform in `[low, high)`, of the shape of `x`: in float64 if `x` is, else in float32."""
    xp = namespace_of(raw(x))
    name = "float64" if x.dtype == getattr(xp, "float64", None) else "float32"
    return draws.uniform(key_for(function, key, x), x.shape, name, low, high)


def gumbel(function: str, key: Any, x: Array) -> Array:
    """Gumbel's noise, `-log(-log(u))`, of the shape and dtype of `x`."""
    xp = namespace_of(raw(x))
    u = uniform(function, key, x)
    half = 2.0**-53 if u.dtype == getattr(xp, "float64", None) else 2.0**-24
    noise = -xp.log(-xp.log(u + half))  # half a step up: neither 0 nor 1
    return xp.astype(noise, x.dtype, copy=False)


def mask(
    function: str, key: Any, x: Array, shape: tuple[int, ...], p: float
) -> tuple[Array, float]:
    """A mask that is true with probability `1 - p`, and the probability that was really used."""
    return draws.mask(key_for(function, key, x), shape, 1 - p)
