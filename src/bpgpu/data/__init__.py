"""Data sets: batches in an order that can be repeated and resumed, and readers of files."""

from bpgpu.data.checks import check_finite
from bpgpu.data.columns import collate
from bpgpu.data.dataset import Dataset, split
from bpgpu.data.idx import read_idx
from bpgpu.data.loader import DataLoader
from bpgpu.data.samples import breast_cancer, diabetes, digits, iris, wine
from bpgpu.data.tables import read_csv
from bpgpu.data.text import Vocabulary, read_text

__all__ = [
    "DataLoader",
    "Dataset",
    "Vocabulary",
    "breast_cancer",
    "check_finite",
    "collate",
    "diabetes",
    "digits",
    "iris",
    "read_csv",
    "read_idx",
    "read_text",
    "split",
    "wine",
]
