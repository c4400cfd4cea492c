"""The small data sets of scikit-learn."""

from __future__ import annotations

import importlib
from typing import Any

from bpgpu.data.dataset import Dataset
from bpgpu.device import device
from bpgpu.errors import MissingPackageError


def digits() -> Dataset:
    """1797 handwritten digits of 8 x 8 pixels: `x` (1797, 64), float32 in [0, 1]; `y` the digit."""
    return _classification("load_digits", 16)


def iris() -> Dataset:
    """150 flowers of three species: `x` (150, 4), lengths in cm; `y` the species."""
    return _classification("load_iris")


def wine() -> Dataset:
    """178 wines of three growers: `x` (178, 13), of very different scales; `y` the grower."""
    return _classification("load_wine")


def breast_cancer() -> Dataset:
    """569 tumours: `x` (569, 30), of very different scales; `y` 0 for malignant, 1 for benign."""
    return _classification("load_breast_cancer")


def diabetes() -> Dataset:
    """442 patients: `x` (442, 10), scaled; `y` (442, 1), the progress of the disease in a year, 25 to 346."""
    bunch = _load("load_diabetes")
    return Dataset((_real(bunch.data), _real(bunch.target[:, None])), names=bunch.feature_names)


def _classification(loader: str, scale: float = 1) -> Dataset:
    bunch = _load(loader)
    xp = device("cpu").xp
    y = xp.asarray(bunch.target, dtype=xp.int64)
    classes = [str(name) for name in bunch.target_names]
    names = [str(name) for name in bunch.feature_names]
    return Dataset((_real(bunch.data / scale), y), names=names, classes=classes)


def _load(loader: str) -> Any:
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise MissingPackageError(
            f'the data sets of scikit-learn need it installed: pip install "bpgpu[examples]" ({error})'
        ) from error
    return getattr(datasets, loader)()


def _real(x: Any) -> Any:
    xp = device("cpu").xp
    return xp.asarray(x, dtype=xp.float32)
