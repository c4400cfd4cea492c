"""Schedules made of schedules: one after the other, or all at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from bpgpu.optim.groups import set_option
from bpgpu.optim.lr_scheduler.base import LRScheduler, need
from bpgpu.optim.lr_scheduler.plateau import ReduceLROnPlateau
from bpgpu.optim.optimizer import Optimizer


class SequentialLR(LRScheduler):
    """One schedule after the other: number i from epoch `milestones[i-1]` on, starting there from its own epoch 0.

    *Parameters*
    `schedulers`: schedules of this optimizer, made in order. `milestones`: one epoch less than there are schedules.
    `optimizer`, `last_epoch`: see `LRScheduler`.

    >>> import numpy as np, bpgpu.optim as optim
    >>> opt = optim.SGD([np.zeros(2)], lr=1.0)
    >>> warm = optim.lr_scheduler.LinearLR(opt, start_factor=0.5, total_iters=2)
    >>> then = optim.lr_scheduler.ExponentialLR(opt, gamma=0.5)
    >>> schedule, rates = SequentialLR(opt, [warm, then], milestones=[2]), []
    >>> for epoch in range(5):
    ...     rates.append(opt.lr)
    ...     schedule.step()
    >>> rates
    [0.5, 0.75, 1.0, 0.5, 0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[Any],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        _check(self, optimizer, schedulers)
        need(
            self,
            len(milestones) == len(schedulers) - 1,
            f"expected one milestone less than schedules, got {len(milestones)} for {len(schedulers)}",
        )
        self._schedulers = list(schedulers)
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        # each schedule has set the rates when it was made: begin again with the first alone
        _reset_rates(optimizer)
        _undo(self)
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch."""
        need(self, epoch is None, "step takes no epoch: each schedule counts its own")
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[i]
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def _update_lr(self, epoch: int | None = None) -> None:
        """Begin anew, as part of another sequence."""
        self.last_epoch = 0
        _reset_rates(self.optimizer)
        first = self._schedulers[bisect_right(self._milestones, 0)]
        _begin(first)
        self._last_lr = first.get_last_lr()


class ChainedScheduler(LRScheduler):
    """Several schedules at once: each changes the rate that the one before has left.

    *Parameters*
    `schedulers`: schedules of one optimizer, which must be chainable: they go from the last rate to the next.
    `optimizer`: that of the first schedule if it is not given.
    """

    def __init__(self, schedulers: Sequence[Any], optimizer: Optimizer | None = None) -> None:
        need(self, len(schedulers) > 0, "expected at least one schedule, got none")
        optimizer = optimizer or getattr(schedulers[0], "optimizer", None)
        _check(self, optimizer, schedulers)
        assert optimizer is not None
        self._schedulers = list(schedulers)
        self.optimizer = optimizer
        self._last_lr = self._now()

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch."""
        need(self, epoch is None, "step takes no epoch: each schedule counts its own")
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._now()

    def _update_lr(self, epoch: int | None = None) -> None:
        """Begin anew, as part of a sequence."""
        _reset_rates(self.optimizer)
        for scheduler in self._schedulers:
            _begin(scheduler)
        self._last_lr = self._now()


def _undo(scheduler: Any) -> None:
    """Take back the first step of a schedule, or of those in it."""
    if hasattr(scheduler, "_schedulers"):
        for inner in scheduler._schedulers:
            _undo(inner)
    else:
        scheduler.last_epoch -= 1


def _begin(scheduler: Any) -> None:
    """Set the rates for epoch 0 of a schedule, from those of now."""
    scheduler.last_epoch = -1
    scheduler._initial_step()


def _reset_rates(optimizer: Optimizer) -> None:
    for h in optimizer.param_groups:
        set_option(h, "lr", h["initial_lr"])


def _check(self: LRScheduler, optimizer: Any, schedulers: Sequence[Any]) -> None:
    need(self, len(schedulers) > 0, "expected at least one schedule, got none")
    for i, scheduler in enumerate(schedulers):
        if not hasattr(scheduler, "optimizer"):
            raise TypeError(
                f"{type(self).__name__}: schedule {i} is a {type(scheduler).__name__}, which has no optimizer"
            )
        need(
            self,
            not isinstance(scheduler, ReduceLROnPlateau),
            f"schedule {i} is a ReduceLROnPlateau, whose step needs a metric; step it by itself",
        )
        need(
            self,
            scheduler.optimizer is optimizer,
            f"schedule {i} belongs to another optimizer; all must belong to the same",
        )
