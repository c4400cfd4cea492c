"""Our CUDA kernels, run on the CPU: each against its function, whatever the shapes and the order in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import cuda_examples
import cuda_on_cpu
import kernel_examples
from bpgpu import kernels
from bpgpu.kernels import registry

ELSEWHERE = {
    "adam_of_many",
    "attend",
    "blocks_of_key",
    "channel_sums",
    "clipped_many",
    "convolve",
    "correlate",
    "key_after",
    "linear",
    "mask_of_key",
    "matmul",
    "moved",
    "norm_of_many",
    "sgd_of_many",
    "spread",
    "tensordot",
    "unscaled_many",
}
"""Kernels with tests of their own."""

BOUND = {"float16": 4e-3, "float32": 2e-5, "float64": 1e-12}
"""The largest difference, by the largest number of the result."""


def cases() -> list[Any]:
    return [
        pytest.param(name, case, id=f"{name}-{i}")
        for name in cuda_examples.NAMES
        for i, case in enumerate(cuda_examples.of(name))
    ]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("name", "case"), cases())
def test_a_cuda_kernel_gives_what_its_function_gives(
    name: str, case: kernel_examples.Case, dtype: str, cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = noted(monkeypatch)
    given = [np.asarray(x).astype(dtype) for x in case.arrays(np.dtype("float32"))]
    exact = [x.astype("float64") if dtype == "float16" else x for x in given]
    with kernels.switched_off(), np.errstate(all="ignore"):
        y, pull = bp.vjp(case.function, *exact)
        ct = np.random.default_rng(1).normal(size=np.shape(y)).astype(dtype)
        wanted = [y, *pull(ct.astype(y.dtype))]
    arrays = [on_gpu(cupy, x) for x in given]
    y, pull = bp.vjp(case.function, *arrays)
    got = [y, *pull(on_gpu(cupy, ct))]
    assert name in used
    for a, b in zip(pull(on_gpu(cupy, ct)), got[1:], strict=True):  # a second walk gives the same
        np.testing.assert_array_equal(a.get(), b.get())
    for a, b in zip(arrays, given, strict=True):  # operands stay as they are
        np.testing.assert_array_equal(a.get(), b)
    for a, b in zip(got, map(np.asarray, wanted), strict=True):
        compare(a.get(), b, dtype)


def compare(a: Any, b: Any, dtype: str) -> None:
    assert a.dtype == dtype
    assert a.shape == b.shape
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    if dtype != "float16":  # which overflows early
        np.testing.assert_array_equal(np.isinf(a), np.isinf(b))
    finite = np.isfinite(a) & np.isfinite(b)
    a, b = (np.where(finite, v, 0).astype("float64") for v in (a, b))
    difference = np.max(np.abs(a - b), initial=0)
    assert difference <= BOUND[dtype] * max(1, np.max(np.abs(b), initial=0))


def noted(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the kernels that are used from now on."""
    used: set[str] = set()
    find = registry._of

    def wrapped(library: str) -> Any:
        def run(k: registry.Kernel) -> Any:
            return lambda *args: (used.add(k.function), k.run(*args))[1]

        found = find(library)
        return {f: [k._replace(run=run(k)) for k in ks] for f, ks in found.items()}

    monkeypatch.setattr(registry, "_of", wrapped)
    return used


def on_gpu(cupy: Any, x: Any) -> Any:
    """The array in the fake's memory, its axes in the same order if it has no gaps."""
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    turned = x.transpose(order)
    if x.ndim == 0 or not turned.flags.c_contiguous:
        return cupy.asarray(np.array(x, order="C"))
    return cupy.asarray(turned).transpose(tuple(int(i) for i in np.argsort(order)))


@pytest.mark.parametrize(("name", "case"), cases())
def test_a_step_with_cuda_kernels_is_captured_and_launched_again(
    name: str, case: kernel_examples.Case, cupy: Any
) -> None:
    arrays = [on_gpu(cupy, np.asarray(x)) for x in case.arrays(np.dtype("float32"))]
    stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
    with stream, cupy.cuda.using_allocator(pool.malloc):
        y, pull = bp.vjp(case.function, *arrays)
        ct = on_gpu(cupy, np.random.default_rng(1).normal(size=y.shape).astype(np.float32))
        pull(ct)

        def step() -> list[Any]:
            y, pull = bp.vjp(case.function, *arrays)
            return [y, *pull(ct)]

        stream.begin_capture()
        captured = step()
        graph = stream.end_capture()
        for x in arrays:
            x *= 0.5
        eager = [x.get() for x in step()]  # the graph writes to memory that was freed meanwhile
        graph.launch()
        for a, b in zip(captured, eager, strict=True):
            np.testing.assert_array_equal(a.get(), b)


@pytest.mark.parametrize(("name", "case"), cases())
def test_no_result_depends_on_which_thread_or_block_comes_first(
    name: str, case: kernel_examples.Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cupy in cuda_on_cpu.installed(monkeypatch):
        arrays = [on_gpu(cupy, np.asarray(x)) for x in case.arrays(np.dtype("float32"))]
        results = []
        for order in ("0", "1", "2"):  # forwards, backwards, shuffled
            monkeypatch.setenv("SHIM_ORDER", order)
            y, pull = bp.vjp(case.function, *arrays)
            results.append([y, *pull(cupy.ones(y.shape, y.dtype))])
        for a, *others in zip(*results, strict=True):
            for b in others:
                np.testing.assert_array_equal(a.get(), b.get())


def test_every_cuda_kernel_has_examples(cupy: Any) -> None:
    names = {k.function for library, k in registry.registered() if library.endswith("cupy")}
    assert names - ELSEWHERE <= set(cuda_examples.NAMES), (
        f"add examples to {cuda_examples.__file__}"
    )


def test_running_statistics_are_moved_by_a_kernel(
    cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = noted(monkeypatch)
    rng = np.random.default_rng(0)
    x, mean, var = (rng.random(shape).astype("f4") for shape in ((5, 3, 4), (3,), (3,)))
    run = bp.functional.batch_norm_with_statistics
    _, m, v = run(*(cupy.asarray(a) for a in (x, mean, var)), training=True, momentum=0.3)
    _, wanted_m, wanted_v = run(x, mean, var, training=True, momentum=0.3)
    assert "moved" in used
    np.testing.assert_allclose(m.get(), wanted_m, rtol=1e-6)
    np.testing.assert_allclose(v.get(), wanted_v, rtol=1e-6)
