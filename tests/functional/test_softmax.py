"""The softmax family agrees with torch on every axis, also with infinities, and without an element."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as tf

import bpgpu as bp
from bpgpu import functional as bf
from bpgpu.errors import DtypeError, ShapeError
from torch_compare import compare, given, numpy_of

NAMES = ("softmax", "log_softmax", "softmin")
SHAPES = [((5,), 0), ((1,), 0), ((3, 4), 0), ((3, 4), -1), ((2, 3, 4), 1), ((0, 3), 1), ((3, 0), 1)]


@pytest.mark.parametrize(("shape", "dim"), SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_family_agrees_with_torch(xp: Any, name: str, shape: tuple[int, ...], dim: int) -> None:
    x = np.random.default_rng(0).normal(size=shape) * 3
    compare(xp, getattr(bf, name), getattr(tf, name), x, dim)
    compare(xp, getattr(bf, name), getattr(tf, name), x.T, len(shape) - 1 - dim % len(shape))


@pytest.mark.parametrize("dim", [0, -1])
@pytest.mark.parametrize("name", NAMES)
def test_an_array_without_axes_has_one_element_along_its_axis(xp: Any, name: str, dim: int) -> None:
    compare(xp, getattr(bf, name), getattr(tf, name), np.asarray(0.3), dim)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_any_size_and_masked_entries_neither_overflow_nor_warn(
    xp: Any, name: str
) -> None:
    x = np.asarray([[1e4, -1e4, 0], [1e4, 1e4, 1e4], [2, -np.inf, 1], [-np.inf, -np.inf, 3]])
    x = -x if name == "softmin" else x
    compare(xp, getattr(bf, name), getattr(tf, name), x[:2], -1)
    order = 0 if name == "log_softmax" else 1  # the harness multiplies -inf by 0
    t = torch.from_numpy(x[2:]).requires_grad_()
    weights = np.asarray([[1.0, 2, 3], [4, 5, 6]])
    out, pull = bp.vjp(lambda a: getattr(bf, name)(a, -1), given(xp, x[2:]))
    y = getattr(tf, name)(t, -1)
    np.testing.assert_allclose(numpy_of(out), numpy_of(y), atol=1e-12)
    if order:
        (g,) = torch.autograd.grad(y, t, torch.from_numpy(weights))
        np.testing.assert_allclose(numpy_of(pull(given(xp, weights))[0]), g.numpy(), atol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", NAMES)
def test_rows_without_a_finite_entry_are_nan(xp: Any, name: str) -> None:
    sign = -1 if name == "softmin" else 1
    x = sign * np.asarray([[-np.inf, -np.inf], [np.inf, 0], [np.nan, 0]])
    compare(xp, getattr(bf, name), getattr(tf, name), x, -1, order=0)
    assert np.isnan(numpy_of(getattr(bf, name)(given(xp, x), -1))).all(axis=-1).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_dtype_is_cast_to_first(xp: Any, name: str) -> None:
    f = getattr(bf, name)
    x = np.asarray([[1, 2, 4]], "float32")
    for dtype in ("float64", xp.float64):
        y = f(given(xp, x), -1, dtype=dtype)
        assert y.dtype == xp.float64
        theirs = getattr(tf, name)(torch.from_numpy(x), -1, dtype=torch.float64)
        np.testing.assert_allclose(numpy_of(y), theirs.numpy(), rtol=1e-14)
    assert f(given(xp, x.astype(int)), -1, dtype="float32").dtype == xp.float32
    assert f(given(xp, x), -1).dtype == xp.float32
    (g,) = bp.vjp(lambda a: f(a, -1, dtype="float64"), given(xp, x))[1](given(xp, np.ones((1, 3))))
    assert g.dtype == xp.float32


@pytest.mark.parametrize("ndim", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_without_dim_the_axis_is_torchs_and_a_warning_says_so(
    xp: Any, name: str, ndim: int
) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 2, 3)[:ndim])
    with pytest.warns(UserWarning, match="[Ii]mplicit") as caught:
        theirs = getattr(tf, name)(torch.from_numpy(x))
    with pytest.warns(UserWarning, match=f"{name}: the choice of an axis without dim") as caught:
        y = getattr(bf, name)(given(xp, x))
    assert caught[0].filename == __file__
    np.testing.assert_allclose(numpy_of(y), theirs.numpy(), rtol=1e-13)


def test_axes_and_dtypes_that_do_not_exist_are_refused(xp: Any) -> None:
    x = given(xp, np.ones((2, 3)))
    for name in NAMES:
        f = getattr(bf, name)
        with pytest.raises(ShapeError, match=rf"{name}: expected dim in \[-2, 1\] for an input"):
            f(x, 2)
        with pytest.raises(DtypeError, match=f"{name}: expected a floating array as input"):
            f(given(xp, np.ones(2, int)), 0)
        with pytest.raises(DtypeError, match=f"{name}: expected dtype as a name"):
            f(x, 0, dtype="single")


# ---- logsumexp


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [0, -1, 1, (0, 2), (1,), (0, 1, 2), [0, -1]])
def test_logsumexp_agrees_with_torch(xp: Any, dim: Any, keepdim: bool) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4)) * 3
    compare(xp, bf.logsumexp, torch.logsumexp, x, dim, keepdim)
    compare(xp, bf.logsumexp, torch.logsumexp, x.T * 1e4, dim, keepdim)


def test_logsumexp_over_no_axis_named_is_over_all(xp: Any) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3))
    compare(xp, bf.logsumexp, torch.logsumexp, x, (), True)
    assert bf.logsumexp(given(xp, x), ()).shape == ()  # torch fails here


@pytest.mark.parametrize(
    ("shape", "dim"), [((), 0), ((), -1), ((1,), 0), ((0,), 0), ((3, 0), 1), ((3, 0), 0)]
)
@pytest.mark.parametrize("keepdim", [False, True])
def test_logsumexp_of_few_elements(
    xp: Any, shape: tuple[int, ...], dim: int, keepdim: bool
) -> None:
    x = np.full(shape, 0.7)
    order = 0 if 0 in shape else 2
    compare(xp, bf.logsumexp, torch.logsumexp, x, dim, keepdim, order=order)


def test_logsumexp_with_infinities_does_not_warn(xp: Any) -> None:
    x = np.asarray([[-np.inf, -np.inf], [-np.inf, 3], [np.inf, 3]])
    compare(xp, bf.logsumexp, torch.logsumexp, x, -1, order=0)
    out, pull = bp.vjp(lambda a: bf.logsumexp(a, -1), given(xp, x[:2]))
    # where torch has NaN: no term that counts, no gradient
    np.testing.assert_array_equal(numpy_of(pull(xp.ones_like(out))[0]), [[0, 0], [0, 1]])


def test_logsumexp_refuses_axes_named_twice(xp: Any) -> None:
    with pytest.raises(ShapeError, match="logsumexp: expected different axes as dim"):
        bf.logsumexp(given(xp, np.ones((2, 3))), (1, -1))


# ---- gumbel_softmax


@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_gumbel_softmax_is_a_softmax_of_noise_and_logits(xp: Any, tau: float) -> None:
    x = np.random.default_rng(0).normal(size=(4, 3))
    key = bp.random.key(0)
    noise = np.log(numpy_of(bf.gumbel_softmax(given(xp, x * 0), key=key)))  # and one number a row

    def theirs(t: torch.Tensor) -> torch.Tensor:
        return tf.softmax((t + torch.from_numpy(noise)) / tau, -1)

    compare(xp, lambda a: bf.gumbel_softmax(a, tau, key=key), theirs, x)
    y = numpy_of(bf.gumbel_softmax(given(xp, x), tau, dim=0))
    np.testing.assert_allclose(y.sum(axis=0), 1)


def test_gumbel_softmax_draws_classes_with_the_probabilities_of_the_softmax(xp: Any) -> None:
    p = np.asarray([0.5, 0.3, 0.2])
    x = np.tile(np.log(p), (20_000, 1))
    y = numpy_of(bf.gumbel_softmax(given(xp, x), hard=True, key=bp.random.key(1)))
    assert set(np.unique(y)) <= {0.0, 1.0}
    np.testing.assert_allclose(y.mean(axis=0), p, atol=0.015)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_hard_sample_has_the_gradient_of_the_soft_one(xp: Any, dtype: str) -> None:
    x = given(xp, np.random.default_rng(0).normal(size=(2, 5)).astype(dtype))
    w = given(xp, np.arange(10.0).reshape(2, 5).astype(dtype))
    key = bp.random.key(5)
    grads = []
    for hard in (True, False):
        y, pull = bp.vjp(lambda a, hard=hard: bf.gumbel_softmax(a, 0.7, hard, key=key), x)
        assert y.dtype == x.dtype
        grads.append(numpy_of(pull(w)[0]))
        if hard:
            np.testing.assert_allclose(np.sort(numpy_of(y)), [[0, 0, 0, 0, 1]] * 2, atol=1e-6)
    np.testing.assert_array_equal(*grads)


def test_gumbel_softmax_takes_no_axis_and_no_element(xp: Any) -> None:
    for hard in (True, False):
        assert numpy_of(bf.gumbel_softmax(given(xp, np.asarray(0.5)), hard=hard)) == 1
        assert bf.gumbel_softmax(given(xp, np.ones((0, 3))), hard=hard).shape == (0, 3)
        assert bf.gumbel_softmax(given(xp, np.ones((3, 0))), hard=hard).shape == (3, 0)


def test_gumbel_softmax_refuses_what_has_no_meaning(xp: Any) -> None:
    x = given(xp, np.ones((2, 3)))
    with pytest.raises(ValueError, match="gumbel_softmax: expected tau above 0, got 0"):
        bf.gumbel_softmax(x, 0)
    with pytest.raises(ShapeError, match="gumbel_softmax: expected dim"):
        bf.gumbel_softmax(x, dim=2)
    with pytest.warns(UserWarning, match="gumbel_softmax: eps has no effect"):
        bf.gumbel_softmax(x, eps=1e-8)
