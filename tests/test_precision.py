"""`bpgpu.precision`: which numbers a product sees, in every function and on the way back."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.backend.precision import FORMATS, rounded
from conftest import load

torch = pytest.importorskip("torch", reason="torch is not installed")
f = bp.functional
NARROW = ("tf32", "bf16", "fp16")


def in_format(x: Any, name: str) -> Any:
    """What torch, or for tf32 the bits, make of float32 numbers."""
    x = np.asarray(x, np.float32)
    if name == "tf32":
        bits = x.view(np.int32)
        half = ((bits >> 13) & 1) + 0xFFF
        return np.where(np.isnan(x), x, ((bits + half) & ~0x1FFF).view(np.float32))
    dtype = torch.bfloat16 if name == "bf16" else torch.float16
    return torch.from_numpy(x.copy()).to(dtype).float().numpy()


def hard_numbers() -> Any:
    """All exponents, ties, the ends of each format, and what is no number."""
    rng = np.random.default_rng(0)
    anything = rng.integers(-(2**31), 2**31, 20000).astype(np.int32).view(np.float32)
    usual = rng.normal(size=5000).astype(np.float32)
    ties = (usual.view(np.int32) & ~0xFFFF | 0x8000).view(np.float32)
    ends = [0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519.99, 65520, 3e-8, 2.98e-8, 6e-8, 1e-40]
    return np.concatenate([anything, usual, ties, np.float32([*ends, 3.3895e38, 3.4e38, -3.4e38])])


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_rounding_is_that_of_the_hardware_bit_for_bit(xp: Any, name: str) -> None:
    x = hard_numbers()
    with bp.precision(name):
        found = bp.to_numpy(rounded(xp, xp.asarray(x)))
    np.testing.assert_array_equal(found, in_format(x, name))


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", NARROW)
def test_linear_maps_and_their_gradients(xp: Any, name: str) -> None:
    x, w, b, g = numbers(5, 7), numbers(3, 7, seed=1), numbers(3, seed=2), numbers(5, 3, seed=3)
    with bp.precision(name):
        y, pull = bp.vjp(f.linear, xp.asarray(x), xp.asarray(w), xp.asarray(b))
        found = [bp.to_numpy(a) for a in (y, *pull(xp.asarray(g)))]
    xr, wr, gr = (in_format(a, name) for a in (x, w, g))
    for a, e in zip(found, (xr @ wr.T + b, gr @ wr, gr.T @ xr, g.sum(0)), strict=True):
        np.testing.assert_allclose(a, e, rtol=2e-6, atol=2e-6)
    assert np.abs(found[0] - (x @ w.T + b)).max() > 1e-5


@pytest.mark.parametrize("name", NARROW)
def test_convolutions_and_their_gradients(xp: Any, name: str) -> None:
    x, w, g = numbers(2, 4, 6, 5), numbers(6, 2, 3, 3, seed=1), numbers(2, 6, 3, 3, seed=2)

    def convolved(x: Any, w: Any) -> Any:
        return f.conv2d(x, w, stride=2, padding=1, groups=2)

    with bp.precision(name):
        y, pull = bp.vjp(convolved, xp.asarray(x), xp.asarray(w))
        found = [bp.to_numpy(a) for a in (y, *pull(xp.asarray(g)))]
    tx, tw = (torch.from_numpy(in_format(a, name)).requires_grad_() for a in (x, w))
    ty = torch.nn.functional.conv2d(tx, tw, stride=2, padding=1, groups=2)
    gs = torch.autograd.grad(ty, (tx, tw), torch.from_numpy(in_format(g, name)))
    for a, e in zip(found, (ty.detach(), *gs), strict=True):
        np.testing.assert_allclose(a, e.numpy(), rtol=5e-6, atol=5e-6)


def attention(x: Any) -> Any:
    return f.scaled_dot_product_attention(x, x, x)


def recurrent(x: Any) -> Any:
    bp.seed(3)
    layer = bp.nn.LSTM(6, 4).to(dtype=x.dtype)
    xp = bp.array_namespace(x)
    return layer(x)[0] + xp.sum(bp.nn.GRU(6, 4)(x)[0], axis=0)


def bilinear(x: Any) -> Any:
    return f.bilinear(x, x, numbers(2, 6, 6, seed=1))


def multi_head(x: Any) -> Any:
    bp.seed(3)
    return bp.nn.MultiheadAttention(6, 2)(x, x, x)[0]


def products(x: Any) -> Any:
    xp = bp.array_namespace(x)
    x = xp.asarray(x)
    return x @ xp.matrix_transpose(x) + xp.tensordot(x, x, axes=((0, 1, 2), (0, 1, 2)))


@pytest.mark.parametrize("function", [attention, recurrent, bilinear, multi_head, products])
@pytest.mark.parametrize("name", NARROW)
def test_every_function_of_products_follows(function: Any, name: str) -> None:
    """Results and gradients move by about the format's last bit, and no more."""
    x = numbers(3, 4, 6)

    def both(x: Any) -> tuple[Any, Any]:
        xp = bp.array_namespace(x)

        def loss(x: Any) -> Any:
            return bp.array_namespace(x).sum(function(x) ** 2)

        value, g = bp.value_and_grad(loss)(x)
        return xp.asarray(value), g

    exact = both(x)
    with bp.precision(name):
        found = both(x)
    last = 2.0 ** -(FORMATS[name].bits + 1)  # type: ignore[union-attr]
    for a, e in zip(found, exact, strict=True):
        apart = np.abs(a - e).max() / np.abs(e).max()
        assert last / 500 < apart < 20 * last
        assert a.dtype == np.float32


