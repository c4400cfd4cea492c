"""What estimators take and refuse: libraries, dtypes, labels, weights, sparse features; and what they answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("sklearn.base")

import sklearn
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

import bpgpu as bp
from bpgpu.errors import ConversionError
from bpgpu.sklearn import MLPClassifier, MLPRegressor, NeuralClassifier, NeuralRegressor

X, Y = load_iris(return_X_y=True)
NAMES = np.asarray(["setosa", "versicolor", "virginica"])[Y]
LABELS = np.stack([Y == 0, Y > 0], axis=1).astype(np.int64)
NUMBERS = X[:, 0] * X[:, 1]

pytestmark = pytest.mark.filterwarnings("ignore:.*(Maximum iterations|failed to converge)")

CLASSIFIERS = [MLPClassifier, NeuralClassifier]
REGRESSORS = [MLPRegressor, NeuralRegressor]


def quick(kind: Any, **settings: Any) -> Any:
    """An estimator that trains for a moment."""
    name = "max_iter" if kind.__name__.startswith("MLP") else "epochs"
    return kind(**{name: 4, "random_state": 0, **settings})


def host(x: Any) -> Any:
    return bp.to_numpy(x) if hasattr(x, "__array_namespace__") or hasattr(x, "detach") else x


# ---- libraries


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_classifier_answers_in_the_library_of_its_features(xp: Any, kind: Any) -> None:
    here, there = quick(kind).fit(X, Y), quick(kind).fit(xp.asarray(X), xp.asarray(Y))
    for method in ("predict", "predict_proba", "predict_log_proba"):
        found = getattr(there, method)(xp.asarray(X))
        assert type(found) is type(xp.asarray(X))
        np.testing.assert_allclose(host(found), getattr(here, method)(X), rtol=1e-6)
    assert type(there.classes_) is type(xp.asarray(X))
    assert there.score(xp.asarray(X), xp.asarray(Y)) == here.score(X, Y)


@pytest.mark.parametrize("kind", REGRESSORS)
def test_a_regressor_answers_in_the_library_of_its_features(xp: Any, kind: Any) -> None:
    here, there = quick(kind).fit(X, NUMBERS), quick(kind).fit(xp.asarray(X), xp.asarray(NUMBERS))
    found = there.predict(xp.asarray(X))
    assert type(found) is type(xp.asarray(X))
    np.testing.assert_allclose(host(found), here.predict(X), rtol=1e-6)
    assert there.score(xp.asarray(X), xp.asarray(NUMBERS)) == pytest.approx(here.score(X, NUMBERS))


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_labels_and_weights_may_come_from_the_host(xp: Any, kind: Any) -> None:
    weight = np.linspace(0.5, 2, 150)
    here = quick(kind).fit(X, NAMES, weight)
    there = quick(kind).fit(xp.asarray(X), list(NAMES), sample_weight=list(weight))
    np.testing.assert_array_equal(there.predict(xp.asarray(X)), here.predict(X))
    assert isinstance(there.classes_, np.ndarray)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_several_labels_in_every_library(xp: Any, kind: Any) -> None:
    made = quick(kind).fit(xp.asarray(X), xp.asarray(LABELS))
    assert tuple(made.predict(xp.asarray(X)).shape) == (150, 2)
    assert type(made.predict_proba(xp.asarray(X))) is type(xp.asarray(X))
    np.testing.assert_array_equal(
        host(made.predict(xp.asarray(X))), quick(kind).fit(X, LABELS).predict(X)
    )


@pytest.mark.parametrize("kind", REGRESSORS)
def test_several_numbers_in_every_library(xp: Any, kind: Any) -> None:
    made = quick(kind).fit(xp.asarray(X), xp.asarray(X[:, :2]))
    assert tuple(made.predict(xp.asarray(X)).shape) == (150, 2)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_features_of_another_library_than_before_are_brought_to_the_weights(
    xp: Any, kind: Any
) -> None:
    fitted = quick(kind).fit(xp.asarray(X), xp.asarray(Y))
    assert isinstance(fitted.predict(X), np.ndarray)
    assert type(quick(kind).fit(X, Y).predict(xp.asarray(X))) is type(xp.asarray(X))


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_with_dispatch_on_another_library_is_refused(kind: Any) -> None:
    import array_api_strict as strict

    with sklearn.config_context(array_api_dispatch=True):
        made = quick(kind).fit(strict.asarray(X), strict.asarray(Y))
        with pytest.raises(
            ValueError, match=r"predict_proba\(\) must use the same namespace.*array_api_strict"
        ):
            made.predict_proba(X)


@pytest.mark.parametrize(
    "settings",
    [{"solver": "lbfgs"}, {"early_stopping": True}, {"dropout": 0.5}, {"solver": "lion"}],
    ids=str,
)
def test_every_way_to_train_works_in_every_library(xp: Any, settings: dict[str, Any]) -> None:
    here = quick(MLPClassifier, **settings)
    there = quick(MLPClassifier, **settings)
    here.fit(X, Y)
    there.fit(xp.asarray(X), xp.asarray(Y))
    np.testing.assert_allclose(
        host(there.predict_proba(xp.asarray(X))), here.predict_proba(X), rtol=1e-5
    )


def test_jax_is_taken() -> None:
    jnp = pytest.importorskip("jax.numpy")
    made = quick(MLPClassifier).fit(jnp.asarray(X), jnp.asarray(Y))
    np.testing.assert_array_equal(
        host(made.predict(jnp.asarray(X))), quick(MLPClassifier).fit(X, Y).predict(X)
    )


def test_a_tensor_that_asks_for_a_gradient_gives_its_values() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.asarray(X).requires_grad_()
    for kind in (MLPClassifier, NeuralClassifier):
        assert not quick(kind).fit(tensor, Y).predict_proba(tensor).requires_grad


def test_a_traced_array_is_refused() -> None:
    fitted = quick(MLPRegressor).fit(X, NUMBERS)
    with pytest.raises(ConversionError, match="fitting and predicting are not differentiated"):
        bp.grad(lambda x: fitted.predict(x).sum())(X)


# ---- dtypes and containers


@pytest.mark.parametrize("kind", [MLPClassifier, NeuralClassifier])
@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.astype(np.float16),
        lambda x: (10 * x).astype(np.int32),
        lambda x: x > 3,
        lambda x: x.tolist(),
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x.astype(">f8"),
    ],
    ids=["float16", "integers", "truth", "lists", "columns first", "with gaps", "big endian"],
)  # fmt: skip
def test_features_of_other_dtypes_are_float64(kind: Any, convert: Any) -> None:
    made = quick(kind).fit(convert(X), Y)
    assert made.predict_proba(convert(X)).dtype == np.float64


@pytest.mark.parametrize("kind", [MLPClassifier, NeuralClassifier])
def test_float32_stays(xp: Any, kind: Any) -> None:
    x = xp.asarray(X, dtype=xp.float32)
    assert quick(kind).fit(x, Y).predict_proba(x).dtype == xp.float32


def test_features_that_cannot_be_written_to() -> None:
    x = X.copy()
    x.setflags(write=False)
    quick(MLPClassifier, shuffle=False).fit(x, Y).predict(x)
    torch = pytest.importorskip("torch")
    quick(MLPClassifier).fit(x, Y)
    quick(MLPClassifier).fit(torch.asarray(X), Y).predict(x)


def test_what_was_given_is_not_changed() -> None:
    x, y, w = X.copy(), Y.copy(), np.linspace(1, 2, 150)
    before = w.copy()
    for kind in (MLPClassifier, NeuralClassifier):
        quick(kind, activation="identity") if kind is MLPClassifier else None
        quick(kind).fit(x, y, w).predict(x)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    np.testing.assert_array_equal(w, before)


@pytest.mark.parametrize("form", ["csr_matrix", "csc_array", "coo_array", "lil_matrix"])
@pytest.mark.parametrize(
    "settings", [{"batch_size": 20}, {"solver": "lbfgs"}, {"early_stopping": True}, {"shuffle": False}], ids=str
)  # fmt: skip
def test_sparse_features_give_what_dense_ones_give(form: str, settings: dict[str, Any]) -> None:
    sparse = getattr(scipy.sparse, form)(X)
    a, b = (quick(MLPClassifier, **settings).fit(x, Y) for x in (sparse, X))
    np.testing.assert_allclose(a.predict_proba(sparse), b.predict_proba(X), rtol=1e-12)


def test_sparse_labels_are_taken_and_sparse_features_of_modules_refused() -> None:
    made = quick(MLPClassifier).fit(X, scipy.sparse.csr_matrix(LABELS))
    assert made.predict(X).shape == (150, 2)
    with pytest.raises(TypeError, match="Sparse data was passed for X, but dense data is required"):
        quick(NeuralClassifier).fit(scipy.sparse.csr_matrix(X), Y)


# ---- labels


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize(
    "labels",
    [Y - 5, Y.astype(float), Y == 1, NAMES, NAMES.astype(object), Y.astype(np.uint8), NAMES.tolist()],
    ids=["negative", "floats", "truth", "text", "objects", "bytes", "list"],
)  # fmt: skip
def test_labels_come_back_as_they_went_in(kind: Any, labels: Any) -> None:
    made = quick(kind).fit(X, labels)
    np.testing.assert_array_equal(made.classes_, np.unique(labels))
    found = made.predict(X)
    assert found.dtype == np.asarray(labels).dtype
    assert set(found.tolist()) <= set(np.asarray(labels).tolist())


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_single_class_is_predicted(kind: Any) -> None:
    made = quick(kind).fit(X, np.full(150, "only"))
    assert set(made.predict(X)) == {"only"}
    np.testing.assert_array_equal(made.predict_proba(X), np.ones((150, 1)))
    np.testing.assert_array_equal(made.predict_log_proba(X), np.zeros((150, 1)))


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("labels", [Y, NAMES[30:130], LABELS], ids=["three", "two", "several"])
def test_probabilities_belong_to_the_prediction(kind: Any, labels: Any) -> None:
    x = X if len(labels) == 150 else X[30:130]
    made = quick(kind).fit(x, labels)
    p, logs = made.predict_proba(x), made.predict_log_proba(x)
    np.testing.assert_allclose(np.exp(logs), p, rtol=1e-9)
    if labels.ndim == 2:
        np.testing.assert_array_equal(made.predict(x), (p > 0.5).astype(int))
    else:
        np.testing.assert_allclose(p.sum(axis=1), 1)
        np.testing.assert_array_equal(made.predict(x), made.classes_[p.argmax(axis=1)])


def test_logarithms_keep_their_digits_where_probabilities_are_close_to_one() -> None:
    made = MLPClassifier((), solver="lbfgs", alpha=0.0, max_iter=30).fit(X, Y == 0)
    p, logs = made.predict_proba(3 * X), made.predict_log_proba(3 * X)
    assert (p[:50, 1] == 1).any()
    assert (logs < 0).all()
    np.testing.assert_allclose(logs[p < 0.9], np.log(p[p < 0.9]), rtol=1e-12)
    far = made.predict_log_proba(
        1e4 * X
    )  # where the probability is rounded to 0, without a warning
    assert set(np.unique(far)) == {-np.inf, 0.0}


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (NUMBERS, "Unknown label type: continuous"),
        (np.asarray([1, "a", None] * 50, dtype=object), "Unknown label type: unknown"),
        (np.stack([Y, Y], axis=1), "Multioutput target data is not supported"),
        (Y[:10], r"inconsistent numbers of samples: \[150, 10\]"),
        (None, "requires y to be passed, but the target y is None"),
        (np.where(Y == 0, np.nan, 1.0), "y contains NaN"),
    ],
    ids=["numbers", "mixed", "columns", "too few", "none", "nan"],
)
def test_labels_that_are_none_are_refused(kind: Any, labels: Any, text: str) -> None:
    import array_api_strict as strict

    with pytest.raises(ValueError, match=text):
        quick(kind).fit(X, labels)
    with pytest.raises(ValueError, match=text):
        quick(kind).fit(strict.asarray(X), labels)


# ---- weights


@pytest.mark.parametrize("kind", [*CLASSIFIERS, *REGRESSORS])
@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (np.ones(3), r"a weight for each of 150 samples, shape \(150,\), got shape \(3,\)"),
        (np.ones((150, 1)), r"got shape \(150, 1\)"),
        (-np.ones(150), "weights of at least 0, got negative ones"),
        (np.zeros(150), "at least one non-zero number"),
        (np.full(150, np.nan), "sample_weight contains NaN"),
    ],
    ids=["too few", "a column", "negative", "zero", "nan"],
)
def test_weights_that_are_none_are_refused(kind: Any, weight: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        quick(kind).fit(X, Y, sample_weight=weight)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_class_weights_are_sample_weights(kind: Any) -> None:
    by_class = {"setosa": 1.0, "versicolor": 5.0, "virginica": 0.5}
    a = quick(kind, class_weight=by_class).fit(X, NAMES)
    b = quick(kind).fit(X, NAMES, sample_weight=np.asarray([by_class[name] for name in NAMES]))
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))
    balanced = quick(kind, class_weight="balanced").fit(X[:120], NAMES[:120])
    assert not np.array_equal(
        balanced.predict_proba(X), quick(kind).fit(X[:120], NAMES[:120]).predict_proba(X)
    )


@pytest.mark.parametrize("labels", [Y[:120], LABELS[:120]], ids=["classes", "several labels"])
def test_balanced_classes_count_a_sample_of_weight_two_twice(labels: Any) -> None:
    weight = np.where(np.arange(120) % 3 == 0, 2.0, 1.0)
    weight[::7] = 0
    repeated = np.repeat(np.arange(120), weight.astype(int))
    settings = {"solver": "lbfgs", "class_weight": "balanced", "alpha": 0.1, "max_iter": 20}
    a = quick(MLPClassifier, **settings).fit(X[:120], labels, sample_weight=weight)
    b = quick(MLPClassifier, **settings).fit(X[:120][repeated], labels[repeated])
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), rtol=1e-4)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_class_weights_that_are_none_are_refused(kind: Any) -> None:
    for wish in ("much", 3):
        with pytest.raises(ValueError, match=r"'class_weight' parameter of .* must be a dict"):
            quick(kind, class_weight=wish).fit(X, Y)
    with pytest.raises(
        ValueError, match=r"class_weight='balanced' is not supported by partial_fit"
    ):
        quick(kind, class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])


# ---- features that do not fit


@pytest.mark.parametrize("kind", [*CLASSIFIERS, *REGRESSORS])
def test_an_estimator_that_is_not_fitted_says_so(kind: Any) -> None:
    for method in ("predict", "predict_proba", "predict_log_proba", "score", "to_module"):
        if hasattr(kind, method):
            given = {"score": (X, Y), "to_module": ()}.get(method, (X,))
            with pytest.raises(
                NotFittedError, match=f"This {kind.__name__} instance is not fitted yet"
            ):
                getattr(kind(), method)(*given)


@pytest.mark.parametrize("kind", [MLPClassifier, NeuralClassifier])
@pytest.mark.parametrize("library", ["numpy", "array_api_strict", "torch"])
def test_features_that_do_not_fit_are_refused(kind: Any, library: str) -> None:
    xp = pytest.importorskip(library)
    made = quick(kind).fit(X, Y)
    for x, text in (
        (X[:, :3], f"X has 3 features, but {kind.__name__} is expecting 4 features as input"),
        (X[0], "Expected 2D array, got 1D array instead"),
        (X[:0], r"Found array with 0 sample\(s\)"),
        (X[:, :0], r"Found array with 0 feature\(s\)"),
        (np.where(X > 5, np.nan, X), "Input X contains NaN"),
        (np.where(X > 5, np.inf, X), "Input X contains (NaN or )?infinity"),
        (X + 1j, "Complex data not supported"),
    ):
        with pytest.raises(ValueError, match=text):
            made.predict(xp.asarray(x))
        if x.shape != (150, 3) and x.ndim == 2:
            with pytest.raises(ValueError, match=text):
                quick(kind).fit(xp.asarray(x), Y[: len(x)] if len(x) else Y)


def test_large_features_are_no_infinities() -> None:
    made = quick(MLPClassifier).fit(X, Y)
    assert made.predict(np.full((3, 4), 1e308)).shape == (3,)


def test_names_of_columns_are_kept_and_compared() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    for kind in (MLPClassifier, NeuralClassifier):
        made = quick(kind).fit(frame, pandas.Series(NAMES))
        assert made.feature_names_in_.tolist() == list("abcd")
        with pytest.raises(ValueError, match="feature names should match"):
            made.predict(frame.rename(columns={"a": "z"}))
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            made.predict(X)
