"""Stop rules: what ends a training, alone and combined, and what it says."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.train import (
    EarlyStopping,
    GradientNorm,
    LossChange,
    MaxEpochs,
    MaxSteps,
    TargetMetric,
    WallTime,
)
from train.training import (
    VALIDATION,
    arrays,
    assert_same,
    classes,
    fit_classes,
    fit_line,
    line,
    mlp,
)


def test_epochs_are_told() -> None:
    assert re.search(r"\b3\b.*epochs", fit_classes(epochs=3).stopped_by)
    result = fit_classes(stop=MaxEpochs(2))
    assert (result.epochs, len(result.history["loss"])) == (2, 2)


def test_max_steps_ends_in_the_middle_of_an_epoch() -> None:
    result = fit_classes(stop=[MaxSteps(6)])
    assert result.steps == 6
    assert re.search(r"\b6\b.*steps", result.stopped_by)
    assert fit_classes(stop=MaxSteps(4)).steps == 4  # the end of an epoch


def test_gradient_norm_says_both_numbers_and_the_step() -> None:
    model = bp.nn.Linear(3, 1)
    optimizer = bp.optim.SGD(model, lr=0.3)
    result = fit_line(
        model, optimizer=optimizer, batch_size=40, stop=GradientNorm(1e-4), epochs=1000
    )
    text = r"gradient norm (\S+) < (1e-04|0\.0001) at step (\d+)"
    found = re.fullmatch(text, result.stopped_by)
    assert found, result.stopped_by
    assert float(found[1]) < 1e-4
    assert int(found[3]) == result.steps < 1000
    _, grads = bp.value_and_grad(lambda m: bp.functional.mse_loss(m(line()[0]), line()[1]))(model)
    assert float(bp.optim.grad_norm(grads)) < 1e-4


def test_gradient_norm_looks_at_every_so_many_steps() -> None:
    result = fit_line(stop=GradientNorm(1e9, every=7), epochs=9)
    assert result.steps == 7


def test_gradient_norm_is_that_before_clipping() -> None:
    result = fit_line(stop=GradientNorm(1e-2), clip_grad_norm=1e-6, epochs=2)
    assert "epochs" in result.stopped_by


def test_loss_change_needs_patience() -> None:
    model = bp.nn.Linear(3, 1)
    options: dict[str, Any] = {"batch_size": 40, "epochs": 1000}
    result = fit_line(model, stop=LossChange(1e-3, patience=3), **options)
    changes = np.abs(np.diff(result.history["loss"]))
    assert (changes[-3:] < 1e-3).all()
    assert changes[-4] >= 1e-3
    assert re.search(r"change of loss \S+ < 0\.001", result.stopped_by)


def test_target_metric_knows_which_way_is_better() -> None:
    result = fit_classes(metrics=["accuracy"], stop=TargetMetric("accuracy", 0.9), epochs=200)
    assert result.history["accuracy"][-1] >= 0.9
    assert all(v < 0.9 for v in result.history["accuracy"][:-1])
    assert "accuracy" in result.stopped_by
    assert "0.9" in result.stopped_by
    lower = fit_line(stop=TargetMetric("loss", 0.5), epochs=200)
    assert lower.history["loss"][-1] <= 0.5 < lower.history["loss"][-2]


def test_wall_time_ends_after_the_running_step() -> None:
    start = time.perf_counter()
    result = fit_line(stop=WallTime(0.2))
    assert 0.2 <= time.perf_counter() - start < 5
    assert re.search(r"0\.2", result.stopped_by)
    assert result.steps > 0


class Scripted(bp.train.Callback):
    """Puts values into the history, so that a rule can be followed."""

    def __init__(self, model: Any, values: list[float], column: str) -> None:
        self.model, self.values, self.column = model, values, column
        self.weights: list[Any] = []

    def on_epoch_end(self, run: Any) -> None:
        self.weights.append(arrays(self.model))


class Worse(bp.nn.Module):
    """A layer whose loss falls for 3 epochs and rises after."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = bp.nn.Parameter(np.zeros(1, "float32"))

    def forward(self, x: Any) -> Any:
        return self.weight + 0 * x


def falling_then_rising() -> tuple[Any, dict[str, Any]]:
    """Weights 0, 1, 2 ... after the epochs; the loss of validation is least at 3."""
    model = Worse()
    x = np.ones((4, 1), "float32")
    options = {
        "data": (x, x),
        "objective": lambda model, x, y: -model(x).mean() if model.training else ((model(x) - 3 * y) ** 2).mean(),
        "optimizer": bp.optim.SGD(model, lr=1.0),
        "batch_size": 4,
        "validation": (x, x),
    }  # fmt: skip
    return model, options


