"""The estimators on CuPy's arrays, which stay on their device; steps are captured as graphs. On a simulated CuPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn.base")

from sklearn.datasets import load_iris

import bpgpu as bp
import cupy_on_numpy as fake
from bpgpu.sklearn import MLPClassifier, MLPRegressor, NeuralClassifier, NeuralRegressor
from bpgpu.sklearn import descent as training

X, Y = load_iris(return_X_y=True)
X = X.astype(np.float32)
SETTINGS: list[dict[str, Any]] = [
    {},
    {"solver": "sgd", "learning_rate": "invscaling"},
    {"activation": "tanh", "hidden_layer_sizes": (8, 6), "batch_size": 30},
    {"solver": "lbfgs"},
    {"early_stopping": True},
    {"dropout": 0.5},
    {"solver": "adamw", "shuffle": False, "batch_size": 40},
]

pytestmark = pytest.mark.filterwarnings("ignore:.*(Maximum iterations|failed to converge)")


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield from fake.installed(monkeypatch)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The steps that were compiled."""
    made: list[Any] = []

    def noted(step: Any) -> Any:
        made.append(bp.compile(step))
        return made[-1]

    monkeypatch.setattr(training, "compile", noted)
    return made


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_network_is_the_one_that_numpy_finds(cupy: Any, settings: dict[str, Any]) -> None:
    given = {"max_iter": 12, "random_state": 0, **settings}
    here = MLPClassifier(**given).fit(X, Y)
    there = MLPClassifier(**given).fit(cupy.asarray(X), cupy.asarray(Y))
    for a, b in zip(there.coefs_ + there.intercepts_, here.coefs_ + here.intercepts_, strict=True):
        assert type(a) is cupy.ndarray
        np.testing.assert_allclose(a.get(), b, rtol=1e-3, atol=1e-4)
    predicted = there.predict(cupy.asarray(X))
    assert type(predicted) is type(there.classes_) is cupy.ndarray
    np.testing.assert_array_equal(predicted.get(), here.predict(X))
    assert there.score(cupy.asarray(X), cupy.asarray(Y)) == here.score(X, Y)
    assert isinstance(there.predict(X), np.ndarray)


def test_steps_are_captured(cupy: Any, compiled: list[Any]) -> None:
    MLPClassifier(max_iter=12, batch_size=50).fit(cupy.asarray(X), cupy.asarray(Y))
    (step,) = compiled
    assert step.replays > 20, step.reason


def test_features_on_cuda_with_labels_of_the_host(cupy: Any) -> None:
    names = np.asarray(["setosa", "versicolor", "virginica"])[Y]
    for made in (MLPClassifier(max_iter=3), NeuralClassifier(epochs=3)):
        made.fit(cupy.asarray(X), names, sample_weight=np.ones(150))
        assert set(made.predict(cupy.asarray(X))) <= set(names)
        assert type(made.predict_proba(cupy.asarray(X))) is cupy.ndarray


def test_several_labels_and_several_numbers(cupy: Any) -> None:
    labels = cupy.asarray(np.stack([Y == 0, Y > 0], axis=1).astype(np.int64))
    assert (
        type(MLPClassifier(max_iter=3).fit(cupy.asarray(X), labels).predict(cupy.asarray(X)))
        is cupy.ndarray
    )
    numbers = cupy.asarray(X[:, :2])
    for made in (MLPRegressor(max_iter=3), NeuralRegressor(epochs=3)):
        assert made.fit(cupy.asarray(X), numbers).predict(cupy.asarray(X)).shape == (150, 2)
        assert isinstance(made.score(cupy.asarray(X), numbers), float)


def test_numpy_is_trained_on_a_device_and_answered_in_numpy(cupy: Any) -> None:
    for made in (
        MLPClassifier(max_iter=3, device="cuda"),
        NeuralClassifier(epochs=3, device="cuda"),
    ):
        made.fit(X, Y)
        weights = (
            made.coefs_[0] if hasattr(made, "coefs_") else made.model_.parameters()["0.weight"]
        )
        assert type(weights) is cupy.ndarray
        assert isinstance(made.predict(X), np.ndarray)
        assert isinstance(made.classes_, np.ndarray)


def test_partial_fit_stays_on_the_device(cupy: Any) -> None:
    for made in (MLPClassifier(), NeuralClassifier()):
        for _ in range(3):
            made.partial_fit(cupy.asarray(X), cupy.asarray(Y), classes=np.arange(3))
        assert type(made.predict_proba(cupy.asarray(X))) is cupy.ndarray


def test_neural_estimators_train_where_the_data_are(cupy: Any) -> None:
    here = NeuralClassifier(epochs=5, random_state=0, batch_size=50).fit(X, Y)
    there = NeuralClassifier(epochs=5, random_state=0, batch_size=50)
    there.fit(cupy.asarray(X), cupy.asarray(Y))
    assert type(there.model_.parameters()["0.weight"]) is cupy.ndarray
    np.testing.assert_allclose(
        there.predict_proba(cupy.asarray(X)).get(), here.predict_proba(X), rtol=1e-3
    )
