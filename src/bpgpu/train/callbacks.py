"""Callbacks: code of one's own at fixed places of the training."""

from __future__ import annotations

from typing import Any

from bpgpu.errors import ArgumentError

HOOKS = (
    "on_train_begin",
    "on_epoch_begin",
    "on_batch_end",
    "on_step_end",
    "on_epoch_end",
    "on_train_end",
)


class Callback:
    """Base of callbacks: define the hooks that you need. Each gets the training, `run`.

    `run.epoch` and `run.step` are the epochs and the steps of the optimizer that are done, `run.history` a dict of
    lists with one entry for each epoch, `run.loss` the loss of the last batch (an array on the device: reading it waits
    for a GPU), `run.grads` the gradients of the last step, `run.left_out` whether it was left out because these are not
    finite (reading waits, too), `run.model`, `run.optimizer`. `run.stop("why")` ends the training after the step or
    epoch that is under way.
    """

    def on_train_begin(self, run: Any) -> None:
        pass

    def on_epoch_begin(self, run: Any) -> None:
        pass

    def on_batch_end(self, run: Any) -> None:
        """After each batch; with `accumulate=` there is not a step after each of them."""

    def on_step_end(self, run: Any) -> None:
        pass

    def on_epoch_end(self, run: Any) -> None:
        pass

    def on_train_end(self, run: Any) -> None:
        pass


def checked(callbacks: Any) -> list[Any]:
    """The callbacks of a training as a list.

    *Raises* `ArgumentError` for what has none of the hooks.
    """
    several = isinstance(callbacks, (list, tuple))
    found = list(callbacks) if several else [] if callbacks is None else [callbacks]
    for callback in found:
        if isinstance(callback, type) or not any(hasattr(callback, hook) for hook in HOOKS):
            got = callback.__name__ if isinstance(callback, type) else repr(callback)
            raise ArgumentError(
                f"callbacks: expected objects with hooks such as on_epoch_end, got {got}"
                + (f"; write {got}()" if isinstance(callback, type) else "")
            )
    return found


class Hooks:
    """The methods of several callbacks that do something, looked up once: a list for each place."""

    def __init__(self, callbacks: list[Any]) -> None:
        found = {hook: [f for c in callbacks if (f := _own(c, hook)) is not None] for hook in HOOKS}
        self.on_train_begin = found["on_train_begin"]
        self.on_epoch_begin = found["on_epoch_begin"]
        self.on_batch_end = found["on_batch_end"]
        self.on_step_end = found["on_step_end"]
        self.on_epoch_end = found["on_epoch_end"]
        self.on_train_end = found["on_train_end"]


def _own(callback: Any, hook: str) -> Any:
    if getattr(type(callback), hook, None) is getattr(Callback, hook):
        return None
    return getattr(callback, hook, None)


def call(hooks: list[Any], run: Any) -> None:
    for hook in hooks:
        hook(run)
