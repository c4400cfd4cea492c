"""Attention on CUDA: softmax by kernels compiled for the CPU, products by a stand-in."""

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


def attend(q: Any, k: Any, v: Any, bias: Any = None, *, mask: Any = None, **settings: Any) -> Any:
    if mask is not None:
        bias = bp.array_namespace(q).asarray(mask)
    return f.scaled_dot_product_attention(q, k, v, bias, **settings)


def cases() -> Iterator[Case]:
    rng = np.random.default_rng(3)
    for lead in ((), (3,), (2, 3), (2, 2, 3)):
        for rows, columns in ((5, 5), (4, 7), (1, 1), (8, 16)):
            shapes = ((*lead, rows, 6), (*lead, columns, 6), (*lead, columns, 3))
            yield Case(attend, shapes)
            yield Case(kernel_examples.bound(attend, {"is_causal": True, "scale": 2.0}), shapes)
            mask = rng.random((rows, columns)) < 0.5
            mask[0, :] = False  # a query that may look nowhere
            yield Case(kernel_examples.bound(attend, {"mask": mask}), shapes)
            yield Case(attend, (*shapes, (rows, columns)))
    shapes = ((2, 3, 4, 6), (2, 3, 5, 6), (2, 3, 5, 6))
    for bias in ((2, 1, 1, 5), (3, 4, 1), (1, 3, 4, 5), (5,), (1, 1)):
        yield Case(attend, (*shapes, bias))
    yield Case(kernel_examples.bound(attend, {"mask": rng.random((2, 1, 4, 5)) < 0.7}), shapes)
    dropping = {"dropout_p": 0.5, "dropout_key": bp.random.key(3)}
    yield Case(kernel_examples.bound(attend, dropping), shapes)
    yield Case(kernel_examples.bound(attend, {**dropping, "is_causal": True}), (*shapes,))
    grouped = ((2, 6, 4, 5), (2, 2, 4, 5), (2, 2, 4, 5))
    yield Case(kernel_examples.bound(attend, {"enable_gqa": True}), grouped)


CASES = [pytest.param(case, id=str(i)) for i, case in enumerate(cases())]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_attention_is_that_of_its_function(
    case: Case, dtype: str, cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = noted(monkeypatch)
    given = [np.asarray(x).astype(dtype) for x in case.arrays(np.dtype("float32"))]
    exact = [x.astype("float64") if dtype == "float16" else x for x in given]
    y, pull = bp.vjp(case.function, *exact)
    ct = np.random.default_rng(1).normal(size=np.shape(y)).astype(dtype)
    wanted = [y, *pull(ct.astype(y.dtype))]
    arrays = [on_gpu(cupy, x) for x in given]
    y, pull = bp.vjp(case.function, *arrays)
    got = [y, *pull(on_gpu(cupy, ct))]
    assert "attend" in used
    assert len(cupy.products.calls) == 6
    for a, b in zip(arrays, given, strict=True):  # operands stay as they are
        np.testing.assert_array_equal(a.get(), b)
    for a, b in zip(got, map(np.asarray, wanted), strict=True):
        compare(a.get(), b, dtype)


def test_only_what_is_asked_for_is_multiplied(cupy: Any) -> None:
    q, k, v = (on_gpu(cupy, np.ones((2, 3, 4), "f4")) for _ in range(3))
    for argnums, count in ((0, 4), (1, 4), (2, 3), ((0, 1), 5)):
        del cupy.products.calls[:]
        bp.grad(lambda *a: bp.array_namespace(*a).sum(attend(*a)), argnums=argnums)(q, k, v)
        assert len(cupy.products.calls) == count


def test_the_scale_is_part_of_the_products(cupy: Any) -> None:
    """Scores in float16 that overflow before the scale, but not after it."""
    q, k, v = (on_gpu(cupy, np.full((2, 3, 64), n, "f2")) for n in (40, 40, 2))
    y = attend(q, k, v)
    assert y.get().tolist() == [[[2.0] * 64] * 3] * 2
    assert [call["alpha"] for call in cupy.products.calls] == [0.125, 1.0]


def test_leading_axes_that_broadcast_are_left_to_the_own_code(
    cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = noted(monkeypatch)
    q, k = (on_gpu(cupy, np.ones(shape, "f4")) for shape in ((2, 3, 4), (1, 3, 4)))
    assert attend(q, k, k).get().tolist() == [[[1.0] * 4] * 3] * 2
    assert "attend" not in used
