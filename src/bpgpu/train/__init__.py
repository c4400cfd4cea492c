"""Training: the loop, what stops it, and what is measured on the way."""

from bpgpu.train import metrics

__all__ = ["metrics"]
