"""Dropout: masks from a key, scaled by the probability that they really have."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as tf

import bpgpu as bp
from bpgpu import functional as bf
from bpgpu.errors import DtypeError, LibraryError, ShapeError
from torch_compare import given, numpy_of

ZEROING = {"dropout": (4, 3, 2), "dropout1d": (4, 3, 2), "dropout2d": (4, 3, 2, 2)}
ZEROING["dropout3d"] = (4, 3, 1, 2, 2)
ALPHA = {"alpha_dropout": (4, 3, 2), "feature_alpha_dropout": (4, 3, 2)}
SHAPES = ZEROING | ALPHA
CHANNELS = [name for name in SHAPES if name not in ("dropout", "alpha_dropout")]


@pytest.mark.parametrize("name", SHAPES)
def test_the_signature_is_torchs_and_a_key(name: str) -> None:
    theirs = inspect.signature(getattr(tf, name)).parameters
    ours = inspect.signature(getattr(bf, name)).parameters
    assert list(ours) == [*theirs, "key"]
    for parameter, other in zip(ours.values(), theirs.values(), strict=False):
        assert (parameter.default, parameter.kind) == (other.default, other.kind)


@pytest.mark.parametrize("name", ZEROING)
def test_numbers_are_dropped_or_scaled_and_so_are_gradients(xp: Any, name: str) -> None:
    x = np.random.default_rng(0).normal(size=SHAPES[name])
    f, key = getattr(bf, name), bp.random.key(7)
    y, pull = bp.vjp(lambda a: f(a, 0.4, key=key), given(xp, x))
    (g,) = pull(given(xp, np.ones_like(x)))
    factor = numpy_of(y) / x
    kept = factor != 0
    used = bp.random.mask_probability(0.6)[1]
    np.testing.assert_allclose(factor[kept], 1 / used, rtol=1e-14)
    np.testing.assert_allclose(numpy_of(g), factor, rtol=1e-14)
    assert 0 < kept.mean() < 1


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_stay_or_go_as_a_whole(xp: Any, name: str) -> None:
    x = np.random.default_rng(0).normal(size=(40, 5, *SHAPES[name][2:]))
    y = numpy_of(getattr(bf, name)(given(xp, x), 0.5, True, key=bp.random.key(1)))
    values, counts = np.unique(y, return_counts=True)
    dropped = (y == values[counts.argmax()]).reshape(200, -1)
    assert (dropped.all(axis=1) | ~dropped.any(axis=1)).all()
    assert 0.35 < dropped.mean() < 0.65


@pytest.mark.parametrize(("name", "shape"), [("dropout1d", (30, 4)), ("dropout3d", (30, 2, 2, 2))])
def test_inputs_without_a_batch_have_channels_first(
    xp: Any, name: str, shape: tuple[int, ...]
) -> None:
    y = numpy_of(getattr(bf, name)(given(xp, np.ones(shape)), 0.5, key=bp.random.key(1)))
    kept = (y != 0).reshape(30, -1)
    assert (kept.all(axis=1) | ~kept.any(axis=1)).all()
    assert 0.2 < kept.mean() < 0.8


@pytest.mark.parametrize("name", ALPHA)
def test_alpha_dropout_keeps_mean_and_variance(xp: Any, name: str) -> None:
    x = np.random.default_rng(0).normal(size=(400, 500, 1))
    for p in (0.1, 0.5, 0.9):
        y = numpy_of(getattr(bf, name)(given(xp, x), p, True, key=bp.random.key(2)))
        assert abs(y.mean()) < 0.02
        assert abs(y.var() - 1) < 0.02


@pytest.mark.parametrize("name", ALPHA)
def test_alpha_dropout_is_torchs_but_for_the_mask(xp: Any, name: str) -> None:
    """Torch's values for kept and dropped numbers, at a probability that masks have exactly."""
    x = np.ones((50, 40, 1))
    ours = numpy_of(getattr(bf, name)(given(xp, x), 0.25, True, key=bp.random.key(2)))
    theirs = getattr(tf, name)(torch.from_numpy(x), 0.25, True).numpy()
    np.testing.assert_allclose(np.unique(ours), np.unique(theirs), rtol=1e-12)


@pytest.mark.parametrize("name", SHAPES)
def test_nothing_happens_without_training_or_at_probability_zero(xp: Any, name: str) -> None:
    x, f = given(xp, np.ones(SHAPES[name])), getattr(bf, name)
    assert f(x, 0.5, False) is x
    assert f(x, 0.0, True) is x
    empty = given(xp, np.ones((0, *SHAPES[name][1:])))
    assert f(empty, 0.5, True) is empty


@pytest.mark.parametrize("name", SHAPES)
def test_at_probability_one_all_is_zero_and_so_is_the_gradient(xp: Any, name: str) -> None:
    x = given(xp, np.ones(SHAPES[name]))
    y, pull = bp.vjp(lambda a: getattr(bf, name)(a, 1.0, True), x)
    assert not numpy_of(y).any()
    assert not numpy_of(pull(xp.ones_like(x))[0]).any()
    assert y.dtype == x.dtype


