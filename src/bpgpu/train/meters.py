"""What an epoch measures: the mean of the loss, and the metrics, gathered without waiting for the device."""

from __future__ import annotations

import math
from typing import Any

from bpgpu import tree as trees
from bpgpu.backend import rows
from bpgpu.backend.libraries import namespace_of
from bpgpu.backend.look import at_hand
from bpgpu.device import to_numpy

PENDING = 256
"""So many losses are gathered, and then added up at once."""


class LossMeter:
    """The mean of losses, each weighted by the examples that it is a mean over."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.values: list[Any] = []
        self.weights: list[Any] = []
        self.total: Any = 0.0
        self.weight: Any = 0.0

    def add(self, value: Any, weight: Any) -> None:
        self.values.append(value)
        self.weights.append(weight)
        if len(self.values) >= PENDING:
            self._flush()

    def _flush(self) -> None:
        if not self.values:
            return
        if at_hand(self.values[0]):
            for value, weight in zip(self.values, self.weights, strict=True):
                self.total += float(value) * float(weight)
                self.weight += float(weight)
        else:
            values = namespace_of(self.values[0]).stack(self.values)
            weights = _beside(self.weights, values)
            xp = namespace_of(values)
            self.total = self.total + xp.sum(values * weights)
            self.weight = self.weight + xp.sum(weights)
        self.values, self.weights = [], []

    def compute(self) -> float:
        """The mean; this waits for the device."""
        self._flush()
        weight = float(self.weight)
        return float(self.total) / weight if weight else math.nan

    def state_dict(self) -> dict[str, Any]:
        """What was gathered, as plain numbers."""
        return {
            "values": [float(v) for v in self.values],
            "weights": [float(w) for w in self.weights],
            "total": float(self.total),
            "weight": float(self.weight),
        }

    def load_state_dict(self, state: dict[str, Any], like: Any) -> None:
        xp = namespace_of(like)
        made = (xp.asarray(v, dtype=like.dtype) for v in state["values"])
        self.values = [rows.indices_like(v, like) for v in made]
        self.weights = list(state["weights"])
        self.total, self.weight = state["total"], state["weight"]


def _beside(weights: list[Any], like: Any) -> Any:
    """Numbers, or arrays without axes, as a vector with the dtype and the device of `like`."""
    xp = namespace_of(like)
    if any(trees.is_array(w) for w in weights):
        arrays = [w if trees.is_array(w) else xp.full_like(like[0], w) for w in weights]
        return xp.stack([xp.astype(w, like.dtype) for w in arrays])
    return rows.indices_like(xp.asarray(weights, dtype=like.dtype), like)


class Meters:
    """The loss and the metrics of an epoch."""

    def __init__(self, metrics: list[Any], prefix: str = "") -> None:
        self.metrics, self.prefix = metrics, prefix
        self.names = [prefix + name for name in ("loss", *(m.name for m in metrics))]
        self.loss = LossMeter()
        self.states: list[Any] = [None] * len(metrics)

    def reset(self) -> None:
        self.loss.reset()
        self.states = [None] * len(self.metrics)

    def update(self, prediction: Any, target: Any, weight: Any = None) -> None:
        for i, metric in enumerate(self.metrics):
            state = self.states[i]
            if state is None:
                state = metric.init(prediction, target)
            self.states[i] = metric.update(state, prediction, target, weight)

    def compute(self) -> dict[str, Any]:
        """The values as Python's numbers, nested lists for what has axes; this waits for the device."""
        values = [
            math.nan if state is None else _number(metric.compute(state))
            for metric, state in zip(self.metrics, self.states, strict=True)
        ]
        return dict(zip(self.names, [self.loss.compute(), *values], strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss.state_dict(), "states": list(self.states)}

    def load_state_dict(self, state: dict[str, Any], like: Any) -> None:
        self.loss.load_state_dict(state["loss"], like)
        self.states = trees.map(lambda x: rows.indices_like(x, like), list(state["states"]))


def _number(value: Any) -> Any:
    return to_numpy(value).tolist() if trees.is_array(value) else value
