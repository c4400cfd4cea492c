"""From arrays with strides to the matrices of cuBLASLt, without a copy where that can be had.

Strides are counted in numbers here, not in bytes. Nothing in this file touches an array: all of it
is arithmetic on shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Ints = Sequence[int]


class View(NamedTuple):
    """How an array stands in memory."""

    shape: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def turned(self) -> View:
        """With its last two axes exchanged."""
        return View(_swapped(self.shape), _swapped(self.steps))


class Problem(NamedTuple):
    """`D (rows, columns) = X Y` by rows, for one matrix or a stack: what cuBLASLt can take."""

    rows: int
    inner: int
    columns: int
    turned: tuple[bool, bool]
    """Whether X and Y stand transposed in memory."""
    leading: tuple[int, int, int]
    """From one line of X, Y and D in memory to the next."""
    batch: int
    steps: tuple[int, int, int]
    """From one matrix of a stack to the next."""


def packed(shape: Ints) -> View:
    """An array without gaps."""
    steps = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    return View(tuple(shape), tuple(steps))


def product_shape(x: Ints, y: Ints) -> tuple[int, ...] | None:
    """The shape of `x @ y` for at least two axes each; `None` if they do not fit."""
    if x[-1] != y[-2]:
        return None
    lead = broadcast(x[:-2], y[:-2])
    return None if lead is None else (*lead, x[-2], y[-1])


def broadcast(a: Ints, b: Ints) -> tuple[int, ...] | None:
    n = max(len(a), len(b))
    a, b = (1,) * (n - len(a)) + tuple(a), (1,) * (n - len(b)) + tuple(b)
    if any(i != j and 1 not in (i, j) for i, j in zip(a, b, strict=True)):
        return None
    return tuple(j if i == 1 else i for i, j in zip(a, b, strict=True))


def line(rows: int, columns: int, row_step: int, column_step: int) -> tuple[bool, int] | None:
    """Whether a matrix stands transposed, and how far its lines are apart; `None` if numbers of a
    line do not stand side by side, or lines overlap."""
    if column_step == 1 or columns == 1:
        apart = row_step if rows > 1 else columns
        if apart >= columns:
            return False, apart
    if row_step == 1 or rows == 1:
        apart = column_step if columns > 1 else rows
        if apart >= rows:
            return True, apart
    return None


def stacked(x: View, y: View, out: View) -> tuple[View, View, View]:
    """The same with the axes of the stack made part of the rows, if `y` is one matrix for all of
    them and the memory allows it."""
    if math.prod(y.shape[:-2]) != 1 or len(x.shape) == 2 or len(y.shape) > len(x.shape):
        return x, y, out
    merged = merge(x.shape[:-1], (x.steps[:-1], out.steps[:-1]))
    if merged is None:
        return x, y, out
    size, (step, step_out) = merged
    return (
        View((size, x.shape[-1]), (step, x.steps[-1])),
        View(y.shape[-2:], y.steps[-2:]),
        View((size, out.shape[-1]), (step_out, out.steps[-1])),
    )


def merge(shape: Ints, steps: Sequence[Ints]) -> tuple[int, tuple[int, ...]] | None:
    """Axes as one axis, for several arrays at once: its size and steps; `None` if it cannot be."""
    size, found = 1, (0,) * len(steps)
    for n, at in reversed(list(zip(shape, zip(*steps, strict=True), strict=True))):
        if n == 1:
            continue
        if size == 1:
            found = tuple(at)
        elif any(big != small * size for big, small in zip(at, found, strict=True)):
            return None
        size *= n
    return size, found


def spread_over(view: View, lead: Ints) -> tuple[int, ...]:
    """The steps of the axes before the last two when they are broadcast to `lead`."""
    missing = len(lead) - (len(view.shape) - 2)
    own = zip(view.shape[:-2], view.steps[:-2], strict=True)
    return (0,) * missing + tuple(0 if n == 1 else s for n, s in own)


class Misfit(NamedTuple):
    """Which of X and Y must be copied before cuBLASLt can take them."""

    x: bool
    y: bool
    whole: bool = False
    """Whether the copy must hold each matrix of the stack, also those that are the same."""


def problem(x: View, y: View, out: View) -> Problem | Misfit:
    """The product of arrays of at least two axes whose shapes fit, none of them empty; `out` stands
    by rows."""
    x, y, out = stacked(x, y, out)
    lines = [line(*v.shape[-2:], *v.steps[-2:]) for v in (x, y)]
    if lines[0] is None or lines[1] is None:
        return Misfit(lines[0] is None, lines[1] is None)
    (turned_x, apart_x), (turned_y, apart_y) = lines[0], lines[1]
    lead = out.shape[:-2]
    steps = [spread_over(v, lead) for v in (x, y, out)]
    merged = merge(lead, steps)
    if merged is None:
        return Misfit(merge(lead, steps[:1]) is None, merge(lead, steps[1:2]) is None, True)
    batch, (step_x, step_y, step_out) = merged
    rows, columns = out.shape[-2:]
    return Problem(
        rows,
        x.shape[-1],
        columns,
        (turned_x, turned_y),
        (apart_x, apart_y, out.steps[-2] if rows > 1 else columns),
        batch,
        (step_x, step_y, step_out),
    )


def _swapped(values: tuple[int, ...]) -> tuple[int, ...]:
    return (*values[:-2], values[-1], values[-2])
