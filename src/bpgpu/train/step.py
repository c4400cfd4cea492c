"""One step of training: loss, gradient, and what is done with the gradient before the optimizer gets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpgpu.errors import ArgumentError
from bpgpu.train.weights import unreduced, weighted_mean

Array = Any


class Objective:
    """What is minimised: `objective(model, *batch)`, a number, and what metrics look at beside it.

    `value(model, batch)` is the number alone; `with_prediction(model, batch)` gives `(number, prediction)`.
    """

    def __init__(
        self, loss: Any, objective: Any, weigh: Callable[[Any], Array | None] | None
    ) -> None:
        self.loss, self.objective, self.weigh = loss, objective, weigh
        self.terms = unreduced(loss) if weigh is not None else None

    def value(self, model: Any, batch: Any, weight: Array = None) -> Array:
        if self.objective is not None:
            return self.objective(model, *parts(batch))
        return self.with_prediction(model, batch, weight)[0]

    def with_prediction(self, model: Any, batch: Any, weight: Array = None) -> tuple[Array, Any]:
        prediction = predicted(model, batch[0])
        return self.of(prediction, batch[1], weight), prediction

    def of(self, prediction: Any, target: Any, weight: Array = None) -> Array:
        """The loss of a prediction."""
        if self.terms is None or weight is None:
            return self.loss(prediction, target)
        return weighted_mean(self.terms(prediction, target), weight)


def predicted(model: Any, x: Any) -> Any:
    """The model's answer; a tuple of inputs is spread over its arguments."""
    return model(*x) if type(x) is tuple else model(x)


def parts(batch: Any) -> tuple[Any, ...]:
    """A batch as arguments."""
    return tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)


def check_batch(batch: Any, what: str) -> None:
    """Raise unless a batch is a pair of inputs and target."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        got = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise ArgumentError(
            f"{what}: with loss= each batch is (x, y), got {got}; pass (x, y), or objective=, a function of the model "
            "and the parts of a batch"
        )
