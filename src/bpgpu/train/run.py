"""The training loop itself, and everything that changes while it runs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

from bpgpu import random
from bpgpu import tree as trees
from bpgpu.autodiff.transform import value_and_grad
from bpgpu.backend import rows
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ArgumentError
from bpgpu.optim import LBFGS
from bpgpu.optim.lr_scheduler import ReduceLROnPlateau
from bpgpu.replay import compile
from bpgpu.train.batches import Batches, rows_of
from bpgpu.train.callbacks import Hooks, call
from bpgpu.train.interrupt import Interrupts
from bpgpu.train.meters import Meters
from bpgpu.train.micro import MicroBatches
from bpgpu.train.modes import mode
from bpgpu.train.nonfinite import Watch
from bpgpu.train.predict import measure
from bpgpu.train.step import Objective
from bpgpu.train.stop import StopRule
from bpgpu.train.whole import Bounds, Update, scaled_gradient, whole_step

Array = Any
INTERRUPTED = "interrupted"


class Run:
    """A training that is under way: what callbacks and stop rules are given.

    *Attributes* `epoch`, `step`: how many epochs and steps of the optimizer are done. `batch`: how many batches were
    used; with `accumulate=k`, `k` of them make a step. `history`: a list for each name, with a value for each epoch.
    `loss`: of the last batch, an array. `grads`: of the last step, before clipping; not finite in one that was left out
    for that. `stopped_by`: why training ends,
    `None` while it goes on.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        batches: Batches,
        objective: Objective,
        metrics: list[Any],
        rule: StopRule,
        scaler: Any = None,
    ) -> None:
        self.model, self.optimizer, self.batches = model, optimizer, batches
        self.objective, self.rule = objective, rule
        self.meters = Meters(metrics)
        self.epoch = self.step = self.batch = 0
        self.history: dict[str, list[Any]] = {}
        self.loss: Array = None
        self.grads: Any = None
        self.stopped_by: str | None = None
        self.callbacks: list[Any] = []
        self.validation: Batches | None = None
        self.validation_meters: Meters | None = None
        self.schedule: Any = None
        self.schedule_per_step = False
        self.ema: Any = None
        self.scaler = scaler
        self.accumulator: Any = None
        self.bounds = Bounds()
        self.micro: MicroBatches | None = None
        self.watch = Watch(model)
        self._with_prediction = bool(metrics)
        function = objective.with_prediction if metrics else objective.value
        self._gradient = (
            value_and_grad(function, has_aux=bool(metrics))
            if scaler is None
            else scaled_gradient(function, scaler, bool(metrics))
        )
        self._finite: Array = None
        """Of the last step, whether its gradient was finite; `None` without a scaler, which asks."""
        self._whole: Any = None
        """All of a step in one function, where it is captured as one graph."""

    def compile(self) -> None:
        """Have loss and gradients recorded and replayed; the bits stay the same."""
        self._gradient = compile(self._gradient)

    def take_in_pieces(self, size: Any) -> None:
        """Have batches taken in pieces: of so many rows, or as the memory allows."""
        self.micro = MicroBatches(self._gradient, size, self._with_prediction)
        self._gradient = self.micro

    def compile_whole(self, with_grads: bool) -> None:
        """Have all of a step captured. `with_grads`: somebody looks at `grads`."""
        self._whole = compile(whole_step(self._gradient, self._update, with_grads))

    @property
    def _update(self) -> Update:
        return Update(self.optimizer, self.bounds, self.scaler, self.ema)

    # ---- what others ask

    @property
    def columns(self) -> list[str]:
        """The names that the history has."""
        extra = [] if self.validation_meters is None else self.validation_meters.names
        return [*self.meters.names, *extra]

    @property
    def left_out(self) -> bool:
        """Whether the last step has changed nothing, since its gradient was not finite. This waits for the device."""
        return self._finite is not None and not bool(self._finite)

    def higher_is_better(self, name: str) -> bool:
        found = {m.name: m.higher_is_better for m in self.meters.metrics}
        return bool(found.get(name.removeprefix("val_"), False))

    def stop(self, reason: str) -> None:
        """End the training after the step or epoch that is under way; the first reason counts."""
        if self.stopped_by is None:
            self.stopped_by = reason

    def weights(self) -> dict[str, Any]:
        """A copy of what the model is: its weights, or their average with `ema=`, and its buffers."""
        state = self.model.state_dict()
        if self.ema is not None:
            state.update((k, v) for k, v in self.ema.state["average"].items() if k in state)
        return {k: namespace_of(v).asarray(v, copy=True) for k, v in state.items()}

    # ---- the loop

    def train(self) -> None:
        """Epoch after epoch, until something stops it."""
        hooks = Hooks(self.callbacks)
        self.stopped_by = self.rule.at_start(self)
        call(hooks.on_train_begin, self)
        try:
            with Interrupts() as interrupts, mode(self.model, True):
                while self.stopped_by is None:
                    self._epoch(hooks, interrupts)
        except KeyboardInterrupt:
            self.stopped_by = INTERRUPTED
        finally:
            call(hooks.on_train_end, self)
        if self.stopped_by != INTERRUPTED:
            self.rule.end(self)

    def _epoch(self, hooks: Hooks, interrupts: Interrupts) -> None:
        call(hooks.on_epoch_begin, self)
        step = self._lbfgs_step if isinstance(self.optimizer, LBFGS) else self._step
        after_step = self.rule.after_step if looks_at_steps(self.rule) else None
        on_step_end, on_batch_end = hooks.on_step_end, hooks.on_batch_end
        batches = iter(self.batches)
        for batch in batches:
            stepped = step(batch)
            self.batch += 1
            if stepped:
                self._after_step(after_step, on_step_end)
            if interrupts.asked:
                self.stop(INTERRUPTED)
            for hook in on_batch_end:
                hook(self)
            if self.stopped_by is not None:
                if not self.batches.at_end:
                    self._cut_short()
                    return
                for _ in batches:  # none is left: the source learns that its epoch is over
                    break
                break
        if self.accumulator is not None and self.accumulator.count:
            self._use(self.accumulator.take())  # fewer batches than a step should have
            self._after_step(after_step, on_step_end)
        self._end_of_epoch(hooks, interrupts)

    def _after_step(self, after_step: Callable[[Any], str | None] | None, hooks: list[Any]) -> None:
        if after_step is not None and (reason := after_step(self)) is not None:
            self.stop(reason)
        for hook in hooks:
            hook(self)

    def _end_of_epoch(self, hooks: Hooks, interrupts: Interrupts) -> None:
        self.epoch += 1
        measured = self._measured()
        self._note(measured)
        if self.schedule is not None and not self.schedule_per_step:
            if isinstance(self.schedule, ReduceLROnPlateau):
                self.schedule.step(measured.get("val_loss", measured["loss"]))
            else:
                self.schedule.step()
        if (reason := self.rule.after_epoch(self)) is not None:
            self.stop(reason)
        if interrupts.asked:
            self.stop(INTERRUPTED)
        call(hooks.on_epoch_end, self)

    def _measured(self) -> dict[str, Any]:
        """What the epoch has given, and what the validation data give."""
        measured = self.meters.compute()
        self.watch.epoch(self, measured["loss"])
        self.meters.reset()
        if self.validation is not None and self.validation_meters is not None:
            averaged = contextlib.nullcontext() if self.ema is None else self.ema.applied()
            try:
                with averaged:
                    measured |= measure(
                        self.model,
                        self.validation,
                        self.objective,
                        self.validation_meters,
                        None if self.micro is None else self.micro.each_piece,
                    )
            except KeyboardInterrupt:
                self._note(measured)
                raise
        return measured

    def _note(self, measured: dict[str, Any]) -> None:
        for name in self.columns:
            self.history.setdefault(name, []).append(measured.get(name, math.nan))

    def _cut_short(self) -> None:
        """The history gets what there is of an epoch that was not finished."""
        interrupted = self.stopped_by == INTERRUPTED
        self._note(self.meters.compute() if interrupted else self._measured())

    # ---- a step

    def _step(self, batch: Any) -> bool:
        """Use a batch; true if the optimizer has made a step with it."""
        weigh = self.objective.weigh
        weight = None if weigh is None else weigh(batch)
        run = self._gradient if self._whole is None else self._whole
        value, grads = run(self.model, batch, weight)
        if self._with_prediction:
            value, prediction = value
        self.loss = value
        self.watch.step(self, value, grads, batch)
        count = rows_of(batch) if weight is None else namespace_of(weight).sum(weight)
        self.meters.loss.add(value, count)
        if self._with_prediction:
            self.meters.update(prediction, batch[1], weight)
        if self._whole is not None:
            self.grads, self._finite = grads
            self._stepped()
            return True
        if self.accumulator is not None:
            grads = self.accumulator.add(grads, count)
            if grads is None:
                return False
        self._use(grads)
        return True

    def _use(self, grads: Any) -> None:
        """A step of the optimizer, and what goes with it."""
        self.grads, self._finite = self._update(grads)
        self._stepped()

    def _stepped(self) -> None:
        if self.schedule_per_step:
            self.schedule.step()
        self.step += 1

    def _lbfgs_step(self, batch: Any) -> bool:
        """L-BFGS evaluates the loss of the batch several times; what is noted is the first evaluation."""
        first: list[Any] = []
        weigh = self.objective.weigh
        weight = None if weigh is None else weigh(batch)

        def closure() -> tuple[Any, Any]:
            value, grads = self._gradient(self.model, batch, weight)
            value, prediction = value if self._with_prediction else (value, None)
            if not first:
                self.loss, self.grads = value, grads
                self.watch.step(self, value, grads, batch)
                first.append(prediction)
            return value, grads

        self.optimizer.step(closure)
        count = rows_of(batch) if weight is None else namespace_of(weight).sum(weight)
        self.meters.loss.add(self.loss, count)
        if self._with_prediction:
            self.meters.update(first[0], batch[1], weight)
        if self.ema is not None:
            self.ema.step()
        self._stepped()
        return True

    # ---- saving

    def state_dict(self) -> dict[str, Any]:
        """All that a training is, beside model, optimizer, schedule and average."""
        gathered = None
        if self.accumulator is not None and self.accumulator.count:
            total = self.accumulator
            gathered = [total.count, float(total._weight), total._total]
        return {
            "epoch": self.epoch,
            "step": self.step,
            "batch": self.batch,
            "history": self.history,
            "meters": self.meters.state_dict(),
            "rule": self.rule.state_dict(),
            "batches": self.batches.state_dict(),
            "keys": random.get_state(),
            "gathered": gathered,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        like = next(iter(self.model.parameters().values()))
        if state["gathered"] is not None and self.accumulator is None:
            raise ArgumentError(
                "resume: the checkpoint was taken within a step of several batches; pass the same accumulate="
            )
        self.epoch, self.step, self.batch = state["epoch"], state["step"], state["batch"]
        self.history = {k: list(v) for k, v in state["history"].items()}
        self.meters.load_state_dict(state["meters"], like)
        self.rule.load_state_dict(state["rule"])
        self.batches.load_state_dict(state["batches"])
        random.set_state(state["keys"])
        if state["gathered"] is not None:
            count, weight, total = state["gathered"]
            self.accumulator.count, self.accumulator._weight = count, weight
            self.accumulator._total = trees.map(lambda x: rows.indices_like(x, like), total)


def looks_at_steps(rule: Any) -> bool:
    """Whether a rule, or one of those in it, is asked after each step."""
    if hasattr(rule, "rules"):
        return any(map(looks_at_steps, rule.rules))
    return type(rule).after_step is not StopRule.after_step
