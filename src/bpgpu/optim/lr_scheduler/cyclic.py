"""Schedules that rise and fall: restarts, cycles, and the one cycle; the last two can move the momentum too."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from bpgpu.optim.groups import set_option
from bpgpu.optim.lr_scheduler.base import (
    LRScheduler,
    checked_optimizer,
    is_count,
    need,
    one_per_group,
)
from bpgpu.optim.optimizer import Optimizer


class CosineAnnealingWarmRestarts(LRScheduler):
    """`lr = eta_min + (lr(0) - eta_min) * (1 + cos(pi T_cur / T_i)) / 2`, begun anew every T_i epochs.

    T_cur counts the epochs since the last restart. `step` takes fractions of epochs too: `step(epoch + i / batches)`.

    *Parameters*
    `T_0`: the epochs of the first period, >= 1. `T_mult`: the factor from period to period, >= 1.
    `eta_min`: the lowest rate.
    `optimizer`, `last_epoch`: see `LRScheduler`.

    *References* I. Loshchilov, F. Hutter, SGDR: stochastic gradient descent with warm restarts (2017), equation 5.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,  # noqa: N803 - torch's name
        T_mult: int = 1,  # noqa: N803
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        need(
            self,
            is_count(T_0),
            f"expected T_0 as a positive integer, got {T_0!r}",
        )
        need(
            self,
            is_count(T_mult),
            f"expected T_mult as an integer >= 1, got {T_mult!r}",
        )
        need(
            self,
            isinstance(eta_min, (int, float)),
            f"expected eta_min as a number, got {type(eta_min).__name__}",
        )
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            need(self, epoch >= 0, f"expected an epoch >= 0, got {epoch!r}")
            self._jump(epoch)
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())

    def _jump(self, epoch: float) -> None:
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            ratio = self.T_mult
            n = int(math.log(epoch / self.T_0 * (ratio - 1) + 1, ratio))  # periods that are over
            self.T_cur = epoch - self.T_0 * (ratio**n - 1) / (ratio - 1)
            self.T_i = self.T_0 * ratio**n


class _Momentum:
    """Moves the momentum of an optimizer against its learning rate: `momentum`, or the first of `betas`."""

    def __init__(
        self, scheduler: Any, optimizer: Optimizer, low: Any, high: Any, *, start: bool
    ) -> None:
        self.uses_beta = "betas" in optimizer.defaults
        need(
            scheduler,
            self.uses_beta or "momentum" in optimizer.defaults,
            f"cycle_momentum needs an optimizer with momentum or betas, and {type(optimizer).__name__} has none; "
            "pass cycle_momentum=False",
        )
        self.lows = one_per_group(scheduler, "base_momentum", low, optimizer)
        self.highs = one_per_group(scheduler, "max_momentum", high, optimizer)
        if start:
            for h, b, m in zip(optimizer.param_groups, self.lows, self.highs, strict=True):
                self(h, m)
                h["max_momentum"], h["base_momentum"] = m, b

    def __call__(self, h: dict[str, Any], value: float) -> None:
        """Set the momentum of a group."""
        if self.uses_beta:
            h["betas"] = (value, *h["betas"][1:])
        else:
            h["momentum"] = value


class CyclicLR(LRScheduler):
    """The rate goes up and down between `base_lr` and `max_lr` in straight lines; to be stepped after each batch.

    With c the number of the cycle, from 1, and x in [0, 1] the height within it::

        lr = base_lr + (max_lr - base_lr) * x * scale

    where scale is 1 ("triangular"), 1 / 2^(c - 1) ("triangular2"), gamma^t ("exp_range"), or `scale_fn` of c or t.

    *Parameters*
    `base_lr`, `max_lr`: the bounds, once or for each group.
    `step_size_up`, `step_size_down`: the batches on the way up, and down (the same if it is not given).
    `mode`, `gamma`: see above. `scale_fn`, `scale_mode`: a function instead, of the "cycle" or of the "iterations".
    `cycle_momentum`, `base_momentum`, `max_momentum`: let the momentum (or beta1) go down while the rate goes up.
    `optimizer`, `last_epoch`: see `LRScheduler`.

    *References* L. Smith, Cyclical learning rates for training neural networks (2017), section 3.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        checked_optimizer(self, optimizer)
        base_lrs = one_per_group(self, "base_lr", base_lr, optimizer)
        self.max_lrs = one_per_group(self, "max_lr", max_lr, optimizer)
        up = float(step_size_up)
        down = up if step_size_down is None else float(step_size_down)
        need(
            self,
            up > 0 and down >= 0,
            f"expected step sizes > 0, got {step_size_up!r} and {step_size_down!r}",
        )
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        need(
            self,
            scale_fn is not None or mode in ("triangular", "triangular2", "exp_range"),
            f"mode must be 'triangular', 'triangular2' or 'exp_range', got {mode!r}",
        )
        self.mode = mode
        self.gamma = gamma
        self.custom = scale_fn
        if scale_fn is None:
            scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.scale_mode = scale_mode
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.momentum = _Momentum(
                self, optimizer, base_momentum, max_momentum, start=last_epoch == -1
            )
        if last_epoch == -1:
            for h, lr in zip(optimizer.param_groups, base_lrs, strict=True):
                set_option(h, "lr", lr)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The factor of the height in cycle, or at iteration, x."""
        if self.custom is not None:
            return self.custom(x)
        if self.mode == "triangular":
            return 1.0
        return 1 / (2.0 ** (x - 1)) if self.mode == "triangular2" else float(self.gamma**x)

    def get_lr(self) -> list[Any]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            bounds = zip(
                self.optimizer.param_groups, self.momentum.lows, self.momentum.highs, strict=True
            )
            for h, low, high in bounds:
                self.momentum(h, high - (high - low) * height * scale)
        return [
            low + (high - low) * height * scale
            for low, high in zip(self.base_lrs, self.max_lrs, strict=True)
        ]


