"""Convolution on CUDA as matrix products: windows by kernels compiled for the CPU, products by a stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from test_cuda_kernels import compare, noted, on_gpu

import bpgpu as bp
import cuda_on_cpu
import cupy_on_numpy
import fake_cublaslt
import kernel_examples

f = bp.functional
Case = kernel_examples.Case


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for cupy in cuda_on_cpu.installed(monkeypatch):
        cupy.products = fake_cublaslt.installed(monkeypatch, launch=cupy_on_numpy.launch)
        yield cupy


def cases() -> Iterator[Case]:
    yield from (c for c in kernel_examples.convolutions() if c.shapes[0][-1] < 100)
    yield from kernel_examples.products()
    yield from kernel_examples.biases()
    for order in (kernel_examples.plain, kernel_examples.last):
        for settings in ({}, {"stride": 2, "padding": 1}, {"dilation": (2, 1)}):
            for groups, shapes in (
                (2, ((2, 4, 7, 6), (6, 2, 3, 2), (6,))),
                (4, ((2, 4, 7, 6), (4, 1, 3, 3), (4,))),
                (4, ((2, 4, 7, 6), (8, 1, 1, 1), (8,))),
            ):
                yield Case(
                    kernel_examples.bound(f.conv2d, {**settings, "groups": groups}), shapes, order
                )
        two = {"groups": 2, "stride": 2, "padding": 1, "output_padding": 1}
        yield Case(
            kernel_examples.bound(f.conv_transpose2d, two),
            ((2, 4, 5, 4), (4, 3, 3, 2), (6,)),
            order,
        )
    yield Case(f.conv2d, ((2, 3, 5, 4), (4, 3, 3, 2)))  # without a bias
    yield Case(
        kernel_examples.bound(f.conv_transpose1d, {"stride": 3}), ((2, 3, 5), (3, 4, 2), (4,))
    )
    yield Case(
        kernel_examples.bound(f.conv_transpose3d, {"dilation": 2}),
        ((1, 2, 3, 2, 3), (2, 2, 2, 2, 1)),
    )


CASES = [pytest.param(case, id=str(i)) for i, case in enumerate(cases())]


@pytest.mark.parametrize(
    ("dtype", "portion"),
    [("float16", 2**26), ("float32", 2**26), ("float64", 2**26), ("float32", 1500)],
)
@pytest.mark.parametrize("case", CASES)
def test_convolution_is_that_of_its_function(
    case: Case, dtype: str, portion: int, cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bpgpu.kernels.cuda import conv

    monkeypatch.setattr(conv, "PORTION", portion)
    used = noted(monkeypatch)
    given = [np.asarray(x).astype(dtype) for x in case.arrays(np.dtype("float32"))]
    exact = [x.astype("float64") if dtype == "float16" else x for x in given]
    y, pull = bp.vjp(case.function, *exact)
    ct = np.random.default_rng(1).normal(size=np.shape(y)).astype(dtype)
    wanted = [y, *pull(ct.astype(y.dtype))]
    arrays = [on_gpu(cupy, x) for x in given]
    y, pull = bp.vjp(case.function, *arrays)
    got = [y, *pull(on_gpu(cupy, ct))]
    assert used >= {"convolve", "spread", "correlate"}
    assert cupy.products.calls
    for a, b in zip(arrays, given, strict=True):  # operands stay as they are
        np.testing.assert_array_equal(a.get(), b)
    for a, b in zip(got, map(np.asarray, wanted), strict=True):
        compare(a.get(), b, dtype)


def test_results_stand_channels_last_in_memory_and_go_on_that_way(cupy: Any) -> None:
    x, w = (on_gpu(cupy, np.ones(shape, "f4")) for shape in ((2, 3, 6, 5), (8, 3, 3, 3)))
    y = f.conv2d(x, w, padding=1)
    assert y.shape == (2, 8, 6, 5)
    assert y.transpose((0, 2, 3, 1)).flags.c_contiguous


def test_a_bias_is_added_on_the_way_out_of_the_product(cupy: Any) -> None:
    x, w, b = (on_gpu(cupy, np.ones(shape, "f4")) for shape in ((2, 3, 6, 5), (8, 3, 3, 3), (8,)))
    f.conv2d(x, w, b)
    (call,) = cupy.products.calls
    assert call[7] == 4


def test_gradients_in_16_bits_are_summed_over_portions_in_32(
    cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bpgpu.kernels.cuda import conv

    monkeypatch.setattr(conv, "PORTION", 64)
    x = np.ones((1, 1, 64, 64), "f2")
    _, pull = bp.vjp(
        lambda w: f.conv2d(on_gpu(cupy, x), w), on_gpu(cupy, np.ones((1, 1, 1, 2), "f2"))
    )
    (gw,) = pull(on_gpu(cupy, np.ones((1, 1, 64, 63), "f2")))
    assert gw.get().tolist() == [[[[4032.0, 4032.0]]]]  # float16 counts by 4 from there


def test_what_kernels_do_not_take_is_computed_by_the_own_code(
    cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = noted(monkeypatch)
    x, w = (on_gpu(cupy, np.ones(shape)) for shape in ((0, 3, 6, 5), (8, 3, 3, 3)))
    assert f.conv2d(x, w).shape == (0, 8, 4, 3)
    assert "convolve" not in used


@pytest.mark.parametrize("case", CASES[::7])
def test_a_convolution_is_captured_and_launched_again(case: Case, cupy: Any) -> None:
    arrays = [on_gpu(cupy, np.asarray(x)) for x in case.arrays(np.dtype("float32"))]
    stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
    with stream, cupy.cuda.using_allocator(pool.malloc):
        y = case.function(*arrays)
        ct = on_gpu(cupy, np.random.default_rng(1).normal(size=y.shape).astype(np.float32))

        def step() -> list[Any]:
            y, pull = bp.vjp(case.function, *arrays)
            return [y, *pull(ct)]

        step()
        stream.begin_capture()
        captured = step()
        graph = stream.end_capture()
    for x in arrays:
        x *= 0.5
    graph.launch()
    for a, b in zip(captured, step(), strict=True):  # in memory that is not the graph's
        np.testing.assert_array_equal(a.get(), b.get())
