"""Data sets: batches in an order that can be repeated and resumed, and readers of files."""

from bpgpu.data.checks import check_finite
from bpgpu.data.columns import collate
from bpgpu.data.loader import DataLoader

__all__ = ["DataLoader", "check_finite", "collate"]
