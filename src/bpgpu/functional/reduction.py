"""What losses have in common: elementwise terms of an input and a target, and how they become one number."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import Rule, rule
from bpgpu.autodiff.rules.manipulation import broadcast_shape
from bpgpu.backend.sums import total
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional import arguments
from bpgpu.functional.arguments import Array

REDUCTIONS = ("none", "mean", "sum")


def check_reduction(function: str, reduction: str, allowed: tuple[str, ...] = REDUCTIONS) -> None:
    """Raise unless the reduction is one of those that the loss has."""
    if reduction not in allowed:
        names = ", ".join(map(repr, allowed[:-1]))
        raise ArgumentError(
            f"{function}: expected reduction as {names} or {allowed[-1]!r}, got {reduction!r}"
        )


def divisor(y: Any, reduction: str) -> float:
    """What the sum of all terms is divided by. The mean of no terms is NaN, as in torch."""
    return (math.prod(y.shape) or math.nan) if reduction == "mean" else 1


@rule
def summed(xp: Any, y: Any, /, n: float = 1) -> Any:
    """`total`, with its gradient."""
    shape = y.shape
    return total(xp, y, n), lambda g: xp.broadcast_to(g / n, shape)


def reduced(loss: Array, reduction: str) -> Array:
    """The terms of a loss as they are, their sum or their mean."""
    return loss if reduction == "none" else summed(loss, divisor(loss, reduction))


def pairwise(function: Callable[..., Any]) -> Rule:
    """Make a rule of a loss from its terms: `function(xp, x, t, *settings) -> (y, pull_x, pull_t)`.

    `x` and `t` have one shape. The rule takes the reduction first, `loss(x, t, reduction,
    *settings)`. The gradient of a sum or a mean is one number, and the pulls get it as that: they
    multiply it with the derivative, which broadcasts, so that no array of equal numbers is made.
    """

    @functools.wraps(function)
    def run(xp: Any, x: Any, t: Any, reduction: str, *settings: Any) -> Any:
        y, pull_x, pull_t = function(xp, x, t, *settings)
        n = divisor(y, reduction)
        if type(y) is Traced:
            y = loss(x, t, reduction, *settings)
        elif reduction != "none":
            y = total(xp, y, n)
        if reduction == "none":
            return y, pull_x, pull_t
        return y, lambda g: pull_x(g / n), lambda g: pull_t(g / n)

    loss = rule(arrays=2)(run)
    return loss


def together(*arrays: Array | None) -> list[Any]:
    """The namespace for these arrays, then all of them as arrays of it.

    Plain arrays beside traced ones become constants: not every library lets its arrays stand on the
    left of an operator with another class. `None` stays.
    """
    if not any(type(x) is Traced for x in arrays):
        return [array_namespace(*arrays), *arrays]
    lifted = [x if x is None or type(x) is Traced else Traced(x) for x in arrays]
    return [array_namespace(*lifted), *lifted]


def as_floating(function: str, like: Array, target: Array) -> Array:
    """The target in the dtype of the input if it is of integers, else as it is.

    *Raises* `DtypeError` unless both are real numbers, the input floating.
    """
    if kind(arguments.dtype_of(function, "input", like)) != "real":
        arguments.real(function, input=like)
    if kind(arguments.dtype_of(function, "target", target)) == "real":
        return target
    arguments.numbers(function, target=target)
    return array_namespace(target).astype(target, like.dtype)


def broadcast(function: str, **arrays: Array) -> list[Array]:
    """The arrays in one shape.

    *Raises* `ShapeError` if they do not broadcast.
    """
    shapes = [x.shape for x in arrays.values()]
    if all(shape == shapes[0] for shape in shapes):
        return list(arrays.values())
    try:
        shape = broadcast_shape(*shapes)
    except ShapeError:
        given = ", ".join(f"{name} {tuple(x.shape)}" for name, x in arrays.items())
        raise ShapeError(f"{function}: expected shapes that broadcast, got {given}") from None
    return [array_namespace(x).broadcast_to(x, shape) for x in arrays.values()]


def same_shape(function: str, input: Array, target: Array) -> list[Array]:
    """Input and target in one shape, with a warning where they must be broadcast to it, as in torch.

    *Raises* `ShapeError` if they do not broadcast.
    """
    if input.shape == target.shape:
        return [input, target]
    pair = broadcast(function, input=input, target=target)
    warnings.warn(
        f"{function}: the input has shape {tuple(input.shape)}, the target {tuple(target.shape)}: "
        f"they are broadcast to {tuple(pair[0].shape)}, which is probably not what you want; "
        "reshape one of them",
        stacklevel=3,
    )
    return pair


def check_same_shape(function: str, **arrays: Array) -> None:
    """Raise unless all arrays have the shape of the first."""
    (first, x), *others = arrays.items()
    for name, y in others:
        if x.shape != y.shape:
            raise ShapeError(
                f"{function}: expected {name} of shape {tuple(x.shape)}, which {first} has, got "
                f"{tuple(y.shape)}"
            )
