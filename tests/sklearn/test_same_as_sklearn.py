"""The perceptrons find the same network as scikit-learn's: the same start, the same batches, the same rules to stop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn.base")

import sklearn.neural_network as peers
from sklearn.datasets import load_diabetes, load_iris

from bpgpu import sklearn as ours

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Maximum iterations"),
    pytest.mark.filterwarnings("ignore:.*lbfgs failed to converge"),
]

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "small batches": {"batch_size": 32},
    "in order": {"batch_size": 40, "shuffle": False},
    "two layers": {"hidden_layer_sizes": (20, 10)},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "tanh": {"activation": "tanh"},
    "logistic": {"activation": "logistic", "learning_rate_init": 0.05},
    "identity": {"activation": "identity"},
    "no penalty": {"alpha": 0.0},
    "strong penalty": {"alpha": 10.0},
    "adam's numbers": {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
    "sgd": {"solver": "sgd"},
    "sgd without Nesterov": {"solver": "sgd", "nesterovs_momentum": False},
    "sgd without momentum": {"solver": "sgd", "momentum": 0.0},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.1},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 0.1,
        "tol": 1e-2,
        "n_iter_no_change": 2,
        "max_iter": 200,
    },
    "stops early": {"tol": 1e-2, "n_iter_no_change": 3, "max_iter": 200},
    "held out": {"early_stopping": True, "validation_fraction": 0.2},
    "held out for ever": {"early_stopping": True, "n_iter_no_change": 100},
    "lbfgs": {"solver": "lbfgs"},
}


def data(kind: str) -> tuple[Any, Any]:
    if kind == "classes":
        return load_iris(return_X_y=True)  # type: ignore[no-any-return]
    if kind == "two classes":
        X, y = load_iris(return_X_y=True)
        return X[30:130], np.asarray(["setosa", "other"])[(y[30:130] > 0).astype(int)]
    if kind == "labels":
        X, y = load_iris(return_X_y=True)
        return X, np.stack([y == 0, y > 0, X[:, 0] > 5.8], axis=1).astype(int)
    X, y = load_diabetes(return_X_y=True)
    X, y = X / X.std(axis=0), y / y.std()
    return X, y if kind == "numbers" else np.stack([y, X[:, 0] * X[:, 1]], axis=1)


def pair(kind: str, **settings: Any) -> tuple[Any, Any]:
    name = "MLPRegressor" if "numbers" in kind else "MLPClassifier"
    settings = {"max_iter": 30, "random_state": 3, **settings}
    return getattr(ours, name)(**settings), getattr(peers, name)(**settings)


def assert_same(mine: Any, theirs: Any, rtol: float = 1e-6) -> None:
    assert mine.n_iter_ == theirs.n_iter_
    assert mine.t_ == theirs.t_
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(mine, name) == getattr(theirs, name), name
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(mine, name), getattr(theirs, name), strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=name)
    for name in (
        "loss_",
        "loss_curve_",
        "best_loss_",
        "validation_scores_",
        "best_validation_score_",
    ):
        a, b = getattr(mine, name, "absent"), getattr(theirs, name, "absent")
        if b is None or isinstance(b, str):
            assert a == b, name
        else:
            np.testing.assert_allclose(a, b, rtol=rtol, err_msg=name)


@pytest.mark.parametrize("kind", ["classes", "two classes", "labels", "numbers"])
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_mean_the_same(name: str, kind: str) -> None:
    X, y = data(kind)
    mine, theirs = pair(kind, **SETTINGS[name])
    assert_same(mine.fit(X, y), theirs.fit(X, y), 1e-4 if name == "lbfgs" else 1e-6)


@pytest.mark.parametrize("kind", ["classes", "two classes", "labels", "numbers", "many numbers"])
def test_sample_weights_mean_the_same(kind: str) -> None:
    X, y = data(kind)
    weight = np.random.default_rng(0).integers(1, 4, len(X)).astype(float)
    for settings in ({"batch_size": 40}, {"early_stopping": True, "batch_size": 40}):
        mine, theirs = pair(kind, **settings)
        assert_same(mine.fit(X, y, weight), theirs.fit(X, y, weight))
        assert mine.score(X, y, weight) == pytest.approx(theirs.score(X, y, weight))


@pytest.mark.parametrize("kind", ["classes", "two classes", "labels", "numbers", "many numbers"])
def test_answers_are_the_same(kind: str) -> None:
    X, y = data(kind)
    mine, theirs = (e.fit(X, y) for e in pair(kind))
    a, b = mine.predict(X), theirs.predict(X)
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    if "numbers" in kind:
        np.testing.assert_allclose(a, b, rtol=1e-6)
        return
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(mine.classes_, theirs.classes_)
    for method in ("predict_proba", "predict_log_proba"):
        np.testing.assert_allclose(getattr(mine, method)(X), getattr(theirs, method)(X), rtol=1e-6)


@pytest.mark.parametrize("kind", ["classes", "two classes", "labels", "numbers", "many numbers"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_is_the_same(kind: str, solver: str) -> None:
    X, y = data(kind)
    mine, theirs = pair(kind, solver=solver, batch_size=30)
    known = (
        {} if "numbers" in kind else {"classes": np.arange(3) if kind == "labels" else np.unique(y)}
    )
    for i in range(6):
        part = slice(10 * i, 10 * i + 50)
        for estimator in (mine, theirs):
            estimator.partial_fit(X[part], y[part], **known)
        known = known if i < 2 else {}
    assert_same(mine, theirs)


@pytest.mark.parametrize("kind", ["classes", "numbers"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_warm_start_is_the_same(kind: str, solver: str) -> None:
    X, y = data(kind)
    mine, theirs = pair(kind, warm_start=True, solver=solver, max_iter=8)
    for _ in range(3):
        assert_same(mine.fit(X, y), theirs.fit(X, y))


def test_a_warm_start_that_gets_no_better_goes_back_to_the_best_weights() -> None:
    """There scikit-learn trains the very arrays that it keeps as the best ones."""
    X, y = data("classes")
    mine, _ = pair("classes", warm_start=True, early_stopping=True, learning_rate_init=0.05)
    assert mine.fit(X, y).best_validation_score_ == 1.0
    best = [w.copy() for w in mine.coefs_]
    mine.fit(X, y)
    for a, b in zip(mine.coefs_, best, strict=True):
        np.testing.assert_array_equal(a, b)


def test_poisson_means_the_same() -> None:
    X, y = data("numbers")
    mine, theirs = pair("numbers", loss="poisson")
    assert_same(mine.fit(X, y), theirs.fit(X, y))
    assert mine.out_activation_ == "exp"


def test_float32_stays_float32() -> None:
    X, y = data("classes")
    mine, theirs = pair("classes")
    assert_same(mine.fit(X.astype(np.float32), y), theirs.fit(X.astype(np.float32), y), 1e-3)
    assert mine.coefs_[0].dtype == mine.predict_proba(X).dtype == np.float32


def test_what_is_printed_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = data("classes")
    lines = []
    for estimator in pair(
        "classes", verbose=True, early_stopping=True, tol=1e-2, n_iter_no_change=2
    ):
        estimator.fit(X, y)
        lines.append(capsys.readouterr().out)
    assert lines[0] == lines[1]


def test_multioutput_by_lbfgs_reaches_a_minimum_of_its_loss() -> None:
    """There scikit-learn's loss is the mean over the outputs and its gradient that of their sum."""
    X, y = data("many numbers")
    mine, theirs = (e.fit(X, y) for e in pair("many numbers", solver="lbfgs", max_iter=200))
    assert mine.loss_ <= theirs.loss_ * 1.01
