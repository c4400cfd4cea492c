"""What all schedules share: when they are stepped, how they set the options of an optimizer, and how they are saved."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from typing import Any

from bpgpu.autodiff.namespace import array_namespace
from bpgpu.optim.groups import set_option
from bpgpu.optim.optimizer import Optimizer


class LRScheduler:
    """Base of the schedules: `scheduler.step()` after each epoch (or batch) sets the learning rate of each group.

    A schedule of one's own defines `get_lr`, which returns the learning rate of each group for `self.last_epoch`; it
    may look at `self.base_lrs`, the rates at the start, and at `group["lr"]`, those of now.

    *Parameters*
    `optimizer`: whose groups are set. Making the schedule sets them for epoch 0 at once.
    `last_epoch`: the last epoch that was run; -1 starts anew. To go on from another one, the groups must have an
    `"initial_lr"`, which a loaded optimizer state has.

    *Raises* `TypeError` if `optimizer` is none, `ValueError` for options out of range, `KeyError` if "initial_lr" is
    missing.
    """

    unsaved: tuple[str, ...] = ("optimizer",)
    """Attributes that `state_dict` leaves out."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = checked_optimizer(self, optimizer)
        for i, h in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                h.setdefault("initial_lr", snapshot(h["lr"]))
            elif "initial_lr" not in h:
                raise KeyError(
                    f"{type(self).__name__}: last_epoch={last_epoch} goes on with a schedule, but group {i} of the "
                    "optimizer has no 'initial_lr'; load the optimizer's state first, or leave last_epoch out"
                )
        self.base_lrs = [snapshot(h["initial_lr"]) for h in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial = False
        self._initial_step()

    def _initial_step(self) -> None:
        """Set the groups for the first epoch."""
        self._step_count = 0
        self._initial = True
        try:
            self.step()
        finally:
            self._initial = False

    def get_lr(self) -> list[Any]:
        """The learning rate of each group for `self.last_epoch`."""
        raise NotImplementedError

    def get_last_lr(self) -> list[Any]:
        """The learning rates that were set last, one a group."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch, or to a given one."""
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        if epoch is None:
            self.last_epoch += 1
            values = self.get_lr()
        else:
            self.last_epoch = epoch
            closed = getattr(self, "_get_closed_form_lr", self.get_lr)
            values = closed()
        self._set(values)

    def _set(self, values: list[Any]) -> None:
        for h, lr in zip(self.optimizer.param_groups, values, strict=True):
            set_option(h, "lr", lr)
        self._last_lr = self._now()

    def _now(self) -> list[Any]:
        return [snapshot(h["lr"]) for h in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, copied. Functions are left out; of objects to call, the attributes are kept."""
        return {k: saved(v) for k, v in vars(self).items() if k not in self.unsaved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a saved state, or nothing of it. Load the optimizer's too: it holds the rates themselves.

        *Raises* `ValueError` if something is missing, as it is in the state of another schedule.
        """
        missing = [k for k in self.state_dict() if k not in state_dict and k != "_initial"]
        if missing:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: the state lacks {missing}; it belongs to another schedule"
            )
        for k in self.state_dict():
            if k in state_dict:
                setattr(self, k, loaded(getattr(self, k), state_dict[k]))


class PerGroup(LRScheduler):
    """A schedule that treats all groups alike."""

    def next_lr(self, lr: Any, base_lr: Any) -> Any:
        """The rate of this epoch, from that of the last: so that schedules can be chained, and rates set by hand."""
        raise NotImplementedError

    def lr_at(self, base_lr: Any) -> Any:
        """The rate of this epoch, from that at the start."""
        raise NotImplementedError

    def get_lr(self) -> list[Any]:
        groups = self.optimizer.param_groups
        return [
            self.next_lr(snapshot(h["lr"]), base)
            for h, base in zip(groups, self.base_lrs, strict=True)
        ]

    def _get_closed_form_lr(self) -> list[Any]:
        return [self.lr_at(base) for base in self.base_lrs]


def snapshot(value: Any) -> Any:
    """The value as it is now: a copy, if it is an array that will be written to."""
    return array_namespace(value).asarray(value, copy=True) if hasattr(value, "dtype") else value


def checked_optimizer(scheduler: Any, optimizer: Any) -> Any:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{type(scheduler).__name__}: expected an optimizer of bpgpu.optim, got {type(optimizer).__name__}"
        )
    return optimizer


def need(scheduler: Any, holds: bool, message: str) -> None:
    """Raise unless an option is in range."""
    if not holds:
        raise ValueError(f"{type(scheduler).__name__}: {message}")


def is_count(value: Any, low: int = 1) -> bool:
    """True for an integer that is not below `low`."""
    return isinstance(value, int) and value >= low


def one_per_group(scheduler: Any, name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """An option that may be given once or for each group."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    need(
        scheduler,
        len(value) == count,
        f"expected one {name}, or one for each of {count} groups, got {len(value)}",
    )
    return list(value)


def saved(value: Any) -> Any:
    """A value for `state_dict`."""
    if isinstance(value, LRScheduler):
        return value.state_dict()
    if isinstance(value, list):
        return [saved(v) for v in value]
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, types.MethodType)):
        return None
    if callable(value):
        return copy.deepcopy(vars(value)) if hasattr(value, "__dict__") else None
    return copy.deepcopy(value)


def loaded(mine: Any, value: Any) -> Any:
    """What becomes of an attribute when `value` is loaded: the inverse of `saved`."""
    if isinstance(mine, LRScheduler):
        mine.load_state_dict(value)
        return mine
    if isinstance(mine, list) and any(isinstance(v, LRScheduler) or callable(v) for v in mine):
        return [loaded(m, v) for m, v in zip(mine, value, strict=True)]
    if callable(mine):
        if value is not None:
            vars(mine).update(value)
        return mine
    return copy.deepcopy(value)


Factor = Callable[[int], float]
