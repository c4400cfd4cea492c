"""Schedules that go one way: constant pieces, and curves from one rate to another."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Any

from bpgpu.optim.lr_scheduler.base import Factor, LRScheduler, PerGroup, need, snapshot
from bpgpu.optim.optimizer import Optimizer


class LambdaLR(LRScheduler):
    """`lr(t) = lr(0) * lr_lambda(t)`.

    *Parameters*
    `lr_lambda`: from the epoch to a factor, or a list of one such function a group.
    `optimizer`, `last_epoch`: see `LRScheduler`.

    >>> import numpy as np, bpgpu.optim as optim
    >>> opt = optim.SGD([np.zeros(2)], lr=0.5)
    >>> schedule = LambdaLR(opt, lambda epoch: 0.5**epoch)
    >>> schedule.step(); opt.lr
    0.25
    """

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Factor | list[Factor], last_epoch: int = -1
    ) -> None:
        self.lr_lambdas = _functions(self, optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        return [
            base * f(self.last_epoch)
            for f, base in zip(self.lr_lambdas, self.base_lrs, strict=True)
        ]


class MultiplicativeLR(LRScheduler):
    """`lr(t) = lr(t-1) * lr_lambda(t)`.

    *Parameters*
    `lr_lambda`: from the epoch to a factor, or a list of one such function a group.
    `optimizer`, `last_epoch`: see `LRScheduler`.
    """

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Factor | list[Factor], last_epoch: int = -1
    ) -> None:
        self.lr_lambdas = _functions(self, optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        now = [snapshot(h["lr"]) for h in self.optimizer.param_groups]
        if self._initial:
            return now
        return [lr * f(self.last_epoch) for f, lr in zip(self.lr_lambdas, now, strict=True)]


def _functions(scheduler: Any, optimizer: Any, given: Any) -> list[Factor]:
    count = len(getattr(optimizer, "param_groups", ()))
    functions = list(given) if isinstance(given, (list, tuple)) else [given] * count
    need(
        scheduler,
        len(functions) == count or not count,
        f"expected one lr_lambda, or one for each of {count} groups, got {len(functions)}",
    )
    for f in functions:
        if not callable(f):
            raise TypeError(
                f"{type(scheduler).__name__}: lr_lambda must be a function of the epoch, got {type(f).__name__}"
            )
    return functions


class StepLR(PerGroup):
    """`lr(t) = lr(0) * gamma^(t // step_size)`: falls by a factor every so many epochs.

    *Parameters*
    `step_size`: epochs between two changes, >= 1. `gamma`: the factor.
    `optimizer`, `last_epoch`: see `LRScheduler`.
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        need(self, step_size >= 1, f"expected step_size >= 1, got {step_size!r}")
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def next_lr(self, lr: Any, base_lr: Any) -> Any:
        if self.last_epoch == 0 or self.last_epoch % self.step_size != 0:
            return lr
        return lr * self.gamma

    def lr_at(self, base_lr: Any) -> Any:
        return base_lr * self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(PerGroup):
    """`lr(t) = lr(0) * gamma^(number of milestones up to t)`.

    *Parameters*
    `milestones`: the epochs at which the rate falls; one that is named twice counts twice. `gamma`: the factor.
    `optimizer`, `last_epoch`: see `LRScheduler`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def next_lr(self, lr: Any, base_lr: Any) -> Any:
        if self.last_epoch not in self.milestones:
            return lr
        return lr * self.gamma ** self.milestones[self.last_epoch]

    def lr_at(self, base_lr: Any) -> Any:
        passed = bisect_right(sorted(self.milestones.elements()), self.last_epoch)
        return base_lr * self.gamma**passed


class ConstantLR(PerGroup):
    """`lr(t) = factor * lr(0)` for t < total_iters, then `lr(0)`.

    *Parameters*
    `factor`: in [0, 1]. `total_iters`: for how many epochs.
    `optimizer`, `last_epoch`: see `LRScheduler`.

    *Notes* The way back divides by the factor, as in torch, so that schedules can be chained; `factor=0` is an error
    then, which this class raises at once unless the factor stays for ever.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        need(self, 0 <= factor <= 1, f"expected factor in [0, 1], got {factor!r}")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def next_lr(self, lr: Any, base_lr: Any) -> Any:
        if self.last_epoch == 0:
            return lr * self.factor
        if self.last_epoch != self.total_iters:
            return lr
        return lr * (1.0 / self.factor) if self.factor else base_lr

    def lr_at(self, base_lr: Any) -> Any:
        done = self.last_epoch >= self.total_iters
        return base_lr * (self.factor + done * (1 - self.factor))