@pytest.mark.parametrize(("restore", "weight"), [(True, 3.0), (False, 5.0)])
def test_early_stopping_goes_back_to_the_best_weights(restore: bool, weight: float) -> None:
    model, options = falling_then_rising()
    rule = EarlyStopping(f"{VALIDATION}loss", patience=2, restore_best=restore)
    result = fit_classes(model, stop=rule, epochs=50, **options)
    assert result.history[f"{VALIDATION}loss"] == [4.0, 1.0, 0.0, 1.0, 4.0]
    assert float(model.weight[0]) == weight
    assert f"{VALIDATION}loss" in result.stopped_by
    assert re.search(r"\b2 epochs", result.stopped_by)
    assert "epoch 3" in result.stopped_by


def test_early_stopping_watches_the_validation_loss_by_itself() -> None:
    _, options = falling_then_rising()
    model = options["optimizer"].params
    result = fit_classes(model, stop=EarlyStopping(patience=1), epochs=50, **options)
    assert result.epochs == 4


def test_early_stopping_asks_for_more_than_min_delta() -> None:
    model, options = falling_then_rising()
    rule = EarlyStopping(f"{VALIDATION}loss", patience=1, min_delta=2.0)
    assert fit_classes(model, stop=rule, epochs=50, **options).epochs == 3
    assert float(model.weight[0]) == 2.0  # after 4.0, 1.0 was better by 3, 0.0 by no more than 1


def test_early_stopping_restores_running_statistics_too() -> None:
    model = mlp(3, 3, bp.nn.BatchNorm1d(8))
    seen = Scripted(model, [], "")
    rule = EarlyStopping(f"{VALIDATION}loss", patience=2)
    optimizer = bp.optim.SGD(model, lr=5.0)
    result = fit_classes(
        model, optimizer=optimizer, stop=rule, epochs=60, validation=classes(30), callbacks=[seen]
    )
    best = int(np.argmin(result.history[f"{VALIDATION}loss"]))
    assert best < result.epochs - 1
    assert_same(arrays(model), seen.weights[best])


def test_any_and_all() -> None:
    assert fit_classes(stop=MaxSteps(3) | MaxSteps(5)).steps == 3
    both = fit_classes(stop=MaxSteps(3) & MaxSteps(5))
    assert both.steps == 5
    assert both.stopped_by.count("steps") == 2
    # a rule of epochs and one of steps: each keeps its verdict until it is asked again
    mixed = fit_classes(stop=MaxEpochs(2) & MaxSteps(9), batch_size=16)
    assert mixed.steps == 9
    assert fit_classes(stop=[MaxSteps(3), MaxEpochs(9)], epochs=4).steps == 3
    nested = fit_classes(stop=(MaxSteps(2) & MaxSteps(3)) | MaxSteps(7))
    assert nested.steps == 3


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: MaxEpochs(0), "MaxEpochs.*1.*0"),
        (lambda: MaxSteps(0), "MaxSteps.*1.*0"),
        (lambda: GradientNorm(0.0), "tol"),
        (lambda: GradientNorm(float("nan")), "tol"),
        (lambda: GradientNorm(1e-3, every=0), "every"),
        (lambda: LossChange(-1.0), "tol"),
        (lambda: LossChange(1e-3, patience=0), "patience"),
        (lambda: EarlyStopping(patience=0), "patience"),
        (lambda: EarlyStopping(min_delta=-1.0), "min_delta"),
        (lambda: WallTime(0), "seconds"),
    ],
)  # fmt: skip
def test_options_out_of_range_are_told(make: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        make()


@pytest.mark.parametrize("rule", [TargetMetric("acuracy", 1.0), EarlyStopping("acuracy")])
def test_a_column_that_is_not_measured_is_told_with_those_that_are(rule: Any) -> None:
    model = mlp()
    before = arrays(model)
    with pytest.raises(bp.errors.ArgumentError, match=r"acuracy.*loss, accuracy"):
        fit_classes(model, metrics=["accuracy"], stop=rule, epochs=2)
    assert_same(before, arrays(model))


def test_the_validation_loss_needs_validation_data() -> None:
    with pytest.raises(bp.errors.ArgumentError, match="validation"):
        fit_classes(stop=EarlyStopping(f"{VALIDATION}loss"), epochs=2)


def test_a_rule_of_ones_own() -> None:
    class Small(bp.train.StopRule):
        def after_step(self, run: Any) -> str | None:
            return f"loss {float(run.loss):.2f}" if float(run.loss) < 0.5 else None

    result = fit_classes(stop=Small() | MaxEpochs(100))
    assert result.stopped_by.startswith("loss 0.")


def test_what_is_no_rule_is_told() -> None:
    with pytest.raises(bp.errors.ArgumentError, match="stop"):
        fit_classes(stop=["early"])
    with pytest.raises(bp.errors.ArgumentError, match="MaxSteps"):
        fit_classes(stop=MaxSteps)
