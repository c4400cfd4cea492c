"""Training: the loop, what stops it, and what is measured on the way."""

from bpgpu.train import metrics
from bpgpu.train.loggers import CSVLogger, TensorBoard

__all__ = ["CSVLogger", "TensorBoard", "metrics"]
