"""What the update formulas need of arrays beyond the standard."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import raw
from bpgpu.autodiff.dtypes import kind
from bpgpu.backend import backend_of, host
from bpgpu.backend.libraries import namespace_of

Array = Any

_writable: dict[type, bool] = {}  # told once for each class of arrays


def writable(x: Array) -> bool:
    """True if arrays of this class can be changed in place: JAX's and NumPy's scalars cannot."""
    cls = type(x)
    try:
        return _writable[cls]
    except KeyError:
        found = _writable[cls] = hasattr(x, "__setitem__") and not hasattr(x, "at")
        return found


def store(old: Array, new: Array) -> Array:
    """`old` with the values of `new`: in place where the library can, else `new` itself."""
    if new is old or not writable(old):
        return new
    old[...] = new
    return old


def copied(xp: Any, x: Array) -> Array:
    """An array that may be changed in place without changing `x`."""
    return xp.asarray(x, copy=True) if writable(x) else x


def changeable(x: Array) -> Array:
    """`x`, or a copy of it if it is of a class that changes in place but may not be changed itself.

    Such are NumPy's read-only arrays, and torch's that show one number at many places.
    """
    locked = not getattr(getattr(x, "flags", None), "writeable", True)
    if not locked and callable(getattr(x, "stride", None)):
        locked = 0 in x.stride() and 0 not in x.shape
    return namespace_of(x).asarray(x, copy=True) if locked and writable(x) else x


def device_of(x: Array) -> Any:
    """The device of an array, in the words of its library."""
    x = raw(x)
    return backend_of(namespace_of(x)).device_of(x)


def scalar(xp: Any, like: Array, value: Any, dtype: Any = None) -> Array:
    """A 0-d array where `like` is, in its dtype if no other is given; `value` may be a number or a 0-d array."""
    dtype = like.dtype if dtype is None else dtype
    if hasattr(value, "dtype"):
        return xp.astype(value, dtype)
    made, device = xp.asarray(value, dtype=dtype), device_of(like)
    # asked for a device, JAX would tie the array to it, and compile anew for one that is not tied
    if device is None or device_of(made) == device:
        return made
    return xp.asarray(value, dtype=dtype, device=device)


def fitted(like: Array, value: Any) -> Array:
    """A copy of `value`, of any library, with the library, the dtype and the device of `like`."""
    xp = namespace_of(like)
    if hasattr(value, "dtype") and namespace_of(value) is xp:
        new = xp.astype(value, like.dtype, copy=True)
        device = device_of(like)
        return new if device_of(new) == device else backend_of(xp).to_device(new, device)
    if hasattr(value, "dtype"):
        value = host.to_numpy(value)
    made = xp.asarray(value, device=device_of(like))
    return xp.astype(made, like.dtype, copy=True)


def working_dtype(xp: Any, p: Array) -> Any:
    """The dtype in which a parameter is updated: its own, real, and at least float32."""
    dtype = p.dtype
    try:
        name = _working[type(dtype)][dtype]
    except KeyError:
        name = _working.setdefault(type(dtype), {})[dtype] = _working_name(dtype)
    return dtype if name is None else getattr(xp, name)


_working: dict[type, dict[Any, str | None]] = {}  # by class of dtype, as in autodiff.dtypes


def _working_name(dtype: Any) -> str | None:
    name = str(dtype)
    if kind(dtype) == "complex":
        return "float32" if name.endswith("complex64") else "float64"
    return "float32" if name.endswith("float16") else None


def working(xp: Any, x: Array, p: Array) -> Array:
    """`x` (the parameter `p`, or its gradient) as the formula takes it: complex numbers as pairs of real ones."""
    if kind(p.dtype) == "complex":
        x = to_pairs(xp, x)
    dtype = working_dtype(xp, p)
    return x if x.dtype == dtype else xp.astype(x, dtype)


def to_pairs(xp: Any, z: Array) -> Array:
    """Complex numbers as pairs of real ones along a new last axis."""
    return xp.stack([xp.real(z), xp.imag(z)], axis=-1)


def from_pairs(xp: Any, x: Array, dtype: Any) -> Array:
    """The inverse of `to_pairs`."""
    return xp.astype(x[..., 0], dtype) + 1j * xp.astype(x[..., 1], dtype)


def bias_correction(xp: Any, beta: float, t: Array) -> Any:
    """`1 - beta**t`: what a moving average of `t` values, begun at 0, falls short of an average.

    Written as `-expm1(t log beta)`, which keeps all digits where `beta**t` is close to 1.
    """
    return -xp.expm1(t * math.log(beta)) if beta > 0 else 1.0


def norm(xp: Any, x: Array) -> Array:
    """The Euclidean length of all entries."""
    return xp.sqrt(xp.sum(x * x))
