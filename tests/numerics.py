"""What every function is given for docs/numerics.md, and how its float32 error is measured.

Inputs are numbers of float32. A function is run on them in float32 and, widened without a change, in float64 on NumPy;
the difference is the error of float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import bpgpu as bp
from bpgpu import functional as F  # noqa: N812 - as in torch
from gradients import numpy_of

EPS = 2.0**-23
"""The distance from 1 to the next float32."""
SMALLEST = 2.0**-126
"""The smallest normal float32: results below lose digits whatever is computed."""


class Case(NamedTuple):
    """A function on inputs of one kind; floating arrays are differentiated."""

    inputs: str
    call: Callable[..., Any]
    arrays: Callable[[np.random.Generator], tuple[Any, ...]]
    scale: float = SMALLEST
    """What errors are measured beside, at least. 1 where the gradient is 0 but for rounding."""


class Entry(NamedTuple):
    """A function, its cases, and what keeps its digits."""

    cases: list[Case]
    notes: str


ENTRIES: dict[str, Entry] = {}


def entry(name: str, notes: str, *cases: Case) -> None:
    ENTRIES[name] = Entry(list(cases), notes)


def normal(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Callable[[Any], np.ndarray]:
    return lambda rng: (rng.normal(size=shape) * scale + shift).astype(np.float32)


def uniform(low: float, high: float, *shape: int) -> Callable[[Any], np.ndarray]:
    return lambda rng: rng.uniform(low, high, shape).astype(np.float32)


def labels(high: int, *shape: int) -> Callable[[Any], np.ndarray]:
    return lambda rng: rng.integers(0, high, shape)


def signs(*shape: int) -> Callable[[Any], np.ndarray]:
    return lambda rng: rng.choice([-1, 1], shape)


def case(inputs: str, call: Callable[..., Any], *makers: Any, saturated: bool = False) -> Case:
    def arrays(rng: np.random.Generator) -> tuple[Any, ...]:
        return tuple(m(rng) if callable(m) else m for m in makers)

    return Case(inputs + " (beside 1)" * saturated, call, arrays, 1.0 if saturated else SMALLEST)


def on(name: str, *options: Any, **named: Any) -> Callable[..., Any]:
    """A function of `bpgpu.functional` with the arguments that stand after its arrays."""
    return lambda *arrays: getattr(F, name)(*arrays, *options, **named)


# ---- measuring


def error(found: np.ndarray, exact: np.ndarray, least: float = SMALLEST) -> float:
    """The largest difference in units of `EPS` times the largest entry; infinite where infinities or NaN differ."""
    with np.errstate(over="ignore"):
        wanted = exact.astype(np.float32)  # what float32 cannot hold is infinite there too
    finite = np.isfinite(wanted)
    if not np.array_equal(found[~finite], wanted[~finite], equal_nan=True):
        return np.inf
    a, b = found[finite].astype(np.float64), exact[finite]
    difference = np.max(np.abs(a - b), initial=0.0)
    if np.isnan(difference):
        return np.inf
    scale = max(np.max(np.abs(b), initial=0.0), least)
    return float(difference / (EPS * scale))


def results(
    asarray: Callable[[np.ndarray], Any], call: Callable[..., Any], arrays: tuple[Any, ...]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Floating outputs, and gradients of their sum with fixed random weights."""
    given = [asarray(a) if isinstance(a, np.ndarray) else a for a in arrays]
    wanted = tuple(
        i for i, a in enumerate(arrays) if isinstance(a, np.ndarray) and a.dtype.kind == "f"
    )

    def loss(*xs: Any) -> tuple[Any, Any]:
        full = list(given)
        for i, x in zip(wanted, xs, strict=True):
            full[i] = x
        ys = [y for y in flat(call(*full)) if "float" in str(y.dtype)]
        xp = bp.array_namespace(*xs)
        rng = np.random.default_rng((7, 7, 7))
        total = None
        for y in ys:
            w = rng.normal(size=y.shape).astype(np.float32).astype(str(y.dtype).split(".")[-1])
            term = xp.sum(y * asarray(w))
            total = term if total is None else total + term
        return total, ys

    with np.errstate(all="ignore"):
        if not wanted:
            return [numpy_of(y) for y in flat(call(*given))], []
        (_, ys), grads = bp.value_and_grad(loss, tuple(range(len(wanted))), has_aux=True)(
            *(given[i] for i in wanted)
        )
    return [numpy_of(y) for y in ys], [numpy_of(g) for g in grads if g is not None]


def flat(y: Any) -> list[Any]:
    if isinstance(y, (tuple, list)):
        return [z for part in y for z in flat(part)]
    return [] if y is None else [y]


def measure(
    name: str, index: int, asarray: Callable[[np.ndarray], Any], seed: int
) -> tuple[float, float]:
    """The errors of value and gradient in one case."""
    c = ENTRIES[name].cases[index]
    arrays = c.arrays(np.random.default_rng((seed, index)))
    wide = tuple(
        a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a
        for a in arrays
    )
    found = results(asarray, c.call, arrays)
    exact = results(np.asarray, c.call, wide)
    return tuple(  # type: ignore[return-value]
        max((error(a, b, c.scale) for a, b in zip(x, y, strict=True)), default=0.0)
        for x, y in zip(found, exact, strict=True)
    )
