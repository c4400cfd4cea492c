"""Padding against torch, in every mode and number of axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch.nn.functional as theirs

from bpgpu import functional as ours
from bpgpu.errors import ShapeError
from torch_compare import compare

R = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return R.normal(size=shape)


@pytest.mark.parametrize("pads", [(1, 2), (0, 1, 2, 0), (1, 0, 0, 0, 2, 1), (-1, 2), (-1, -1), ()])
@pytest.mark.parametrize("value", [None, 0.0, 1.5])
def test_constant(xp: Any, pads: Any, value: Any) -> None:
    compare(xp, ours.pad, theirs.pad, draw(2, 3, 4), pads, value=value)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    ("shape", "pads"),
    [
        ((2, 3, 4), (1, 2)),
        ((2, 3, 4, 5), (2, 1, 1, 3)),
        ((2, 2, 3, 4, 3), (1, 1, 2, 0, 0, 1)),
        ((3, 4), (2, 1)),
    ],
)
def test_made_of_what_is_there(xp: Any, mode: str, shape: Any, pads: Any) -> None:
    compare(xp, ours.pad, theirs.pad, draw(*shape), pads, mode=mode)


def test_what_cannot_be_padded_is_told() -> None:
    with pytest.raises(ValueError, match="mode must be one of constant, reflect"):
        ours.pad(draw(2, 3), (1, 1), mode="mirror")
    with pytest.raises(ShapeError, match="can add at most 2 entries on a side of axis 2"):
        ours.pad(draw(1, 1, 3), (3, 0), mode="reflect")
    with pytest.raises(ShapeError, match=r"expected pairs \(before, after\)"):
        ours.pad(draw(2, 3), (1,))
    with pytest.raises(ShapeError, match="nothing would be left"):
        ours.pad(draw(2, 3), (-2, -2))
    with pytest.raises(ShapeError, match="needs 1 or 2 pairs, got 3"):
        ours.pad(draw(2, 3, 4), (1, 1, 1, 1, 1, 1), mode="reflect")
