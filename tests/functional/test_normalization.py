"""Normalisations against torch: value, gradients of all operands, second order, statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as theirs

import bpgpu as bp
from bpgpu import functional as ours
from bpgpu.errors import ShapeError
from gradients import numpy_of, to
from torch_compare import compare

R = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return R.normal(size=shape)


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 6), (2, 3, 4, 5), (2, 3, 2, 3, 2)])
def test_batch_norm_in_training(xp: Any, shape: Any) -> None:
    def function(f: Any) -> Any:
        return lambda x, w, b: f(x, None, None, w, b, training=True, eps=1e-3)

    compare(
        xp, function(ours.batch_norm), function(theirs.batch_norm), draw(*shape), draw(3), draw(3)
    )


@pytest.mark.parametrize("momentum", [0.1, 0.7, 0.0])
def test_running_statistics_are_torchs(xp: Any, momentum: float) -> None:
    x, mean, var = draw(4, 3, 5), draw(3), np.abs(draw(3))
    a, b = to(xp, mean), to(xp, var)
    ta, tb = torch.tensor(mean), torch.tensor(var)
    ours.batch_norm(to(xp, x), a, b, training=True, momentum=momentum)
    theirs.batch_norm(torch.tensor(x), ta, tb, training=True, momentum=momentum)
    np.testing.assert_allclose(numpy_of(a), ta, rtol=1e-12)
    np.testing.assert_allclose(numpy_of(b), tb, rtol=1e-12)


def test_batch_norm_in_evaluation(xp: Any) -> None:
    mean, var = draw(3), np.abs(draw(3)) + 0.1

    def function(f: Any) -> Any:
        return lambda x, m, v, w, b: f(x, m, v, w, b)

    arrays = draw(4, 3, 5), mean, var, draw(3), draw(3)
    compare(xp, function(ours.batch_norm), function(theirs.batch_norm), *arrays, fixed=(1, 2))


@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
def test_running_statistics_that_are_constants_of_a_gradient(xp: Any, name: str) -> None:
    """They are plain arrays, the statistics of the batch are traced."""

    def function(f: Any) -> Any:
        return lambda x, m, v: f(x, m + 0, v + 0, None, None, True)

    arrays = draw(4, 3, 5), draw(3), np.abs(draw(3))
    f, g = getattr(ours, name), getattr(theirs, name)
    compare(xp, function(f), function(g), *arrays, fixed=(1, 2))


def test_statistics_are_returned_on_request_and_nothing_is_changed() -> None:
    mean, var = np.zeros(3), np.ones(3)
    y, new_mean, new_var = ours.batch_norm_with_statistics(draw(4, 3), mean, var, training=True)
    assert not mean.any()
    assert (var == 1).all()
    assert new_mean.any()
    assert y.shape == (4, 3)
    assert new_var.shape == (3,)


def test_statistics_under_a_trace_stay_plain_and_move_once_under_checkpoint() -> None:
    x = draw(4, 3)

    def moved(wrap: Any) -> np.ndarray:
        mean, var = np.zeros(3), np.ones(3)

        def block(x: Any) -> Any:
            return ours.batch_norm(x, mean, var, training=True)

        bp.grad(lambda x: bp.array_namespace(x).sum(wrap(block)(x) ** 3))(x)
        return mean

    plain = moved(lambda f: f)
    np.testing.assert_allclose(plain, 0.1 * x.mean(0))
    np.testing.assert_array_equal(moved(bp.checkpoint), plain)


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 3), (2, 4, 3, 2)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm(xp: Any, shape: Any, groups: int) -> None:
    compare(xp, ours.group_norm, theirs.group_norm, draw(*shape), groups, draw(4), draw(4), 1e-3)


@pytest.mark.parametrize("normalized", [(4,), (3, 4), (2, 3, 4)])
def test_layer_norm_and_rms_norm(xp: Any, normalized: Any) -> None:
    x, w, b = draw(2, 3, 4), draw(*normalized), draw(*normalized)
    compare(xp, ours.layer_norm, theirs.layer_norm, x, normalized, w, b, 1e-3)
    compare(xp, ours.rms_norm, theirs.rms_norm, x, normalized, w)
    compare(xp, ours.rms_norm, theirs.rms_norm, x, normalized, None, 1e-2)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 2)])
def test_instance_norm(xp: Any, shape: Any) -> None:
    def function(f: Any) -> Any:
        return lambda x, w, b: f(x, weight=w, bias=b)

    compare(
        xp,
        function(ours.instance_norm),
        function(theirs.instance_norm),
        draw(*shape),
        draw(3),
        draw(3),
    )
    x, mean, var = draw(*shape), draw(3), np.abs(draw(3))
    a, b = to(xp, mean), to(xp, var)
    ta, tb = torch.tensor(mean), torch.tensor(var)
    ours.instance_norm(to(xp, x), a, b)
    theirs.instance_norm(torch.tensor(x), ta, tb)
    np.testing.assert_allclose(numpy_of(a), ta, rtol=1e-12)
    np.testing.assert_allclose(numpy_of(b), tb, rtol=1e-12)
    compare(
        xp,
        lambda x: ours.instance_norm(x, a, b, use_input_stats=False),
        lambda x: theirs.instance_norm(x, ta, tb, use_input_stats=False),
        x,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_local_response_norm(xp: Any, size: int) -> None:
    f = (ours.local_response_norm, theirs.local_response_norm)
    compare(xp, *f, draw(2, 5, 3), size, alpha=0.3, beta=0.6, k=2.0)
    compare(xp, *f, draw(2, 5, 3, 2), size)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.5])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_normalize(xp: Any, p: float, dim: int) -> None:
    compare(xp, ours.normalize, theirs.normalize, draw(2, 3, 4), p, dim)


@pytest.mark.parametrize("dim", [0, -1])
def test_a_number_is_normalized_as_a_vector_of_one(xp: Any, dim: int) -> None:
    compare(xp, ours.normalize, theirs.normalize, np.asarray(-3.0), 2.0, dim)


def test_empty_batches(xp: Any) -> None:
    compare(xp, ours.layer_norm, theirs.layer_norm, draw(0, 4), (4,), draw(4), draw(4))
    compare(xp, ours.group_norm, theirs.group_norm, draw(0, 4, 3), 2, draw(4), draw(4))
    y = ours.batch_norm(to(xp, draw(0, 3)), None, None, training=True)
    assert tuple(y.shape) == (0, 3)


def test_half_precision_is_computed_in_float32() -> None:
    x = (draw(64, 3) * 100 + 1000).astype("f2")
    y = ours.layer_norm(x, (3,))
    assert y.dtype == np.float16
    assert np.isfinite(y).all()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: ours.batch_norm(draw(1, 3), None, None, training=True),
            "more than one value for each channel",
        ),
        (lambda: ours.batch_norm(draw(4, 3), None, None), "training=False needs running_mean"),
        (
            lambda: ours.batch_norm(draw(4, 3), np.zeros(5), np.ones(5)),
            r"running_mean of shape \(3,\), got \(5,\)",
        ),
        (lambda: ours.layer_norm(draw(4, 3), (5,)), r"expected input \(\*, 5\), got \(4, 3\)"),
        (lambda: ours.layer_norm(draw(4, 3), (3,), draw(4)), r"weight of shape \(3,\), got \(4,\)"),
        (lambda: ours.group_norm(draw(4, 3), 2), "num_groups=2 must divide the 3 channels"),
        (lambda: ours.local_response_norm(draw(4, 3), 2), "at least 3 axes"),
    ],
)
def test_what_cannot_be_normalised_is_told(call: Any, text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        call()
