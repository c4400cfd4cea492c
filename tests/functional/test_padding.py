"""Padding against torch, in every mode and number of axes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as theirs

from bpgpu import functional as ours
from bpgpu.errors import DtypeError, ShapeError
from torch_compare import compare, given, numpy_of

R = np.random.default_rng(0)
COPIES = ("reflect", "replicate", "circular")


def draw(*shape: int) -> np.ndarray:
    return R.normal(size=shape)


@pytest.mark.parametrize(
    "pads", [(1, 2), (0, 1, 2, 0), (1, 0, 0, 0, 2, 1), (-1, 2), (-1, -1), (-4, 1), (-2, -2), ()]
)
@pytest.mark.parametrize("value", [None, 0.0, 1.5])
def test_constant(xp: Any, pads: Any, value: Any) -> None:
    compare(xp, ours.pad, theirs.pad, draw(2, 3, 4), pads, value=value)


@pytest.mark.parametrize("mode", COPIES)
@pytest.mark.parametrize(
    ("shape", "pads"),
    [
        ((2, 3, 4), (1, 2)),
        ((3, 4), (2, 1)),
        ((3, 4), (0, 0)),
        ((2, 3, 4, 5), (2, 1, 1, 3)),
        ((3, 4, 5), (2, 1, 1, 3)),
        ((2, 2, 3, 4, 3), (1, 1, 2, 0, 0, 1)),
        ((2, 3, 4, 3), (1, 1, 2, 0, 0, 1)),
        ((0, 3, 4, 5), (2, 1, 1, 3)),
        ((1, 1, 4), (3, 3)),
    ],
)
def test_made_of_what_is_there(xp: Any, mode: str, shape: Any, pads: Any) -> None:
    compare(xp, ours.pad, theirs.pad, draw(*shape), pads, mode=mode)


@pytest.mark.parametrize("mode", COPIES)
@pytest.mark.parametrize("pair", list(itertools.product((-2, -1, 0, 2), repeat=2)))
def test_negative_numbers_crop(xp: Any, mode: str, pair: tuple[int, int]) -> None:
    compare(xp, ours.pad, theirs.pad, draw(2, 3, 5), pair, mode=mode)
    compare(xp, ours.pad, theirs.pad, draw(2, 5, 6), (*pair, 1, -2), mode=mode)


def test_more_may_be_cropped_than_was_there_before_it_was_padded(xp: Any) -> None:
    for mode, pair in (("reflect", (1, -5)), ("replicate", (5, -6)), ("reflect", (-5, 1))):
        compare(xp, ours.pad, theirs.pad, draw(1, 5), pair, mode=mode)


def test_circular_padding_takes_the_whole_axis_at_most(xp: Any) -> None:
    compare(xp, ours.pad, theirs.pad, draw(1, 4), (4, 4), mode="circular")


def dtype_of(x: np.ndarray) -> torch.dtype:
    return torch.from_numpy(x).dtype


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex128", "float32"])
@pytest.mark.parametrize("mode", ["constant", *COPIES])
def test_any_dtype(xp: Any, mode: str, dtype: str) -> None:
    x = np.asarray([[1, 0, 2, 3]]).astype(dtype)
    y = ours.pad(given(xp, x), (2, 1), mode)
    t = torch.from_numpy(x.astype("int64") if dtype == "bool" else x)  # torch mirrors no bools
    np.testing.assert_array_equal(numpy_of(y), theirs.pad(t, (2, 1), mode).to(dtype_of(x)))
    assert numpy_of(y).dtype == dtype
    filled = ours.pad(given(xp, x), (2, 1), value=1)
    np.testing.assert_array_equal(
        numpy_of(filled), theirs.pad(torch.from_numpy(x), (2, 1), value=1)
    )


def test_memory_in_any_order_is_left_alone(xp: Any) -> None:
    x = draw(5, 4, 3).T
    before = x.copy()
    for mode in ("constant", *COPIES):
        compare(xp, ours.pad, theirs.pad, x, (1, 2, 2, 0), mode)
    np.testing.assert_array_equal(x, before)


def test_what_cannot_be_padded_is_told() -> None:
    with pytest.raises(ValueError, match="pad: expected mode as one of 'constant', 'reflect'"):
        ours.pad(draw(2, 3), (1, 1), mode="mirror")
    with pytest.raises(ShapeError, match=r"add less than the size of an axis, got \(3, 0\) for"):
        ours.pad(draw(1, 1, 3), (3, 0), mode="reflect")
    with pytest.raises(ShapeError, match=r"add at most the size of an axis, got \(-1, 3\) for one"):
        ours.pad(draw(1, 1, 3), (-1, 3), mode="circular")
    for pads in ((1,), (1,) * 6, 1, (1.0, 2)):
        with pytest.raises(
            ShapeError, match=r"expected pad as integers in pairs \(before, after\)"
        ):
            ours.pad(draw(2, 3), pads)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"cannot crop \(-2, -2\) from an axis of size 3"):
        ours.pad(draw(2, 3), (-2, -2))
    with pytest.raises(ShapeError, match=r"pad \(-2, -1\) would leave nothing of an axis of size"):
        ours.pad(draw(2, 3), (-2, -1), mode="replicate")
    with pytest.raises(ShapeError, match=r"mode='replicate' pads one axis .* got 3 pairs"):
        ours.pad(draw(2, 3, 4), (1, 1, 1, 1, 1, 1), mode="replicate")
    with pytest.raises(ShapeError, match=r"mode='reflect' pads one axis .* got 1 pairs"):
        ours.pad(draw(2, 3, 4, 5), (1, 1), mode="reflect")
    with pytest.raises(ValueError, match="value is for mode='constant', got value=3"):
        ours.pad(draw(2, 3), (1, 1), mode="reflect", value=3)
    with pytest.raises(DtypeError, match="expected an integer as value for dtype int64, got"):
        ours.pad(np.asarray([1, 2]), (1, 1), value=1.5)
