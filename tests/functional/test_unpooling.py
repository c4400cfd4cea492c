"""Max unpooling, against torch."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as theirs

from bpgpu import functional as ours
from bpgpu.errors import DtypeError, ShapeError
from torch_compare import compare

R = np.random.default_rng(0)
SHAPES = {1: (2, 3, 8), 2: (2, 3, 6, 8), 3: (1, 2, 4, 4, 6)}


def pooled(n: int, x: np.ndarray, *settings: Any) -> tuple[np.ndarray, np.ndarray]:
    pool = getattr(theirs, f"max_pool{n}d")
    y, index = pool(torch.from_numpy(x), *settings, return_indices=True)
    return y.numpy(), index.numpy()


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("settings", [(2,), (3, 1), (2, 3), (2, 2, 1)])
def test_maxima_go_back_to_their_places(xp: Any, n: int, settings: tuple[Any, ...]) -> None:
    mine, their = getattr(ours, f"max_unpool{n}d"), getattr(theirs, f"max_unpool{n}d")
    x = R.normal(size=SHAPES[n])
    y, index = pooled(n, x, *settings)
    size = x.shape if settings in ((2, 3), (2, 2, 1)) else None
    for part in (slice(None), slice(0, 0)):
        compare(xp, mine, their, y[part], index[part], *settings, output_size=size)
    compare(xp, mine, their, y[0], index[0], *settings, output_size=size and size[2:])


def test_of_several_for_one_place_the_last_stays_and_all_get_its_gradient(xp: Any) -> None:
    x, index = R.normal(size=(2, 1, 4)), np.asarray([[[1, 1, 2, 1]], [[0, 7, 7, 7]]])
    compare(xp, ours.max_unpool1d, theirs.max_unpool1d, x, index, 2)


def test_indices_of_any_integers() -> None:
    y = ours.max_unpool1d(np.ones((1, 2)), np.asarray([[1, 2]], dtype="u1"), 2)
    np.testing.assert_array_equal(y, [[0, 1, 1, 0]])


def test_a_wrong_index_under_a_compiler_makes_the_result_nan() -> None:
    jax = pytest.importorskip("jax")
    f = jax.jit(lambda x, i: ours.max_unpool1d(x, i, 2))
    assert np.isnan(f(np.ones((1, 2)), np.asarray([[1, 4]]))).all()
    np.testing.assert_array_equal(f(np.ones((1, 2)), np.asarray([[1, 3]])), [[0, 1, 0, 1]])
    assert "jax" in sys.modules


def test_what_does_not_fit_is_told() -> None:
    x, index = np.ones((1, 1, 3)), np.asarray([[[1, 2, 4]]])
    with pytest.raises(ValueError, match=r"max_unpool1d: expected indices in \[0, 6\), got 6"):
        ours.max_unpool1d(x, index + 2, 2)
    with pytest.raises(ValueError, match=r"expected indices in \[0, 6\), got -1"):
        ours.max_unpool1d(x, index - 2, 2)
    with pytest.raises(ShapeError, match=r"indices of the shape of the input, \(1, 1, 3\), got"):
        ours.max_unpool1d(x, index[..., :2], 2)
    with pytest.raises(ShapeError, match=r"output_size within less than the stride, \(2,\), of"):
        ours.max_unpool1d(x, index, 2, output_size=(8,))
    with pytest.raises(ShapeError, match=r"the output would have size \(0,\)"):
        ours.max_unpool1d(x, index, 2, padding=3)
    with pytest.raises(ShapeError, match=r"expected input \(N, C, H, W\)"):
        ours.max_unpool2d(x[0], index[0], 2)
    with pytest.raises(DtypeError, match="expected integers as indices"):
        ours.max_unpool1d(x, x, 2)
