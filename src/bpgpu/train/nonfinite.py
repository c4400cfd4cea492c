"""NaN and infinity: found at the loss, and traced back to the layer in which they first arose."""

from __future__ import annotations

import math
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.state import all_or_nothing
from bpgpu.backend.libraries import namespace_of
from bpgpu.backend.look import at_hand
from bpgpu.errors import NonFiniteError

HOPELESS = 2.0**-40
"""Below this scale it is not the scale that makes the gradients overflow."""


class Watch:
    """Looks at the loss of each step where that is free, and at the end of each epoch everywhere.

    *Attributes* `loss`: look at all. `gradients`: look at each loss and each gradient at once, also where it means to
    wait for a device.
    """

    def __init__(self, model: Any, loss: bool = True, gradients: bool = False) -> None:
        self.model, self.loss, self.gradients = model, loss, gradients

    def step(self, run: Any, value: Any, grads: Any, batch: Any) -> None:
        if not self.loss:
            return
        if self.gradients or at_hand(value):
            if not math.isfinite(value):
                where = first_in(self.model, run.objective, batch)
                raise NonFiniteError(
                    f"fit: the loss of step {run.step + 1} is {float(value)}; {where}. {_REMEDY}"
                )
            if self.gradients and run.scaler is None:  # a scale that is too large is no fault
                self._gradients(run, grads)

    def _gradients(self, run: Any, grads: Any) -> None:
        for path, g in trees.items(grads):
            if not is_finite(g):
                raise NonFiniteError(
                    f"fit: the loss of step {run.step + 1} is finite, but the gradient of '{path}' is not. {_REMEDY}"
                )

    def epoch(self, run: Any, loss: float) -> None:
        """Where values are not looked at on the way, the mean of the epoch tells, and the scale of the loss."""
        if not self.loss:
            return
        if not math.isfinite(loss):
            where = first_parameter(self.model)
            raise NonFiniteError(
                f"fit: the loss became {loss} in the epoch that ended with step {run.step}{where}. Pass "
                f"check_finite='steps' to see the step and the layer. {_REMEDY}"
            )
        if run.scaler is not None and (scale := run.scaler.get_scale()) < HOPELESS:
            raise NonFiniteError(
                f"fit: the gradients of step {run.step} and of many before are not finite, though the loss is, and is "
                f"scaled by no more than {scale:.0e}: none of these steps was made. Train without a scaler, in "
                "precision='fp32' and with check_finite='steps', to see which gradient it is"
            )


_REMEDY = (
    "The weights are those before this step. Usual causes: too large a learning rate, log or sqrt of 0, a division by "
    "0, data that are not scaled; clip_grad_norm=1.0 helps against steps that are too large"
)


def is_finite(x: Any) -> bool:
    xp = namespace_of(x)
    return kind(x.dtype) == "other" or bool(xp.all(xp.isfinite(x)))


class _Found(Exception):  # noqa: N818 - it tells a place, not an error
    """Ends the run forward at the first layer whose answer is not finite."""


def first_in(model: Any, objective: Any, batch: Any) -> str:
    """In words, where in a run forward over a batch the first NaN or infinity arises. Nothing is changed by it."""
    where = first_parameter(model)
    if where:
        return where.removeprefix(": ")
    found: list[str] = []
    layers = [(path, m) for path, m in model.named_modules()]

    def watched(path: str, module: Any, forward: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            out = forward(*args, **kwargs)
            if all(map(is_finite, trees.leaves(out))):
                return out
            name = f"layer {type(module).__name__} '{path}'" if path else type(module).__name__
            inputs = all(map(is_finite, trees.leaves((args, kwargs))))
            found.append(name if inputs else f"{name}, which was given some")
            raise _Found

        return run

    try:
        with all_or_nothing():
            for path, module in layers:
                module.__dict__["forward"] = watched(path, module, module.forward)
            try:
                objective.value(model, batch)
            finally:
                for _, module in layers:
                    del module.__dict__["forward"]
            raise _Found  # takes back what the run has written
    except _Found:
        pass
    if found:
        return f"the first NaN or infinity arises in the {found[0]}".replace("the layer", "layer")
    return "all layers give finite values, so it arises in the loss itself"


def first_parameter(model: Any) -> str:
    """In words, the first parameter that is not finite, if there is one."""
    for path, p in model.named_parameters():
        if not is_finite(p):
            return (
                f": parameter '{path}' holds NaN or infinity already, so a step before went wrong"
            )
    return ""
