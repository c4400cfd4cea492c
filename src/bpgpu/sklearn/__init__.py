"""Estimators for scikit-learn that train on the arrays they are given: NumPy's, CuPy's on their GPU, and others.

`MLPClassifier` and `MLPRegressor` have scikit-learn's parameters, fitted attributes and results, and a few parameters
more. `NeuralClassifier` and `NeuralRegressor` train any `bpgpu.nn.Module`.
"""

from bpgpu.errors import MissingPackageError

try:
    import sklearn.base  # noqa: F401 - only asked whether it is there
except ImportError as error:
    raise MissingPackageError(
        f'bpgpu.sklearn needs the package scikit-learn: pip install "bpgpu[sklearn]" ({error})'
    ) from error

from bpgpu.sklearn.mlp import MLPClassifier, MLPRegressor
from bpgpu.sklearn.neural import NeuralClassifier, NeuralRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "NeuralClassifier", "NeuralRegressor"]