@pytest.mark.parametrize("name", SHAPES)
def test_masks_are_the_same_in_every_library(xp: Any, name: str) -> None:
    x = np.random.default_rng(0).normal(size=SHAPES[name]).astype("float32")
    f, key = getattr(bf, name), bp.random.key(11)
    plain = f(x, 0.3, True, key=key)
    y = f(given(xp, x), 0.3, True, key=key)
    assert y.dtype == xp.float32
    np.testing.assert_allclose(numpy_of(y), plain, rtol=1e-6)
    own = f(given(xp, x), 0.3, True, key=bp.random.key(11, like=given(xp, x)))
    np.testing.assert_array_equal(numpy_of(own), numpy_of(y))


def test_without_a_key_each_call_takes_the_next_of_the_thread(xp: Any) -> None:
    x = given(xp, np.ones(64))
    bp.seed(5)
    first, second = numpy_of(bf.dropout(x)), numpy_of(bf.dropout(x))
    assert (first != second).any()
    bp.seed(5)
    np.testing.assert_array_equal(numpy_of(bf.dropout(x)), first)
    bp.seed(5)
    grads = bp.grad(lambda a: bp.array_namespace(a).sum(bf.dropout(a)))(x)
    np.testing.assert_array_equal(numpy_of(grads), first)


def test_a_second_run_under_checkpoint_draws_the_same_mask(xp: Any) -> None:
    x = given(xp, np.ones(64))

    def loss(a: Any) -> Any:
        ns = bp.array_namespace(a)
        return ns.sum(ns.square(bf.dropout(ns.exp(a))))

    bp.seed(5)
    plain, following = numpy_of(bp.grad(loss)(x)), numpy_of(bf.dropout(x))
    bp.seed(5)
    np.testing.assert_array_equal(numpy_of(bp.grad(bp.checkpoint(loss))(x)), plain)
    np.testing.assert_array_equal(numpy_of(bf.dropout(x)), following)


def test_dropout_is_linear_so_that_second_order_is_that_of_what_it_feeds(xp: Any) -> None:
    x, key = given(xp, np.linspace(1, 2, 8)), bp.random.key(0)

    def loss(a: Any) -> Any:
        ns = bp.array_namespace(a)
        return ns.sum(bf.dropout(a, 0.5, key=key) ** 3)

    y = numpy_of(bf.dropout(x, 0.5, key=key))
    h = bp.hvp(loss, x, xp.ones_like(x))
    h = numpy_of(h[-1] if isinstance(h, tuple) else h)
    np.testing.assert_allclose(h, 24 * y, rtol=1e-12)


def test_what_is_dropped_is_zero_whatever_it_was(xp: Any) -> None:
    x = given(xp, np.full(50, np.inf))
    y = numpy_of(bf.dropout(x, 0.5, key=bp.random.key(0)))
    assert set(np.unique(y)) == {0, np.inf}


def test_a_key_is_data_inside_jit() -> None:
    import jax
    import jax.numpy as jnp

    x = jnp.ones(32)
    step = jax.jit(lambda a, key: bf.dropout(a, 0.5, key=key))
    for seed in (1, 2):
        key = bp.random.key(seed)
        y = np.asarray(step(x, bp.random.key(seed, like=x)))
        np.testing.assert_array_equal(y, bf.dropout(np.ones(32), 0.5, key=key))


@pytest.mark.parametrize("name", SHAPES)
def test_probabilities_dtypes_and_keys_that_do_not_fit_are_refused(xp: Any, name: str) -> None:
    x, f = given(xp, np.ones(SHAPES[name])), getattr(bf, name)
    for p in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=rf"{name}: expected p in \[0, 1\], got {p}"):
            f(x, p)
    with pytest.raises(DtypeError, match=f"{name}: expected a floating array as input"):
        f(given(xp, np.ones(SHAPES[name], int)))
    with pytest.raises(DtypeError, match="key: expected an int32 array"):
        f(x, 0.5, True, key=3)


def test_a_key_of_another_library_is_refused() -> None:
    key = bp.random.key(0, like=torch.zeros(1))
    with pytest.raises(LibraryError, match="dropout: the key is an array of torch, the input"):
        bf.dropout(np.ones(3), key=key)


def test_shapes_without_channels_are_refused(xp: Any) -> None:
    for shape in ((3,), (2, 3, 4, 5)):
        with pytest.raises(ShapeError, match=r"dropout1d: expected an input \(N, C, L\) or"):
            bf.dropout1d(given(xp, np.ones(shape)))
    with pytest.raises(ShapeError, match="feature_alpha_dropout: expected an input"):
        bf.feature_alpha_dropout(given(xp, np.ones(3)), training=True)


def test_shapes_that_torch_warns_of_draw_a_warning_and_are_read_as_torch_reads_them(
    xp: Any,
) -> None:
    with pytest.warns(UserWarning, match=r"dropout2d: an input of 3 axes is read as") as caught:
        y = numpy_of(bf.dropout2d(given(xp, np.ones((9, 4, 5))), key=bp.random.key(0)))
    assert caught[0].filename == __file__
    assert ((y == 0).all(axis=2) | (y != 0).all(axis=2)).all()
    with pytest.warns(UserWarning, match="dropout2d: expected an input"):
        bf.dropout2d(given(xp, np.ones((9, 4))))
    with pytest.warns(UserWarning, match="dropout3d: expected an input"):
        bf.dropout3d(given(xp, np.ones((9, 4))))
