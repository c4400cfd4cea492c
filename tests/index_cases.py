"""Indices of the standard, those that only NumPy allows, and any that NumPy takes."""

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as np_arrays
from hypothesis.extra.numpy import basic_indices, integer_array_indices

import bpgpu as bp

R = np.random.default_rng(2)
X = R.normal(size=(3, 4, 5))
V = R.normal(size=(4,))
MASK = R.normal(size=X.shape) > 0


def total(x):
    return bp.array_namespace(x).sum(x)


def by(key):
    """Reads at `key`, whose arrays become arrays of the library."""

    def f(xp, x):
        parts = tuple(xp.asarray(k) if isinstance(k, np.ndarray) else k for k in key)
        return x[parts if len(parts) > 1 else parts[0]] ** 2

    return f


STANDARD = {
    "integer": (1, ...),
    "negative integer": (-1, slice(None), 2),
    "all integers": (1, 2, -3),
    "slice": (slice(1, 3), ...),
    "slice with steps": (..., slice(None, None, 2)),
    "slice backwards": (slice(None), slice(None, None, -1), slice(3, 0, -2)),
    "empty slice": (slice(2, 2), ...),
    "ellipsis": (..., 0),
    "only ellipsis": (...,),
    "new axes": (None, ..., None),
    "new axis between": (slice(None), None, slice(None), 1),
    "mask": (MASK,),
    "mask of nothing": (np.zeros(X.shape, dtype=bool),),
    "arrays of integers": (np.asarray([0, 0, 2]), np.asarray([1, 1, 3]), np.asarray([0, 0, -1])),
    "arrays that broadcast": (np.asarray([[0], [2]]), np.asarray([1, 1, 3]), 2),
}
NUMPY = {
    "leading array": (np.asarray([0, 2, 2, -1]),),
    "leading array of two axes": (np.asarray([[0, 2], [2, -1]]), ...),
    "array between slices": (slice(None), np.asarray([3, 0, 0]), slice(1, 4)),
    "array behind ellipsis": (..., np.asarray([[4, 4], [0, 1]])),
    "array and integer": (1, slice(None), np.asarray([4, 4])),
    "arrays apart": (np.asarray([0, 0]), slice(None), np.asarray([4, 4])),
    "array and new axis": (None, np.asarray([0, 0]), ..., None),
    "empty array": (np.zeros((0,), dtype=int),),
    "array of one": (np.asarray([2]),),
    "array of no axes": (np.asarray(2), ..., np.asarray(-1)),
    "small integers": (slice(None), np.asarray([3, 0, 0], dtype=np.uint8)),
    "leading mask": (MASK[:, :, 0],),
    "mask and integer": (slice(None), MASK[0, :, 0], 1),
    "mask and array": (np.asarray([True, False, True]), np.asarray([1, 1])),
}


def skip_where_the_library_refuses(xp, name, *, writing=False):
    if "torch" in xp.__name__ and name == "slice backwards":
        pytest.skip("torch has no negative steps")
    if "strict" in xp.__name__ and "new ax" in name and writing:
        pytest.skip("the standard has no assignment with new axes")


SHAPE = (3, 4, 2)
indices = st.one_of(
    basic_indices(SHAPE, allow_newaxis=True),
    integer_array_indices(SHAPE),
    integer_array_indices(SHAPE[:2]),
    integer_array_indices(SHAPE[:1]),
    np_arrays(bool, SHAPE),
    np_arrays(bool, SHAPE[:2]),
    integer_array_indices(SHAPE[1:2]).map(lambda k: (slice(None, None, -1), *k)),
    integer_array_indices(SHAPE[2:]).map(lambda k: (1, ..., *k)),
    integer_array_indices(SHAPE[1:2]).map(lambda k: (None, slice(2), *k, slice(1, None))),
)
