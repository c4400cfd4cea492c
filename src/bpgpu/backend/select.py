"""Selection by a mask, and by bounds.

What a mask does not select is never touched, be it infinite or NaN. This is `where` of the
standard. In NumPy that takes each element by a branch, which the processor predicts wrongly half of
the time; here the bits of the numbers are multiplied by 0 or 1 as integers, which is five times
faster.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_WORDS = {1: np.dtype("i1"), 2: np.dtype("i2"), 4: np.dtype("i4"), 8: np.dtype("i8")}


def keep(xp: Any, x: Any, mask: Any) -> Any:
    """`x` where the mask is true, 0 elsewhere."""
    if xp.__name__ != "array_api_compat.numpy":
        return xp.where(mask, x, 0)
    word = _WORDS.get(x.dtype.itemsize)
    if word is None:
        return np.where(mask, x, x.dtype.type(0))
    return (x.view(word) * mask).view(x.dtype)


def choose(xp: Any, mask: Any, x: Any, y: Any) -> Any:
    """`x` where the mask is true, `y` elsewhere. At least one of them is an array, the other may be a number."""
    if xp.__name__ != "array_api_compat.numpy":
        return xp.where(mask, x, y)
    dtype = x.dtype if hasattr(x, "dtype") else y.dtype
    word = _WORDS.get(dtype.itemsize)
    x, y = (v if hasattr(v, "dtype") and v.dtype == dtype else np.asarray(v, dtype) for v in (x, y))
    if word is None:
        return np.where(mask, x, y)
    return (x.view(word) * mask | y.view(word) * ~mask).view(dtype)


def positive(xp: Any, x: Any) -> Any:
    """`x` where it is above 0, else 0; NaN stays NaN."""
    if (
        xp.__name__ == "bpgpu_story"
    ):  # an explanation tells the name, and has the derivative at 0 with it
        return xp.relu(x)
    return clip(xp, x, 0)


def clip(xp: Any, x: Any, low: float | None = None, high: float | None = None) -> Any:
    """`x` between two numbers; NaN stays NaN."""
    if xp.__name__ == "array_api_compat.torch":  # a form that torch.compile follows
        return x.clamp(low, high)
    if low is not None:
        x = xp.maximum(x, low)
    return x if high is None else xp.minimum(x, high)
