"""Scaled dot-product attention against torch, with every kind of mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch.nn.functional as theirs

import bpgpu as bp
from bpgpu import functional as ours
from bpgpu.errors import DtypeError, ShapeError
from gradients import numpy_of, to
from torch_compare import compare

R = np.random.default_rng(0)
F = (ours.scaled_dot_product_attention, theirs.scaled_dot_product_attention)


def draw(*shape: int) -> np.ndarray:
    return R.normal(size=shape)


def qkv(lead: tuple[int, ...] = (2, 3)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return draw(*lead, 4, 6), draw(*lead, 5, 6), draw(*lead, 5, 2)


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_without_a_mask(xp: Any, lead: Any, scale: Any) -> None:
    compare(xp, *F, *qkv(lead), scale=scale)


def test_causal(xp: Any) -> None:
    compare(xp, *F, *qkv(), is_causal=True)


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (2, 1, 4, 5)])
def test_masks_of_truth_values_and_of_numbers(xp: Any, shape: Any) -> None:
    allowed = R.uniform(size=shape) > 0.4
    allowed[..., 0] = True
    compare(xp, *F, *qkv(), allowed)
    compare(xp, *F, *qkv(), draw(*shape))


def test_a_query_that_may_look_nowhere_gets_zero(xp: Any) -> None:
    allowed = np.ones((4, 5), bool)
    allowed[1] = False
    compare(xp, *F, *qkv(), allowed)
    y = ours.scaled_dot_product_attention(*(to(xp, a) for a in qkv()), to(xp, allowed))
    assert not numpy_of(y)[..., 1, :].any()


def test_grouped_queries(xp: Any) -> None:
    compare(xp, *F, draw(2, 6, 4, 3), draw(2, 2, 5, 3), draw(2, 2, 5, 2), enable_gqa=True)


def test_leading_axes_broadcast(xp: Any) -> None:
    compare(xp, *F, draw(2, 3, 4, 6), draw(1, 3, 5, 6), draw(1, 3, 5, 2))


def test_nothing_to_look_at(xp: Any) -> None:
    compare(xp, *F, draw(2, 3, 4), draw(2, 0, 4), draw(2, 0, 5))
    compare(xp, *F, draw(0, 3, 4), draw(0, 2, 4), draw(0, 2, 5))


def test_large_scores_do_not_overflow() -> None:
    q, k, v = (a.astype("f4") for a in qkv())
    assert np.isfinite(ours.scaled_dot_product_attention(q * 1e4, k * 1e4, v)).all()


def test_dropout_keeps_the_mean_and_is_the_same_for_the_same_key() -> None:
    q, k, v = draw(1, 64, 4), draw(1, 64, 4), np.ones((1, 64, 1))
    key = bp.random.key(0)
    a = ours.scaled_dot_product_attention(q, k, v, dropout_p=0.5, dropout_key=key)
    b = ours.scaled_dot_product_attention(q, k, v, dropout_p=0.5, dropout_key=key)
    np.testing.assert_array_equal(a, b)
    assert abs(a.mean() - 1) < 0.1
    assert not ours.scaled_dot_product_attention(q, k, v, dropout_p=1.0).any()


def test_what_does_not_belong_together_is_told() -> None:
    f = ours.scaled_dot_product_attention
    q, k, v = qkv()
    with pytest.raises(ShapeError, match="must agree in the last axis"):
        f(q, draw(2, 3, 5, 7), v)
    with pytest.raises(ShapeError, match="must agree in axis -2"):
        f(q, k, draw(2, 3, 4, 2))
    with pytest.raises(ValueError, match="leave attn_mask out"):
        f(q, k, v, np.ones((4, 5), bool), is_causal=True)
    with pytest.raises(DtypeError, match="expected attn_mask of truth values or floating"):
        f(q, k, v, np.ones((4, 5), int))
    with pytest.raises(ShapeError, match="heads of keys and values must divide"):
        f(draw(2, 3, 4, 6), draw(2, 2, 5, 6), draw(2, 2, 5, 2), enable_gqa=True)
