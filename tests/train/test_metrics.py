"""Metrics: equal to scikit-learn's whatever the split into batches, in every library, without looking at arrays."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import ArgumentError, DtypeError, LibraryError, ShapeError
from bpgpu.train import metrics as m

sk = pytest.importorskip("sklearn.metrics")
RNG = np.random.default_rng(0)
N, C, L = 57, 4, 3

SCORES = np.round(RNG.normal(size=(N, C)), 1)  # rounded, so that scores tie
CLASSES = RNG.integers(0, C, size=N)
BINARY, YES = np.round(RNG.normal(size=N), 1), RNG.integers(0, 2, size=N)
LABELS, TRUE = np.round(RNG.normal(size=(N, L)), 1), RNG.integers(0, 2, size=(N, L))
REAL, REAL2 = RNG.normal(size=(N, 2)), RNG.normal(size=(N, 2)) + 1e3
WEIGHT = RNG.random(N)


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def ovr(t: Any, p: Any, **options: Any) -> Any:
    return sk.roc_auc_score(t, softmax(p), multi_class="ovr", labels=np.arange(p.shape[1]), **options)  # fmt: skip


def decided(f: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """A function of scikit-learn on decisions, fed with scores."""

    def of(t: Any, p: Any, sample_weight: Any) -> Any:
        many = p.ndim == t.ndim + 1
        p = p.argmax(axis=1) if many else (p > 0).astype(int)
        return f(t, p, sample_weight=sample_weight, **options)

    return of


def scored(f: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda t, p, sample_weight: f(t, p, sample_weight=sample_weight, **options)


CASES: dict[str, tuple[m.Metric, Any, Any, Callable[..., Any]]] = {
    "accuracy": (m.Accuracy(), SCORES, CLASSES, decided(sk.accuracy_score)),
    "accuracy binary": (m.Accuracy(), BINARY, YES, decided(sk.accuracy_score)),
    "accuracy labels": (m.Accuracy(), LABELS, TRUE, decided(sk.accuracy_score)),
    "confusion": (m.ConfusionMatrix(), SCORES, CLASSES, decided(sk.confusion_matrix)),
    "auc": (m.AUC(), BINARY, YES, scored(sk.roc_auc_score)),
    "auc labels": (m.AUC(), LABELS, TRUE, scored(sk.roc_auc_score)),
    "auc weighted": (m.AUC(average="weighted"), LABELS, TRUE, scored(sk.roc_auc_score, average="weighted")),
    "auc classes": (m.AUC(), SCORES, CLASSES, scored(ovr)),
    "mae": (m.MAE(), REAL, REAL2, scored(sk.mean_absolute_error)),
    "mse": (m.MSE(), REAL, REAL2, scored(sk.mean_squared_error)),
    "rmse": (m.RMSE(), REAL, REAL2, scored(sk.root_mean_squared_error)),
    "r2": (m.R2(), REAL, REAL2, scored(sk.r2_score)),
    "r2 single": (m.R2(), REAL[:, 0], REAL2[:, 0], scored(sk.r2_score)),
    "perplexity": (m.Perplexity(), SCORES, CLASSES,
                   lambda t, p, sample_weight: np.exp(sk.log_loss(t, softmax(p), sample_weight=sample_weight))),
}  # fmt: skip
for k in range(1, C):
    CASES[f"top{k}"] = (m.TopK(k), SCORES, CLASSES, scored(sk.top_k_accuracy_score, k=k))
for cls, function in ((m.Precision, sk.precision_score), (m.Recall, sk.recall_score), (m.F1, sk.f1_score)):  # fmt: skip
    for average in ("macro", "micro", "weighted"):
        of = decided(function, average=average, zero_division=0.0)
        pairs = {"classes": (SCORES, CLASSES), "labels": (LABELS, TRUE), "two": (BINARY, YES)}
        for kind, pair in pairs.items():
            CASES[f"{cls.__name__} {average} {kind}"] = (cls(average), *pair, of)  # type: ignore[arg-type]
    CASES[f"{cls.__name__} binary"] = (cls(), BINARY, YES, decided(function, zero_division=0.0))


def cuts(size: int) -> Iterator[list[slice]]:
    """Splits of so many rows into batches, empty ones among them."""
    for at in ([0, size], [0, 0, 1, size // 2, size // 2, size], list(range(size + 1))):
        yield [slice(a, b) for a, b in itertools.pairwise(at)]


def value(metric: Any, p: Any, t: Any, w: Any = None, parts: Any = (slice(None),)) -> Any:
    state = metric.init(p, t)
    for part in parts:
        rest = (slice(None),) * (p.ndim - 1)
        state = metric.update(
            state,
            p[(part, *rest)],
            t[(part, *(slice(None),) * (t.ndim - 1))],
            None if w is None else w[part],
        )
    return bp.to_numpy(metric.compute(state))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_value_is_that_of_scikit_learn_however_the_data_are_split(
    case: str, weighted: bool, xp: Any
) -> None:
    metric, p, t, reference = CASES[case]
    w = WEIGHT if weighted else None
    expected = reference(t, p, sample_weight=w)
    p, t, w = (None if x is None else xp.asarray(x) for x in (p, t, w))
    for parts in cuts(N):
        np.testing.assert_allclose(value(metric, p, t, w, parts), expected, rtol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_nothing_leaves_a_second_device(case: str) -> None:
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    metric, p, t, _ = CASES[case]
    p, t, w = (strict.asarray(x, device=device) for x in (p, t, WEIGHT))
    state = metric.update(metric.init(p, t), p, t, w)
    assert metric.compute(state).device == device
    assert all(x.device == device for x in bp.tree.leaves(state))


@pytest.mark.parametrize("case", CASES)
def test_batches_are_gathered_inside_of_jit(case: str) -> None:
    jax = pytest.importorskip("jax")
    metric, p, t, reference = CASES[case]
    p, t, w = (jax.numpy.asarray(x) for x in (p, t, WEIGHT))
    state = jax.jit(metric.update)(metric.init(p, t), p, t, w)
    found = jax.jit(metric.compute)(state)
    expected = reference(np.asarray(t), np.asarray(p), sample_weight=WEIGHT)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_without_examples_the_value_is_nan(case: str, xp: Any) -> None:
    metric, p, t, _ = CASES[case]
    p, t = xp.asarray(p), xp.asarray(t)
    state = metric.init(p, t)
    nothing = [state, metric.update(state, p[(slice(0, 0), ...)], t[(slice(0, 0), ...)])]
    for s in nothing:
        found = bp.to_numpy(metric.compute(s))
        if isinstance(metric, m.ConfusionMatrix):
            assert not found.any()
        else:
            assert np.isnan(found)
    if not isinstance(metric, m.AUC):
        shapes = [[x.shape for x in bp.tree.leaves(s)] for s in nothing]
        assert shapes[0] == shapes[1]


def test_classes_that_are_absent_do_not_enter_the_mean() -> None:
    p, t = np.eye(6)[[0, 0, 3, 3, 1]], np.asarray([0, 3, 3, 3, 0])
    for cls, f in ((m.Precision, sk.precision_score), (m.Recall, sk.recall_score), (m.F1, sk.f1_score)):  # fmt: skip
        for average in ("macro", "micro", "weighted"):
            expected = f(t, p.argmax(axis=1), average=average, zero_division=0.0)
            np.testing.assert_allclose(value(cls(average), p, t), expected)
            w = np.asarray([0.0, 1, 2, 1, 0])
            expected = f(t, p.argmax(axis=1), average=average, zero_division=0.0, sample_weight=w)
            np.testing.assert_allclose(value(cls(average), p, t, w), expected)


@pytest.mark.parametrize("zero_division", [0.0, 1.0])
def test_a_ratio_of_nothing_is_what_was_asked_for(zero_division: float) -> None:
    p, t = np.asarray([-1.0, -2.0]), np.asarray([0, 0])
    for cls, f in ((m.Precision, sk.precision_score), (m.Recall, sk.recall_score), (m.F1, sk.f1_score)):  # fmt: skip
        expected = f(t, [0, 0], zero_division=zero_division)
        assert value(cls(zero_division=zero_division), p, t) == expected


def test_auc_leaves_classes_without_an_area_out() -> None:
    p = SCORES[:20]
    t = CLASSES[:20] % 3  # class 3 is absent
    each = [sk.roc_auc_score(t == i, softmax(p)[:, i]) for i in range(3)]
    np.testing.assert_allclose(value(m.AUC(), p, t), np.mean(each))
    assert np.isnan(value(m.AUC(), BINARY, np.ones(N, dtype=int)))


def test_auc_of_two_classes_and_of_probabilities() -> None:
    p = np.stack([-BINARY, BINARY], axis=1)
    expected = sk.roc_auc_score(YES, BINARY)
    np.testing.assert_allclose(value(m.AUC(), p, YES), expected)
    np.testing.assert_allclose(value(m.AUC(from_logits=False), softmax(p), YES), expected)
    np.testing.assert_allclose(
        value(m.AUC(from_logits=False), softmax(SCORES), CLASSES), ovr(CLASSES, SCORES)
    )


@pytest.mark.parametrize("case", ["auc", "auc labels", "auc classes"])
def test_auc_in_bins_is_near_and_keeps_its_shape(case: str, xp: Any) -> None:
    _, p, t, reference = CASES[case]
    metric = m.AUC(bins=10_000)
    exact = reference(t, p, sample_weight=None)
    p, t = xp.asarray(p), xp.asarray(t)
    np.testing.assert_allclose(value(metric, p, t, None, next(cuts(N))), exact, atol=1e-3)
    state = metric.init(p, t)
    after = metric.update(state, p, t)
    assert [x.shape for x in bp.tree.leaves(state)] == [x.shape for x in bp.tree.leaves(after)]


@pytest.mark.parametrize("bins", [None, 10])
def test_auc_of_a_nan_is_nan(bins: int | None) -> None:
    p = BINARY.copy()
    p[3] = np.nan
    assert np.isnan(value(m.AUC(bins=bins), p, YES))


def test_top_k_is_never_right_about_nan_and_takes_any_k() -> None:
    p, t = np.full((2, 3), np.nan), np.asarray([0, 1])
    assert value(m.TopK(1), p, t) == 0
    assert value(m.TopK(9), SCORES, CLASSES) == 1


def test_sequences_and_images_count_each_entry() -> None:
    p, t = RNG.normal(size=(5, C, 6)), RNG.integers(0, C, size=(5, 6))
    flat = np.moveaxis(p, 1, 2).reshape(-1, C)
    w = RNG.random(5)
    for metric in (m.Accuracy(), m.TopK(2), m.Perplexity(), m.F1(), m.AUC(), m.ConfusionMatrix()):
        expected = value(metric, flat, t.reshape(-1))
        np.testing.assert_allclose(value(metric, p, t), expected)
        weighted = value(metric, flat, t.reshape(-1), np.repeat(w, 6))
        np.testing.assert_allclose(value(metric, p, t, w), weighted)
        np.testing.assert_allclose(value(metric, p, t, np.repeat(w, 6).reshape(5, 6)), weighted)
    p, t = RNG.normal(size=(5, 1, 3, 3)), RNG.integers(0, 2, size=(5, 1, 3, 3))
    np.testing.assert_allclose(value(m.Accuracy(), p, t), np.mean((p > 0) == t))


def test_entries_of_the_index_to_ignore_are_left_out() -> None:
    t = CLASSES.copy()
    t[::3] = -100
    keep = t != -100
    for metric in (m.Accuracy(), m.TopK(2), m.Perplexity(), m.F1(), m.AUC(), m.ConfusionMatrix()):
        np.testing.assert_allclose(
            value(metric, SCORES, t), value(metric, SCORES[keep], CLASSES[keep])
        )


def test_binary_scores_in_a_column_and_other_dtypes() -> None:
    expected = np.mean((BINARY > 0) == YES)
    for p in (BINARY, BINARY[:, None], BINARY.astype(np.float32)):
        for t in (YES, YES[:, None], YES.astype(bool), YES.astype(np.float32), YES.astype(np.uint8)):  # fmt: skip
            np.testing.assert_allclose(value(m.Accuracy(), p, t), expected)
            np.testing.assert_allclose(value(m.AUC(), p, t), sk.roc_auc_score(YES, p.reshape(-1)))
    np.testing.assert_allclose(value(m.Accuracy(), BINARY > 0, YES), expected)
    in_a_column = value(m.Accuracy(), SCORES, CLASSES[:, None])
    assert in_a_column == value(m.Accuracy(), SCORES, CLASSES)


def test_targets_that_are_probabilities_of_classes() -> None:
    for t in (np.eye(C)[CLASSES], 0.9 * np.eye(C)[CLASSES] + 0.1 / C):
        found = value(m.Accuracy(multilabel=False), SCORES, t)
        assert found == value(m.Accuracy(), SCORES, CLASSES)
        assert value(m.TopK(2), SCORES, t) == value(m.TopK(2), SCORES, CLASSES)


def test_classes_may_be_true_and_false() -> None:
    two = np.stack([-BINARY, BINARY], axis=1)
    for metric in (m.Accuracy(), m.F1(), m.ConfusionMatrix()):
        np.testing.assert_array_equal(value(metric, two, YES.astype(bool)), value(metric, two, YES))


def test_arrays_of_two_libraries_complex_numbers_and_lists_are_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(
        LibraryError, match="the prediction is an array of torch, the target one of numpy"
    ):
        value(m.Accuracy(), torch.asarray(SCORES), CLASSES)
    with pytest.raises(LibraryError, match="expected an array of NumPy"):
        m.Accuracy().init([[1.0, 2.0]], [1])
    with pytest.raises(DtypeError, match="mae: expected real numbers, got dtypes complex128"):
        value(m.MAE(), REAL + 1j, REAL)
    metric = m.Accuracy()
    with pytest.raises(ShapeError, match="accuracy: expected weight as an array, got list"):
        metric.update(metric.init(SCORES, CLASSES), SCORES, CLASSES, [1.0] * N)


def test_the_threshold_is_zero_for_logits_and_a_half_for_probabilities() -> None:
    p = 1 / (1 + np.exp(-BINARY))
    expected = value(m.F1(), BINARY, YES)
    assert value(m.F1(from_logits=False), p, YES) == expected
    assert value(m.F1(threshold=0.5), p, YES) == expected
    assert value(m.Accuracy(), np.asarray([0.0]), np.asarray([0])) == 1  # not above it


def test_labels_count_one_by_one_on_request() -> None:
    np.testing.assert_allclose(
        value(m.Accuracy(exact=False), LABELS, TRUE), np.mean((LABELS > 0) == TRUE)
    )


def test_classes_that_were_decided_already() -> None:
    decided = SCORES.argmax(axis=1)
    assert value(m.Accuracy(), decided, CLASSES) == value(m.Accuracy(), SCORES, CLASSES)
    assert value(m.F1(num_classes=C), decided, CLASSES) == value(m.F1(), SCORES, CLASSES)


@pytest.mark.parametrize("normalize", ["true", "pred", "all"])
def test_a_confusion_matrix_is_normalised_as_in_scikit_learn(normalize: Any) -> None:
    metric = m.ConfusionMatrix(normalize=normalize)
    expected = sk.confusion_matrix(CLASSES, SCORES.argmax(axis=1), normalize=normalize)
    np.testing.assert_allclose(value(metric, SCORES, CLASSES), expected)


def test_r2_of_targets_that_do_not_vary_and_of_one_example() -> None:
    ones, p = np.ones(3), np.asarray([1.0, 1.0, 2.0])
    assert value(m.R2(), ones, ones) == sk.r2_score(ones, ones) == 1
    assert value(m.R2(), p, ones) == sk.r2_score(ones, p) == 0
    assert np.isnan(value(m.R2(), ones[:1], ones[:1]))


def test_r2_far_from_zero_loses_nothing_in_float32() -> None:
    t = RNG.normal(size=1000).astype(np.float32) + np.float32(1e4)
    p = t + np.float32(0.5)
    np.testing.assert_allclose(
        value(m.R2(), p, t, None, list(cuts(1000))[1]),
        sk.r2_score(t.astype(float), p.astype(float)),
        rtol=1e-9,
    )


def test_perplexity_of_probabilities_and_of_the_impossible() -> None:
    p = softmax(SCORES)
    expected = value(m.Perplexity(), SCORES, CLASSES)
    np.testing.assert_allclose(value(m.Perplexity(from_logits=False), p, CLASSES), expected)
    certain = np.asarray([[0.0, -np.inf]])
    assert value(m.Perplexity(), certain, np.asarray([1])) == np.inf
    assert value(m.Perplexity(), certain, np.asarray([0])) == 1
    assert value(m.Perplexity(from_logits=False), np.asarray([[0.0, 1.0]]), np.asarray([0])) == np.inf  # fmt: skip


def test_a_function_becomes_a_metric() -> None:
    def bias(p: Any, t: Any) -> Any:
        return p - t

    metric = m.get(bias)
    assert (metric.name, metric.higher_is_better) == ("bias", None)
    np.testing.assert_allclose(value(metric, REAL, REAL2), np.mean(REAL - REAL2))
    whole = m.Mean(lambda p, t: np.mean(p - t), name="whole")
    for parts in cuts(N):
        if all(part.stop > part.start for part in parts):
            np.testing.assert_allclose(value(whole, REAL, REAL2, None, parts), np.mean(REAL - REAL2))  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        *m.names(),
        "top3",
        "f1_micro",
        "recall_weighted",
        "top5_accuracy",
        "topk",
        "roc_auc",
        "acc",
        "r2_score",
    ],
)
def test_names_give_metrics(name: str) -> None:
    metric = m.get(name)
    assert isinstance(metric, m.Metric)
    assert m.get(metric) is metric


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("acuracy", "there is no metric named 'acuracy'; the names are accuracy, auc, confusion_matrix, f1"),
        ("top0", "there is no metric named 'top0'"),
        (m.Accuracy, r"got the class Accuracy; write Accuracy\(\)"),
        (3, "expected a name, a metric or a function"),
    ],
)  # fmt: skip
def test_what_is_no_metric_is_refused_with_the_names(metric: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        m.get(metric)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: m.TopK(0), "TopK: expected k as an integer of at least 1, got 0"),
        (lambda: m.AUC(bins=1), "AUC: expected bins as an integer of at least 2"),
        (lambda: m.AUC(average="micro"), "AUC: expected average as macro or weighted"),  # type: ignore[arg-type]
        (lambda: m.F1("mean"), "F1: expected average as one of binary, macro"),  # type: ignore[arg-type]
        (lambda: m.ConfusionMatrix(normalize="rows"), "expected normalize as"),  # type: ignore[arg-type]
        (lambda: value(m.F1("binary"), SCORES, CLASSES), "'binary' is for two classes, the prediction is of 4"),
        (lambda: value(m.F1(), CLASSES, CLASSES), "pass num_classes"),
        (lambda: value(m.F1(num_classes=3), SCORES, CLASSES), "num_classes is 3, but the prediction"),
    ],
)  # fmt: skip
def test_arguments_that_are_wrong_are_named(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        make()


@pytest.mark.parametrize(
    ("metric", "p", "t", "w", "text"),
    [
        (m.Accuracy(), SCORES, CLASSES[:9], None, r"expected a prediction \(N, C\).* got \(57, 4\) and \(9,\)"),
        (m.TopK(), BINARY, YES, None, r"top5: expected scores \(N, C\)"),
        (m.Perplexity(), BINARY, YES, None, r"perplexity: expected scores \(N, C\)"),
        (m.MAE(), REAL, REAL[:, 0], None, r"mae: expected prediction and target of one shape, got \(57, 2\)"),
        (m.MAE(), REAL, REAL, WEIGHT[:5], r"mae: expected weight of shape \(57,\)"),
        (m.ConfusionMatrix(), LABELS, TRUE, None, "expected one class for each example"),
        (m.Accuracy(), LABELS, TRUE, np.ones((N, L)), r"one for each example, got \(57, 3\)"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_go_together_are_named(
    metric: m.Metric, p: Any, t: Any, w: Any, text: str
) -> None:
    with pytest.raises(ShapeError, match=text):
        value(metric, p, t, w)


def test_labels_that_name_no_class_are_refused() -> None:
    for metric in (m.Accuracy(), m.TopK(), m.F1(), m.Perplexity(), m.AUC()):
        with pytest.raises(ValueError, match=r"expected target in \[0, 4\).* got 4"):
            value(metric, SCORES, CLASSES + 1)
    with pytest.raises(DtypeError, match="expected class indices as integers"):
        value(m.Accuracy(), SCORES, CLASSES + 0.5)


def test_labels_that_name_no_class_make_nan_where_they_are_not_looked_at() -> None:
    jax = pytest.importorskip("jax")
    p, t = jax.numpy.asarray(SCORES), jax.numpy.asarray(CLASSES + 1)
    for metric in (m.Accuracy(), m.TopK(), m.F1(), m.Perplexity(), m.AUC()):
        assert np.isnan(metric.compute(jax.jit(metric.update)(metric.init(p, t), p, t)))


def test_numpy_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric, p, t, _ in CASES.values():
            metric.compute(metric.init(p, t))
            value(metric, p.astype(np.float32), t, np.zeros(N))
