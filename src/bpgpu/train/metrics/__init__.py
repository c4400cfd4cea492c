"""Metrics that are gathered on the device and never wait for it."""

from bpgpu.train.metrics.accuracy import Accuracy, TopK
from bpgpu.train.metrics.auc import AUC
from bpgpu.train.metrics.base import Metric
from bpgpu.train.metrics.names import get, names
from bpgpu.train.metrics.perplexity import Perplexity
from bpgpu.train.metrics.regression import MAE, MSE, R2, RMSE, Mean
from bpgpu.train.metrics.scores import F1, ConfusionMatrix, Precision, Recall

__all__ = [
    "AUC",
    "F1",
    "MAE",
    "MSE",
    "R2",
    "RMSE",
    "Accuracy",
    "ConfusionMatrix",
    "Mean",
    "Metric",
    "Perplexity",
    "Precision",
    "Recall",
    "TopK",
    "get",
    "names",
]
