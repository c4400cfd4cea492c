"""`fit` trains: data of every kind, history, metrics, and the same numbers as a loop of one's own."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.functional import cross_entropy, mse_loss
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


def test_digits_are_learned_with_history_and_metrics() -> None:
    train, test = bp.data.digits().split(0.2, seed=0, standardize=True)
    bp.seed(0)
    model = bp.nn.Sequential(bp.nn.Linear(64, 32), bp.nn.ReLU(), bp.nn.Linear(32, 10))
    result = bp.fit(
        model,
        train,
        loss=cross_entropy,
        optimizer=bp.optim.AdamW(model, lr=3e-3),
        epochs=8,
        metrics=["accuracy"],
        validation=test,
        progress=False,
    )
    names = ["loss", "accuracy", f"{VALIDATION}loss", f"{VALIDATION}accuracy"]
    assert sorted(result.history) == sorted(names)
    assert [len(column) for column in result.history.values()] == [8, 8, 8, 8]
    assert result.history[f"{VALIDATION}accuracy"][-1] > 0.95
    measured = bp.evaluate(model, test, loss=cross_entropy, metrics=["accuracy"])
    assert measured["loss"] == pytest.approx(result.history[f"{VALIDATION}loss"][-1], rel=1e-6)
    assert measured["accuracy"] == pytest.approx(result.history[f"{VALIDATION}accuracy"][-1])


def test_fit_is_the_loop_of_five_lines() -> None:
    mine, theirs = mlp(3, 1), mlp(3, 1)
    optimizer = bp.optim.SGD(mine, lr=0.05, momentum=0.9)
    loader = bp.data.DataLoader(line(), 8, shuffle=True, seed=3)
    losses = []
    for _ in range(4):
        for x, y in loader:
            value, grads = bp.value_and_grad(lambda m, x=x, y=y: mse_loss(m(x), y))(mine)
            optimizer.step(grads)
            losses.append(float(value))
    result = fit_line(
        theirs,
        optimizer=bp.optim.SGD(theirs, lr=0.05, momentum=0.9),
        epochs=4,
        batch_size=8,
        seed=3,
    )
    assert_same(arrays(mine), arrays(theirs))
    assert result.history["loss"] == pytest.approx(np.reshape(losses, (4, 5)).mean(1), rel=1e-6)


def test_the_loss_of_an_epoch_counts_examples_and_not_batches() -> None:
    model = bp.nn.Linear(3, 1)
    before = float(mse_loss(model(line(10)[0]), line(10)[1]))
    result = fit_line(
        model, line(10), optimizer=bp.optim.SGD(model, lr=0.0), epochs=1, batch_size=4
    )
    assert result.history["loss"] == pytest.approx([before], rel=1e-6)
    assert result.steps == 3


def test_the_seed_alone_decides_the_order() -> None:
    runs = [fit_classes(mlp(), seed=seed).history["loss"] for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_without_shuffling_the_rows_come_in_their_order() -> None:
    seen: list[Any] = []

    def objective(model: Any, x: Any, y: Any) -> Any:
        seen.append(y)
        return cross_entropy(model(x), y)

    fit_classes(objective=objective, epochs=1, shuffle=False)
    np.testing.assert_array_equal(np.concatenate(seen[-4:]), classes()[1])


# ---- data


def test_every_kind_of_data_trains_alike() -> None:
    x, y = classes()
    parts = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 60, 16)]

    class Batches:
        def __iter__(self) -> Any:
            return iter(parts)

    class Examples:
        def __len__(self) -> int:
            return 60

        def __getitem__(self, i: int) -> Any:
            return x[i], y[i]

    kinds = {
        "arrays": (x, y),
        "loader": bp.data.DataLoader((x, y), 16),
        "list of batches": parts,
        "iterable": Batches(),
        "examples": Examples(),
        "data set": bp.data.Dataset((x, y)),
    }
    found = {}
    for name, data in kinds.items():
        model = mlp()
        result = fit_classes(model, data, shuffle=False, epochs=3)
        assert len(result.history["loss"]) == 3, name
        assert result.steps == 12, name
        found[name] = arrays(model)
    for name, weights in found.items():
        assert_same(weights, found["arrays"])
        assert name in kinds


def test_a_generator_lasts_for_one_epoch() -> None:
    x, y = classes()
    model = mlp()
    result = fit_classes(
        model, ((x[i : i + 16], y[i : i + 16]) for i in range(0, 60, 16)), epochs=1
    )
    assert (result.steps, len(result.history["loss"])) == (4, 1)
    other = mlp()
    fit_classes(other, epochs=1, shuffle=False)
    assert_same(arrays(model), arrays(other))  # no batch was used up by a check


def test_a_model_may_take_several_inputs() -> None:
    class Sum(bp.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = bp.nn.Linear(3, 1), bp.nn.Linear(3, 1)

        def forward(self, p: Any, q: Any) -> Any:
            return self.a(p) + self.b(q)

    x, y = line()
    result = fit_line(Sum(), ((x, 2 * x), y), epochs=3, validation=((x, 2 * x), y))
    assert result.history["loss"][-1] < result.history["loss"][0]


def test_an_objective_takes_the_parts_of_a_batch() -> None:
    x, _ = line()
    model = bp.nn.Linear(3, 3)

    def objective(model: Any, x: Any) -> Any:
        return mse_loss(model(x), x)

    result = fit_classes(model, (x,), objective=objective, epochs=5)
    alone = fit_classes(bp.nn.Linear(3, 3), x, objective=objective, epochs=1)
    assert result.history["loss"][-1] < result.history["loss"][0]
    assert len(alone.history["loss"]) == 1


def test_an_objective_is_validated_too() -> None:
    def objective(model: Any, x: Any, y: Any) -> Any:
        return cross_entropy(model(x), y)

    history = fit_classes(objective=objective, validation=classes(20)).history
    assert sorted(history) == sorted(["loss", f"{VALIDATION}loss"])


def test_a_loss_may_be_a_layer_or_a_function_of_ones_own() -> None:
    losses = [cross_entropy, bp.nn.CrossEntropyLoss(), lambda p, t: cross_entropy(p, t)]
    runs = [fit_classes(mlp(), loss=loss).history["loss"] for loss in losses]
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("batch_size", [1, 7, 59, 60, 100])
def test_every_batch_size_goes_through_all_rows(batch_size: int) -> None:
    result = fit_classes(batch_size=batch_size, epochs=1, metrics=["accuracy"])
    assert result.steps == -(-60 // batch_size)


def test_one_row_is_enough() -> None:
    assert fit_line(data=line(1), epochs=3).steps == 3


def test_lbfgs_trains_on_the_whole_data_set() -> None:
    model = bp.nn.Linear(3, 1)
    optimizer = bp.optim.LBFGS(model, line_search_fn="strong_wolfe")
    result = fit_line(model, optimizer=optimizer, epochs=3, batch_size=40, metrics=["mae"])
    assert result.history["loss"][-1] < 1e-8
    assert result.history["loss"][0] > 0.1


# ---- validation, metrics, history


def test_validation_runs_in_eval_mode_and_training_in_train_mode() -> None:
    modes: list[bool] = []

    class Watch(bp.nn.Module):
        def forward(self, x: Any) -> Any:
            modes.append(self.training)
            return x

    model = mlp(3, 3, Watch())
    modes.clear()
    fit_classes(model, epochs=1, batch_size=60, validation=classes(10))
    assert modes[-2:] == [True, False]
    assert all(m.training for m in model.modules())


def test_validation_leaves_running_statistics_alone() -> None:
    a, b = (mlp(3, 3, bp.nn.BatchNorm1d(8)) for _ in range(2))
    fit_classes(a)
    fit_classes(b, validation=classes(20))
    assert_same(arrays(a), arrays(b))


def test_metrics_by_name_object_and_function() -> None:
    def wrong(prediction: Any, target: Any) -> Any:
        xp = bp.array_namespace(prediction)
        return xp.mean(xp.astype(xp.argmax(prediction, axis=1) != target, xp.float32))

    chosen = ["accuracy", bp.train.metrics.F1("macro", name="f"), wrong]
    history = fit_classes(metrics=chosen, epochs=4).history
    accuracy = np.asarray(history["accuracy"])
    assert {"loss", "accuracy", "f"} <= set(history)
    np.testing.assert_allclose(1 - accuracy, history["wrong"], atol=1e-6)
    assert all(isinstance(v, float) for column in history.values() for v in column)


def test_the_history_is_plain_and_goes_into_a_csv_file(tmp_path: Path) -> None:
    result = fit_classes(metrics=["accuracy"], validation=classes(20), epochs=3)
    assert type(result.history) is dict
    assert all(type(column) is list for column in result.history.values())
    result.to_csv(tmp_path / "history.csv")
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for name, column in result.history.items():
        assert [float(row[name]) for row in rows] == column


def test_a_csv_file_without_a_folder_is_told(tmp_path: Path) -> None:
    result = fit_classes()
    with pytest.raises(bp.errors.StorageError, match="folder"):
        result.to_csv(tmp_path / "no" / "history.csv")


# ---- callbacks


class Calls(bp.train.Callback):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_begin(self, run: Any) -> None:
        self.seen.append("begin")

    def on_epoch_begin(self, run: Any) -> None:
        self.seen.append(("epoch", run.epoch))

    def on_step_end(self, run: Any) -> None:
        self.seen.append((run.step, float(run.loss), sorted(run.grads)))

    def on_epoch_end(self, run: Any) -> None:
        self.seen.append(("end", run.epoch, len(run.history["loss"])))

    def on_train_end(self, run: Any) -> None:
        self.seen.append("done")


def test_callbacks_see_the_training() -> None:
    calls = Calls()
    model = mlp()
    fit_classes(model, callbacks=[calls], epochs=2, batch_size=30)
    kinds = [c if isinstance(c, str) else c[0] for c in calls.seen]
    assert kinds == ["begin", "epoch", 1, 2, "end", "epoch", 3, 4, "end", "done"]
    assert [c[1:] for c in calls.seen if c[0] == "end"] == [(1, 1), (2, 2)]
    assert calls.seen[2][2] == sorted(model.parameters())


def test_a_callback_can_stop_the_training() -> None:
    class Enough(bp.train.Callback):
        def on_step_end(self, run: Any) -> None:
            if run.step == 3:
                run.stop("that is enough")

    result = fit_classes(callbacks=[Enough()], epochs=9)
    assert (result.steps, result.stopped_by) == (3, "that is enough")


def test_an_error_in_a_callback_leaves_and_the_others_are_told() -> None:
    class Broken(bp.train.Callback):
        def on_epoch_end(self, run: Any) -> None:
            raise RuntimeError("mine")

    calls = Calls()
    with pytest.raises(RuntimeError, match="mine"):
        fit_classes(callbacks=[calls, Broken()])
    assert calls.seen[-1] == "done"


def test_the_loggers_are_callbacks(tmp_path: Path) -> None:
    result = fit_classes(callbacks=[bp.train.CSVLogger(tmp_path / "log.csv")], epochs=2)
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == result.history["loss"]


def test_modes_are_put_back_after_an_error() -> None:
    model = mlp(3, 3, bp.nn.Dropout)
    model[1].eval()

    def objective(model: Any, x: Any, y: Any) -> Any:
        if model.training and x.shape[0] < 16:
            raise RuntimeError("mine")
        return cross_entropy(model(x), y)

    before = [m.training for m in model.modules()]
    with pytest.raises(RuntimeError, match="mine"):
        fit_classes(model, objective=objective)
    assert [m.training for m in model.modules()] == before
