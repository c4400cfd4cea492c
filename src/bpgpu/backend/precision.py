"""How matrix products round float32 numbers: the setting of the thread, and rounding where no hardware does it.

A format keeps some bits of the 23 behind the leading one. Rounding is to the nearest number that the format has, and
to the even one of two that are as near.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from contextvars import ContextVar
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from bpgpu.backend.compiling import answered_once


class Format(NamedTuple):
    """A format of floating numbers, narrower than float32."""

    bits: int
    """Behind the leading one."""
    largest: float
    """The largest number; from half a step above it on, rounding gives infinity."""
    smallest: float
    """The smallest number of full precision; below it the numbers are this times 2**-bits apart."""


FORMATS: dict[str, Format | None] = {
    "fp32": None,
    "tf32": Format(10, 3.4011621342146535e38, 2.0**-126),
    "bf16": Format(7, 3.3895313892515355e38, 2.0**-126),
    "fp16": Format(10, 65504.0, 2.0**-14),
}

setting: ContextVar[str] = ContextVar("precision", default="fp32")


@answered_once  # by a compiler when it reads a step: the step is compiled for the setting of that time
def current() -> str:
    """The name of the format, in this thread and context."""
    return setting.get()


@answered_once
def is_plain() -> bool:
    """Whether products are those of the arrays' own dtype."""
    return setting.get() == "fp32"


def rounded(xp: Any, x: Any) -> Any:
    """`x` as the current format has it, in its own dtype; what is not float32 as it is."""
    wanted = FORMATS[current()]
    if wanted is None or x.dtype != xp.float32:
        return x
    library = xp.__name__
    if library == "array_api_compat.numpy":
        return _of(xp, _in_bits)(x, wanted)
    return _by_splitting(xp, x, wanted)


def _of(xp: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of plain arrays, also for arrays that are being recorded."""
    if type(xp) is ModuleType:
        return function
    noted: Callable[..., Any] = xp.in_one_call(function)
    return noted


def _in_bits(x: Any, wanted: Format) -> Any:
    """Rounding of the bits themselves, as integers: a carry into the exponent is right as it is."""
    if wanted.largest < 1e38:
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float32)
    dropped = 23 - wanted.bits
    bits = np.asarray(x, order="C").view(np.int32)
    half = ((bits >> dropped) & 1) + ((1 << (dropped - 1)) - 1)
    found = ((bits + half) & -(1 << dropped)).view(np.float32)
    return np.where(np.isnan(x), x, found)


def _by_splitting(xp: Any, x: Any, wanted: Format) -> Any:
    """Rounding by arithmetic alone: adding a number whose last bit is the last one that is kept.

    `c = 1.5 * 2**23 * 2**(e - bits)` for numbers of magnitude 2**e: `(x + c) - c` is `x` rounded to a multiple of
    2**(e - bits), by the rounding of the addition itself.
    """
    finite = xp.isfinite(x)
    given, x = x, xp.where(finite, x, xp.zeros_like(x))
    is_large = xp.abs(x) >= 2.0**100  # c would overflow
    x = xp.where(is_large, x * 2.0**-100, x)
    least = xp.where(is_large, xp.ones_like(x), xp.full_like(x, wanted.smallest))
    c = _power_of_two(xp, xp.maximum(xp.abs(x), least)) * (1.5 * 2.0 ** (23 - wanted.bits))
    found = (x + c) - c
    found = xp.where(is_large, found * 2.0**100, found)
    beyond = xp.abs(found) > wanted.largest
    infinity = xp.full_like(x, float("inf"))
    found = xp.where(beyond, xp.where(x > 0, infinity, -infinity), found)
    return xp.where(finite, found, given)


def _power_of_two(xp: Any, x: Any) -> Any:
    """The largest power of two that is not above a positive number."""
    power = 2.0 ** xp.floor(xp.log2(x))
    power = xp.where(power > x, power / 2, power)
    return xp.where(power * 2 <= x, power * 2, power)


def is_traced(xp: Any) -> bool:
    """Whether these are arrays of a trace, which are rounded where they are computed: one level below."""
    return str(xp.__name__).startswith("bpgpu.traced")


def product(xp: Any) -> Callable[[Any, Any], Any]:
    """`x @ y` of operands rounded to the current format."""
    if current() != "fp16":
        return lambda x, y: rounded(xp, x) @ rounded(xp, y)

    def times(x: Any, y: Any) -> Any:
        with overflow_expected(xp):
            return rounded(xp, x) @ rounded(xp, y)

    return times


def overflow_expected(xp: Any = np) -> Any:
    """A block in which NumPy, and what is made of it, says nothing of infinities and of the NaN that they lead to."""
    if (
        xp.__name__ == "array_api_compat.torch"
    ):  # it never does, and its compiler does not understand the other block
        return nullcontext()
    return np.errstate(over="ignore", invalid="ignore")
