"""How estimators train: solvers, activations, dropout, going on, stopping, scikit-learn's tools, bad settings."""

from __future__ import annotations

import copy
import functools
import itertools
import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn.base")

import sklearn
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bpgpu as bp
from bpgpu.errors import DeviceError
from bpgpu.sklearn import MLPClassifier, MLPRegressor, NeuralClassifier, NeuralRegressor

X, Y = load_iris(return_X_y=True)
NUMBERS = X[:, 0] * X[:, 1] / 10
KINDS = [MLPClassifier, MLPRegressor, NeuralClassifier, NeuralRegressor]

pytestmark = pytest.mark.filterwarnings("ignore:.*(Maximum iterations|failed to converge)")


def quick(kind: Any, **settings: Any) -> Any:
    name = "max_iter" if kind.__name__.startswith("MLP") else "epochs"
    return kind(**{name: 4, "random_state": 0, **settings})


def target(kind: Any) -> Any:
    return Y if "Classifier" in kind.__name__ else NUMBERS


def first_weight(estimator: Any) -> Any:
    return estimator.coefs_[0] if hasattr(estimator, "coefs_") else estimator.model_[0].weight


# ---- beyond scikit-learn's perceptrons


@pytest.mark.parametrize(
    "solver",
    [
        "adamw",
        "Lion",
        "rmsprop",
        bp.optim.Adam,
        functools.partial(bp.optim.SGD, lr=0.1, momentum=0.9),
        lambda params: bp.optim.AdamW(params, lr=0.01, weight_decay=0.1),
    ],
    ids=["adamw", "Lion", "rmsprop", "class", "partial", "function"],
)
def test_any_optimizer_is_a_solver(solver: Any) -> None:
    made = MLPClassifier(solver=solver, learning_rate_init=0.01, max_iter=100, random_state=0)
    assert made.fit(X, Y).score(X, Y) > 0.9
    assert made.loss_curve_[-1] < made.loss_curve_[0]


def test_an_optimizer_is_given_the_learning_rate_and_the_schedule() -> None:
    made = MLPClassifier(solver="adamw", learning_rate_init=0.02, max_iter=2, random_state=0)
    assert made.fit(X, Y)._optimizer.lr == 0.02
    made.set_params(learning_rate="invscaling", power_t=0.5).fit(X, Y)
    assert made._optimizer.lr == pytest.approx(0.02 / (300 + 1) ** 0.5)


@pytest.mark.parametrize(
    "activation",
    ["gelu", "softplus", bp.functional.silu, bp.nn.GELU(), lambda z: z / (1 + abs(z))],
    ids=["name", "another name", "function", "layer", "own"],
)
def test_any_function_is_an_activation(activation: Any) -> None:
    made = MLPClassifier(activation=activation, learning_rate_init=0.01, random_state=0)
    assert made.fit(X, Y).score(X, Y) > 0.9


def test_a_named_activation_is_the_function_of_that_name() -> None:
    a, b = (quick(MLPClassifier, activation=f).fit(X, Y) for f in ("tanh", bp.functional.tanh))
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), rtol=1e-9)
    c, d = (quick(MLPClassifier, activation=f).fit(X, Y) for f in ("relu", ["relu"]))
    np.testing.assert_array_equal(c.predict_proba(X), d.predict_proba(X))


def test_layers_may_have_activations_of_their_own() -> None:
    made = quick(MLPClassifier, hidden_layer_sizes=(7, 6), activation=["tanh", "gelu"]).fit(X, Y)
    h = np.tanh(X @ made.coefs_[0] + made.intercepts_[0])
    h = bp.functional.gelu(h @ made.coefs_[1] + made.intercepts_[1])
    z = h @ made.coefs_[2] + made.intercepts_[2]
    np.testing.assert_allclose(made.predict_proba(X), bp.functional.softmax(z, 1), rtol=1e-12)


def test_dropout_draws_by_the_seed_and_only_in_training() -> None:
    plain, dropped = (quick(MLPClassifier, dropout=p).fit(X, Y) for p in (0.0, 0.5))
    again = clone(dropped).fit(X, Y)
    assert dropped.loss_curve_ == again.loss_curve_ != plain.loss_curve_
    np.testing.assert_array_equal(dropped.predict_proba(X), dropped.predict_proba(X))
    np.testing.assert_allclose(dropped.predict_proba(X[:5]), dropped.predict_proba(X)[:5])


