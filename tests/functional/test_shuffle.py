"""Channels and pixels moved about, against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch.nn.functional as theirs

from bpgpu import functional as ours
from bpgpu.errors import DtypeError, ShapeError
from torch_compare import compare, given

R = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return R.normal(size=shape)


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("lead", [(), (2,), (2, 3), (0,)])
def test_pixels_and_channels(xp: Any, lead: tuple[int, ...], factor: int) -> None:
    r, order = factor, 0 if lead == (0,) else 2  # torch's gradient of nothing has a wrong shape
    x = draw(*lead, 2 * r * r, 3, 4)
    compare(xp, ours.pixel_shuffle, theirs.pixel_shuffle, x, r, order=order)
    y = draw(*lead, 2, 3 * r, 4 * r)
    if order:
        compare(xp, ours.pixel_unshuffle, theirs.pixel_unshuffle, y, r)
    else:  # of which torch gives the shape of the input
        assert ours.pixel_unshuffle(given(xp, y), r).shape == (0, 2 * r * r, 3, 4)


def test_one_undoes_the_other() -> None:
    x = draw(2, 8, 3, 4)
    np.testing.assert_array_equal(ours.pixel_unshuffle(ours.pixel_shuffle(x, 2), 2), x)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", [(2, 6, 3), (2, 6, 3, 4), (1, 6, 2, 1, 2), (0, 6, 2), (1, 0, 2)])
def test_channels(xp: Any, shape: tuple[int, ...], groups: int) -> None:
    order = 0 if shape[1] == 0 else 2
    compare(xp, ours.channel_shuffle, theirs.channel_shuffle, draw(*shape), groups, order=order)


def test_any_dtype(xp: Any) -> None:
    x = np.arange(16).reshape(4, 2, 2)
    compare(xp, ours.pixel_shuffle, theirs.pixel_shuffle, x, 2)
    compare(xp, ours.pixel_unshuffle, theirs.pixel_unshuffle, x, 2)
    compare(xp, ours.channel_shuffle, theirs.channel_shuffle, x, 2)


@pytest.mark.parametrize(
    ("name", "shape", "number", "text"),
    [
        ("pixel_shuffle", (3, 2, 2), 2, "expected a multiple of 4 channels for upscale_factor=2"),
        ("pixel_shuffle", (2, 2), 2, r"expected input \(\*, C, H, W\) of at least 3 axes"),
        ("pixel_shuffle", (4, 2, 2), 0, "expected upscale_factor of at least 1, got 0"),
        ("pixel_shuffle", (4, 2, 2), 1.5, "expected upscale_factor as an integer"),
        ("pixel_unshuffle", (1, 3, 4), 2, "height and width that downscale_factor=2 divides"),
        ("pixel_unshuffle", (1, 4, 4), -1, "expected downscale_factor of at least 1"),
        ("channel_shuffle", (1, 6, 1), 4, "groups=4 must divide the 6 channels"),
        ("channel_shuffle", (1, 6), 2, r"expected input \(N, C, \.\.\.\) of at least 3 axes"),
        ("channel_shuffle", (1, 6, 1), 0, "expected groups of at least 1"),
    ],
)
def test_what_does_not_divide_is_told(
    name: str, shape: tuple[int, ...], number: Any, text: str
) -> None:
    with pytest.raises(ShapeError, match=f"{name}: .*{text}"):
        getattr(ours, name)(draw(*shape), number)


def test_what_is_no_array_is_told() -> None:
    with pytest.raises(DtypeError, match="pixel_shuffle: expected an array as input, got list"):
        ours.pixel_shuffle([[[1.0]]], 1)


@pytest.mark.parametrize("shape", [(0, 3, 4, 6), (2, 0, 4, 6), (2, 3, 0, 6)])
def test_inputs_without_elements_have_the_shape_of_all_others(xp: Any, shape: Any) -> None:
    n, c, h, w = shape
    y = ours.pixel_unshuffle(given(xp, np.zeros(shape)), 2)
    assert tuple(y.shape) == (n, 4 * c, h // 2, w // 2)
    assert tuple(ours.pixel_shuffle(y, 2).shape) == shape
