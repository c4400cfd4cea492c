"""Targets: from labels to what a network is trained on, and from its last values back to labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from bpgpu.backend import rows
from bpgpu.backend.host import to_numpy
from bpgpu.functional import log_softmax, logsigmoid, sigmoid, softmax
from bpgpu.sklearn.inputs import Place, is_foreign

Array = Any


class Labels:
    """Classes, and how they are numbered.

    *Attributes* `classes`: the labels in order, of NumPy. `kind`: `"binary"` with one output of the network,
    `"multiclass"` with one for each class, or `"multilabel-indicator"` with one for each column of `y`.
    """

    def __init__(self, y: Any, classes: Any = None) -> None:
        self.kind = str(type_of_target(y, input_name="y"))
        if self.kind == "multiclass-multioutput":
            raise ValueError(
                "Multioutput target data is not supported with several classes in a column: y is to be labels (n,) or "
                "an indicator matrix of 0 and 1; sklearn.multioutput.MultiOutputClassifier fits a classifier for each "
                "column"
            )
        if self.kind == "multilabel-indicator":
            self.classes = np.arange(y.shape[1])
            return
        if self.kind not in ("binary", "multiclass"):
            check_classification_targets(y)  # which tells what is wrong
        self.classes = np.unique(y) if classes is None else unique_labels(classes)
        self.kind = "multiclass" if self.classes.shape[0] > 2 else "binary"

    @property
    def outputs(self) -> int:
        """How many values the network gives for each sample."""
        return 1 if self.kind == "binary" else int(self.classes.shape[0])

    def same(self, other: Labels) -> bool:
        return self.kind == other.kind and self.same_classes(other)

    def same_classes(self, other: Labels) -> bool:
        return np.array_equal(self.classes, other.classes)

    def check(self, y: Any) -> None:
        """Raise unless these are labels that were seen before."""
        if self.kind == "multilabel-indicator":
            if y.ndim != 2 or y.shape[1] != self.classes.shape[0]:
                raise ValueError(
                    f"y: expected an indicator matrix (n, {self.classes.shape[0]}), as before, got shape {y.shape}"
                )
            return
        if y.ndim == 1 and np.array_equal(self.classes[self._places(y)], y):
            return
        check_classification_targets(y)
        new = np.setdiff1d(unique_labels(y), self.classes)
        if y.ndim != 1 or new.shape[0]:
            raise ValueError(
                f"`y` has classes not in `self.classes_`: {new}; `self.classes_` has {self.classes}. Name all classes "
                "in the first call of partial_fit, classes="
            )

    def encoded(self, y: Any) -> Any:
        """The numbers of the classes `(n,)`, or an indicator `(n, k)` where the network has an output for each."""
        if self.kind == "multilabel-indicator":
            return np.asarray(y != 0)
        codes = self._places(y)
        return codes if self.kind == "multiclass" else codes[:, None] > 0

    def _places(self, y: Any) -> Any:
        return np.minimum(np.searchsorted(self.classes, y), self.classes.shape[0] - 1)

    def chosen(self, xp: Any, z: Array) -> Array:
        """The number of the most probable class, or an indicator, from the last values of a network.

        A network may tell two classes by one value or by two.
        """
        if self.kind == "multilabel-indicator":
            return xp.astype(z > 0, xp.int64)
        if z.shape[1] > 1:
            return xp.argmax(z, axis=1)
        return xp.astype(z[:, 0] > 0, xp.int64) * (len(self.classes) - 1)

    def decoded(self, codes: Array, place: Place) -> Array:
        """Labels at a place; texts and other labels that only NumPy has stay in NumPy."""
        if self.kind == "multilabel-indicator":
            return place.put(codes)
        if not is_numeric(self.classes):
            return self.classes[to_numpy(codes)]
        return rows.take(place.put(self.classes), place.put(codes))

    def probabilities(self, xp: Any, z: Array) -> Array:
        """Those of all classes."""
        if self.kind == "multilabel-indicator":
            return sigmoid(z)
        if z.shape[1] > 1:
            return softmax(z, 1)
        if len(self.classes) == 1:
            return xp.ones_like(z)
        return xp.concat([sigmoid(-z), sigmoid(z)], axis=1)

    def log_probabilities(self, xp: Any, z: Array) -> Array:
        """Their logarithms, with all digits where they are close to 1; minus infinity where they are rounded to 0."""
        if self.kind == "multilabel-indicator":
            logs = logsigmoid(z)
        elif z.shape[1] > 1:
            logs = log_softmax(z, 1)
        elif len(self.classes) == 1:
            return xp.zeros_like(z)
        else:
            logs = xp.concat([logsigmoid(-z), logsigmoid(z)], axis=1)
        nothing = self.probabilities(xp, z) == 0
        return xp.where(nothing, xp.full_like(logs, -math.inf), logs)


def is_numeric(labels: Any) -> bool:
    """True for labels that any library of arrays can hold."""
    return labels.dtype.kind in "biuf"


def squeezed(y: Any) -> Any:
    """`y` as a vector, if it is a column; a sparse indicator as a dense one."""
    if hasattr(y, "toarray"):
        y = y.toarray()
    if y.ndim == 2 and y.shape[1] == 1:
        return y[:, 0] if is_foreign(y) else column_or_1d(y, warn=True)
    return y


def r2(xp: Any, y: Array, prediction: Array, weight: Array = None) -> float:
    """The coefficient of determination, averaged over the outputs."""
    n = y.shape[0]
    w = xp.ones_like(y[:, 0]) / n if weight is None else weight / xp.sum(weight)
    w = w[:, None]
    mean = xp.sum(w * y, axis=0)
    left = xp.sum(w * (y - prediction) ** 2, axis=0)
    whole = xp.sum(w * (y - mean[None, :]) ** 2, axis=0)
    constant = whole == 0
    score = 1 - left / xp.where(constant, xp.ones_like(whole), whole)
    exact = xp.where(left == 0, xp.ones_like(left), xp.zeros_like(left))
    return float(xp.mean(xp.where(constant, exact, score)))


def accuracy(xp: Any, y: Array, chosen: Array, weight: Array = None) -> float:
    """The part of the samples of which every label is right."""
    right = y == chosen
    if len(right.shape) == 2:
        right = xp.all(right, axis=1)
    if weight is None:
        return int(xp.sum(xp.astype(right, xp.int64))) / int(right.shape[0])
    return float(xp.sum(xp.astype(right, weight.dtype) * weight) / xp.sum(weight))


def split(count: int, fraction: float, generator: Any, labels: Any = None) -> tuple[Any, Any]:
    """The positions that are trained on, and those that are held out; with labels, each class in its proportion, if it
    has enough samples for that."""
    if labels is not None:
        _, sizes = np.unique(labels, return_counts=True)
        held = math.ceil(fraction * count)
        if sizes.min() < 2 or held < len(sizes) or count - held < len(sizes):
            labels = None
    train, rest = train_test_split(
        np.arange(count), random_state=generator, test_size=fraction, stratify=labels
    )
    if len(rest) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
        )
    return train, rest
