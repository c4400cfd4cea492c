"""What estimators are given: checked as scikit-learn checks it, and brought to where the weights are.

Arrays of NumPy, lists, data frames and sparse matrices go through scikit-learn's own checks. Arrays of other libraries
stay where they are, whether scikit-learn's Array API dispatch is on or off.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import validate_data

from bpgpu.autodiff.array import Array as Traced
from bpgpu.backend import backend_of, default_namespace
from bpgpu.backend.host import to_numpy
from bpgpu.backend.libraries import library_of, namespace_of
from bpgpu.device import device as find_device
from bpgpu.errors import ConversionError, LibraryError

Array = Any


class Place(NamedTuple):
    """A library of arrays, and a device in its own words."""

    xp: Any
    device: Any

    def put(self, x: Array, dtype: str | None = None) -> Array:
        """The array here, copied if it is elsewhere."""
        xp, backend = self.xp, backend_of(self.xp)
        if namespace_of(x) is not xp:
            values = to_numpy(x)
            if not values.flags.writeable:  # torch warns of memory that it could write to
                values = values.copy()
            x = xp.asarray(values, device=self.device)
        if backend.device_of(x) != self.device:
            x = backend.to_device(x, self.device)
        wanted = None if dtype is None else getattr(xp, dtype)
        return x if wanted is None or x.dtype == wanted else xp.astype(x, wanted)

    def __str__(self) -> str:
        return f"{self.xp.__name__.removeprefix('array_api_compat.')} on {self.device}"


def is_foreign(x: Any) -> bool:
    """True for arrays of other libraries than NumPy."""
    if isinstance(x, (np.ndarray, list, tuple)) or issparse(x):
        return False
    if type(x) is Traced:
        raise ConversionError(
            "an estimator was given an array that is being traced: fitting and predicting are not differentiated; "
            "train a bpgpu.nn.Module by hand for that"
        )
    try:
        return library_of(x) != "numpy"
    except LibraryError:  # a data frame
        return False


def place_of(x: Any) -> Place:
    """Where an array is; whatever is no array is NumPy's."""
    if not is_foreign(x):
        return Place(default_namespace(), "cpu")
    xp = namespace_of(x)
    return Place(xp, backend_of(xp).device_of(x))


def place_named(device: Any) -> Place:
    """The place of a device of bpgpu."""
    return place_of(find_device(device).asarray([0.0]))


def data(
    estimator: Any, X: Any, y: Any, *, reset: bool, numeric: bool, images: bool = False
) -> tuple[Any, Any]:
    """Features `(N, F)` in float32 or float64, and a target of as many rows, of NumPy but where `numeric` lets it be.

    With `images`, features may have more axes, and are not sparse.

    *Raises* what scikit-learn raises: `ValueError` for NaN, infinity, wrong shapes and lengths, no rows.
    """
    if is_foreign(y) and not (numeric and place_of(y) == place_of(X)):
        y = to_numpy(y)
    if is_foreign(X):
        if y is None:
            raise ValueError(
                f"{type(estimator).__name__} requires y to be passed, but the target y is None"
            )
        X = features(estimator, X, reset=reset, images=images)
        if is_foreign(y):
            y = _checked(estimator, y, "y", (1, 2))
        else:
            y = check_array(
                y, ensure_2d=False, dtype="numeric" if numeric else None, input_name="y"
            )
        check_consistent_length(X, y)
        return X, y
    return validate_data(  # type: ignore[no-any-return]
        estimator,
        X,
        y,
        accept_sparse=False if images else "csr",
        dtype=(np.float64, np.float32),
        allow_nd=images,
        multi_output=True,
        y_numeric=numeric,
        reset=reset,
    )


def features(estimator: Any, X: Any, *, reset: bool = False, images: bool = False) -> Any:
    """Features `(N, F)` in float32 or float64, where they are."""
    if is_foreign(X):
        X = _checked(estimator, X, "X", (2, 3, 4, 5) if images else (2,))
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        return X
    if not reset and _is_plain(estimator, X):
        return X
    return validate_data(
        estimator,
        X,
        accept_sparse=False if images else "csr",
        dtype=(np.float64, np.float32),
        allow_nd=images,
        reset=reset,
    )


