"""scikit-learn's own checks of estimators: all of them, on NumPy and on arrays of other libraries."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any
from unittest import SkipTest

import pytest

pytest.importorskip("sklearn.base")

from sklearn.utils.estimator_checks import (
    check_array_api_input_and_values,
    estimator_checks_generator,
)

from bpgpu.sklearn import MLPClassifier, MLPRegressor, NeuralClassifier, NeuralRegressor

ESTIMATORS = [MLPClassifier(), MLPRegressor(), NeuralClassifier(), NeuralRegressor()]


def needs(check: Any) -> list[Any]:
    """Checks with arrays of CuPy need a GPU."""
    asked = getattr(check, "keywords", {})
    places = [asked.get("array_namespace"), *map(str, asked.values())]
    return [pytest.mark.gpu] if any("cupy" in str(p) for p in places) else []


def checks() -> Iterator[Any]:
    for estimator in ESTIMATORS:
        seen: dict[str, int] = {}
        for given, check in estimator_checks_generator(estimator):
            name = f"{type(estimator).__name__}-{getattr(check, 'func', check).__name__}"
            seen[name] = seen.get(name, 0) + 1
            yield pytest.param(given, check, id=f"{name}-{seen[name]}", marks=needs(check))


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learn_finds_nothing_wrong(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check(estimator)
        except SkipTest as reason:
            pytest.skip(str(reason))


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(
    "place", [("numpy", None), ("array_api_strict", None), ("torch", "cpu")], ids=str
)
@pytest.mark.parametrize("weighted", [False, True])
def test_every_library_finds_the_same_values(estimator: Any, place: Any, weighted: bool) -> None:
    pytest.importorskip(place[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_array_api_input_and_values(
            type(estimator).__name__, estimator, *place, check_sample_weight=weighted
        )
