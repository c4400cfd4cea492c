"""Adaptive pooling, against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch.nn.functional as theirs

import bpgpu as bp
from bpgpu import functional as ours
from bpgpu.errors import DtypeError, ShapeError
from torch_compare import compare

R = np.random.default_rng(0)
SHAPES = {1: (2, 3, 8), 2: (2, 3, 7, 8), 3: (1, 2, 4, 5, 6)}


def draw(*shape: int) -> np.ndarray:
    return R.normal(size=shape)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 11])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_sizes_that_divide_and_that_do_not(xp: Any, n: int, size: int) -> None:
    x = draw(*SHAPES[n])
    tied = R.integers(0, 3, size=x.shape).astype(float)
    mean, most = f"adaptive_avg_pool{n}d", f"adaptive_max_pool{n}d"
    for z in (x, x[0], x[:0]):
        compare(xp, getattr(ours, mean), getattr(theirs, mean), z, size)
        compare(xp, getattr(ours, most), getattr(theirs, most), z, size, order=1 if n == 3 else 2)
    compare(xp, getattr(ours, most), getattr(theirs, most), tied, size, True, order=1)


@pytest.mark.parametrize("size", [(None, 3), (7, 2), (1, 4), [2, None], (None, None)])
def test_sizes_for_each_axis_and_none_for_that_of_the_input(xp: Any, size: Any) -> None:
    x = draw(2, 3, 7, 8)
    compare(xp, ours.adaptive_avg_pool2d, theirs.adaptive_avg_pool2d, x, size)
    compare(xp, ours.adaptive_max_pool2d, theirs.adaptive_max_pool2d, x, size, True)


def test_a_size_of_zero_gives_nothing(xp: Any) -> None:
    x = draw(2, 3, 7, 8)
    compare(xp, ours.adaptive_avg_pool2d, theirs.adaptive_avg_pool2d, x, 0, order=0)
    compare(xp, ours.adaptive_max_pool2d, theirs.adaptive_max_pool2d, x, (0, 2), order=0)
    g = bp.grad(lambda x: np.sum(ours.adaptive_avg_pool2d(x, 0)))(x)
    np.testing.assert_array_equal(g, np.zeros_like(x))
    compare(xp, ours.adaptive_avg_pool2d, theirs.adaptive_avg_pool2d, x[:, :0], 3, order=0)


def test_nan_is_found_where_torch_finds_it(xp: Any) -> None:
    x = R.integers(0, 3, size=(2, 3, 7, 8)).astype(float)
    x[R.random(x.shape) < 0.2] = np.nan
    for size in (3, (7, 4), 5):
        compare(xp, ours.adaptive_max_pool2d, theirs.adaptive_max_pool2d, x, size, True, order=0)


def test_dtypes_stay_and_means_are_taken_in_single() -> None:
    x = np.full((1, 1001), 100.0, dtype="f2")
    y = ours.adaptive_avg_pool1d(x, 2)
    assert y.dtype == "f2"
    np.testing.assert_array_equal(y, 100.0)
    assert ours.adaptive_max_pool1d(x.astype("f4"), 3).dtype == "f4"


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ShapeError, match=r"adaptive_avg_pool2d: expected input \(N, C, H, W\)"):
        ours.adaptive_avg_pool2d(draw(4, 4), 2)
    with pytest.raises(ShapeError, match="output_size as an integer or a tuple of 2"):
        ours.adaptive_avg_pool2d(draw(1, 4, 4), (1, 2, 3))
    with pytest.raises(ShapeError, match="expected output_size of at least 0"):
        ours.adaptive_max_pool2d(draw(1, 4, 4), -1)
    with pytest.raises(ShapeError, match="only the first axis, N, may have size 0"):
        ours.adaptive_max_pool1d(draw(1, 0, 4), 2)
    with pytest.raises(ShapeError, match="only the first axis, N, may have size 0"):
        ours.adaptive_avg_pool1d(draw(1, 2, 0), 2)
    with pytest.raises(DtypeError, match="expected a floating array"):
        ours.adaptive_avg_pool1d(np.ones((1, 2), "i8"), 2)
