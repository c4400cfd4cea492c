"""Early stopping: end when nothing improves any more, and go back to the best weights."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.errors import ArgumentError
from bpgpu.train.stop import StopRule, checked_mode, count, higher, known


class EarlyStopping(StopRule):
    """Ends when a value has not improved for `patience` epochs, and puts the best weights back.

    *Parameters*

    - `monitor`: a name in the history; by default `"val_loss"`, or `"loss"` without validation.
    - `patience`: so many epochs without improvement end the training, at least 1.
    - `min_delta`: what is better by no more than this is no improvement.
    - `restore_best`: the model gets the weights and buffers of its best epoch back, however training ends, but for
      Ctrl-C and errors.
    - `mode`: `"min"`, `"max"`, or `"auto"`: a metric says itself which way is better, a loss is to fall.

    *Notes* A value that is NaN is never an improvement. With `ema=` the averaged weights are what was validated: they
    are kept, and put into the model. The best weights take the memory of one more model, on its device.
    """

    kept = ("best", "best_epoch", "waited", "weights")

    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
        *,
        mode: str = "auto",
    ) -> None:
        if not min_delta >= 0:
            raise ArgumentError(f"EarlyStopping: expected min_delta >= 0, got {min_delta!r}")
        self.monitor, self.mode = monitor, checked_mode("EarlyStopping", mode)
        self.patience = count("EarlyStopping", "patience", patience)
        self.min_delta, self.restore_best = min_delta, restore_best
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_epoch = self.waited = 0
        self.weights: Any = None

    def begin(self, run: Any) -> None:
        self._forget()
        self._name = self.monitor or ("val_loss" if "val_loss" in run.columns else "loss")
        known(run, "EarlyStopping", self._name)
        self._sign = -1.0 if higher(run, self._name, self.mode) else 1.0

    def after_epoch(self, run: Any) -> str | None:
        value = run.history[self._name][-1]
        fallen = math.inf if self.best is None else self._sign * (self.best - value)
        if fallen > self.min_delta and not math.isnan(value):
            self.best, self.best_epoch, self.waited = value, run.epoch, 0
            if self.restore_best:
                self.weights = run.weights()
            return None
        self.waited += 1
        return self.at_start(run)

    def at_start(self, run: Any) -> str | None:
        if self.waited < self.patience:
            return None
        best = "no number" if self.best is None else f"{self.best:.6g}"
        restored = ", whose weights were restored" if self.weights is not None else ""
        return f"{self._name} has not improved on {best} of epoch {self.best_epoch} for {self.waited} epochs{restored}"

    def end(self, run: Any) -> None:
        if self.weights is not None:
            run.model.load_state_dict(self.weights)
