"""A schedule that looks at a metric."""

from __future__ import annotations

import math
from typing import Any, Literal

from bpgpu.optim.groups import set_option
from bpgpu.optim.lr_scheduler.base import LRScheduler, checked_optimizer, need, one_per_group
from bpgpu.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """`lr <- max(lr * factor, min_lr)` once a metric has not improved for more than `patience` epochs.

    *Parameters*
    `mode`: `"min"` if the metric should fall, `"max"` if it should rise.
    `factor`: < 1. `patience`: the epochs without improvement that are tolerated.
    `threshold`, `threshold_mode`: what counts as an improvement: by this part of the best value (`"rel"`), or by this
    amount (`"abs"`).
    `cooldown`: the epochs after a reduction in which nothing is counted.
    `min_lr`: the lowest rate, once or for each group. `eps`: smaller changes are not made.

    >>> import numpy as np, bpgpu.optim as optim
    >>> opt = optim.SGD([np.zeros(2)], lr=1.0)
    >>> schedule = ReduceLROnPlateau(opt, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> opt.lr
    0.5
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: list[float] | float = 0,
        eps: float = 1e-8,
    ) -> None:
        need(self, factor < 1, f"expected factor < 1, got {factor!r}")
        need(self, mode in ("min", "max"), f"mode must be 'min' or 'max', got {mode!r}")
        need(
            self,
            threshold_mode in ("rel", "abs"),
            f"threshold_mode must be 'rel' or 'abs', got {threshold_mode!r}",
        )
        self.optimizer = checked_optimizer(self, optimizer)
        self.factor = factor
        self.min_lrs = one_per_group(self, "min_lr", min_lr, optimizer)
        self.patience = patience
        self.cooldown = cooldown
        self.eps = eps
        self.mode = mode
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self.last_epoch = 0
        self._last_lr = self._now()

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override] # as torch has it
        """Take the metric of an epoch into account: a number, or an array of one entry."""
        value = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._improves(value):
            self.best = value
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = self._now()

    def _improves(self, value: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "abs":
            return sign * value > sign * self.best + self.threshold
        return sign * value > sign * (self.best * (1.0 + sign * self.threshold))

    def _reduce(self) -> None:
        for h, low in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            old = float(h["lr"])
            new = max(old * self.factor, low)
            if old - new > self.eps:
                set_option(h, "lr", new)