class LinearLR(PerGroup):
    """`lr(t) = lr(0) * (start_factor + (end_factor - start_factor) * min(t / total_iters, 1))`.

    *Parameters*
    `start_factor`: in (0, 1]. `end_factor`: in [0, 1]. `total_iters`: the epochs from one to the other.
    `optimizer`, `last_epoch`: see `LRScheduler`.

    *Notes* A warm-up, followed by another schedule through `SequentialLR` or `ChainedScheduler`; see `WarmupLR` too.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        need(self, 0 < start_factor <= 1, f"expected start_factor in (0, 1], got {start_factor!r}")
        need(self, 0 <= end_factor <= 1, f"expected end_factor in [0, 1], got {end_factor!r}")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def next_lr(self, lr: Any, base_lr: Any) -> Any:
        if self.last_epoch == 0:
            return lr * self.start_factor
        if self._initial or self.last_epoch > self.total_iters:
            return lr
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return lr * (1.0 + rise / before)

    def lr_at(self, base_lr: Any) -> Any:
        rise = self.end_factor - self.start_factor
        return base_lr * (
            self.start_factor + rise * min(self.total_iters, self.last_epoch) / self.total_iters
        )


class ExponentialLR(PerGroup):
    """`lr(t) = lr(0) * gamma^t`.

    *Parameters*
    `gamma`: the factor of each epoch.
    `optimizer`, `last_epoch`: see `LRScheduler`.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def next_lr(self, lr: Any, base_lr: Any) -> Any:
        return lr if self._initial else lr * self.gamma

    def lr_at(self, base_lr: Any) -> Any:
        return base_lr * self.gamma**self.last_epoch


class PolynomialLR(PerGroup):
    """`lr(t) = lr(0) * (1 - min(t / total_iters, 1))^power`.

    *Parameters*
    `total_iters`: the epochs until the rate is 0. `power`: of the polynomial.
    `optimizer`, `last_epoch`: see `LRScheduler`.
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def next_lr(self, lr: Any, base_lr: Any) -> Any:
        if self._initial or self.last_epoch > self.total_iters:
            return lr
        here = 1.0 - self.last_epoch / self.total_iters
        before = 1.0 - (self.last_epoch - 1) / self.total_iters
        return lr * (here / before) ** self.power

    def lr_at(self, base_lr: Any) -> Any:
        done = min(self.total_iters, self.last_epoch) / self.total_iters
        return base_lr * (1.0 - done) ** self.power


class CosineAnnealingLR(PerGroup):
    """`lr(t) = eta_min + (lr(0) - eta_min) * (1 + cos(pi t / T_max)) / 2`.

    *Parameters*
    `T_max`: the epochs from the highest to the lowest rate; after as many again it is back at the highest.
    `eta_min`: the lowest rate.
    `optimizer`, `last_epoch`: see `LRScheduler`.

    *References* I. Loshchilov, F. Hutter, SGDR: stochastic gradient descent with warm restarts (2017), equation 5,
    without the restarts.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: int,  # noqa: N803 - torch's name
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        need(self, T_max != 0, "T_max must not be 0")
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def next_lr(self, lr: Any, base_lr: Any) -> Any:
        t, period = self.last_epoch, self.T_max
        if self._initial:
            return lr
        if (t - 1 - period) % (
            2 * period
        ) == 0:  # the last rate was the lowest: no factor leads up from there
            return lr + (base_lr - self.eta_min) * (1 - math.cos(math.pi / period)) / 2
        here, before = 1 + math.cos(math.pi * t / period), 1 + math.cos(math.pi * (t - 1) / period)
        return here / before * (lr - self.eta_min) + self.eta_min

    def lr_at(self, base_lr: Any) -> Any:
        height = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return self.eta_min + (base_lr - self.eta_min) * height
