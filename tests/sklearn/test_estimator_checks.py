"""scikit-learn's own checks of estimators: all of them, on NumPy and on arrays of other libraries."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any
from unittest import SkipTest

import pytest

pytest.importorskip("sklearn.base")

from sklearn.utils.estimator_checks import estimator_checks_generator

from bpgpu.sklearn import MLPClassifier, MLPRegressor, NeuralClassifier, NeuralRegressor

ESTIMATORS = [MLPClassifier(), MLPRegressor(), NeuralClassifier(), NeuralRegressor()]


def checks() -> Iterator[Any]:
    for estimator in ESTIMATORS:
        seen: dict[str, int] = {}
        for given, check in estimator_checks_generator(estimator):
            name = f"{type(estimator).__name__}-{getattr(check, 'func', check).__name__}"
            seen[name] = seen.get(name, 0) + 1
            yield pytest.param(given, check, id=f"{name}-{seen[name]}")


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learn_finds_nothing_wrong(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check(estimator)
        except SkipTest as reason:
            pytest.skip(str(reason))
