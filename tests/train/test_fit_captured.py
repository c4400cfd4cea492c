"""`fit` on CUDA: the whole step is captured as one graph, and trains as the step does. On a simulated CuPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import cupy_on_numpy as fake
from bpgpu.train.run import Run

nn, F, optim = bp.nn, bp.functional, bp.optim
x = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
y = np.random.default_rng(1).integers(0, 5, 64)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What `fit` has compiled: whole steps, in order."""
    made: list[Any] = []
    compile_whole = Run.compile_whole

    def noted(run: Run, **options: Any) -> None:
        compile_whole(run, **options)
        made.append(run._whole)

    monkeypatch.setattr(Run, "compile_whole", noted)
    for _ in fake.installed(monkeypatch):
        yield made


def trained(**options: Any) -> Any:
    bp.seed(0)
    model = nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 5)
    )
    opt = optim.AdamW(model, lr=1e-2)
    if options.pop("scheduled", False):
        options["schedule"] = (optim.lr_scheduler.CosineAnnealingLR(opt, 40), "step")
    given = {"loss": F.cross_entropy, "epochs": 5, "batch_size": 10, "progress": False} | options
    result = bp.fit(model, (x, y), optimizer=opt, **given)
    assert str(result.device) == "cuda:0"
    return result.history, bp.to_numpy(model.state_dict())


def assert_same(options: dict[str, Any]) -> None:
    history, weights = trained(**options)
    expected, expected_weights = trained(**options, compile=False)
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-6, err_msg=name)
    for name, values in expected_weights.items():
        np.testing.assert_allclose(weights[name], values, rtol=1e-5, atol=1e-7, err_msg=name)


OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a schedule, bounds and an average": {
        "scheduled": True,
        "clip_grad_norm": 1.0,
        "clip_grad_value": 0.5,
        "ema": 0.9,
    },
    "metrics and validation": {"metrics": ["accuracy"], "validation": (x, y)},
    "weights": {"class_weight": [1.0, 2.0, 1.0, 1.0, 3.0]},
    "a scaled loss": {"precision": "fp16", "clip_grad_norm": 1.0},
}


@pytest.mark.parametrize("what", OPTIONS)
def test_a_captured_training_is_the_same(what: str, steps: list[Any]) -> None:
    assert_same(OPTIONS[what])
    (step,) = steps
    assert step.reason is None
    assert step.replays > 20  # of 35 steps: two sizes of batches are warmed up and tested


def test_gradients_are_there_for_rules_and_callbacks_that_look_at_them(steps: list[Any]) -> None:
    seen: list[Any] = []

    class Look(bp.train.Callback):
        def on_step_end(self, run: Any) -> None:
            seen.append(float(bp.to_numpy(abs(run.grads["0.weight"]).sum())))

    trained(callbacks=[Look()])
    assert steps[0].replays > 20
    assert len(set(seen)) == 35


PARTS = {
    "accumulate": {"accumulate": 2},
    "each step is looked at": {"check_finite": "steps"},
}


@pytest.mark.parametrize("what", PARTS)
def test_where_something_stands_between_gradient_and_update_the_gradient_is_captured(
    what: str, steps: list[Any]
) -> None:
    assert_same(PARTS[what])
    assert steps == []


def test_without_compile_nothing_is_captured(steps: list[Any]) -> None:
    trained(compile=False)
    assert steps == []


def test_an_objective_of_ones_own_is_captured_where_it_is_asked_for(steps: list[Any]) -> None:
    def objective(model: Any, x: Any, y: Any) -> Any:
        return F.cross_entropy(model(x), y)

    trained(loss=None, objective=objective)
    assert steps == []
    trained(loss=None, objective=objective, compile=True)
    assert steps[0].replays > 20
