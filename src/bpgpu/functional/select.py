"""Selection by a mask, differentiable: the chain rule of everything that has a kink.

A product with a mask of zeros and ones would turn an infinity that is not selected into NaN; these
do not look at it.
"""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.array import Array, raw
from bpgpu.autodiff.rule import broadcasting, rule
from bpgpu.backend import select


@rule
def keep(xp: Any, x: Any, /, mask: Any) -> Any:
    """`x` where the mask is true, 0 elsewhere. The mask may have fewer axes, or axes of size 1."""
    mask = raw(mask)
    y = keep(x, mask) if type(x) is Array else select.keep(xp, x, mask)
    return y, lambda g: keep(g, mask)


@broadcasting
def choose(xp: Any, x: Any, y: Any, /, mask: Any) -> Any:
    """`x` where the mask is true, `y` elsewhere: arrays, or one of them a number."""
    mask = raw(mask)
    nested = type(x) is Array or type(y) is Array
    z = choose(x, y, mask) if nested else select.choose(xp, mask, x, y)
    return z, lambda g: keep(g, mask), lambda g: keep(g, ~mask)
