"""Selection by a mask is exact, whatever stands where nothing is selected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bpgpu.backend import select
from torch_compare import given, numpy_of

X = np.asarray([[1.5, -np.inf, np.nan], [-0.0, 7.0, -2.5]])
MASK = np.asarray([[True, False, False], [True, True, False]])


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "complex64", "complex128", "int8", "int64"]
)
def test_what_is_not_kept_becomes_zero_in_every_dtype(xp: Any, dtype: str) -> None:
    with np.errstate(invalid="ignore"):
        x = X.astype(dtype)
    y = numpy_of(select.keep(xp, given(xp, x), given(xp, MASK)))
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, np.where(MASK, x, np.zeros_like(x)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex128"])
def test_numpy_chooses_as_where_does(dtype: str) -> None:
    import array_api_compat.numpy as xp

    x, y = X.astype(dtype), np.full((2, 1), 3, dtype)
    for a, b in ((x, y), (x, 0.5), (0.5, x), (x, x[::-1, ::-1]), (x[0, 0], y[0, 0])):
        z = select.choose(xp, MASK, a, b)
        assert z.dtype == dtype
        np.testing.assert_array_equal(z, np.where(MASK, a, b))


def test_masks_broadcast_and_arrays_may_be_views(xp: Any) -> None:
    x = given(xp, X.T)
    y = numpy_of(select.keep(xp, x, given(xp, MASK[:1].T)))
    np.testing.assert_array_equal(y, np.where(MASK[:1].T, X.T, 0))
    for shape in ((), (0,), (2, 0)):
        empty = given(xp, np.ones(shape))
        assert numpy_of(select.keep(xp, empty, given(xp, np.ones(shape, bool)))).shape == shape
