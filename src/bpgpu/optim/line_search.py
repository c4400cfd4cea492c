"""A line search for a step that satisfies the strong Wolfe conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Point(NamedTuple):
    """A point on the line: how far along it, and the function there."""

    t: float
    value: float
    gradient: Any
    slope: float
    """The derivative along the line."""


def strong_wolfe(
    at: Callable[[float], Point],
    t: float,
    start: Point,
    reach: float,
    *,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance: float = 1e-9,
    most: int = 25,
) -> tuple[Point, int]:
    """A point with `f(t) <= f(0) + c1 t f'(0)` and `|f'(t)| <= c2 |f'(0)|`, and how often the function was evaluated.

    *Parameters*
    `at`: evaluates the function at a step. `t`: the first step to try. `start`: the point at 0.
    `reach`: the largest entry of the direction: the search ends when the bracket times it is below `tolerance`.
    `most`: the largest number of refinements; then the best point so far is returned.

    *References* J. Nocedal, S. Wright, Numerical optimization (2006), algorithms 3.5 and 3.6; the safeguards are those
    of minFunc (M. Schmidt, 2005), which torch took over.
    """

    def too_high(point: Point) -> bool:
        return point.value > start.value + c1 * point.t * start.slope

    def flat_enough(point: Point) -> bool:
        return abs(point.slope) <= -c2 * start.slope

    # walk on until an interval is found that must hold such a point
    before, here = start, at(t)
    evaluations, refinements = 1, 0
    bracket = [start, here]
    while refinements < most:
        if too_high(here) or (refinements > 1 and here.value >= before.value):
            bracket = [before, here]
            break
        if flat_enough(here):
            return here, evaluations
        if here.slope >= 0:
            bracket = [before, here]
            break
        bounds = (here.t + 0.01 * (here.t - before.t), here.t * 10)
        t = cubic_minimum(before, here, bounds)
        before, here = here, at(t)
        evaluations += 1
        refinements += 1
    else:
        bracket = [start, here]

    # narrow it down
    stuck = False
    low, high = _ordered(bracket)
    while refinements < most:
        ends = [bracket[0].t, bracket[1].t]
        if abs(ends[1] - ends[0]) * reach < tolerance:
            break
        t = cubic_minimum(bracket[0], bracket[1])
        t, stuck = _kept_inside(t, min(ends), max(ends), stuck)
        here = at(t)
        evaluations += 1
        refinements += 1
        if too_high(here) or here.value >= bracket[low].value:
            bracket[high] = here
            low, high = _ordered(bracket)
            continue
        done = flat_enough(here)
        if not done and here.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = here
        if done:
            break
    return bracket[low], evaluations


def _ordered(bracket: list[Point]) -> tuple[int, int]:
    """Where the lower and the higher end of the bracket stand."""
    return (0, 1) if bracket[0].value <= bracket[1].value else (1, 0)


def _kept_inside(t: float, left: float, right: float, stuck: bool) -> tuple[float, bool]:
    """Keep a step off the ends of the bracket: one that is close to an end for the second time is moved inwards."""
    margin = 0.1 * (right - left)
    if not min(right - t, t - left) < margin:
        return t, False
    if stuck or t >= right or t <= left:
        return (right - margin if abs(t - right) < abs(t - left) else left + margin), False
    return t, True


def cubic_minimum(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """The minimum of the cubic through two points with their slopes, kept in bounds; the middle if there is none."""
    low, high = bounds if bounds is not None else (min(a.t, b.t), max(a.t, b.t))
    if a.t > b.t:
        a, b = b, a
    d1 = a.slope + b.slope - 3 * divided(a.value - b.value, a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    d2 = math.sqrt(square)
    t = b.t - (b.t - a.t) * divided(b.slope + d2 - d1, b.slope - a.slope + 2 * d2)
    return min(max(t, low), high)


def divided(a: float, b: float) -> float:
    """The quotient as arrays have it: infinite or NaN for b = 0."""
    if b != 0:
        return a / b
    return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)