def test_the_gradient_with_dropout_is_that_of_the_masked_network() -> None:
    from bpgpu.sklearn.losses import LogLoss
    from bpgpu.sklearn.network import ACTIVATIONS, Network

    rng = np.random.default_rng(0)
    sizes = [4, 6, 5, 3]
    coefs = [rng.normal(size=s) for s in itertools.pairwise(sizes)]
    intercepts = [rng.normal(size=n) for n in sizes[1:]]

    def network(alpha: float) -> Network:
        functions = [ACTIVATIONS["tanh"], ACTIVATIONS["logistic"]]
        made = Network(coefs, intercepts, functions, LogLoss(), alpha, [0.3, 0.6])
        made.key = bp.random.key(7)
        return made

    weight = rng.random(150)
    _, _, grads = network(0.5).gradients(X, Y, weight)
    for params, kind in ((coefs, "coefs"), (intercepts, "intercepts")):
        for i, p in enumerate(params):
            at = tuple(n // 2 for n in p.shape)
            ends = []
            for step in (1e-6, -1e-6):
                p[at] += step
                value, penalty, _ = network(0.5).gradients(X, Y, weight)
                ends.append(value + penalty)
                p[at] -= step
            assert grads[f"{kind}.{i}"][at] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("kind", ["LogLoss", "BinaryLogLoss", "SquaredError", "Poisson"])
def test_the_written_out_gradient_is_the_one_of_bpgpu(activation: str, kind: str) -> None:
    """The chain rule by hand beside `bpgpu.grad` of the same loss, in which every function brings its own rule."""
    from bpgpu.sklearn import losses
    from bpgpu.sklearn.network import ACTIVATIONS, Network

    rng = np.random.default_rng(1)
    params = {
        "coefs": [rng.normal(size=(4, 5)), rng.normal(size=(5, 3))],
        "intercepts": [rng.normal(size=5), rng.normal(size=3)],
    }
    y: Any = Y if kind == "LogLoss" else rng.random((150, 3))
    weight = rng.random(150)
    loss = getattr(losses, kind)()
    network = Network(
        params["coefs"], params["intercepts"], [ACTIVATIONS[activation]], loss, alpha=0.7
    )
    value, penalty, grads = network.gradients(X, y, weight)
    function = {
        "relu": bp.functional.relu,
        "tanh": bp.functional.tanh,
        "logistic": bp.functional.sigmoid,
        "identity": lambda z: z,
    }[activation]

    def of(p: Any) -> Any:
        h = function(X @ p["coefs"][0] + p["intercepts"][0])
        z = h @ p["coefs"][1] + p["intercepts"][1]
        if kind == "LogLoss":
            terms = bp.functional.cross_entropy(z, Y, reduction="none")
        elif kind == "BinaryLogLoss":
            terms = bp.functional.binary_cross_entropy_with_logits(z, y, reduction="none").sum(
                axis=1
            )
        elif kind == "SquaredError":
            terms = ((z - y) ** 2).sum(axis=1) / 2
        else:
            terms = (np.exp(z) - y * z + y * np.log(y) - y).sum(axis=1)
        squares = sum((w * w).sum() for w in p["coefs"])
        return (terms * weight).sum() / weight.sum() + 0.35 * squares / weight.sum()

    expected, gradient = bp.value_and_grad(of)(params)
    assert value + penalty == pytest.approx(expected, rel=1e-10)
    for name, branch in gradient.items():
        for i, g in enumerate(branch):
            np.testing.assert_allclose(grads[f"{name}.{i}"], g, rtol=1e-9, atol=1e-12)


def test_to_module_gives_what_stands_before_the_last_function(xp: Any) -> None:
    made = quick(MLPClassifier, hidden_layer_sizes=(6, 5), activation=["gelu", "logistic"])
    made.fit(xp.asarray(X), xp.asarray(Y))
    module = made.to_module()
    p = bp.functional.softmax(module(xp.asarray(X)), 1)
    np.testing.assert_allclose(
        bp.to_numpy(p), bp.to_numpy(made.predict_proba(xp.asarray(X))), rtol=1e-12
    )
    module[0].weight[...] = 0
    assert bool(xp.any(made.coefs_[0] != 0))


# ---- going on, and stopping


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_goes_on_as_the_original_does(kind: Any) -> None:
    known = {"classes": [0, 1, 2]} if "Classifier" in kind.__name__ else {}
    made = quick(kind).partial_fit(X, target(kind), **known).partial_fit(X, target(kind))
    copies = [pickle.loads(pickle.dumps(made)), copy.deepcopy(made)]
    before = np.array(first_weight(made))
    made.partial_fit(X, target(kind))
    for again in copies:
        np.testing.assert_array_equal(first_weight(again), before)
        again.partial_fit(X, target(kind))
        np.testing.assert_array_equal(first_weight(again), first_weight(made))
    assert not np.array_equal(before, first_weight(made))


def test_weights_that_were_set_are_trained_further() -> None:
    made = quick(MLPClassifier).partial_fit(X, Y, classes=[0, 1, 2])
    made.coefs_ = [np.zeros_like(w) for w in made.coefs_]
    made.partial_fit(X, Y)
    assert np.abs(made.coefs_[0]).max() < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_warm_start_goes_on(kind: Any) -> None:
    made = quick(kind, warm_start=True)
    losses = [made.fit(X, target(kind)).loss_ for _ in range(4)]
    assert losses[-1] < losses[0]
    curve = made.loss_curve_ if hasattr(made, "loss_curve_") else made.history_["loss"]
    assert len(curve) == 16
    anew = quick(kind).fit(X, target(kind))
    assert anew.fit(X, target(kind)).loss_ == losses[0]


def test_a_warm_start_may_change_the_solver_and_hold_samples_out() -> None:
    made = quick(MLPClassifier, warm_start=True, solver="lbfgs").fit(X, Y)
    made.set_params(solver="adam").fit(X, Y)
    assert len(made.loss_curve_) == 4
    made.set_params(early_stopping=True).fit(X, Y)
    assert len(made.validation_scores_) == 4
    made.set_params(early_stopping=False).fit(X, Y)


def test_a_warm_start_with_other_data_is_refused() -> None:
    made = quick(MLPClassifier, warm_start=True).fit(X, Y)
    with pytest.raises(
        ValueError, match=r"warm_start can only be used where `y` has the same classes"
    ):
        made.fit(X, Y + 1)
    with pytest.raises(ValueError, match="X has 3 features"):
        made.fit(X[:, :3], Y)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(3,\) does not fit the weights"):
        made.set_params(hidden_layer_sizes=(3,)).fit(X, Y)
    numbers = quick(MLPRegressor, warm_start=True).fit(X, NUMBERS)
    with pytest.raises(ValueError, match="y has 2 outputs, but MLPRegressor was fitted with 1"):
        numbers.fit(X, X[:, :2])


@pytest.mark.parametrize("kind", [MLPClassifier, NeuralClassifier])
def test_partial_fit_is_told_the_classes_first(kind: Any) -> None:
    made = quick(kind)
    with pytest.raises(
        ValueError, match=r"classes must be passed on the first call to partial_fit"
    ):
        made.partial_fit(X, Y)
    made.partial_fit(X[:50], Y[:50], classes=[0, 1, 2])
    assert made.predict_proba(X).shape == (150, 3)
    with pytest.raises(ValueError, match=r"is not the same as on last call to partial_fit"):
        made.partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`: \[5\]"):
        made.partial_fit(X, np.where(Y == 2, 5, Y))


def test_partial_fit_is_there_for_stochastic_solvers_only() -> None:
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
    assert hasattr(MLPClassifier(solver="adamw"), "partial_fit")
    with pytest.raises(ValueError, match=r"partial_fit does not support early_stopping=True"):
        MLPClassifier(early_stopping=True).partial_fit(X, Y, classes=[0, 1, 2])


def test_ctrl_c_keeps_what_was_learned() -> None:
    calls = 0

    def interrupted(z: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return bp.functional.relu(z)

    made = quick(MLPClassifier, activation=interrupted)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        made.fit(X, Y)
    assert len(made.loss_curve_) == made.n_iter_ == 2
    made.predict(X)


def test_weights_that_become_infinite_raise_with_a_remedy() -> None:
    made = MLPRegressor(solver="sgd", learning_rate_init=1e3, activation="identity")
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=r"non-finite parameter weights.*StandardScaler"),
    ):
        made.fit(1e3 * X, NUMBERS)


def test_epochs_without_an_end_are_told() -> None:
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(3\) reached"):
        MLPClassifier(max_iter=3).fit(X, Y)
    with pytest.warns(ConvergenceWarning, match=r"lbfgs failed to converge after 3 iteration"):
        MLPClassifier(max_iter=3, solver="lbfgs").fit(X, Y)
    with pytest.warns(UserWarning, match=r"batch_size=1000, 150 samples"):
        quick(MLPClassifier, batch_size=1000).fit(X, Y)


def test_a_single_row_and_a_last_batch_of_one() -> None:
    quick(MLPClassifier, batch_size=149).fit(X, Y).predict(X[:1])
    quick(MLPRegressor).fit(X[:1], NUMBERS[:1])
    quick(NeuralClassifier, batch_size=149).fit(X, Y).predict(X[:1])


# ---- scikit-learn's tools


@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_search_over_a_pipeline(kind: Any) -> None:
    name = "hidden_layer_sizes" if kind.__name__.startswith("MLP") else "module__width"
    grid = {f"{kind.__name__.lower()}__{name}": [3, 30]}
    found = GridSearchCV(make_pipeline(StandardScaler(), quick(kind)), grid, cv=2, n_jobs=2)
    found.fit(X, target(kind))
    assert found.best_params_.keys() == grid.keys()
    best = found.best_estimator_[-1]
    assert first_weight(best).shape in {(4, 3), (4, 30), (3, 4), (30, 4)}


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_routed(kind: Any) -> None:
    weight = np.linspace(0, 1, 150)
    plain = make_pipeline(StandardScaler(), quick(kind))
    plain.fit(X, target(kind), **{f"{kind.__name__.lower()}__sample_weight": weight})
    with sklearn.config_context(enable_metadata_routing=True):
        made = quick(kind).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), made)
        weights = {"sample_weight": weight}
        cross_validate(made, X, target(kind), params=weights, cv=2, error_score="raise")
        np.testing.assert_array_equal(
            pipe.fit(X, target(kind), sample_weight=weight).predict(X), plain.predict(X)
        )


@pytest.mark.parametrize("kind", [MLPClassifier, NeuralClassifier])
def test_scores_of_scikit_learn(kind: Any) -> None:
    for scoring in ("accuracy", "neg_log_loss", "roc_auc_ovr", "f1_macro"):
        assert np.isfinite(cross_val_score(quick(kind), X, Y, cv=2, scoring=scoring)).all()


def test_frames_of_a_scaler_go_in() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    for kind in KINDS:
        pipe = make_pipeline(StandardScaler().set_output(transform="pandas"), quick(kind))
        assert pipe.fit(X, target(kind))[-1].feature_names_in_.tolist() == ["x0", "x1", "x2", "x3"]


# ---- settings that cannot be


BAD: list[tuple[dict[str, Any], str]] = [
    ({"hidden_layer_sizes": 0}, "hidden_layer_sizes must be > 0, got 0"),
    ({"hidden_layer_sizes": (3, -1)}, r"hidden_layer_sizes must be > 0, got \(3, -1\)"),
    ({"hidden_layer_sizes": (2.5,)}, r"hidden_layer_sizes must be > 0, got \(2.5,\)"),
    (
        {"activation": "foo"},
        r"'activation' parameter of MLPClassifier must be one of .*'relu'.* got 'foo'",
    ),
    ({"activation": bp.nn.ReLU}, "'activation' parameter of MLPClassifier must be"),
    (
        {"activation": ["relu", "tanh"]},
        "activation has 2 entries, and hidden_layer_sizes asks for 1",
    ),
    ({"activation": bp.nn.PReLU()}, "the layer PReLU has parameters of its own"),
    ({"activation": lambda z: z.sum()}, "a function that keeps the shape"),
    ({"solver": "foo"}, "solver: expected one of 'lbfgs', .*'adamw'.* got 'foo'"),
    ({"solver": bp.optim.LBFGS}, "L-BFGS is solver='lbfgs'"),
    ({"solver": lambda params: 3}, "the function returned 3, and no optimizer"),
    ({"alpha": -1}, "'alpha' parameter of MLPClassifier must be a number >= 0, got -1"),
    ({"alpha": "x"}, "'alpha' parameter of MLPClassifier must be a number >= 0, got 'x'"),
    ({"alpha": float("nan")}, "'alpha' parameter"),
    (
        {"batch_size": 0},
        "'batch_size' parameter of MLPClassifier must be 'auto' or an integer >= 1, got 0",
    ),
    (
        {"learning_rate": "x"},
        "'learning_rate' parameter .* 'constant', 'invscaling', 'adaptive', got 'x'",
    ),
    ({"learning_rate_init": 0}, "'learning_rate_init' parameter"),
    ({"power_t": -1}, "'power_t' parameter"),
    ({"max_iter": 2.5}, "'max_iter' parameter of MLPClassifier must be an integer >= 1, got 2.5"),
    ({"shuffle": "yes"}, "'shuffle' parameter of MLPClassifier must be True or False, got 'yes'"),
    ({"random_state": "x"}, "'random_state' parameter of MLPClassifier must be an integer .* 'x'"),
    ({"random_state": -1}, "'random_state' parameter"),
    ({"verbose": "x"}, "'verbose' parameter of MLPClassifier must be True, False or an integer"),
    ({"early_stopping": True, "validation_fraction": 0}, "'validation_fraction' parameter .* > 0"),
    ({"tol": -1}, "'tol' parameter"),
    ({"warm_start": 2}, "'warm_start' parameter"),
    (
        {"momentum": 1.5},
        "'momentum' parameter of MLPClassifier must be a number >= 0 and <= 1, got 1.5",
    ),
    ({"nesterovs_momentum": None}, "'nesterovs_momentum' parameter"),
    ({"early_stopping": "x"}, "'early_stopping' parameter"),
    ({"validation_fraction": 1.0}, "'validation_fraction' parameter"),
    ({"early_stopping": True, "validation_fraction": 0.001}, "The validation set is too small"),
    ({"beta_1": 1.0}, "'beta_1' parameter"),
    ({"beta_2": -0.1}, "'beta_2' parameter"),
    ({"epsilon": 0.0}, "'epsilon' parameter"),
    ({"n_iter_no_change": 0}, "'n_iter_no_change' parameter"),
    ({"max_fun": 0}, "'max_fun' parameter"),
    ({"dropout": 1.0}, "'dropout' parameter of MLPClassifier must be a probability >= 0 and < 1"),
    ({"dropout": [0.1, 0.2]}, "dropout has 2 entries"),
    ({"dropout": 0.5, "solver": "lbfgs"}, "dropout=0.5 goes with stochastic solvers"),
    ({"device": "tpu"}, "device 'tpu': this is no device"),
]


@pytest.mark.parametrize(("settings", "text"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_a_setting_that_cannot_be_is_named(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        MLPClassifier(**settings).fit(X, Y)


def test_the_loss_of_a_regressor_is_checked() -> None:
    with pytest.raises(
        ValueError,
        match="'loss' parameter of MLPRegressor must be one of 'squared_error', 'poisson'",
    ):
        MLPRegressor(loss="x").fit(X, NUMBERS)
    with pytest.raises(ValueError, match="loss='poisson' needs targets of at least 0"):
        MLPRegressor(loss="poisson").fit(X, -NUMBERS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_that_is_not_there_is_told(kind: Any) -> None:
    if any(d.type == "cuda" for d in bp.devices()):
        pytest.skip("there is a CUDA device")
    with pytest.raises(DeviceError, match="device 'cuda'"):
        quick(kind, device="cuda").fit(X, target(kind))
