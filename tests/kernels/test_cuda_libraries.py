"""Products, convolution and attention on a GPU, by the libraries themselves: against NumPy in float64."""

from __future__ import annotations

import importlib
import itertools
from typing import Any

import numpy as np
import pytest
import test_cuda_attention
import test_cuda_convolution
from test_cublaslt import SHAPES, WAYS, stands
from test_cuda_kernels import on_gpu

import bpgpu as bp
import fake_cublaslt
import kernel_examples

pytestmark = pytest.mark.gpu

BOUND = {"float64": 1e-13, "float32": 1e-5, "float16": 2e-2, "bfloat16": 5e-2}
"""The largest norm of a difference, by the norm of the result or 1."""
ROUNDED = {"fp32": 1e-6, "tf32": 2e-3, "bf16": 2e-2, "fp16": 2e-3}


@pytest.fixture
def products() -> Any:
    from bpgpu.kernels.cuda import products

    assert products.usable(0)
    return products


def close(got: Any, wanted: Any, bound: float) -> None:
    got, wanted = (
        np.asarray(got.get() if hasattr(got, "get") else got).astype("f8"),
        np.asarray(wanted, "f8"),
    )
    assert got.shape == wanted.shape
    assert np.linalg.norm(got - wanted) <= bound * max(np.linalg.norm(wanted), 1.0)


def drawn(products: Any, shape: tuple[int, ...], dtype: Any = "float32", seed: int = 0) -> Any:
    values = np.random.default_rng(seed).normal(size=shape)
    if dtype == "bfloat16":
        dtype = importlib.import_module("ml_dtypes").bfloat16
    return products.cupy.asarray(values.astype(dtype))


@pytest.mark.parametrize("dtype", list(BOUND))
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_products(products: Any, a: Any, b: Any, dtype: str) -> None:
    x, y = drawn(products, a, dtype), drawn(products, b, dtype, 1)
    wanted = x.get().astype("f8") @ y.get().astype("f8")
    for one, other in itertools.product(WAYS, WAYS):
        # where an array begins in memory and its strides are what matters: both are kept on the way
        out = products.multiplied(moved(products, x, one), moved(products, y, other))
        assert out.dtype == x.dtype
        close(out, wanted, BOUND[dtype])


def moved(products: Any, x: Any, way: str) -> Any:
    """The array on the GPU, standing there as `stands` has it in NumPy."""
    view = stands(x.get(), way).view(np.ndarray)
    low, high = np.lib.array_utils.byte_bounds(view)
    memory = products.cupy.empty(high - low + 512, "uint8")
    start = view.__array_interface__["data"][0] - low + (2 if way == "unaligned" else 0)
    made = products.cupy.ndarray(
        view.shape, view.dtype, memory.data + start // x.itemsize * x.itemsize, strides=view.strides
    )
    made[...] = x
    return made


@pytest.mark.parametrize("size", [(128, 512, 784), (1000, 999, 1001), (4096, 1024, 512)], ids=str)
@pytest.mark.parametrize("mode", list(ROUNDED))
def test_precision(
    products: Any, mode: str, size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "precision", lambda: mode)
    m, n, k = size
    x, y = drawn(products, (m, k)), drawn(products, (k, n), seed=1)
    close(products.product(x, y), x.get().astype("f8") @ y.get(), ROUNDED[mode])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("columns", [8, 130, 512])
def test_epilogues(products: Any, columns: int, dtype: str) -> None:
    """Where the library has no algorithm for one, it says so; what it computes is right."""
    x, y = drawn(products, (64, 40), dtype), drawn(products, (40, columns), dtype, 1)
    b = drawn(products, (columns,), dtype, 2)
    g, w = drawn(products, (64, 24), dtype, 3), drawn(products, (24, columns), dtype, 4)
    x8, y8, b8, g8, w8 = (v.get().astype("f8") for v in (x, y, b, g, w))
    before, bound = x8 @ y8 + b8, BOUND[dtype]
    close(products.with_bias(x, y, b), before, bound)
    gw, gb = products.product_and_sums(g.T, x)
    close(gw, g8.T @ x8, bound)
    close(gb, g8.sum(axis=0), bound)
    for name, value, slope in (
        ("RELU", np.maximum(before, 0), before > 0),
        ("GELU", fake_cublaslt.gelu(before), fake_cublaslt.gelu_slope(before)),
    ):
        aux = products.aux_for(f"{name}_AUX_BIAS", products.cupy.empty((64, columns), x.dtype))
        out = products.product(x, y, epilogue=f"{name}_AUX_BIAS", vector=b, aux=aux)
        if out is None:
            continue
        close(out, value, bound)
        totals = products.cupy.empty(columns, x.dtype)
        back = products.product(g, w, epilogue=f"D{name}_BGRAD", vector=totals, aux=aux)
        if back is not None:
            close(back, (g8 @ w8) * slope, bound)
            close(totals, ((g8 @ w8) * slope).sum(axis=0), bound)


def test_products_are_captured_and_launched_again(products: Any) -> None:
    cupy = products.cupy
    x, w, b = (drawn(products, s) for s in ((64, 40), (32, 40), (32,)))
    stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()

    def step() -> Any:
        y, pull = products.linear(x, w, b)
        return [y, *pull(y, (True, True, True))]

    with stream, cupy.cuda.using_allocator(pool.malloc):
        step()
        stream.begin_capture()
        captured = step()
        graph = stream.end_capture()
        x *= 2
        graph.launch(stream)
        stream.synchronize()
    for a, b_ in zip(captured, step(), strict=True):
        np.testing.assert_array_equal(a.get(), b_.get())


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("by", ["products", "cudnn"])
@pytest.mark.parametrize("case", test_cuda_convolution.CASES)
def test_convolution(
    case: kernel_examples.Case, by: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bpgpu.kernels.cuda import conv, cudnn

    assert conv.usable(0)
    if by == "products":
        monkeypatch.setattr(cudnn, "works", lambda device: False)
    elif not cudnn.works(0):
        pytest.skip("cuDNN does not work here")
    compare(case, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("case", test_cuda_attention.CASES)
def test_attention(case: kernel_examples.Case, dtype: str) -> None:
    compare(case, dtype)


def compare(case: kernel_examples.Case, dtype: str) -> None:
    """Values and gradients against float64 on the CPU."""
    cupy = importlib.import_module("cupy")
    given = [np.asarray(x).astype(dtype) for x in case.arrays(np.dtype("float32"))]
    y, pull = bp.vjp(case.function, *[x.astype("f8") for x in given])
    ct = np.random.default_rng(1).normal(size=np.shape(y)).astype(dtype)
    wanted = [y, *pull(ct.astype("f8"))]
    y, pull = bp.vjp(case.function, *[on_gpu(cupy, x) for x in given])
    for a, b in zip((y, *pull(on_gpu(cupy, ct))), wanted, strict=True):
        assert a.dtype == dtype
        close(a, b, BOUND[dtype])
