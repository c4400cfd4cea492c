"""A rise, then a fall: the schedule of most language models, and the one of weight averaging."""

from __future__ import annotations

import math
from typing import Any, Literal

from bpgpu.optim.lr_scheduler.base import (
    LRScheduler,
    PerGroup,
    checked_optimizer,
    is_count,
    need,
    one_per_group,
)
from bpgpu.optim.optimizer import Optimizer


class WarmupLR(PerGroup):
    """From `start_factor` up to the full rate in `warmup_steps`, then down to `end_factor` at step `total_steps`.

    `lr(t) = lr(0) f(t)` with, for w = warmup_steps, and u = (t - w) / (total_steps - w) in [0, 1] after that::

        f(t) = start_factor + (1 - start_factor) t / w            for t < w
        f(t) = 1                                                  decay "constant"
        f(t) = end_factor + (1 - end_factor) (1 - u)              decay "linear"
        f(t) = end_factor + (1 - end_factor) (1 + cos(pi u)) / 2  decay "cosine"
        f(t) = sqrt(w / t)                                        decay "inverse_sqrt"

    To be stepped after each batch. Other schedules can follow a warm-up through `SequentialLR` with `LinearLR`.

    *Parameters*
    `warmup_steps`: >= 0. `total_steps`: needed for the decays "linear" and "cosine", > warmup_steps.
    `decay`, `start_factor`, `end_factor`: see above; the factors in [0, 1].
    `optimizer`, `last_epoch`: see `LRScheduler`.

    *References* A. Vaswani et al., Attention is all you need (2017), section 5.3, for "inverse_sqrt".

    >>> import numpy as np, bpgpu.optim as optim
    >>> opt, rates = optim.SGD([np.zeros(2)], lr=1.0), []
    >>> schedule = WarmupLR(opt, 2, 6, decay="linear")
    >>> for step in range(7):
    ...     rates.append(opt.lr)
    ...     schedule.step()
    >>> rates
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        total_steps: int | None = None,
        *,
        decay: Literal["constant", "linear", "cosine", "inverse_sqrt"] = "constant",
        start_factor: float = 0.0,
        end_factor: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        need(self, warmup_steps >= 0, f"expected warmup_steps >= 0, got {warmup_steps!r}")
        decays = ("constant", "linear", "cosine", "inverse_sqrt")
        need(self, decay in decays, f"decay must be one of {list(decays)}, got {decay!r}")
        need(
            self,
            decay not in ("linear", "cosine")
            or (total_steps is not None and total_steps > warmup_steps),
            f"the decay {decay!r} needs total_steps > warmup_steps = {warmup_steps}, got {total_steps!r}",
        )
        for name, factor in (("start_factor", start_factor), ("end_factor", end_factor)):
            need(self, 0 <= factor <= 1, f"expected {name} in [0, 1], got {factor!r}")
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.decay = decay
        self.start_factor = start_factor
        self.end_factor = end_factor
        super().__init__(optimizer, last_epoch)

    def next_lr(self, lr: Any, base_lr: Any) -> Any:
        return self.lr_at(base_lr)

    def lr_at(self, base_lr: Any) -> Any:
        return base_lr * self.factor(self.last_epoch)

    def factor(self, t: int) -> float:
        """f(t) of the formula."""
        w = self.warmup_steps
        if t < w:
            return self.start_factor + (1 - self.start_factor) * t / w
        if self.decay == "inverse_sqrt":
            return math.sqrt(max(w, 1) / max(t, 1))
        if self.decay == "constant" or self.total_steps is None:
            return 1.0
        u = min(1.0, (t - w) / (self.total_steps - w))
        height = 1 - u if self.decay == "linear" else (1 + math.cos(math.pi * u)) / 2
        return self.end_factor + (1 - self.end_factor) * height


class SWALR(LRScheduler):
    """From the rate of now to `swa_lr` within `anneal_epochs`, then constant: for the time of weight averaging.

    *Parameters*
    `swa_lr`: the last rate, once or for each group.
    `anneal_epochs`: >= 0. `anneal_strategy`: `"cos"` or `"linear"`.
    `optimizer`, `last_epoch`: see `LRScheduler`.

    *References* P. Izmailov et al., Averaging weights leads to wider optima and better generalization (2018).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        need(
            self,
            anneal_strategy in ("cos", "linear"),
            f"anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}",
        )
        need(
            self,
            is_count(anneal_epochs, 0),
            f"expected anneal_epochs as an integer >= 0, got {anneal_epochs!r}",
        )
        self.anneal_epochs = anneal_epochs
        self.anneal_strategy = anneal_strategy
        checked_optimizer(self, optimizer)
        rates = one_per_group(self, "swa_lr", swa_lr, optimizer)
        for h, lr in zip(optimizer.param_groups, rates, strict=True):
            h["swa_lr"] = lr
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        length = max(1, self.anneal_epochs)
        step = self._step_count - 1 if self.anneal_epochs else max(1, self._step_count - 1)
        before = self._height(max(0.0, min(1.0, (step - 1) / length)))
        here = self._height(max(0.0, min(1.0, step / length)))
        rates = []
        for h in self.optimizer.param_groups:
            start = h["swa_lr"] if before == 1 else (h["lr"] - before * h["swa_lr"]) / (1 - before)
            rates.append(h["swa_lr"] * here + start * (1 - here))
        return rates

    def _height(self, t: float) -> float:
        return t if self.anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2
