"""array-api-strict with its arrays on its second device, which proves that nothing is converted or moved in secret.

There, `np.asarray(x)` raises, and so does an operation that meets an array of the first device: a constant that was
made without a device, for example.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any

import numpy as np

NAME = "device1"
CREATION = (
    *("arange", "asarray", "empty", "eye", "from_dlpack", "full", "linspace", "ones", "zeros"),
)


@functools.cache
def namespace() -> Any:
    """The library, whose creation functions make arrays on the second device where they are not told another."""
    strict: Any = importlib.import_module("array_api_strict")
    xp = ModuleType("array_api_strict")
    xp.__dict__.update(vars(strict))
    for name in CREATION:
        xp.__dict__[name] = _there(getattr(strict, name), strict.Device(NAME))
    return xp


def _there(f: Any, second: Any) -> Any:
    @functools.wraps(f)
    def made(*args: Any, device: Any = None, **options: Any) -> Any:
        own = f.__name__ == "asarray" and type(args[0]).__module__.startswith("array_api_strict")
        there = args[0].device if own else second
        return f(*args, device=there if device is None else device, **options)

    return made


def is_there(x: Any) -> bool:
    """True for an array of strict that is not on its first device."""
    return type(x).__name__ == "Array" and str(x.device) == f"array_api_strict.Device('{NAME}')"


def to_numpy(x: Any) -> Any:
    """The values, by way of the library's own memory."""
    return np.array(x._array)
