"""Clipping by norm and by value is torch's, on trees; nothing that was given is changed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import bpgpu as bp
from bpgpu import optim
from optim.against_torch import array

ORDERS = [2.0, 1.0, 3.0, 0.5, math.inf, -math.inf, 0.0, -1.0, "inf", 2]


def arrays(kind: str = "real") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {"w": rng.normal(size=(3, 4)), "b": rng.normal(size=4), "s": np.asarray(rng.normal())}
    if kind == "complex":
        return {k: np.asarray(v + 1j * rng.normal(size=v.shape)) for k, v in found.items()}
    return found


def clipped_by_torch(
    given: dict[str, np.ndarray], max_norm: float, order: Any
) -> tuple[dict[str, np.ndarray], float]:
    tensors = {
        k: torch.zeros(v.shape, dtype=torch.tensor(v).dtype, requires_grad=True)
        for k, v in given.items()
    }
    for k, v in given.items():
        tensors[k].grad = torch.tensor(v)
    total = torch.nn.utils.clip_grad_norm_(list(tensors.values()), max_norm, order)
    return {k: t.grad.numpy() for k, t in tensors.items()}, float(total)


@pytest.mark.filterwarnings("ignore:Casting complex")  # by torch, for order 0
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("max_norm", [0.1, 2.0, 1e6, 0.0])
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_clipping_by_norm_is_that_of_torch(xp: Any, order: Any, max_norm: float, kind: str) -> None:
    given = arrays(kind)
    grads = {
        "layer": [array(xp, given["w"]), None, array(xp, given["b"])],
        "s": array(xp, given["s"]),
    }
    new, total = bp.clip_grad_norm(grads, max_norm, order)
    wanted, norm = clipped_by_torch(given, max_norm, order)
    assert float(total) == pytest.approx(norm, rel=1e-12)
    assert total.shape == ()
    assert new["layer"][1] is None
    for got, k in ((new["layer"][0], "w"), (new["layer"][2], "b"), (new["s"], "s")):
        np.testing.assert_allclose(np.asarray(got), wanted[k], rtol=1e-12, atol=0)
    np.testing.assert_array_equal(np.asarray(grads["layer"][0]), given["w"])


def test_gradients_below_the_limit_stay_exactly(xp: Any) -> None:
    g = array(xp, arrays()["w"])
    new, _ = bp.clip_grad_norm([g], 1e3)
    assert np.array_equal(np.asarray(new[0]), np.asarray(g))


def test_half_and_single_precision_keep_their_dtype() -> None:
    grads = [torch.full((1000,), 60.0, dtype=torch.float16), torch.ones(3, dtype=torch.float32)]
    new, total = bp.clip_grad_norm(grads, 1.0)
    assert total.dtype == torch.float32
    assert float(total) == pytest.approx(1897.4, rel=1e-3)
    assert [g.dtype for g in new] == [torch.float16, torch.float32]


def test_no_gradients_have_norm_zero() -> None:
    for empty in ({}, [None], {"w": np.zeros((0, 3))}):
        new, total = bp.clip_grad_norm(empty, 1.0)
        assert float(total) == 0
        assert new is empty or new["w"].shape == (0, 3)
    assert float(optim.grad_norm([np.zeros((0,)), np.asarray([3.0, 4.0])])) == 5
    assert float(optim.grad_norm([np.zeros((0,)), np.asarray([3.0, 4.0])], math.inf)) == 4


def test_a_norm_that_is_not_finite_can_be_an_error(xp: Any) -> None:
    for bad in (math.inf, math.nan):
        grads = [array(xp, np.asarray([1.0, bad]))]
        with pytest.raises(bp.errors.NonFiniteError, match=f"the norm of the gradients is {bad}"):
            bp.clip_grad_norm(grads, 1.0, error_if_nonfinite=True)
        with np.errstate(invalid="ignore"):
            new, total = bp.clip_grad_norm(grads, 1.0)
        assert not math.isfinite(float(total))
        assert np.asarray(new[0])[0] == 0 or math.isnan(bad)


def test_clipping_compiles() -> None:
    jax = pytest.importorskip("jax")
    given = arrays()
    grads = {k: jax.numpy.asarray(v) for k, v in given.items()}
    new, total = jax.jit(lambda g: bp.clip_grad_norm(g, 1.0))(grads)
    wanted, norm = clipped_by_torch(given, 1.0, 2.0)
    assert float(total) == pytest.approx(norm)
    np.testing.assert_allclose(np.asarray(new["w"]), wanted["w"], rtol=1e-12)


def test_clipping_by_value_is_that_of_torch(xp: Any) -> None:
    g = np.asarray([[-3.0, 0.5, math.nan], [math.inf, -math.inf, 2.0]])
    t = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    t.grad = torch.tensor(g)
    torch.nn.utils.clip_grad_value_([t], 1.5)
    given = array(xp, g)
    new = bp.clip_grad_value({"w": given, "none": None}, 1.5)
    np.testing.assert_array_equal(np.asarray(new["w"]), t.grad.numpy())
    assert new["none"] is None
    np.testing.assert_array_equal(np.asarray(given), g)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: bp.clip_grad_norm([np.ones(2)], -1.0),
            ValueError,
            "clip_grad_norm: expected max_norm >= 0, got -1.0",
        ),
        (
            lambda: bp.clip_grad_value([np.ones(2)], -1.0),
            ValueError,
            "clip_grad_value: expected clip_value >= 0, got -1.0",
        ),
        (
            lambda: bp.clip_grad_value([np.ones(2) + 0j], 1.0),
            TypeError,
            "expected real gradients, got dtype complex128",
        ),
        (
            lambda: bp.clip_grad_norm({"w": np.arange(3)}, 1.0),
            TypeError,
            "expected floating gradients, got dtype int64 at 'w'",
        ),
        (
            lambda: bp.clip_grad_norm(bp.nn.Module(), 1.0),
            TypeError,
            "expected gradients, got a Module",
        ),
    ],
)
def test_bad_input_is_named(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
