"""Linear maps along one axis of which each result reads a few entries: `y[l] = sum over j of
w[j, l] x[i[j, l]]`.

Indices `i` and weights `w` follow from sizes alone. So does the transpose, which is such a map
again. A product with a matrix would do the same with more work, and would turn one NaN into a row
of them.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from bpgpu.backend.compiling import answered_once
from bpgpu.backend.constants import constant
from bpgpu.backend.select import keep


class Tap(NamedTuple):
    """One entry read by each result."""

    places: tuple[int, ...]
    """Where; -1 if this result reads fewer entries."""
    weight: tuple[float, ...]


class Taps(NamedTuple):
    """All entries that are read."""

    size: int
    """Of the axis that is read."""
    results: int
    """Of results."""
    taps: tuple[Tap, ...]


def taps_of(size: int, reads: list[list[tuple[int, float]]]) -> Taps:
    """From the pairs `(index, weight)` that each result reads.

    >>> taps_of(3, [[(0, 1.0)], [(1, 0.5), (2, 0.5)]]).taps[1]
    Tap(places=(-1, 2), weight=(0.0, 0.5))
    """
    most = max([len(pairs) for pairs in reads], default=0)
    filled = [pairs + [(-1, 0.0)] * (most - len(pairs)) for pairs in reads]
    taps = tuple(
        Tap(tuple(pairs[j][0] for pairs in filled), tuple(pairs[j][1] for pairs in filled))
        for j in range(most)
    )
    return Taps(size, len(reads), taps)


@answered_once
def transposed(taps: Taps) -> Taps:
    """The map that brings gradients back."""
    return _transposed(taps)


@functools.lru_cache(maxsize=256)
def _transposed(taps: Taps) -> Taps:
    reads: list[dict[int, float]] = [{} for _ in range(taps.size)]
    for places, weight in taps.taps:
        for result, (i, w) in enumerate(zip(places, weight, strict=True)):
            if i >= 0:
                reads[i][result] = reads[i].get(result, 0.0) + w
    return taps_of(taps.results, [list(pairs.items()) for pairs in reads])


def apply(xp: Any, x: Any, axis: int, taps: Taps) -> Any:
    """The map along one axis of `x`. What is not read is not touched, be it NaN or infinite."""
    if len(taps.taps) > 1 and xp.finfo(x.dtype).bits < 32:
        return xp.astype(apply(xp, xp.astype(x, xp.float32), axis, taps), x.dtype)
    column = (-1, *(1,) * (x.ndim - axis - 1))
    y: Any = None
    for number, tap in enumerate(taps.taps):
        part, owned = _read(xp, x, axis, tap.places)
        if set(tap.weight) != {1.0}:
            part = part * xp.reshape(constant(xp, x, tap.weight, part.dtype), column)
        if min(tap.places) < 0:
            mask = constant(xp, x, tuple(i >= 0 for i in tap.places), xp.bool)
            part = keep(xp, part, xp.reshape(mask, column))
        if number == 0:
            y = part
        elif number == 1 and not owned:
            y = y + part
        else:
            y += part
    return y


def _read(xp: Any, x: Any, axis: int, index: tuple[int, ...]) -> tuple[Any, bool]:
    """`x` at the index along an axis, and whether it is a copy. Even steps are read as a slice."""
    step = index[1] - index[0] if len(index) > 1 else 1
    if step > 0 and index[0] >= 0 and index == tuple(range(index[0], index[-1] + 1, step)):
        part = x[(*(slice(None),) * axis, slice(index[0], index[-1] + 1, step), ...)]
        return part, False
    places = constant(xp, x, tuple(max(i, 0) for i in index), xp.int64)
    return xp.take(x, places, axis=axis), True
