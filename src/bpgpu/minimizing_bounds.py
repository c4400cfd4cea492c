"""Bounds of `minimize`: from trees, pairs and numbers to a lower and an upper bound of each number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from bpgpu import tree as trees
from bpgpu.autodiff.lift import is_input
from bpgpu.autodiff.transform import like_gradient
from bpgpu.device import device
from bpgpu.errors import ArgumentError, TreeError

if TYPE_CHECKING:
    from bpgpu.minimizing import Problem

Vector = Any
"""A NumPy array of float64 numbers of shape `(n,)`."""


def limits_of(problem: Problem, bounds: Any) -> tuple[Vector, Vector]:
    """The lower and the upper bound of each number."""
    if all(hasattr(bounds, side) for side in ("lb", "ub")):  # SciPy's Bounds
        n = problem.start.shape
        return problem.host(bounds.lb, n), problem.host(bounds.ub, n)
    if isinstance(bounds, tuple) and not hasattr(bounds, "_fields"):
        if len(bounds) != 2:
            raise ArgumentError(
                f"minimize: bounds as a tuple are (low, high), got {len(bounds)} entries; give "
                "a list for a list of parameters"
            )
        lows, highs = (_side(problem, side) for side in bounds)
    else:
        pairs = _matched(like_gradient(problem.params), bounds, "")
        lows, highs = [p[0] for p in pairs], [p[1] for p in pairs]
    low = _spread(problem, lows, -math.inf)
    high = _spread(problem, highs, math.inf)
    for (path, _), a, b in zip(problem.items, problem.split(low), problem.split(high), strict=True):
        if not problem.xp.all(a <= b):
            of = f" of '{path}'" if path else ""
            raise ArgumentError(
                f"minimize: a lower bound{of} is not below its upper bound: got {a} and {b}"
            )
    return low, high


def _side(problem: Problem, side: Any) -> list[Any]:
    """One of the two bounds, for each leaf."""
    if side is None or isinstance(side, (int, float)):
        return [side] * len(problem.items)
    found: list[Any] = []
    trees.map(
        lambda _, bound: found.append(bound), like_gradient(problem.params), side, leaf=is_input
    )
    return found


def _spread(problem: Problem, sides: list[Any], absent: float) -> Vector:
    parts = []
    for (path, _), side, shape in zip(problem.items, sides, problem.shapes, strict=True):
        try:
            parts.append(problem.host(absent if side is None else side, shape))
        except ValueError as error:
            raise ArgumentError(
                f"minimize: a bound of '{path}' has shape {shape_of(side)}, the parameter has "
                f"shape {shape}"
            ) from error
    return problem.xp.concat(parts)


def _matched(tree: Any, bounds: Any, path: str) -> list[tuple[Any, Any]]:
    """The pair of bounds of each leaf, from a tree of pairs; what a dict leaves out is free."""
    how = trees.container(tree)
    if how is None:
        if not is_input(tree):
            return []
        if bounds is None:
            return [(None, None)]
        if isinstance(bounds, list) and all(isinstance(pair, tuple) for pair in bounds):
            return [_pair_for_each(bounds, shape_of(tree), path)]
        if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
            raise ArgumentError(
                f"minimize: bounds of '{path}': expected a pair (low, high) or None, got {bounds!r:.80}"
            )
        return [(bounds[0], bounds[1])]
    keys = how.keys(tree)
    of = trees.container(bounds)
    if bounds is not None and of is None:
        raise TreeError(
            f"minimize: bounds{f' of {path!r}' if path else ''}: expected a tuple (low, high) or a tree "
            f"with the branches {keys}, got {type(bounds).__name__}"
        )
    given = dict(zip(of.keys(bounds), of.values(bounds), strict=True)) if of is not None else {}
    spare = [key for key in given if key not in keys]
    if spare:
        raise TreeError(
            f"minimize: bounds name {spare}, which params do not have; they have {keys}"
        )
    found = []
    for key, branch in zip(keys, how.values(tree), strict=True):
        found += _matched(branch, given.get(key), f"{path}.{key}" if path else str(key))
    return found


def _pair_for_each(bounds: list[Any], shape: tuple[int, ...], path: str) -> tuple[Any, Any]:
    """The bounds of a leaf from a pair for each of its numbers, as SciPy has them."""
    if len(bounds) != math.prod(shape) or any(len(pair) != 2 for pair in bounds):
        of = f" of '{path}'" if path else ""
        raise ArgumentError(
            f"minimize: bounds{of}: expected {math.prod(shape)} pairs (low, high) for an array of shape {shape}, got "
            f"{bounds!r:.80}"
        )
    xp = device("cpu").xp
    sides = []
    for side, absent in ((0, -math.inf), (1, math.inf)):
        values = [absent if pair[side] is None else float(pair[side]) for pair in bounds]
        sides.append(xp.reshape(xp.asarray(values), shape))
    return sides[0], sides[1]


def shape_of(leaf: Any) -> tuple[int, ...]:
    return tuple(leaf.shape) if trees.is_array(leaf) else ()
