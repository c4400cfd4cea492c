"""Losses, relu, dropout and updates of bfloat16 on CUDA: computed in float32, of 16 bytes at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import cuda_on_cpu


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield from cuda_on_cpu.installed(monkeypatch)


@pytest.fixture
def started(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The instances that are started from now on."""
    names: list[str] = []
    get_function = cuda_on_cpu.RawModule.get_function

    def noted(self: Any, name: str) -> Any:
        run = get_function(self, name)
        return lambda *args: (names.append(name), run(*args))[1]

    monkeypatch.setattr(cuda_on_cpu.RawModule, "get_function", noted)
    return names


def bfloat16() -> Any:
    return pytest.importorskip("ml_dtypes", reason="bfloat16 of NumPy").bfloat16


def on_gpu(cupy: Any, x: Any) -> Any:
    made = cupy.empty(x.shape, x.dtype)
    made.values[...] = x
    return made


def close(a: Any, b: Any, bound: float) -> None:
    a, b = a.get().astype("f4"), b.get()
    assert np.max(np.abs(a - b)) <= bound * max(1, np.max(np.abs(b)))


def of_classes(cupy: Any, x: Any) -> tuple[Any, Any]:
    from bpgpu.kernels.cuda.loss import cross_entropy

    t = cupy.asarray(np.arange(len(x)) % x.shape[1])
    y, pull = cross_entropy(x, t, None, -100, "mean", 0.1, ())
    return y, pull(y)


def of_places(cupy: Any, x: Any) -> tuple[Any, Any]:
    from bpgpu.kernels.cuda.loss import cross_entropy

    x = x.reshape(2, 4, 8)
    t = cupy.asarray(np.arange(16).reshape(2, 8) % 4)
    y, pull = cross_entropy(x, t, x[0, :, 0], 2, "none", 0.0, (2, 8))
    return y, pull(y)


def of_relu(cupy: Any, x: Any) -> tuple[Any, Any]:
    from bpgpu.kernels.cuda.chance import relu

    y, pull = relu(x)
    return y, pull(y)


def of_dropout(cupy: Any, x: Any) -> tuple[Any, Any]:
    from bpgpu.kernels.cuda.chance import dropped, relu_dropped

    key = cupy.asarray(bp.random.key(2))
    return dropped(x, key, 16, 0.75), relu_dropped(x, key, 32, 0.999)[0]


def of_columns(cupy: Any, x: Any) -> tuple[Any, ...]:
    from bpgpu.kernels.cuda.columns import column_sums

    return (column_sums(x),)


FUNCTIONS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "cross_entropy": of_classes,
    "cross_entropy of places": of_places,
    "relu": of_relu,
    "dropout": of_dropout,
    "column_sums": of_columns,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numbers_are_computed_in_float32(name: str, cupy: Any, started: list[str]) -> None:
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(bfloat16())
    narrow = FUNCTIONS[name](cupy, on_gpu(cupy, x))
    assert any("__nv_bfloat16" in s for s in started)
    assert any(", 8" in s for s in started) or "places" in name
    for a, b in zip(narrow, FUNCTIONS[name](cupy, on_gpu(cupy, x.astype("f4"))), strict=True):
        assert a.dtype == x.dtype
        close(a, b, 1e-2)


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_parameters_are_updated_with_a_state_in_float32(
    name: str, cupy: Any, started: list[str]
) -> None:
    rng = np.random.default_rng(0)
    shapes = ((40,), (3, 5), (64, 7))
    dtype = bfloat16()
    p, g = ([rng.normal(size=shape).astype(dtype) for shape in shapes] for _ in range(2))
    options = {"momentum": 0.9} if name == "SGD" else {}
    results = []
    for t in (dtype, "f4"):
        params = [on_gpu(cupy, x.astype(t)) for x in p]
        optimizer = getattr(bp.optim, name)(params, lr=0.1, **options)
        for _ in range(3):
            optimizer.step([on_gpu(cupy, x.astype(t)) for x in g])
        results.append(params)
        assert {v.dtype.name for s in optimizer.state.values() for v in s.values()} == {"float32"}
    assert any("__nv_bfloat16" in s for s in started)
    for a, b in zip(*results, strict=True):
        close(a, b, 2e-2)


def test_scores_that_begin_at_odd_addresses_are_read_one_by_one(
    cupy: Any, started: list[str]
) -> None:
    from bpgpu.kernels.cuda.loss import cross_entropy

    x = np.random.default_rng(0).normal(size=1 + 5 * 8).astype("f4")
    t = cupy.asarray(np.arange(5))
    for first, loads in ((0, 4), (1, 1)):
        ours = cupy.asarray(x)[first : first + 40].reshape(5, 8)
        y, _ = cross_entropy(ours, t, None, -100, "sum", 0.0, ())
        assert started[-2] == f"entropy_rows<float, long long, {loads}>"
        wanted = bp.functional.cross_entropy(
            x[first : first + 40].reshape(5, 8), np.arange(5), reduction="sum"
        )
        np.testing.assert_allclose(y.get(), wanted, rtol=1e-6)