class OneCycleLR(LRScheduler):
    """One cycle over the whole training: up to `max_lr`, then down to almost nothing; to be stepped after each batch.

    From `max_lr / div_factor` to `max_lr` in the first `pct_start` of the steps, then to
    `max_lr / div_factor / final_div_factor`; with `three_phase`, back to the start in as many steps first.

    *Parameters*
    `max_lr`: the highest rate, once or for each group.
    `total_steps`: how many steps, or `epochs` and `steps_per_epoch`.
    `pct_start`: a float in [0, 1]. `anneal_strategy`: `"cos"` or `"linear"`.
    `cycle_momentum`, `base_momentum`, `max_momentum`: let the momentum (or beta1) go down while the rate goes up.
    `div_factor`, `final_div_factor`, `three_phase`: see above.
    `optimizer`, `last_epoch`: see `LRScheduler`.

    *Raises* `ValueError` at a step beyond the last.

    *References* L. Smith, N. Topin, Super-convergence: very fast training of neural networks using large learning
    rates (2018); the two phases and the cosine are fastai's.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        checked_optimizer(self, optimizer)
        self.total_steps = self._count(total_steps, epochs, steps_per_epoch)
        portion: Any = pct_start
        need(
            self,
            isinstance(portion, float) and 0 <= portion <= 1,
            f"expected pct_start as a float in [0, 1], got {pct_start!r}",
        )
        need(
            self,
            anneal_strategy in ("cos", "linear"),
            f"anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}",
        )
        self.anneal_strategy = anneal_strategy
        peak, end = float(pct_start * self.total_steps) - 1, self.total_steps - 1
        # (last step of the phase, options of the group that hold rate and momentum at its start and end)
        rise = (peak, "initial_lr", "max_lr", "max_momentum", "base_momentum")
        self.phases = [rise, (end, "max_lr", "min_lr", "base_momentum", "max_momentum")]
        if three_phase:
            back = float(2 * pct_start * self.total_steps) - 2
            self.phases = [
                rise,
                (back, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
                (end, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
            ]
        max_lrs = one_per_group(self, "max_lr", max_lr, optimizer)
        if last_epoch == -1:
            for h, high in zip(optimizer.param_groups, max_lrs, strict=True):
                h["initial_lr"] = high / div_factor
                h["max_lr"] = high
                h["min_lr"] = h["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.momentum = _Momentum(
                self, optimizer, base_momentum, max_momentum, start=last_epoch == -1
            )
        super().__init__(optimizer, last_epoch)

    def _count(self, total: Any, epochs: Any, per_epoch: Any) -> int:
        given = (
            {"total_steps": total}
            if total is not None
            else {"epochs": epochs, "steps_per_epoch": per_epoch}
        )
        need(
            self,
            None not in given.values(),
            "expected total_steps, or both epochs and steps_per_epoch",
        )
        for name, value in given.items():
            need(
                self,
                is_count(value),
                f"expected {name} as a positive integer, got {value!r}",
            )
        return math.prod(given.values())

    def get_lr(self) -> list[Any]:
        t = self.last_epoch
        need(
            self,
            t <= self.total_steps,
            f"this is step {t + 1}, but the schedule was made for {self.total_steps}; raise total_steps",
        )
        ends = [phase[0] for phase in self.phases]
        i = next((i for i, end in enumerate(ends[:-1]) if t <= end), len(ends) - 1)
        start, (end, *names) = ends[i - 1] if i else 0.0, self.phases[i]
        done = (t - start) / (end - start) if end != start else 1.0
        lr_from, lr_to, momentum_from, momentum_to = names
        groups = self.optimizer.param_groups
        if self.cycle_momentum:
            for h in groups:
                self.momentum(h, self._between(h[momentum_from], h[momentum_to], done))
        return [self._between(h[lr_from], h[lr_to], done) for h in groups]

    def _between(self, start: Any, end: Any, done: float) -> Any:
        if self.anneal_strategy == "linear":
            return (end - start) * done + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * done) + 1)
