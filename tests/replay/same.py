"""The same step twice, as it is and compiled: everything that can be seen must be equal, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import bpgpu as bp


class Case(NamedTuple):
    """A step, and what it changes: a function that gives trees of arrays and numbers."""

    step: Callable[..., Any]
    state: Callable[[], Any]


def bits(tree: Any) -> list[Any]:
    """All that a tree holds, in a form that `==` compares bit for bit."""
    if isinstance(tree, np.ndarray) and tree.dtype == object:
        return [tree.shape, repr(tree.tolist())]
    if isinstance(tree, (np.ndarray, np.generic)):
        return [(type(tree).__name__, tree.dtype.str, tree.shape, tree.tobytes())]
    if isinstance(tree, dict):
        return [x for k, v in tree.items() for x in (k, *bits(v))]
    if isinstance(tree, (list, tuple)):
        return [type(tree).__name__, *(x for v in tree for x in bits(v))]
    if isinstance(tree, bp.nn.Module):
        return bits(tree.state_dict()) + bits(tree.buffers())
    return [repr(tree)]


def run_both(
    make: Callable[[], Case],
    calls: list[tuple[Any, ...]],
    between: Callable[[Case, int], None] | None = None,
) -> bp.replay.Compiled:
    """Run both through the same calls and compare after each; the compiled step."""
    eager, other = _made(make), _made(make)
    fast = bp.compile(other.step)
    kept: list[tuple[Any, Any]] = []
    for i, args in enumerate(calls):
        if between is not None:
            between(eager, i)
            between(other, i)
        expected, found = _outcome(eager.step, args), _outcome(fast, args)
        assert bits(found) == bits(expected), (i, found, expected)
        assert bits(other.state()) == bits(eager.state()), i
        kept.append((found, expected))
    for found, expected in kept:  # later calls have not changed what earlier ones returned
        assert bits(found) == bits(expected)
    return fast


def _made(make: Callable[[], Case]) -> Case:
    bp.seed(7)  # layers that are made before their network draw the same keys
    return make()


def _outcome(step: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    try:
        return step(*args)
    except Exception as error:  # noqa: BLE001 - whatever it is, both must raise it
        return "raised", type(error), str(error)


def batches(
    count: int, size: int = 8, features: int = 6, classes: int = 3
) -> list[tuple[Any, ...]]:
    """Batches of features and labels, a new one for each call."""
    rng = np.random.default_rng(0)
    return [
        (
            rng.standard_normal((size, features)).astype(np.float32),
            rng.integers(0, classes, size),
        )
        for _ in range(count)
    ]


def network(*extra: Any, dtype: str = "float32") -> bp.nn.Sequential:
    """A small network with the same weights each time."""
    bp.seed(0)
    layers = [bp.nn.Linear(6, 5), *extra, bp.nn.Tanh(), bp.nn.Linear(5, 3)]
    return bp.nn.Sequential(*layers).to(dtype=dtype)


def loss(model: Any, x: Any, y: Any) -> Any:
    return bp.functional.cross_entropy(model(x), y)


def training(
    model: bp.nn.Module | None = None, optimizer: Callable[..., Any] = bp.optim.SGD, **options: Any
) -> Case:
    """The usual step."""
    model = network() if model is None else model
    opt = optimizer(model, **{"lr": 0.1, **options})

    def step(x: Any, y: Any) -> Any:
        value, grads = bp.value_and_grad(loss)(model, x, y)
        opt.step(grads)
        return value

    return Case(step, lambda: (model, opt.state_dict()))
