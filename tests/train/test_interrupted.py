"""Ctrl-C: the result so far, and weights that are whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.functional import cross_entropy
from train.training import VALIDATION, arrays, assert_same, classes, fit_classes, mlp


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """A job in the background of a shell is started with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class CtrlC(bp.train.Callback):
    def __init__(self, step: int, *, by_signal: bool) -> None:
        self.step, self.by_signal = step, by_signal

    def on_step_end(self, run: Any) -> None:
        if run.step == self.step:
            if not self.by_signal:
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)


def interrupted(step: int, by_signal: bool = True, **options: Any) -> tuple[Any, Any]:
    model = mlp()
    callbacks = [CtrlC(step, by_signal=by_signal)]
    return fit_classes(model, callbacks=callbacks, epochs=9, **options), model


@pytest.mark.parametrize("by_signal", [True, False])
def test_ctrl_c_returns_the_result_so_far(by_signal: bool) -> None:
    result, model = interrupted(10, by_signal)
    assert "interrupted" in result.stopped_by
    assert (result.epochs, result.steps) == (2, 10)
    assert len(result.history["loss"]) >= 2
    other = mlp()
    fit_classes(other, stop=bp.train.MaxSteps(10))
    assert_same(arrays(model), arrays(other))


def test_the_columns_stay_of_one_length() -> None:
    result, _ = interrupted(6, metrics=["accuracy"], validation=classes(20))
    assert len({len(column) for column in result.history.values()}) == 1


def test_in_the_middle_of_a_step_the_step_is_finished_first() -> None:
    model, other = mlp(), mlp()
    calls: list[int] = []

    def loss(prediction: Any, target: Any) -> Any:
        calls.append(1)
        if model.training and len(calls) == 9:
            signal.raise_signal(signal.SIGINT)
        return cross_entropy(prediction, target)

    result = fit_classes(model, loss=loss, epochs=9)
    assert "interrupted" in result.stopped_by
    fit_classes(other, stop=bp.train.MaxSteps(result.steps))
    assert_same(arrays(model), arrays(other))


def test_a_second_ctrl_c_ends_at_once() -> None:
    def loss(prediction: Any, target: Any) -> Any:
        if calls:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("it went on")
        return cross_entropy(prediction, target)

    calls: list[int] = []

    class Begun(bp.train.Callback):
        def on_epoch_end(self, run: Any) -> None:
            calls.append(1)

    try:
        result = fit_classes(loss=loss, callbacks=[Begun()], epochs=5)
    except KeyboardInterrupt:
        return
    assert "interrupted" in result.stopped_by


@pytest.mark.parametrize("times", [1, 2])
def test_while_validating(times: int) -> None:
    """The first Ctrl-C lets the validation end, a second one does not; the epoch is in the history."""

    class Interrupts(bp.nn.Module):
        armed = False

        def forward(self, x: Any) -> Any:
            if not self.training and self.armed:
                self.armed = False
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            return x

    class Arm(bp.train.Callback):
        def on_epoch_begin(self, run: Any) -> None:
            layer.armed = run.epoch == 1

    layer = Interrupts()
    model = mlp(3, 3, layer)
    result = fit_classes(model, validation=classes(20), callbacks=[Arm()], epochs=9)
    assert "interrupted" in result.stopped_by
    assert (result.epochs, result.steps) == (2, 8)
    assert [len(column) for column in result.history.values()] == [2, 2]
    assert np.isnan(result.history[f"{VALIDATION}loss"][1]) == (times == 2)
    assert all(m.training for m in model.modules())


def test_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupted(3)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(bp.errors.BpgpuError):
        fit_classes(batch_size=0)
    assert signal.getsignal(signal.SIGINT) is before


def test_fit_runs_in_another_thread() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(fit_classes()))
    thread.start()
    thread.join()
    assert len(found[0].history["loss"]) == 2


def test_an_interrupted_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    whole, parts = mlp(), mlp()
    wanted = fit_classes(whole, epochs=5)
    first = fit_classes(parts, callbacks=[CtrlC(6, by_signal=True)], epochs=5, checkpoint=path)
    assert "interrupted" in first.stopped_by
    again = mlp()
    found = fit_classes(again, epochs=5, checkpoint=path, resume=True)
    assert found.history == wanted.history
    assert_same(arrays(again), arrays(whole))
