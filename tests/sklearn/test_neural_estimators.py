"""`NeuralClassifier` and `NeuralRegressor` around modules of all kinds."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn.base")

from sklearn.base import clone
from sklearn.datasets import load_iris

import bpgpu as bp
from bpgpu.sklearn import NeuralClassifier, NeuralRegressor

nn, F, optim = bp.nn, bp.functional, bp.optim
X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
TWO = X[30:130], np.asarray(["a", "b"])[(Y[30:130] > 0).astype(int)]
LABELS = X, np.stack([Y == 0, Y > 0], axis=1).astype(int)


def network(n_features: int, n_outputs: int, width: int = 8) -> Any:
    return nn.Sequential(nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, n_outputs))


class Net(nn.Module):
    def __init__(self, in_features: int, n_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_features, 8)
        self.drop = nn.Dropout(dropout)
        self.last = nn.Linear(8, n_classes)

    def forward(self, x: Any) -> Any:
        return self.last(self.drop(F.relu(self.hidden(x))))


def quick(**settings: Any) -> NeuralClassifier:
    return NeuralClassifier(**{"epochs": 3, "random_state": 0, **settings})


MODULES: dict[str, tuple[Any, Any]] = {
    "none": (None, (X, Y)),
    "a function that asks by name": (network, (X, Y)),
    "a class that asks by other names": (Net, (X, Y)),
    "two arguments": (lambda a, b: nn.Linear(a, b), (X, Y)),
    "no arguments": (lambda: nn.Linear(4, 3), (X, Y)),
    "a layer's class": (nn.Linear, (X, Y)),
    "a module": (
        nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)),
        (X, Y),
    ),
    "two classes, one output": (nn.Linear(4, 1), TWO),
    "two classes, no axis": (nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), TWO),
    "two classes, two outputs": (nn.Linear(4, 2), TWO),
    "several labels": (network, LABELS),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_of_all_kinds_are_trained(name: str) -> None:
    module, (x, y) = MODULES[name]
    made = quick(module=module, epochs=100, learning_rate=0.05).fit(x, y)
    assert made.score(x, y) > 0.8
    assert made.predict(x).shape == y.shape
    assert made.predict_proba(x).shape == (len(x), len(made.classes_))
    assert clone(made).fit(x, y).loss_ == made.loss_


def test_a_module_that_was_given_stays_as_it_was() -> None:
    given = nn.Linear(4, 3)
    before = np.array(given.weight)
    made = quick(module=given).fit(X, Y)
    np.testing.assert_array_equal(given.weight, before)
    assert not np.array_equal(made.model_.weight, before)
    assert made.model_.weight.dtype == np.float32


def test_a_module_that_is_built_has_the_dtype_of_the_features() -> None:
    for dtype in (np.float32, np.float64):
        made = quick(module=network).fit(X.astype(dtype), Y)
        assert made.model_[0].weight.dtype == dtype
        assert made.predict_proba(X).dtype == dtype


def test_the_seed_decides_weights_order_and_dropout() -> None:
    given: dict[str, Any] = {"module": Net, "module_params": {"dropout": 0.5}, "batch_size": 20}
    bp.seed(1)
    a = quick(**given).fit(X, Y)
    bp.seed(2)
    before = bp.random.get_state()
    b = quick(**given).fit(X, Y)
    assert bp.random.get_state() == before
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))
    c = quick(**given, shuffle=False).fit(X, Y)
    d = NeuralClassifier(**given, epochs=3, random_state=1).fit(X, Y)
    for other in (c, d):
        assert not np.array_equal(a.predict_proba(X), other.predict_proba(X))


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "nll_loss", "module": nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(1))},
        {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)},
        {"loss": F.multi_margin_loss},
        {"loss": lambda p, t: F.cross_entropy(p, t)},
        {"optimizer": "sgd", "optimizer_params": {"momentum": 0.9}},
        {"optimizer": optim.AdamW},
        {"optimizer": lambda model: optim.Adam(model, lr=0.05)},
        {"optimizer": "lbfgs", "learning_rate": 1.0},
        {"schedule": lambda opt: optim.lr_scheduler.StepLR(opt, 20)},
        {
            "schedule": (
                functools.partial(optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=60),
                "step",
            )
        },
        {"stop": bp.train.LossChange(1e-3)},
        {"metrics": ["accuracy"]},
        {"fit_params": {"clip_grad_norm": 1.0, "ema": 0.9}},
        {"class_weight": "balanced", "early_stopping": True},
    ],
    ids=[
        "a loss by name",
        "a layer as loss",
        "a function as loss",
        "a loss of one's own",
        "sgd",
        "a class",
        "a function of the model",
        "lbfgs",
        "a schedule",
        "a schedule by step",
        "a rule to stop",
        "a metric",
        "arguments of fit",
        "class weights",
    ],
)
def test_settings_of_fit_are_passed_on(settings: dict[str, Any]) -> None:
    made = quick(**{"epochs": 60, "learning_rate": 0.03, **settings}).fit(X, Y)
    assert made.score(X, Y) > 0.8
    assert len(made.history_["loss"]) == made.n_iter_
    assert made.stopped_by_


def test_early_stopping_says_why_and_goes_back() -> None:
    made = quick(epochs=500, learning_rate=0.1, early_stopping=True, patience=2).fit(X, Y)
    assert "val_loss has not improved" in made.stopped_by_
    assert made.n_iter_ < 500
    assert len(made.history_["val_loss"]) == made.n_iter_


def test_callbacks_are_called() -> None:
    seen = []

    class Note(bp.train.Callback):
        def on_epoch_end(self, run: Any) -> None:
            seen.append(run.epoch)
            if run.epoch == 2:
                run.stop("enough")

    made = quick(callbacks=[Note()]).fit(X, Y)
    assert seen == [1, 2]
    assert made.stopped_by_ == "enough"


def test_parameters_of_the_module_are_parameters_of_the_estimator() -> None:
    made = quick(module=network, module_params={"width": 3})
    assert made.get_params()["module__width"] == 3
    assert "module__width" not in made.get_params(deep=False)
    made.set_params(module__width=5, optimizer__weight_decay=0.1, epochs=2)
    assert made.module_params == {"width": 5}
    assert made.fit(X, Y).model_[0].weight.shape == (5, 4)
    assert made._optimizer.param_groups[0]["weight_decay"] == 0.1
    with pytest.raises(
        ValueError, match=r"Invalid parameter 'zzz__a' for estimator NeuralClassifier"
    ):
        made.set_params(zzz__a=1)
    with pytest.raises(ValueError, match=r"Invalid parameter 'zzz'"):
        made.set_params(zzz=1)


def test_images_go_in() -> None:
    images = np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype(np.float32)
    labels = np.asarray(["left", "right"])[(images.sum(axis=(1, 2, 3)) > 0).astype(int)]
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    made = quick(module=module, epochs=40, learning_rate=0.05).fit(images, labels)
    assert made.score(images, labels) > 0.8


def test_a_regressor_of_one_and_of_several_numbers() -> None:
    for y, module in (
        (X[:, 0], network),
        (X[:, 0], nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))),
        (X[:, :2], network),
        (X[:, :1], nn.Linear(4, 1)),
    ):
        made = NeuralRegressor(module, epochs=400, learning_rate=0.03, random_state=0)
        with pytest.warns(UserWarning, match="column-vector") if y.shape == (150, 1) else _quiet():
            made.fit(X, y)
        assert made.score(X, y) > 0.8
        assert made.predict(X).shape == (y.shape if y.shape[1:] != (1,) else (150,))
    huber = NeuralRegressor(loss="huber_loss", epochs=3, random_state=0).fit(X, X[:, 0])
    assert huber.loss_ != NeuralRegressor(epochs=3, random_state=0).fit(X, X[:, 0]).loss_


def _quiet() -> Any:
    import contextlib

    return contextlib.nullcontext()


BAD: list[tuple[dict[str, Any], str]] = [
    (
        {"module": 3},
        "module: expected a bpgpu.nn.Module, or a function or class that builds one, got 3",
    ),
    ({"module": lambda: 3}, "expected a function that returns a bpgpu.nn.Module, got int"),
    (
        {"module": lambda width: nn.Linear(4, 3)},
        r"needs width; give them as module_params=\{'width'",
    ),
    (
        {"module": nn.Linear(4, 5)},
        "the module gives 5 values for each sample, but there are 3 classes",
    ),
    ({"module": nn.Linear(3, 3)}, r"expected input \(..., 3\), got \(1, 4\)"),
    ({"module": nn.ReLU()}, "no parameters"),
    (
        {"module": nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (2, 2)))},
        r"the module is to give \(n, k\) or \(n,\)",
    ),
    ({"module": network(4, 3), "module_params": {"width": 2}}, "a Sequential is built already"),
    ({"module_params": 3}, "module_params: expected a dict"),
    (
        {"module": network, "module_params": {"zzz": 3}},
        "module_params: 'network' takes no argument 'zzz'; it takes n_features, n_outputs, width",
    ),
    ({"optimizer_params": {"zzz": 3}}, "optimizer_params: 'Adam' takes no argument 'zzz'; .* lr, "),
    ({"verbose": "x"}, "'verbose' parameter"),
    ({"random_state": "x"}, "'random_state' parameter"),
    (
        {"early_stopping": True, "validation_fraction": 0.0},
        "'validation_fraction' parameter .* > 0",
    ),
    ({"optimizer": "zzz"}, "'optimizer' parameter of NeuralClassifier must be one of"),
    ({"optimizer": optim.Adam(nn.Linear(4, 3))}, "since each fit trains a new model"),
    ({"optimizer_params": 3}, "'optimizer_params' parameter"),
    ({"loss": "zzz"}, "'loss' parameter of NeuralClassifier must be the name of a loss"),
    ({"loss": nn.CrossEntropyLoss}, r"write CrossEntropyLoss\(\)"),
    (
        {"learning_rate": 0},
        "'learning_rate' parameter of NeuralClassifier must be a number > 0, got 0",
    ),
    ({"epochs": 0}, "'epochs' parameter"),
    ({"batch_size": 0}, "'batch_size' parameter"),
    ({"patience": 0}, "'patience' parameter"),
    ({"schedule": 3}, "'schedule' parameter"),
    ({"metrics": ["zzz"]}, "no metric named 'zzz'"),
    ({"callbacks": [3]}, "callbacks: expected objects with hooks"),
    ({"stop": 3}, "stop: expected rules"),
    ({"fit_params": {"zzz": 1}}, r"'fit_params' parameter .*clip_grad_norm.* got \['zzz'\]"),
]


@pytest.mark.parametrize(("settings", "text"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_a_setting_that_cannot_be_is_named(settings: dict[str, Any], text: str) -> None:
    made = quick(**settings)
    with pytest.raises(ValueError, match=text):
        made.fit(X, Y)
    assert not hasattr(made, "model_")
