"""When to end: rules that are asked after each step or each epoch, and combine with `|` and `&`."""

from __future__ import annotations

import math
import time
from typing import Any

from bpgpu.errors import ArgumentError
from bpgpu.optim.clip import grad_norm


class StopRule:
    """Base of the rules. `a | b` ends when one of both holds, `a & b` when both hold.

    A rule defines `after_step`, which is asked after each step of the optimizer, or `after_epoch`, or both. They
    return why training should end, with the numbers, or `None`. `run` is the training: `run.step`, `run.epoch`,
    `run.history`, `run.grads`, `run.loss`, `run.left_out`, `run.model`.

    What a rule keeps from one call to the next goes into the names of `kept`, so that a checkpoint has it.
    """

    kept: tuple[str, ...] = ()

    def begin(self, run: Any) -> None:
        """Called before the first step: forget what an earlier training has left."""

    def at_start(self, run: Any) -> str | None:
        """Asked before the first step, which may be that of a training that was resumed."""
        return None

    def after_step(self, run: Any) -> str | None:
        return None

    def after_epoch(self, run: Any) -> str | None:
        return None

    def end(self, run: Any) -> None:
        """Called after the last step of a training that was not interrupted."""

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.kept:
            setattr(self, name, state[name])

    def __or__(self, other: StopRule) -> StopRule:
        return AnyOf(self, other)

    def __and__(self, other: StopRule) -> StopRule:
        return AllOf(self, other)


