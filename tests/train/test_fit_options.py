"""Clipping, accumulation, schedules, averages and weights in `fit`: each equals what a loop of one's own would do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.functional import cross_entropy
from bpgpu.optim import lr_scheduler as schedules
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


def by_hand(model: Any, step: Any, epochs: int = 2, batch_size: int = 16) -> None:
    """A loop of one's own; `step(grads, rows)` uses the gradients of a batch."""
    loader = bp.data.DataLoader(classes(), batch_size, shuffle=True, seed=0)
    for _ in range(epochs):
        for x, y in loader:
            _, grads = bp.value_and_grad(lambda m, x=x, y=y: cross_entropy(m(x), y))(model)
            step(grads, x.shape[0])


def close(a: Any, b: Any) -> None:
    for path, x in a.parameters().items():
        np.testing.assert_allclose(x, b.parameters()[path], rtol=2e-5, atol=2e-6, err_msg=path)


@pytest.mark.parametrize("option", ["clip_grad_norm", "clip_grad_value"])
def test_gradients_are_clipped(option: str) -> None:
    mine, theirs = mlp(), mlp()
    optimizer = bp.optim.SGD(mine, lr=1.0)

    def step(grads: Any, rows: int) -> None:
        if option == "clip_grad_norm":
            grads, _ = bp.clip_grad_norm(grads, 0.01)
        else:
            grads = bp.clip_grad_value(grads, 0.01)
        optimizer.step(grads)

    by_hand(mine, step)
    fit_classes(theirs, optimizer=bp.optim.SGD(theirs, lr=1.0), **{option: 0.01})
    assert_same(arrays(mine), arrays(theirs))


def test_accumulated_batches_are_one_large_batch() -> None:
    """Batches of 20 and 2 at a time are batches of 40, but for rounding; 60 rows leave one over, which counts, too."""
    mine, theirs = mlp(), mlp()
    fit_classes(mine, batch_size=40, epochs=3)
    result = fit_classes(theirs, batch_size=20, accumulate=2, epochs=3)
    assert result.steps == 6
    close(mine, theirs)


def test_accumulation_counts_rows_where_batches_differ_in_size() -> None:
    mine, theirs = mlp(), mlp()
    fit_classes(mine, batch_size=60, epochs=3)
    assert fit_classes(theirs, batch_size=25, accumulate=3, epochs=3).steps == 3
    close(mine, theirs)


def rates(schedule: Any, model: Any, optimizer: Any, **options: Any) -> list[float]:
    found: list[float] = []

    class Watch(bp.train.Callback):
        def on_step_end(self, run: Any) -> None:
            found.append(float(optimizer.param_groups[0]["lr"]))

    fit_classes(model, optimizer=optimizer, schedule=schedule, callbacks=[Watch()], **options)
    return found


def test_a_schedule_is_stepped_each_epoch() -> None:
    model = mlp()
    optimizer = bp.optim.SGD(model, lr=1.0)
    schedule = schedules.ExponentialLR(optimizer, 0.5)
    found = rates(schedule, model, optimizer, epochs=3, batch_size=30)
    assert found == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_a_schedule_is_stepped_each_step_if_asked() -> None:
    model = mlp()
    optimizer = bp.optim.SGD(model, lr=1.0)
    schedule = schedules.ExponentialLR(optimizer, 0.5)
    found = rates((schedule, "step"), model, optimizer, epochs=2, batch_size=30)
    assert found == [0.5, 0.25, 0.125, 0.0625]
    assert rates((schedule, "step"), model, optimizer, epochs=1, batch_size=30, accumulate=2)


def test_a_plateau_follows_the_validation_loss() -> None:
    model = mlp()
    optimizer = bp.optim.SGD(model, lr=0.5)
    schedule = schedules.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=0, threshold=1.0, threshold_mode="abs"
    )  # nothing is better by as much as 1
    found = rates(schedule, model, optimizer, epochs=4, batch_size=60, validation=classes(10))
    assert found == [0.5, 0.5, 0.25, 0.125]
    result = fit_classes(
        model, optimizer=optimizer, schedule=schedule, epochs=1, validation=classes(10)
    )
    assert schedule.best != result.history["loss"][0]


def test_an_average_of_the_weights_is_kept_and_validated() -> None:
    mine, theirs = mlp(), mlp()
    optimizer, average = bp.optim.SGD(mine, lr=0.5), bp.optim.EMA(mine, 0.9)

    def step(grads: Any, rows: int) -> None:
        optimizer.step(grads)
        average.step()

    by_hand(mine, step)
    optimizer = bp.optim.SGD(theirs, lr=0.5)
    result = fit_classes(theirs, optimizer=optimizer, ema=0.9, validation=classes(30))
    assert_same(arrays(mine), arrays(theirs))
    assert_same(average.params, result.ema.params)
    with result.ema.applied():
        found = bp.evaluate(theirs, classes(30), loss=cross_entropy)["loss"]
    assert result.history[f"{VALIDATION}loss"][-1] == pytest.approx(found, rel=1e-6)
    plain = bp.evaluate(theirs, classes(30), loss=cross_entropy)["loss"]
    assert plain != pytest.approx(found, rel=1e-3)


def test_an_average_may_be_given() -> None:
    model = mlp()
    average = bp.optim.EMA(model, 0.5, warmup=True)
    assert fit_classes(model, ema=average).ema is average
    assert float(average.state["count"]) == 8