def _is_plain(estimator: Any, X: Any) -> bool:
    """True if `validate_data` would find nothing and change nothing: asking it takes longer than a small network."""
    if not (
        type(X) is np.ndarray
        and X.dtype in (np.float64, np.float32)
        and X.ndim == 2
        and X.shape[0] > 0
        and X.shape[1] == estimator.n_features_in_
        and not hasattr(estimator, "feature_names_in_")
    ):
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(X.sum()))


def _checked(estimator: Any, x: Array, name: str, axes: tuple[int, ...]) -> Array:
    """An array of another library, after the checks that `check_array` makes of NumPy's."""
    who, xp = type(estimator).__name__, namespace_of(x)
    if hasattr(x, "detach"):  # a tensor of torch that asks for a gradient
        x = x.detach()
    if len(x.shape) not in axes:
        raise ValueError(
            f"Expected {2 if 2 in axes else 1}D array, got {len(x.shape)}D array instead, as {name} of "
            f"{who}. Reshape your data: "
            "xp.reshape(x, (-1, 1)) if it has a single feature, xp.reshape(x, (1, -1)) if it is a single sample"
        )
    for axis, what in enumerate(("sample", "feature")[: len(x.shape)]):
        if x.shape[axis] == 0:
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={tuple(x.shape)}) while a minimum of 1 is required by {who}."
            )
    if xp.isdtype(x.dtype, "complex floating"):
        raise ValueError(f"Complex data not supported: {name} of {who} has dtype {x.dtype}")
    if x.dtype not in (xp.float32, xp.float64):
        x = xp.astype(x, xp.float64)
    if not bool(xp.all(xp.isfinite(x))):
        raise ValueError(
            f"Input {name} contains NaN or infinity, which {who} cannot take: fill the gaps, for instance with an "
            "imputer, or leave those rows out"
        )
    return x


def weights(sample_weight: Any, rows: int) -> Any:
    """A weight for each row as a NumPy array, or `None`."""
    if sample_weight is None:
        return None
    if is_foreign(sample_weight):
        sample_weight = to_numpy(sample_weight)
    if isinstance(sample_weight, (int, float)):
        sample_weight = np.full(rows, float(sample_weight))
    found = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if found.shape != (rows,):
        raise ValueError(
            f"sample_weight: expected a weight for each of {rows} samples, shape ({rows},), got shape {found.shape}"
        )
    if not np.all(found >= 0):
        raise ValueError(
            "sample_weight: expected weights of at least 0, got negative ones; leave samples out by a weight of 0"
        )
    if not np.any(found > 0):
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return found


def check_same_place(estimator: Any, X: Any, fitted: str, method: str) -> None:
    """Raise for an array of another library or device than `fit` was given, where scikit-learn's dispatch is on."""
    if not get_config().get("array_api_dispatch"):
        return
    given = str(place_of(X))
    if given != fitted:
        raise ValueError(
            f"Inputs passed to {type(estimator).__name__}.{method}() must use the same namespace and the same device "
            f"as those passed to fit(): that was {fitted}, this is {given}. Convert X, or switch array_api_dispatch "
            "off: then X is brought to the weights, and the answer back"
        )


class Rows:
    """The rows of features at a place, batch by batch; sparse ones stay on the host and are filled up there."""

    def __init__(self, X: Any, place: Place, dtype: str) -> None:
        self.sparse = issparse(X)
        self.place, self.dtype = place, dtype
        self.X = X if self.sparse else place.put(X, dtype)
        self.count = int(X.shape[0])

    def part(self, which: Any) -> Array:
        """Some rows: a slice, or of sparse features positions too."""
        return self._dense(self.X[which]) if self.sparse else self.X[which, ...]

    def _dense(self, part: Any) -> Array:
        return self.place.put(part.toarray(), self.dtype)
