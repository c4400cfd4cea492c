"""`parity`: the same training on the CPU in float64 and on a device in float32: how far apart, layer by layer."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import bpgpu as bp
from bpgpu import tree as trees
from bpgpu.autodiff.array import raw
from bpgpu.commands import options as given
from bpgpu.commands.models import EXAMPLES

BOUND = 1e-3
"""Relative differences that rounding in float32 explains after a few steps; a wrong kernel is far beyond."""

Array = Any


class Difference(NamedTuple):
    """The largest difference seen in a layer, relative to the largest number there."""

    path: str
    layer: str
    forward: float | None
    """Of its outputs, if it is called."""
    backward: float | None
    """Of the gradients of its own parameters, if it has any."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", choices=(*EXAMPLES, "all"), default="all", help="(all)")
    parser.add_argument("--steps", type=given.whole(1), default=5, help="of training (5)")
    parser.add_argument("--seed", type=given.whole(0), default=0, help="of the weights (0)")
    given.device(parser)


def run(options: argparse.Namespace) -> int:
    device = bp.device(options.device)
    print(f"float32 on {device} ({device.name}) against float64 on the CPU, {options.steps} steps")
    if device.type == "cpu":
        print(f"no GPU is compared: {device.reason}")
    fine = True
    for name in EXAMPLES if options.model == "all" else (options.model,):
        example = EXAMPLES[name]
        found = parity(example.build, example.batch(), device, options.steps, options.seed)
        fine = fine and all(within(d) for d in found)
        print(f"\n{example.title}")
        print(shown(found))
    return 0 if fine else 1


def parity(
    build: Callable[[], Any],
    batch: tuple[Array, Array],
    device: Any = "auto",
    steps: int = 5,
    seed: int = 0,
) -> list[Difference]:
    """Train one network twice from the same weights, in float64 on the CPU and in float32 on a device, with SGD and
    momentum on one batch of classes; the largest differences over all steps, for each layer.

    *Parameters* `build`: makes the Module. `batch`: inputs and classes.
    """
    sides = []
    for where, dtype in ((bp.device("cpu"), "float64"), (bp.device(device), "float32")):
        bp.seed(seed)
        model = build().to(where, dtype)
        x, y = bp.to_device(batch, where)
        x = where.asarray(x, dtype) if "float" in str(x.dtype) else x
        sides.append((model, bp.optim.SGD(model, lr=0.05, momentum=0.9), x, y))
    layers = dict(sides[0][0].named_modules())
    worst: tuple[dict[str, float], ...] = ({}, {})
    for _ in range(steps):
        exact, tested = (_step(*side) for side in sides)
        for largest, one, other in zip(worst, tested, exact, strict=True):
            for path in other:
                largest[path] = max(largest.get(path, 0.0), _apart(one[path], other[path]))
    return [
        Difference(path or "(model)", type(layer).__name__, *(w.get(path) for w in worst))
        for path, layer in layers.items()
    ]


def _step(model: Any, optimizer: Any, x: Array, y: Array) -> tuple[dict[str, Any], dict[str, Any]]:
    """The outputs of each layer, and the gradients of its own parameters; then these are updated."""
    outputs = outputs_of(model, x)
    _, grads = bp.value_and_grad(lambda m: bp.functional.cross_entropy(m(x), y))(model)
    by_layer: dict[str, list[Array]] = {}
    for name, g in bp.to_numpy(grads).items():
        by_layer.setdefault(name.rpartition(".")[0], []).append(g)
    optimizer.step(grads)
    return outputs, by_layer


def outputs_of(model: Any, x: Array) -> dict[str, list[Array]]:
    """What each layer returns, by its path, on the host; of a copy, so that the model stays as it is."""
    model = copy.deepcopy(model)
    outputs: dict[str, list[Array]] = {}
    for path, layer in model.named_modules():
        layer.__dict__["forward"] = _noted(layer.forward, path, outputs)
    model(x)
    return outputs


def _noted(forward: Any, path: str, outputs: dict[str, list[Array]]) -> Callable[..., Any]:
    def noted(*args: Any, **kwargs: Any) -> Any:
        found = forward(*args, **kwargs)
        outputs[path] = [bp.to_numpy(raw(a)) for a in trees.leaves(found)]
        return found

    return noted


def _apart(tested: list[Array], exact: list[Array]) -> float:
    """The largest difference of all arrays, relative to the largest number in them."""
    difference, scale = 0.0, 0.0
    for a, e in zip(tested, exact, strict=True):
        if e.size:
            xp = bp.array_namespace(e)
            difference = max(
                difference, float(xp.max(xp.abs(xp.astype(a, e.dtype) - e))), key=_order
            )
            scale = max(scale, float(xp.max(xp.abs(e))))
    return difference / scale if scale else difference


def _order(x: float) -> tuple[bool, float]:
    """NaN is the largest."""
    return x != x, x


def within(d: Difference) -> bool:
    """Whether rounding explains it; NaN is not explained."""
    return all(x is None or x <= BOUND for x in (d.forward, d.backward))


def shown(found: list[Difference]) -> str:
    """The table."""
    rows = [
        (
            d.path,
            d.layer,
            *("" if x is None else f"{x:.1e}" for x in (d.forward, d.backward)),
            "ok" if within(d) else f"FAILED: above {BOUND:g}",
        )
        for d in found
    ]
    return given.table(rows, ("layer", "kind", "forward", "backward", ""))
