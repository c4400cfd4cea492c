"""Metrics by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from bpgpu.errors import ArgumentError
from bpgpu.train.metrics.accuracy import Accuracy, TopK
from bpgpu.train.metrics.auc import AUC
from bpgpu.train.metrics.perplexity import Perplexity
from bpgpu.train.metrics.regression import MAE, MSE, R2, RMSE, Mean
from bpgpu.train.metrics.scores import F1, ConfusionMatrix, Precision, Recall

_BY_NAME: dict[str, Callable[[], Any]] = {
    "accuracy": Accuracy,
    "auc": AUC,
    "confusion_matrix": ConfusionMatrix,
    "f1": F1,
    "mae": MAE,
    "mse": MSE,
    "perplexity": Perplexity,
    "precision": Precision,
    "r2": R2,
    "recall": Recall,
    "rmse": RMSE,
}
_AVERAGED: dict[str, Any] = {"f1": F1, "precision": Precision, "recall": Recall}
_OTHER_NAMES = {
    "acc": "accuracy",
    "f1_score": "f1",
    "mean_absolute_error": "mae",
    "mean_squared_error": "mse",
    "r2_score": "r2",
    "roc_auc": "auc",
    "root_mean_squared_error": "rmse",
    "top_k": "top5",
    "topk": "top5",
}
"""What scikit-learn, Keras and others call them."""


def names() -> list[str]:
    """The names that `get` knows; beside them top1, top2 and so on, and f1_macro, recall_micro and so on."""
    return sorted(_BY_NAME)


def get(metric: Any) -> Any:
    """The metric of a name; a metric is returned as it is, and a function becomes a `Mean`.

    *Raises* `ArgumentError` that lists the names for one that is not known, and for what is no metric.

    >>> get("top5"), get("f1_macro")
    (TopK('top5'), F1('f1_macro'))
    """
    if isinstance(metric, str):
        return _named(metric)
    if isinstance(metric, type):
        raise ArgumentError(
            f"metrics: expected a metric, got the class {metric.__name__}; write {metric.__name__}()"
        )
    if all(hasattr(metric, part) for part in ("init", "update", "compute", "name")):
        return metric
    if callable(metric):
        return Mean(metric)
    raise ArgumentError(
        f"metrics: expected a name, a metric or a function of prediction and target, got {metric!r}; {_known()}"
    )


def _named(name: str) -> Any:
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    plain = _OTHER_NAMES.get(plain, plain)
    if plain in _BY_NAME:
        return _BY_NAME[plain]()
    top = re.fullmatch(r"top_?([1-9]\d{0,8})(_accuracy)?", plain)
    if top:
        return TopK(int(top[1]), name=name)
    averaged = re.fullmatch(r"(f1|precision|recall)_(binary|macro|micro|weighted)", plain)
    if averaged:
        return _AVERAGED[averaged[1]](averaged[2])
    raise ArgumentError(f"metrics: there is no metric named {name!r}; {_known()}")


def _known() -> str:
    return f"the names are {', '.join(names())}, top1, top5 ..., and f1_macro, precision_micro, recall_weighted ..."
