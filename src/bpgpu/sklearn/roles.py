"""What all classifiers share, and all regressors: targets on the way in, answers on the way out.

An answer is an array of the library and on the device of the features that it is for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.class_weight import compute_sample_weight

from bpgpu.backend.host import to_numpy
from bpgpu.backend.libraries import namespace_of
from bpgpu.sklearn import inputs
from bpgpu.sklearn.inputs import is_foreign, place_of
from bpgpu.sklearn.targets import Labels, is_numeric, squeezed

Array = Any


class Classifier(ClassifierMixin):
    """Labels in, labels out. `_last_values(X, method)` gives the last values of the network."""

    _numeric_target = False
    _labels: Labels

    def _target(self, X: Any, y: Any, first: bool, once: bool = False, classes: Any = None) -> Any:
        """The numbers of the classes, or indicators; what is known of the classes is set or checked."""
        y = squeezed(y)
        if classes is not None:
            classes = to_numpy(classes) if is_foreign(classes) else classes
        if first:
            if once and classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self._labels = Labels(y, classes)
            self._labels.check(y)
            known = self._labels.classes
            self.classes_ = place_of(X).put(known) if is_numeric(known) else known
            return self._labels.encoded(y)
        if not once:
            found = Labels(y)
            if not found.same(self._labels):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {self._labels.classes}, `y` has {found.classes}"
                )
        elif classes is not None and not Labels(classes).same_classes(self._labels):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        self._labels.check(y)
        return self._labels.encoded(y)

    def _weights(self, y: Any, weight: Any, once: bool) -> Any:
        """The weights of the samples, each times that of its class."""
        wish = self.class_weight
        if wish is None:
            return weight
        if not isinstance(wish, (dict, list)) and wish != "balanced":
            raise ValueError(
                f"The 'class_weight' parameter of {type(self).__name__} must be a dict {{class: weight}}, 'balanced' "
                f"or None, got {wish!r:.80}"
            )
        if once and wish == "balanced":
            raise ValueError(
                "class_weight='balanced' is not supported by partial_fit, which does not see all samples: compute the "
                "weights with sklearn.utils.class_weight.compute_class_weight, and pass them as a dict"
            )
        y = squeezed(y)
        if isinstance(wish, str) and weight is not None:
            by_class = balanced(y, weight)
        else:
            by_class = compute_sample_weight(wish, y)
        return inputs.weights(by_class if weight is None else by_class * weight, y.shape[0])

    def predict(self, X: Any) -> Any:
        """The most probable class of each row, `(n,)`; of several labels an indicator, `(n, k)`."""
        z = self._last_values(X, "predict")
        return self._labels.decoded(self._labels.chosen(namespace_of(z), z), place_of(X))

    def predict_proba(self, X: Any) -> Any:
        """The probability of each class, `(n, classes)`, in the order of `classes_`; of several labels that of each."""
        z = self._last_values(X, "predict_proba")
        return place_of(X).put(self._labels.probabilities(namespace_of(z), z))

    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of `predict_proba(X)`, which keeps its digits where a probability is rounded to 0 or 1."""
        z = self._last_values(X, "predict_log_proba")
        return place_of(X).put(self._labels.log_probabilities(namespace_of(z), z))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The part of the rows for which `predict(X)` is `y`."""
        given = [on_host(a) for a in (y, self.predict(X), sample_weight)]
        return float(accuracy_score(given[0], given[1], sample_weight=given[2]))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class Regressor(RegressorMixin):
    """Numbers in, numbers out. `_answers(X, method)` gives a column for each output."""

    _numeric_target = True

    def _target(self, X: Any, y: Any, first: bool, once: bool = False, classes: Any = None) -> Any:
        """The target with a column for each output."""
        y = squeezed(y)
        y = y if y.ndim == 2 else y[:, None]
        outputs = getattr(self, "n_outputs_", None)
        if not first and outputs != y.shape[1]:
            raise ValueError(
                f"y has {y.shape[1]} outputs, but {type(self).__name__} was fitted with {outputs}; fit anew with "
                "warm_start=False"
            )
        return y

    def _weights(self, y: Any, weight: Any, once: bool) -> Any:
        return weight

    def predict(self, X: Any) -> Any:
        """The prediction for each row, `(n,)`; of several outputs, `(n, k)`."""
        found = self._answers(X, "predict")
        return place_of(X).put(found[:, 0] if found.shape[1] == 1 else found)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The coefficient of determination of `predict(X)`: 1 is best, 0 is what the mean of `y` would get."""
        given = [on_host(a) for a in (y, self.predict(X), sample_weight)]
        return float(r2_score(given[0], given[1], sample_weight=given[2]))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def balanced(y: Any, weight: Any) -> Any:
    """For each sample what gives all classes the same sum of weights; with several labels the product over them.

    scikit-learn counts samples for this; here one of weight 2 counts as two.
    """
    found = np.ones(y.shape[0])
    for column in (y,) if y.ndim == 1 else y.T:
        _, codes = np.unique(column, return_inverse=True)
        totals = np.bincount(codes, weights=weight)
        there = totals > 0
        factors = totals.sum() / (there.sum() * np.where(there, totals, 1))
        found *= np.where(there, factors, 0)[codes]
    return found


def on_host(x: Any) -> Any:
    """The array as scikit-learn's metrics take it."""
    return to_numpy(x) if is_foreign(x) else x