class Combined(StopRule):
    """Several rules as one."""

    def __init__(self, *rules: StopRule) -> None:
        for rule in rules:
            if not isinstance(rule, StopRule):
                raise ArgumentError(f"stop: expected rules on both sides of | and &, got {rule!r}")
        self.rules = rules

    def begin(self, run: Any) -> None:
        for rule in self.rules:
            rule.begin(run)

    def end(self, run: Any) -> None:
        for rule in self.rules:
            rule.end(run)

    def state_dict(self) -> dict[str, Any]:
        return {"rules": [[type(rule).__name__, rule.state_dict()] for rule in self.rules]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Each rule takes up what the next one of its class has left; one that is new begins anew."""
        left = [tuple(one) for one in state["rules"]]
        for rule in self.rules:
            mine = next(
                (i for i, (name, _) in enumerate(left) if name == type(rule).__name__), None
            )
            if mine is not None:
                rule.load_state_dict(left.pop(mine)[1])


class AnyOf(Combined):
    """Ends when the first of its rules does."""

    def at_start(self, run: Any) -> str | None:
        return _first([rule.at_start(run) for rule in self.rules])

    def after_step(self, run: Any) -> str | None:
        return _first([rule.after_step(run) for rule in self.rules])

    def after_epoch(self, run: Any) -> str | None:
        return _first([rule.after_epoch(run) for rule in self.rules])


class AllOf(Combined):
    """Ends when all of its rules hold. What a rule said last counts until it is asked again."""

    def __init__(self, *rules: StopRule) -> None:
        super().__init__(*rules)
        self._forget()

    def _forget(self) -> None:
        self.steps: list[str | None] = [None] * len(self.rules)
        self.epochs: list[str | None] = [None] * len(self.rules)

    def begin(self, run: Any) -> None:
        super().begin(run)
        self._forget()

    def at_start(self, run: Any) -> str | None:
        """What a rule said before an interruption is forgotten if it no longer holds: its bound may be another one."""
        for i, rule in enumerate(self.rules):
            can_tell = type(rule).at_start is not StopRule.at_start and not isinstance(
                rule, Combined
            )
            if can_tell and rule.at_start(run) is None:
                self.steps[i] = self.epochs[i] = None
        return self._all()

    def after_step(self, run: Any) -> str | None:
        self.steps = [rule.after_step(run) for rule in self.rules]
        return self._all()

    def after_epoch(self, run: Any) -> str | None:
        self.epochs = [rule.after_epoch(run) for rule in self.rules]
        return self._all()

    def _all(self) -> str | None:
        reasons = [a or b for a, b in zip(self.steps, self.epochs, strict=True)]
        return None if None in reasons else " and ".join(map(str, reasons))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "steps": self.steps, "epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if [name for name, _ in state["rules"]] == [type(rule).__name__ for rule in self.rules]:
            self.steps, self.epochs = list(state["steps"]), list(state["epochs"])


def _first(reasons: list[str | None]) -> str | None:
    return next((reason for reason in reasons if reason is not None), None)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


class MaxEpochs(StopRule):
    """Ends after `n` epochs; `fit(epochs=n)` is the same."""

    def __init__(self, n: int) -> None:
        self.n = count("MaxEpochs", "n", n)

    def after_epoch(self, run: Any) -> str | None:
        return f"reached {_counted(self.n, 'epoch')}" if run.epoch >= self.n else None

    def at_start(self, run: Any) -> str | None:
        return self.after_epoch(run)


class MaxSteps(StopRule):
    """Ends after `n` steps of the optimizer."""

    def __init__(self, n: int) -> None:
        self.n = count("MaxSteps", "n", n)

    def after_step(self, run: Any) -> str | None:
        return f"reached {_counted(self.n, 'step')}" if run.step >= self.n else None

    def at_start(self, run: Any) -> str | None:
        return self.after_step(run)


class GradientNorm(StopRule):
    """Ends when the norm of all gradients of a step, before clipping, is below `tol`.

    *Parameters* `every`: look at every so many steps. Looking waits for the device, so on a GPU take 10 or more.

    *Notes* The gradient is that of a batch: with small batches it is noise. With L-BFGS it is the gradient at the
    start of the step.
    """

    def __init__(self, tol: float, every: int = 1) -> None:
        self.tol = positive("GradientNorm", "tol", tol)
        self.every = count("GradientNorm", "every", every)

    def after_step(self, run: Any) -> str | None:
        if run.step % self.every:
            return None
        norm = float(grad_norm(run.grads))
        if norm < self.tol:
            return f"gradient norm {norm:.1e} < {short(self.tol)} at step {run.step}"
        return None


class LossChange(StopRule):
    """Ends when the loss of the epoch differs by less than `tol` from that of the epoch before, `patience` times in a
    row.

    *Parameters* `monitor`: what to look at, a name in the history.

    *Notes* After a step that was left out (see `bpgpu.optim.GradScaler`) a loss that does not change tells nothing, so
    an epoch that ends with one is passed over.
    """

    kept = ("before", "small")

    def __init__(self, tol: float, patience: int = 1, *, monitor: str = "loss") -> None:
        self.tol = positive("LossChange", "tol", tol)
        self.patience = count("LossChange", "patience", patience)
        self.monitor = monitor
        self.before: float | None = None
        self.small = 0

    def begin(self, run: Any) -> None:
        known(run, "LossChange", self.monitor)
        self.before, self.small = None, 0

    def after_epoch(self, run: Any) -> str | None:
        if run.left_out:
            return None
        value, before = run.history[self.monitor][-1], self.before
        self.before = value
        change = math.inf if before is None else abs(value - before)
        self.small = self.small + 1 if change < self.tol else 0
        if self.small < self.patience:
            return None
        times = f", {self.patience} epochs in a row," if self.patience > 1 else ""
        return (
            f"change of {self.monitor} {change:.1e} < {short(self.tol)}{times} at epoch {run.epoch}"
        )


class WallTime(StopRule):
    """Ends when training has taken so many seconds, at the end of a step. Time before a resume counts."""

    def __init__(self, seconds: float) -> None:
        self.seconds = positive("WallTime", "seconds", seconds)
        self._spent, self._start = 0.0, time.perf_counter()

    def begin(self, run: Any) -> None:
        self._spent, self._start = 0.0, time.perf_counter()

    def after_step(self, run: Any) -> str | None:
        spent = self._spent + time.perf_counter() - self._start
        if spent < self.seconds:
            return None
        return f"{spent:.3g} s of {short(self.seconds)} s were used at step {run.step}"

    def after_epoch(self, run: Any) -> str | None:
        return self.after_step(run)

    def state_dict(self) -> dict[str, Any]:
        return {"spent": self._spent + time.perf_counter() - self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._spent, self._start = state["spent"], time.perf_counter()


class TargetMetric(StopRule):
    """Ends when a value of the history has reached `value`: from below if higher is better, else from above."""

    def __init__(self, name: str, value: float, *, mode: str = "auto") -> None:
        self.name, self.value, self.mode = name, value, checked_mode("TargetMetric", mode)

    def begin(self, run: Any) -> None:
        known(run, "TargetMetric", self.name)
        self._higher = higher(run, self.name, self.mode)

    def after_epoch(self, run: Any) -> str | None:
        got = run.history[self.name][-1]
        if not (got >= self.value if self._higher else got <= self.value):
            return None
        sign = ">=" if self._higher else "<="
        return f"{self.name} {got:.6g} {sign} {short(self.value)} at epoch {run.epoch}"


# ---- checks


def known(run: Any, who: str, name: str) -> None:
    """Raise unless the history of a training will have this column."""
    if name not in run.columns:
        raise ArgumentError(
            f"{who}: nothing called {name!r} is measured, only {', '.join(run.columns)}; a name with val_ needs "
            "validation="
        )


def higher(run: Any, name: str, mode: str) -> bool:
    """Whether a higher value of a column is better."""
    return bool(run.higher_is_better(name)) if mode == "auto" else mode == "max"


def checked_mode(who: str, mode: str) -> str:
    if mode not in ("auto", "min", "max"):
        raise ArgumentError(f"{who}: expected mode 'auto', 'min' or 'max', got {mode!r}")
    return mode


def count(who: str, name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{who}: expected {name} as an integer of at least 1, got {value!r}")
    return value


def positive(who: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ArgumentError(f"{who}: expected {name} as a number above 0, got {value!r}")
    return value


def short(value: float) -> str:
    """A number as people write it.

    >>> short(1e-4), short(0.97), short(30)
    ('1e-04', '0.97', '30')
    """
    return f"{value:.0e}" if 0 < abs(value) < 1e-3 else f"{value:g}"
