"""Training: the loop, what stops it, and what is measured on the way."""

from bpgpu.train import metrics
from bpgpu.train.callbacks import Callback
from bpgpu.train.checkpoint import Checkpoint
from bpgpu.train.early_stopping import EarlyStopping
from bpgpu.train.fit import fit
from bpgpu.train.loggers import CSVLogger, TensorBoard
from bpgpu.train.predict import evaluate, predict
from bpgpu.train.result import Result
from bpgpu.train.stop import (
    AllOf,
    AnyOf,
    GradientNorm,
    LossChange,
    MaxEpochs,
    MaxSteps,
    StopRule,
    TargetMetric,
    WallTime,
)

__all__ = [
    "AllOf",
    "AnyOf",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "GradientNorm",
    "LossChange",
    "MaxEpochs",
    "MaxSteps",
    "Result",
    "StopRule",
    "TargetMetric",
    "TensorBoard",
    "WallTime",
    "evaluate",
    "fit",
    "metrics",
    "predict",
]
