"""Convolutions, their transposes, unfold and fold: against torch, in every combination of settings."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as theirs

from bpgpu import functional as ours
from bpgpu.errors import DtypeError, ShapeError
from torch_compare import compare

R = np.random.default_rng(0)
SETTINGS = list(itertools.product((1, 2, (2, 1)), (0, 1, (0, 2)), (1, 2), (1, 2)))


def draw(*shape: int) -> np.ndarray:
    return R.normal(size=shape)


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), SETTINGS)
def test_conv2d(xp: Any, stride: Any, padding: Any, dilation: int, groups: int) -> None:
    compare(
        xp,
        ours.conv2d,
        theirs.conv2d,
        draw(2, 4, 6, 7),
        draw(6, 4 // groups, 3, 2),
        draw(6),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), SETTINGS)
def test_conv_transpose2d(xp: Any, stride: Any, padding: Any, dilation: int, groups: int) -> None:
    compare(
        xp,
        ours.conv_transpose2d,
        theirs.conv_transpose2d,
        draw(2, 4, 5, 6),
        draw(4, 6 // groups, 3, 2),
        draw(6),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        output_padding=0 if dilation == 1 and stride != 2 else 1,
    )


@pytest.mark.parametrize("padding", ["same", "valid", 3])
@pytest.mark.parametrize("kernel", [1, 3, 4])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_conv1d_with_named_padding(xp: Any, padding: Any, kernel: int) -> None:
    compare(
        xp, ours.conv1d, theirs.conv1d, draw(2, 3, 8), draw(5, 3, kernel), None, padding=padding
    )


def test_three_dimensions(xp: Any) -> None:
    settings = {"stride": (1, 2, 1), "padding": (1, 0, 0)}
    compare(
        xp,
        ours.conv3d,
        theirs.conv3d,
        draw(1, 2, 3, 5, 4),
        draw(2, 2, 2, 3, 1),
        draw(2),
        **settings,
    )
    compare(
        xp,
        ours.conv_transpose3d,
        theirs.conv_transpose3d,
        draw(1, 2, 2, 2, 3),
        draw(2, 2, 2, 3, 1),
        draw(2),
        **settings,
    )
    compare(xp, ours.conv_transpose1d, theirs.conv_transpose1d, draw(2, 3, 4), draw(3, 2, 3))


def test_unbatched_empty_and_pointwise(xp: Any) -> None:
    compare(xp, ours.conv2d, theirs.conv2d, draw(3, 5, 4), draw(2, 3, 2, 2), draw(2))
    compare(xp, ours.conv_transpose2d, theirs.conv_transpose2d, draw(3, 5, 4), draw(3, 2, 2, 2))
    compare(xp, ours.conv2d, theirs.conv2d, draw(0, 3, 5, 4), draw(2, 3, 2, 2), draw(2))
    compare(xp, ours.conv2d, theirs.conv2d, draw(2, 3, 5, 4), draw(2, 3, 1, 1), draw(2))
    compare(xp, ours.conv2d, theirs.conv2d, draw(2, 3, 1, 1), draw(2, 3, 1, 1))


def test_arrays_in_any_memory_order(xp: Any) -> None:
    x = draw(2, 6, 7, 4).transpose(0, 3, 1, 2)
    w = draw(3, 2, 4, 6).transpose(3, 2, 0, 1)
    compare(xp, ours.conv2d, theirs.conv2d, x, w)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_unfold_and_fold(xp: Any, stride: int, dilation: int) -> None:
    settings = {"kernel_size": (2, 3), "padding": (1, 0), "stride": stride, "dilation": dilation}
    compare(xp, ours.unfold, theirs.unfold, draw(2, 3, 5, 7), **settings)
    columns = theirs.unfold(torch.zeros(1, 3, 5, 7), **settings).shape[2]
    for shape in ((2, 18, columns), (18, columns)):
        compare(xp, ours.fold, theirs.fold, draw(*shape), output_size=(5, 7), **settings)


def test_float32_stays_float32() -> None:
    y = ours.conv2d(draw(1, 2, 4, 4).astype("f4"), draw(3, 2, 2, 2).astype("f4"))
    assert y.dtype == "f4"


@pytest.mark.parametrize(
    ("arguments", "settings", "text"),
    [
        (
            (draw(2, 3, 5, 5), draw(4, 16, 3, 3)),
            {},
            r"expected input \(N, 16, H, W\), got \(2, 3, 5, 5\)",
        ),
        ((draw(2, 3, 5, 5), draw(4, 3, 7, 7)), {}, r"kernel reaches over \(7, 7\)"),
        ((draw(2, 3, 5, 5), draw(4, 3, 3, 3), draw(5)), {}, r"a bias of shape \(4,\), got \(5,\)"),
        ((draw(2, 3, 5, 5), draw(4, 3, 3)), {}, r"expected a weight of 4 axes"),
        ((draw(5, 5), draw(4, 3, 3, 3)), {}, r"expected input \(N, C, H, W\) or \(C, H, W\)"),
        ((draw(2, 3, 5, 5), draw(4, 3, 3, 3)), {"stride": 0}, "expected stride of at least 1"),
        ((draw(2, 3, 5, 5), draw(4, 3, 3, 3)), {"groups": 3}, "groups=3 must divide the 4"),
        ((draw(2, 3, 5, 5), draw(4, 3, 3, 3)), {"padding": -1}, "expected padding of at least 0"),
        (
            (draw(2, 3, 5, 5), draw(4, 3, 3, 3)),
            {"padding": "full"},
            "padding must be 'valid', 'same'",
        ),
        (
            (draw(2, 3, 5, 5), draw(4, 3, 3, 3)),
            {"padding": "same", "stride": 2},
            "padding='same' needs stride 1",
        ),
    ],
)
def test_what_does_not_belong_together_is_told(arguments: Any, settings: Any, text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        ours.conv2d(*arguments, **settings)


def test_mixed_dtypes_and_impossible_outputs_are_told() -> None:
    with pytest.raises(DtypeError, match="expected input of dtype float32, which weight has"):
        ours.conv2d(draw(1, 3, 5, 5), draw(4, 3, 3, 3).astype("f4"))
    with pytest.raises(ShapeError, match="output_padding must be smaller than stride or dilation"):
        ours.conv_transpose2d(draw(1, 3, 5, 5), draw(3, 4, 3, 3), output_padding=1)
    with pytest.raises(ShapeError, match="the output would have size"):
        ours.conv_transpose1d(draw(1, 3, 1), draw(3, 4, 1), padding=3)


def test_a_kernel_of_one_place_leaves_room_for_output_padding(xp: Any) -> None:
    """With dilation 2 an output may be longer by one, though the kernel reaches nowhere."""
    x, w, b = draw(3, 3, 4), draw(3, 1, 1), draw(3)
    settings = {"dilation": 2, "output_padding": 1, "groups": 3}
    compare(xp, ours.conv_transpose1d, theirs.conv_transpose1d, x, w, b, **settings)
