"""Arrays of numbers that are known beforehand: indices and weights that follow from shapes."""

from __future__ import annotations

import functools
from typing import Any

from bpgpu.backend import backend_of

Numbers = tuple[int, ...] | tuple[float, ...]


def constant(xp: Any, like: Any, numbers: Numbers, dtype: Any) -> Any:
    """The numbers as an array beside `like`. The caller does not change it.

    NumPy and CuPy keep it for the next call: a copy to a GPU would wait, and may not be part of a
    captured graph. Compilers keep constants themselves.
    """
    device = backend_of(xp).device_of(like)
    if xp.__name__ in ("array_api_compat.numpy", "array_api_compat.cupy"):
        return _kept(xp, device, numbers, dtype)
    return xp.asarray(list(numbers), dtype=dtype, device=device)


@functools.cache  # for good: a captured graph reads them wherever they are
def _kept(xp: Any, device: Any, numbers: Numbers, dtype: Any) -> Any:
    return xp.asarray(list(numbers), dtype=dtype, device=device)
