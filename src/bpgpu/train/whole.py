"""A whole step of training as one function, which CUDA can capture as one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from bpgpu.optim import clip_grad_norm, clip_grad_value


class Bounds(NamedTuple):
    """What bounds the gradients before the optimizer gets them."""

    norm: float | None = None
    value: float | None = None

    def __call__(self, grads: Any) -> Any:
        if self.value is not None:
            grads = clip_grad_value(grads, self.value)
        if self.norm is not None:
            grads, _ = clip_grad_norm(grads, self.norm)
        return grads


def whole_step(
    gradient: Callable[..., Any], optimizer: Any, bounds: Bounds, average: Any, with_grads: bool
) -> Callable[..., Any]:
    """`step(model, batch, weight)`: gradient, bounds, update and average.

    *Returns* what `gradient` gives, with `None` in place of the gradients where nobody asks for them: a graph would
    have to copy all of them out of its memory.
    """

    def step(model: Any, batch: Any, weight: Any) -> tuple[Any, Any]:
        value, grads = gradient(model, batch, weight)
        optimizer.step(bounds(grads))
        if average is not None:
            average.step()
        return value, grads if with_grads else None

    return step