def test_weights_of_zero_leave_examples_out() -> None:
    x, y = classes()
    keep = y != 2
    mine, theirs = mlp(), mlp()
    fit_classes(mine, (x[keep], y[keep]), batch_size=60, epochs=3, shuffle=False)
    result = fit_classes(
        theirs,
        batch_size=60,
        epochs=3,
        shuffle=False,
        sample_weight=keep.astype("float32"),
        metrics=["accuracy"],
    )
    close(mine, theirs)
    first = bp.evaluate(mlp(), (x[keep], y[keep]), loss=cross_entropy, metrics=["accuracy"])
    assert result.history["loss"][0] == pytest.approx(first["loss"], rel=1e-5)
    assert result.history["accuracy"][0] == pytest.approx(first["accuracy"], rel=1e-5)


def test_weights_of_two_are_examples_twice() -> None:
    x, y = line()
    twice = np.concatenate([x, x[:10]]), np.concatenate([y, y[:10]])
    weight = np.ones(40, "float32")
    weight[:10] = 2
    models = [bp.nn.Linear(3, 1) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    fit_line(models[0], twice, batch_size=50, epochs=4)
    fit_line(models[1], (x, y), batch_size=40, epochs=4, sample_weight=weight)
    close(*models)


@pytest.mark.parametrize("given", [{0: 1.0, 1: 2.0, 2: 0.5}, [1.0, 2.0, 0.5]])
def test_class_weights_are_those_of_the_loss(given: Any) -> None:
    weight = np.asarray([1.0, 2.0, 0.5], "float32")
    mine, theirs = mlp(), mlp()
    loss = bp.nn.CrossEntropyLoss(weight=weight)
    fit_classes(mine, loss=loss)
    result = fit_classes(theirs, class_weight=given, validation=classes(20))
    close(mine, theirs)
    plain = bp.evaluate(theirs, classes(20), loss=cross_entropy)["loss"]
    assert result.history[f"{VALIDATION}loss"][-1] == pytest.approx(plain, rel=1e-5)


def test_class_and_sample_weights_multiply() -> None:
    _, y = classes()
    sample = np.linspace(0.5, 2, 60).astype("float32")
    by_class = np.asarray([1.0, 2.0, 0.5], "float32")
    mine, theirs = mlp(), mlp()
    fit_classes(mine, sample_weight=sample * by_class[y])
    fit_classes(theirs, sample_weight=sample, class_weight=by_class)
    close(mine, theirs)


def test_class_weights_serve_targets_of_more_axes_and_those_left_out() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 3, 5)).astype("float32")
    y = rng.integers(0, 4, (12, 5))
    y[::3, 2] = -100
    weight = np.asarray([1.0, 2.0, 0.5, 3.0], "float32")
    bp.seed(0)
    models = [bp.nn.Conv1d(3, 4, 1) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    by_loss = fit_classes(models[0], (x, y), loss=bp.nn.CrossEntropyLoss(weight=weight))
    by_fit = fit_classes(models[1], (x, y), class_weight=weight)
    close(*models)
    assert len(by_loss.history["loss"]) == len(by_fit.history["loss"])
    sample = np.linspace(1, 2, 12)
    fit_classes(models[1], (x, y), class_weight=weight, sample_weight=sample, metrics=["accuracy"])


def test_numbers_of_numpy_and_lists_are_taken() -> None:
    a = fit_classes(batch_size=np.int64(8), epochs=np.int64(2), accumulate=np.int32(2))
    b = fit_classes(batch_size=8, epochs=2, accumulate=2, sample_weight=[1] * 60, callbacks=None)
    np.testing.assert_allclose(a.history["loss"], b.history["loss"], rtol=1e-6)
    one = fit_classes(metrics=bp.train.metrics.Accuracy(), callbacks=bp.train.Callback())
    assert list(one.history) == ["loss", "accuracy"]
    assert list(fit_classes(metrics=None).history) == ["loss"]


def test_a_frozen_part_stays() -> None:
    model = mlp()
    model.freeze("0.*")
    before = arrays(model)
    fit_classes(model, optimizer=bp.optim.AdamW(model, lr=0.1))
    after = arrays(model)
    for path in before:
        assert np.array_equal(before[path], after[path]) == path.startswith("0.")


def test_compiled_training_is_the_same_bit_for_bit() -> None:
    mine, theirs = (mlp(3, 3, bp.nn.BatchNorm1d(8), bp.nn.Dropout) for _ in range(2))
    a = fit_classes(mine, epochs=4, compile=False)
    b = fit_classes(theirs, epochs=4, compile=True)
    assert a.history == b.history
    assert_same(arrays(mine), arrays(theirs))


def test_a_batch_whose_examples_all_weigh_nothing_changes_nothing() -> None:
    x, y = classes(6)
    weight = np.asarray([0, 0, 0, 0, 1, 1], "float32")
    model, other = mlp(), mlp()
    options: dict[str, Any] = {"batch_size": 2, "shuffle": False, "epochs": 2}
    result = fit_classes(model, (x, y), sample_weight=weight, **options)
    fit_classes(other, (x[4:], y[4:]), **options)
    assert np.isfinite(result.history["loss"]).all()
    for name, value in other.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[name], value, rtol=1e-5)
