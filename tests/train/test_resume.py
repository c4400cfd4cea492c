"""A training that was cut off and resumed ends with the bits of one that never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.functional import cross_entropy
from bpgpu.train import Checkpoint, EarlyStopping, LossChange, MaxSteps
from train.training import VALIDATION, arrays, assert_same, classes, fit_classes, mlp


class Killed(Exception):  # noqa: N818 - what happens to it
    """The process is gone."""


class KillAt(bp.train.Callback):
    """Ends a training in the middle, as a loss of power would: nothing is tidied up."""

    def __init__(self, batch: int) -> None:
        self.batch, self.seen = batch, 0

    def on_batch_end(self, run: Any) -> None:
        self.seen += 1
        if self.seen == self.batch:
            raise Killed


def everything(path: Any = None, *, kill: int = 0, resume: bool = False, **more: Any) -> Any:
    """A training with all that has a state."""
    bp.seed(7)
    model = mlp(3, 3, bp.nn.BatchNorm1d(8), bp.nn.Dropout)
    optimizer = bp.optim.AdamW(model, lr=0.02)
    noise = bp.random.next_key

    def objective(model: Any, x: Any, y: Any) -> Any:
        drawn = bp.random.normal(noise(), x.shape, dtype="float32") if model.training else 0
        return cross_entropy(model(x + 0.1 * drawn), y)

    options: dict[str, Any] = {
        "optimizer": optimizer,
        "schedule": (bp.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40), "step"),
        "ema": 0.9,
        "accumulate": 2,
        "batch_size": 8,
        "epochs": 6,
        "clip_grad_norm": 1.0,
        "validation": classes(20),
        "stop": [EarlyStopping(patience=3), LossChange(1e-9, 2) & MaxSteps(1000)],
        **more,
    }
    if "metrics" not in options:
        options["objective"] = objective
    if path is not None:
        options["checkpoint"] = Checkpoint(path, every_steps=1)
        options["resume"] = resume
        options["callbacks"] = [KillAt(kill)] if kill else []
    result = fit_classes(model, **options)
    states = {
        **arrays(model),
        **{f"ema.{k}": v for k, v in result.ema.params.items()},
        **{f"{k}.{n}": v for k, s in optimizer.state_dict()["state"].items() for n, v in s.items()},
    }
    return states, result, bp.random.get_state()


def same(a: Any, b: Any) -> None:
    assert_same(a[0], b[0])
    assert a[1].history == b[1].history
    assert (a[1].steps, a[1].epochs, a[1].stopped_by) == (b[1].steps, b[1].epochs, b[1].stopped_by)
    assert a[2] == b[2]


@pytest.mark.parametrize("batch", [2, 3, 8, 9, 21, 24, 41])
def test_a_killed_training_goes_on_bit_for_bit(tmp_path: Path, batch: int) -> None:
    """60 rows in batches of 8 are 8 batches; 2 make a step: 3 and 21 are in the middle of one."""
    path = tmp_path / "run.safetensors"
    with pytest.raises(Killed):
        everything(path, kill=batch)
    same(everything(path, resume=True), everything())


def test_metrics_are_resumed_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    metrics: dict[str, Any] = {
        "metrics": ["accuracy", "f1_macro", "confusion_matrix"],
        "sample_weight": np.linspace(1, 2, 60),
    }
    with pytest.raises(Killed):
        everything(path, kill=13, **metrics)
    found, wanted = everything(path, resume=True, **metrics), everything(**metrics)
    assert_same(found[0], wanted[0])
    for name, column in wanted[1].history.items():
        np.testing.assert_array_equal(found[1].history[name], column, err_msg=name)


def test_several_kills(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    for kill in (5, 11, 1, 7, 1):
        with pytest.raises(Killed):
            everything(path, kill=kill, resume=True)
    same(everything(path, resume=True), everything())


def test_resume_without_a_file_begins_anew(tmp_path: Path) -> None:
    same(everything(tmp_path / "run.safetensors", resume=True), everything())


def test_a_finished_training_that_is_resumed_does_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    first = everything(path)
    again = everything(path, resume=True)
    same(again, first)


def test_a_longer_training_goes_on_from_the_end(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    options: dict[str, Any] = {"stop": ()}
    everything(path, epochs=2, **options)
    same(everything(path, resume=True, epochs=5, **options), everything(epochs=5, **options))


def test_rules_may_come_and_go(tmp_path: Path) -> None:
    """A limit of steps cuts a training off; without it, and with others, it goes on to the same end."""
    path = tmp_path / "run.safetensors"
    wanted = fit_classes(epochs=4, stop=EarlyStopping("loss", patience=9)).history
    fit_classes(checkpoint=path, epochs=4, stop=[MaxSteps(6), EarlyStopping("loss", patience=9)])
    rules = LossChange(1e-9) & MaxSteps(99)
    found = fit_classes(
        checkpoint=path, resume=True, epochs=4, stop=[rules, EarlyStopping("loss", patience=9)]
    )
    assert found.history == wanted


def test_the_best_weights_outlive_a_kill(tmp_path: Path) -> None:
    """The best epoch lies before the kill; its weights come back in the end."""
    path = tmp_path / "run.safetensors"

    def train(resume: bool, kill: int) -> Any:
        model = mlp()
        result = fit_classes(
            model,
            optimizer=bp.optim.SGD(model, lr=8.0),
            epochs=30,
            stop=EarlyStopping(f"{VALIDATION}loss", patience=4),
            validation=classes(30),
            checkpoint=path,
            resume=resume,
            callbacks=[KillAt(kill)] if kill else [],
        )
        return arrays(model), result

    wanted = train(False, 0)
    path.unlink()
    best = int(np.argmin(wanted[1].history[f"{VALIDATION}loss"])) + 1
    with pytest.raises(Killed):
        train(False, 4 * (best + 1) + 2)
    found = train(True, 0)
    assert_same(found[0], wanted[0])
    assert found[1].history == wanted[1].history


@pytest.mark.parametrize("kind", ["list", "loader", "iterable"])
def test_other_data_are_taken_up_in_the_middle_too(tmp_path: Path, kind: str) -> None:
    x, y = classes()
    parts = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 60, 8)]

    class Batches:
        def __iter__(self) -> Any:
            return iter(parts)

    def data() -> Any:
        if kind == "loader":
            return bp.data.DataLoader((x, y), 8, shuffle=True, seed=4)
        return parts if kind == "list" else Batches()

    def train(kill: int, resume: bool, name: str) -> Any:
        model = mlp()
        result = fit_classes(
            model,
            data(),
            optimizer=bp.optim.SGD(model, lr=0.1, momentum=0.9),
            epochs=3,
            checkpoint=Checkpoint(tmp_path / name, every_steps=1),
            resume=resume,
            callbacks=[KillAt(kill)] if kill else [],
        )
        return arrays(model), result.history

    with pytest.raises(Killed):
        train(11, False, "cut")
    found, wanted = train(0, True, "cut"), train(0, False, "whole")
    assert_same(found[0], wanted[0])
    assert found[1] == wanted[1]


def test_a_checkpoint_of_another_model_is_told_and_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    fit_classes(checkpoint=path)
    model = mlp(3, 3, bp.nn.BatchNorm1d(8))
    before, keys = arrays(model), bp.random.get_state()
    with pytest.raises(bp.errors.CheckpointError):
        fit_classes(model, resume=path)
    assert_same(before, arrays(model))
    assert bp.random.get_state() == keys


def test_a_file_that_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"no checkpoint at all")
    with pytest.raises(bp.errors.CheckpointError):
        fit_classes(checkpoint=path, resume=True)
    bp.save(path, model=mlp())
    with pytest.raises(bp.errors.CheckpointError, match=r"resume|optimizer"):
        fit_classes(checkpoint=path, resume=True)


def test_so_many_checkpoints_are_kept(tmp_path: Path) -> None:
    fit_classes(checkpoint=Checkpoint(tmp_path / "run.st", every_epochs=1, keep=3), epochs=6)
    files = sorted(tmp_path.iterdir())
    assert 3 <= len(files) <= 4
    assert all(set(bp.load(file)) >= {"model", "optimizer"} for file in files)


def test_a_checkpoint_is_written_every_so_many_epochs(tmp_path: Path) -> None:
    times: list[float] = []

    class Watch(bp.train.Callback):
        def on_epoch_end(self, run: Any) -> None:
            times.append(path.stat().st_mtime_ns if path.exists() else 0)

    path = tmp_path / "run.st"
    fit_classes(checkpoint=Checkpoint(path, every_epochs=2), callbacks=[Watch()], epochs=5)
    assert len(set(times)) == 3  # none, after 2, after 4
    assert bp.load(path)["training"]["epoch"] == 5  # and at the end


def test_a_loader_of_ones_own_is_taken_up_at_the_end_of_its_epoch(tmp_path: Path) -> None:
    x, y = classes(20)

    def train(**options: Any) -> dict[str, Any]:
        model = mlp()
        loader = bp.data.DataLoader((x, y), 8, shuffle=True, seed=0)
        fit_classes(model, loader, device="cpu", epochs=2, **options)
        return model.state_dict()

    class Dies(bp.train.Callback):
        def on_epoch_end(self, run: Any) -> None:
            raise RuntimeError("dies before the epoch is saved")

    saved = Checkpoint(tmp_path / "run.st", every_steps=3)  # an epoch has 3 batches
    with pytest.raises(RuntimeError, match="dies"):
        train(checkpoint=saved, callbacks=[Dies()])
    resumed, whole = train(checkpoint=saved, resume=True), train()
    assert all(np.array_equal(resumed[name], whole[name]) for name in whole)


def test_a_larger_bound_within_rules_joined_by_and_goes_on(tmp_path: Path) -> None:
    model = mlp()
    options: dict[str, Any] = {
        "optimizer": bp.optim.SGD(model, lr=0.1),
        "checkpoint": tmp_path / "run.st",
    }
    bound = bp.train.MaxEpochs(1)
    first = fit_classes(model, stop=bp.train.MaxSteps(4) & bound, **options)
    again = fit_classes(model, stop=bp.train.MaxSteps(9) & bound, resume=True, **options)
    assert (first.steps, again.steps) == (4, 9)
    assert again.stopped_by == "reached 9 steps and reached 1 epoch"