def test_float64_is_not_touched() -> None:
    x = numbers(4, 4).astype(np.float64)
    with bp.precision("bf16"):
        assert (f.linear(x, x) == x @ x.T).all()


def test_second_order() -> None:
    x = numbers(4)

    def loss(x: Any) -> Any:
        return bp.array_namespace(x).sum(f.linear(x[None, :], numbers(3, 4)) ** 3)

    with bp.precision("tf32"):
        found = bp.hessian(loss)(x)
    np.testing.assert_allclose(found, bp.hessian(loss)(x), rtol=1e-2, atol=1e-2)
    assert (found != bp.hessian(loss)(x)).any()


def test_the_setting_belongs_to_a_block_and_a_thread() -> None:
    assert bp.precision() == "fp32"
    with bp.precision("bf16"):
        with bp.precision("fp16"):
            assert bp.precision() == "fp16"
        assert bp.precision() == "bf16"
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.append(bp.precision()))
        thread.start()
        thread.join()
        assert seen == ["fp32"]
    assert bp.precision() == "fp32"
    with pytest.raises(
        ValueError, match="expected one of 'fp32', 'tf32', 'bf16', 'fp16', got 'fp8'"
    ):
        bp.precision("fp8")


def test_a_replayed_step_follows_the_setting() -> None:
    bp.seed(0)
    model = bp.nn.Sequential(bp.nn.Linear(6, 5), bp.nn.Tanh(), bp.nn.Linear(5, 2))
    x = numbers(8, 6)
    step = bp.compile(lambda x: bp.value_and_grad(lambda m: (m(x) ** 2).sum())(model))
    eager = {}
    for name in ("fp32", "bf16"):
        with bp.precision(name):
            eager[name] = float(bp.value_and_grad(lambda m: (m(x) ** 2).sum())(model)[0])
    assert eager["fp32"] != eager["bf16"]
    for name in ("fp32", "fp32", "fp32", "bf16", "bf16", "bf16", "fp32", "bf16"):
        with bp.precision(name):
            assert float(step(x)[0]) == eager[name]


def test_on_strict_the_second_device_stays() -> None:
    strict = load("strict")
    device = strict.Device("device1")
    x = strict.asarray(numbers(3, 3), device=device)
    with bp.precision("bf16"):
        assert f.linear(x, x).device == device
