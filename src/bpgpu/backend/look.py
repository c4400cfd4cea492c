"""Whether the values of an array may be looked at on the way."""

from __future__ import annotations

import sys
from typing import Any

from bpgpu.backend.libraries import library_of, namespace_of


def at_hand(x: Any) -> bool:
    """True if reading values of the plain array `x` waits for no device and breaks no compiled
    step.

    So it is with NumPy, array-api-strict, and with torch and JAX on the CPU while they do not
    compile. It decides only whether labels and indices are checked, never what is computed.
    """
    library = library_of(x)
    if library in ("numpy", "array_api_strict"):
        return True
    if library == "torch":
        return x.device.type == "cpu" and not sys.modules["torch"].compiler.is_compiling()
    if library == "jax":
        jax = sys.modules["jax"]
        if isinstance(x, jax.core.Tracer) or x.device.platform != "cpu":
            return False
        # while JAX compiles, functions of arrays that are known give tracers too
        return not isinstance(jax.lax.full((), 0), jax.core.Tracer)
    return False


def is_known(x: Any) -> bool:
    """False if the plain array `x` stands for values that come later, in a function that is compiled."""
    return library_of(x) != "jax" or not isinstance(x, sys.modules["jax"].core.Tracer)


def between(x: Any, low: float, high: float) -> bool | None:
    """True if all numbers of the plain array `x` are in `[low, high]`; NaN is not. `None` if they may
    not be looked at."""
    if not at_hand(x):
        return None
    if 0 in x.shape:
        return True
    xp = namespace_of(x)
    return bool(xp.min(x) >= low) and bool(xp.max(x) <= high)
