"""Numbers kept within bounds, with the derivative that a loss asks for at a bound and beyond."""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.rule import rule
from bpgpu.backend import select
from bpgpu.functional.select import keep


@rule
def positive_part(xp: Any, x: Any, /) -> Any:
    """`max(x, 0)` with the derivative 1 at 0."""
    y = positive_part(x) if type(x) is Traced else select.clip(xp, x, 0)
    return y, lambda g: keep(g, raw(x) >= 0)


@rule
def limited(xp: Any, x: Any, /, limit: float) -> Any:
    """`x` within `[-limit, limit]`, with the derivative 0 at the limits."""
    y = limited(x, limit) if type(x) is Traced else select.clip(xp, x, -limit, limit)
    return y, lambda g: keep(g, abs(raw(x)) < limit)


@rule
def at_least(xp: Any, x: Any, /, low: float) -> Any:
    """`max(x, low)` with the derivative of `x` itself everywhere, so that `x` can leave the bound."""
    return (at_least(x, low) if type(x) is Traced else select.clip(xp, x, low)), None
