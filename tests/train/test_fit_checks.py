# ruff: noqa: E501 - a table
"""What is wrong with the arguments of `fit` is told before the first step, and nothing has changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.functional import cross_entropy, mse_loss
from train.training import arrays, assert_same, classes, fit_classes, fit_line, line, mlp


def labels(value: int) -> Any:
    x, y = classes()
    y = y.copy()
    y[57] = value
    return x, y


def holes(which: int, value: float) -> Any:
    data = [np.array(a, dtype="float32") for a in line()]
    data[which][31, 0] = value
    return tuple(data)


def no_batches() -> Iterator[Any]:
    yield from ()


CASES: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    # what is done, the argument that the text names, and what else it says
    "label too large": (lambda m: fit_classes(m, labels(3)), "y|target", r"3"),
    "label below 0": (lambda m: fit_classes(m, labels(-1)), "y|target", r"-1"),
    "label in validation": (lambda m: fit_classes(m, validation=labels(7)), "validation", "7"),
    "label with a loss layer": (lambda m: fit_classes(m, labels(3), loss=bp.nn.CrossEntropyLoss()), "y|target", "3"),
    "lengths": (lambda m: fit_classes(m, (classes()[0], classes()[1][:50])), "y", "50.*60|60.*50"),
    "NaN in x": (lambda m: fit_line(m, holes(0, np.nan)), "x", "NaN.*row 31"),
    "infinity in x": (lambda m: fit_line(m, holes(0, np.inf)), "x", "row 31"),
    "NaN in y": (lambda m: fit_line(m, holes(1, np.nan)), "y", "NaN.*row 31"),
    "NaN in validation": (lambda m: fit_line(m, validation=holes(0, np.nan)), "validation", "NaN"),
    "empty": (lambda m: fit_classes(m, (classes()[0][:0], classes()[1][:0])), "data", "0 rows|empty"),
    "empty list": (lambda m: fit_classes(m, []), "data", "no batches|empty|0 "),
    "no batches": (lambda m: fit_classes(m, no_batches()), "data", "no batches|empty"),
    "batch size 0": (lambda m: fit_classes(m, batch_size=0), "batch_size", "at least 1.*0"),
    "batch size -1": (lambda m: fit_classes(m, batch_size=-1), "batch_size", "-1"),
    "batch size 2.5": (lambda m: fit_classes(m, batch_size=2.5), "batch_size", "2.5"),
    "loss of terms": (lambda m: fit_classes(m, loss=lambda p, t: cross_entropy(p, t, reduction="none")), "loss", r"\(16,\)"),
    "objective of terms": (lambda m: fit_classes(m, objective=lambda m, x, y: m(x)), "objective", r"\(16, 3\)"),
    "loss is a number": (lambda m: fit_classes(m, loss=lambda p, t: 1.0), "loss", ""),
    "loss is a class": (lambda m: fit_classes(m, loss=bp.nn.CrossEntropyLoss), "loss", r"CrossEntropyLoss\(\)"),
    "loss is text": (lambda m: fit_classes(m, loss="cross_entropy"), "loss", "cross_entropy"),
    "no loss": (lambda m: fit_classes(m, loss=None), "loss", "objective"),
    "both": (lambda m: fit_classes(m, loss=mse_loss, objective=lambda m, x, y: m(x).mean()), "loss", "objective"),
    "metric": (lambda m: fit_classes(m, metrics=["acuracy"]), "metric", "acuracy.*accuracy"),
    "no end": (lambda m: fit_classes(m, epochs=None), "epochs", "stop"),
    "epochs 0": (lambda m: fit_classes(m, epochs=0), "epochs", "0"),
    "epochs 1.5": (lambda m: fit_classes(m, epochs=1.5), "epochs", "1.5"),
    "one part": (lambda m: fit_classes(m, classes()[0]), "data", r"\(x, y\)"),
    "data is none": (lambda m: bp.fit(m, None, loss=mse_loss, optimizer=bp.optim.SGD(m, lr=1.0), epochs=1), "data", "None"),
    "data is text": (lambda m: fit_classes(m, "mnist.csv"), "data", "mnist"),
    "optimizer is a class": (lambda m: fit_classes(m, optimizer=bp.optim.SGD), "optimizer", "SGD"),
    "optimizer is text": (lambda m: fit_classes(m, optimizer="adam"), "optimizer", "adam"),
    "optimizer of another": (lambda m: fit_classes(m, optimizer=bp.optim.SGD(mlp(), lr=0.1)), "optimizer", "model"),
    "schedule of another": (lambda m: fit_classes(m, schedule=bp.optim.lr_scheduler.StepLR(bp.optim.SGD(mlp(), lr=0.1), 1)), "schedule", "optimizer"),
    "schedule is text": (lambda m: fit_classes(m, schedule="cosine"), "schedule", "cosine"),
    "schedule is a class": (lambda m: fit_classes(m, schedule=bp.optim.lr_scheduler.StepLR), "schedule", "StepLR"),
    "schedule each week": (lambda m: fit_classes(m, schedule=(None, "week")), "schedule", "week"),
    "clip text": (lambda m: fit_classes(m, clip_grad_norm="1"), "clip_grad_norm", "'1'"),
    "accumulate": (lambda m: fit_classes(m, accumulate=0), "accumulate", "0"),
    "clip norm": (lambda m: fit_classes(m, clip_grad_norm=-1.0), "clip_grad_norm", "-1"),
    "clip value": (lambda m: fit_classes(m, clip_grad_value=0), "clip_grad_value", "0"),
    "ema": (lambda m: fit_classes(m, ema=1.5), "decay|ema", "1.5"),
    "sample weight": (lambda m: fit_classes(m, sample_weight=np.ones(7)), "sample_weight", "7"),
    "class weight": (lambda m: fit_classes(m, class_weight=[1.0, 2.0]), "class_weight", "2|3"),
    "weights without a reduction": (lambda m: fit_classes(m, loss=lambda p, t: cross_entropy(p, t), sample_weight=np.ones(60)), "loss", "reduction"),
    "progress": (lambda m: fit_classes(m, progress="yes"), "progress", "yes"),
    "device": (lambda m: fit_classes(m, device="tpu"), "device", "tpu"),
    "resume without a file": (lambda m: fit_classes(m, resume=True), "resume|checkpoint", "checkpoint"),
    "resume from nowhere": (lambda m: fit_classes(m, resume="/nowhere/at.all"), "at.all|resume", ""),
    "checkpoint without a folder": (lambda m: fit_classes(m, checkpoint="/nowhere/at.all"), "checkpoint", "nowhere"),
    "check_finite": (lambda m: fit_classes(m, check_finite="often"), "check_finite", "often"),
    "lengths in validation": (lambda m: fit_classes(m, validation=(classes()[0], classes()[1][:50])), "validation", "50"),
    "empty validation": (lambda m: fit_classes(m, validation=(classes()[0][:0], classes()[1][:0])), "validation", "0 rows|empty"),
    "device of the data": (lambda m: fit_classes(m, elsewhere()), "x", "device|array_api_strict"),
    "callback is a class": (lambda m: fit_classes(m, callbacks=[bp.train.Callback]), "callback", "Callback"),
    "callback is text": (lambda m: fit_classes(m, callbacks=["log"]), "callback", "log"),
    "two metrics of one name": (lambda m: fit_classes(m, metrics=["accuracy", "acc"]), "metrics", "accuracy"),
    "a metric called loss": (lambda m: fit_classes(m, metrics=[bp.train.metrics.F1(name="loss")]), "metrics", "loss"),
    "metric as a class": (lambda m: fit_classes(m, metrics=[bp.train.metrics.F1]), "metric", r"F1\(\)"),
    "optimizer of torch": (lambda m: fit_classes(m, optimizer=of_torch()), "optimizer", "bpgpu.optim"),
    "average of another": (lambda m: fit_classes(m, ema=bp.optim.EMA(mlp())), "ema", "model"),
    "average is True": (lambda m: fit_classes(m, ema=True), "ema", "True"),
    "class weight by name": (lambda m: fit_classes(m, class_weight="balanced"), "class_weight", "balanced"),
    "class weight below 0": (lambda m: fit_classes(m, class_weight=[1.0, -2.0, 1.0]), "class_weight", "at least 0"),
    "class weight of numbers": (lambda m: fit_line(m, class_weight=[1.0]), "class_weight", "integers"),
    "sample weight below 0": (lambda m: fit_classes(m, sample_weight=-np.ones(60)), "sample_weight", "at least 0"),
    "sample weight is NaN": (lambda m: fit_classes(m, sample_weight=np.full(60, np.nan)), "sample_weight", "finite"),
    "sample weights all 0": (lambda m: fit_classes(m, sample_weight=np.zeros(60)), "sample_weight", "not all"),
    "checkpoint is a folder": (lambda m: fit_classes(m, checkpoint="/"), "checkpoint", "folder"),
    "shapes": (lambda m: fit_classes(m, (np.ones((60, 5), "float32"), classes()[1])), "Linear", "5"),
}  # fmt: skip


def of_torch() -> Any:
    torch = pytest.importorskip("torch")
    return torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1)


def elsewhere() -> Any:
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    return tuple(strict.asarray(a, device=device) for a in classes())


@pytest.mark.parametrize("case", CASES)
def test_a_bad_argument_is_told_before_the_first_step(case: str) -> None:
    model = mlp(3, 3, bp.nn.BatchNorm1d(8), bp.nn.Dropout)
    if case.startswith(("NaN", "infinity", "class weight of")):
        model = bp.nn.Linear(3, 1)
    optimizer = bp.optim.SGD(model, lr=0.1, momentum=0.9)
    before, keys = arrays(model), bp.random.get_state()
    attempt, argument, detail = CASES[case]
    with pytest.raises((ValueError, TypeError, OSError)) as caught:
        attempt(model)
    assert isinstance(caught.value, bp.errors.BpgpuError) or case == "ema", repr(caught.value)
    text = str(caught.value)
    assert re.search(argument, text), text
    assert re.search(detail, text, re.DOTALL), text
    assert_same(before, arrays(model))
    assert optimizer.state_dict()["state"] == {}
    assert (
        case.endswith("of another") or bp.random.get_state() == keys
    )  # which draws weights itself
    assert all(m.training for m in model.modules())


def test_a_model_on_another_device_than_the_data() -> None:
    strict = pytest.importorskip("array_api_strict")

    class Scale(bp.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            device = strict.Device("device1")
            self.weight = bp.nn.Parameter(strict.ones((3, 1), dtype=strict.float32, device=device))

        def forward(self, x: Any) -> Any:
            return x @ self.weight

    x, y = line()
    model = Scale()
    for data in ((x, y), (strict.asarray(x), strict.asarray(y))):
        with pytest.raises(bp.errors.BpgpuError, match="array_api_strict"):
            fit_line(model, data)


@pytest.mark.parametrize("model", [None, mlp, "mlp", bp.nn.Linear, "torch"])
def test_what_is_no_model_is_told(model: Any) -> None:
    if model == "torch":
        model = pytest.importorskip("torch").nn.Linear(3, 3)
    optimizer = bp.optim.SGD(mlp(), lr=0.1)
    with pytest.raises(bp.errors.BpgpuError, match="model"):
        bp.fit(model, classes(), loss=cross_entropy, optimizer=optimizer, epochs=1)


def test_the_check_of_a_generator_uses_nothing_up() -> None:
    seen: list[int] = []

    def batches() -> Iterator[Any]:
        x, y = classes()
        for i in range(0, 60, 20):
            seen.append(i)
            yield x[i : i + 20], y[i : i + 20]

    assert fit_classes(mlp(), batches(), epochs=1).steps == 3
    assert seen == [0, 20, 40]


def test_checks_change_no_state_that_a_good_training_sees() -> None:
    """Dropout, running statistics and keys are those of the loop of one's own."""
    mine, theirs = (mlp(3, 3, bp.nn.BatchNorm1d(8), bp.nn.Dropout) for _ in range(2))
    optimizer = bp.optim.SGD(mine, lr=0.1)
    for x, y in bp.data.DataLoader(classes(), 16, shuffle=True, seed=0):
        _, grads = bp.value_and_grad(lambda m, x=x, y=y: cross_entropy(m(x), y))(mine)
        optimizer.step(grads)
    fit_classes(theirs, epochs=1, metrics=["accuracy"], validation=classes(10))
    assert_same(arrays(mine), arrays(theirs))


def test_labels_that_a_loss_leaves_out_are_let_through() -> None:
    fit_classes(data=labels(-100))
    fit_classes(data=labels(-1), loss=bp.nn.CrossEntropyLoss(ignore_index=-1))
