"""What a step of training is made of, and all of it as one function, which CUDA can capture as one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from bpgpu.autodiff.transform import value_and_grad
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


class Update(NamedTuple):
    """What is done with the gradient of a step."""

    optimizer: Any
    bounds: Bounds = Bounds()
    scaler: Any = None
    average: Any = None

    def __call__(self, grads: Any) -> tuple[Any, Any]:
        """The scale taken out, bounds, the optimizer, the average.

        *Returns* the gradient before the bounds, and with a scaler whether it was finite, an array.
        """
        finite = None
        if self.scaler is not None:
            grads, finite = self.scaler.unscale(grads)
        self.optimizer.step(self.bounds(grads), only_if=finite)
        if self.scaler is not None:
            self.scaler.update(finite)
        if self.average is not None:
            self.average.step()
        return grads, finite


def scaled_gradient(
    function: Callable[..., Any], scaler: Any, with_prediction: bool
) -> Callable[..., Any]:
    """As `value_and_grad(function, has_aux=with_prediction)`, but the gradient is that of the scaled loss."""

    def scaled(model: Any, batch: Any, weight: Any) -> tuple[Any, Any]:
        out = function(model, batch, weight)
        return scaler.scale(out[0] if with_prediction else out), out

    both = value_and_grad(scaled, has_aux=True)

    def gradient(model: Any, batch: Any, weight: Any) -> tuple[Any, Any]:
        (_, out), grads = both(model, batch, weight)
        return out, grads

    return gradient


def whole_step(
    gradient: Callable[..., Any], update: Update, with_grads: bool
) -> Callable[..., Any]:
    """`step(model, batch, weight)`: gradient and update.

    *Returns* what `gradient` gives, with what `update` returns in place of the gradients, and in that `None` in place
    of gradients that nobody asks for: a graph would have to copy all of them out of its memory.
    """

    def step(model: Any, batch: Any, weight: Any) -> tuple[Any, tuple[Any, Any]]:
        value, grads = gradient(model, batch, weight)
        grads, finite = update(grads)
        return value, (grads if with_grads else None, finite)

    return step
