"""Convolution by cuDNN: the graphs are those that are meant, and whatever fails goes the way of matrix products."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from test_cuda_convolution import CASES
from test_cuda_kernels import compare, on_gpu

import bpgpu as bp
import cuda_on_cpu
import cupy_on_numpy
import fake_cublaslt
import fake_cudnn
import kernel_examples
import plain_cupy
from bpgpu.errors import DeviceError
from bpgpu.functional.conv import Geometry

f = bp.functional
Case = kernel_examples.Case


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """CuPy on NumPy with stand-ins for cuBLASLt and cuDNN."""
    for cupy in cuda_on_cpu.installed(monkeypatch):
        cupy.products = fake_cublaslt.installed(monkeypatch, launch=cupy_on_numpy.launch)
        cupy.cudnn = use(monkeypatch, launch=cupy_on_numpy.launch)
        yield cupy


def use(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    made = fake_cudnn.make(**options)
    monkeypatch.setitem(sys.modules, "cudnn", made)
    return made


def gradients(case: Case, cupy: Any, dtype: str = "float32") -> tuple[list[Any], list[Any]]:
    """Values and gradients on the stand-in, and in float64 by the own code."""
    given = [np.asarray(x).astype(dtype) for x in case.arrays(np.dtype("float32"))]
    y, pull = bp.vjp(case.function, *[x.astype("f8") for x in given])
    ct = np.random.default_rng(1).normal(size=np.shape(y)).astype(dtype)
    wanted = [y, *pull(ct.astype("f8"))]
    y, pull = bp.vjp(case.function, *[on_gpu(cupy, x) for x in given])
    return [a.get() for a in (y, *pull(on_gpu(cupy, ct)))], [np.asarray(a) for a in wanted]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", CASES[::2])
def test_convolution_by_cudnn_is_that_of_its_function(case: Case, dtype: str, cupy: Any) -> None:
    got, wanted = gradients(case, cupy, dtype)
    assert len(cupy.cudnn.runs) == 3
    for a, b in zip(got, wanted, strict=True):
        compare(a, b, dtype)


def test_a_graph_is_planned_once_for_each_shape(cupy: Any) -> None:
    x, w, b = (on_gpu(cupy, np.ones(s, "f4")) for s in ((2, 3, 6, 5), (4, 3, 3, 3), (4,)))
    for _ in range(3):
        f.conv2d(x, w, b)
    assert len(cupy.cudnn.graphs) == 1
    assert cupy.cudnn.runs == [["fprop", "bias"]] * 3
    f.conv2d(x, w)
    f.conv2d(x, w, padding=1)
    assert len(cupy.cudnn.graphs) == 3


def test_float32_is_not_rounded_unless_it_is_asked_for(cupy: Any) -> None:
    x, w = (on_gpu(cupy, np.ones(s, "f4")) for s in ((2, 3, 6, 5), (4, 3, 3, 3)))
    f.conv2d(x, w)
    f.conv2d(x.astype("f2"), w.astype("f2"))
    assert [g.notes for g in cupy.cudnn.graphs] == [
        ["NONDETERMINISTIC", "TENSOR_CORE", "DOWN_CONVERT_INPUTS"],
        ["NONDETERMINISTIC"],
    ]
    assert cupy.cudnn.graphs[0].steps == [
        "validate",
        "build_operation_graph",
        "create_execution_plans",
        "deselect_numeric_notes",
        "check_support",
        "build_plans",
    ]


def test_without_a_plan_for_the_bias_it_is_added_after(
    cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cudnn = use(monkeypatch, refuse=lambda operations: "bias" in operations)
    got, wanted = gradients(Case(f.conv2d, ((2, 3, 6, 5), (4, 3, 3, 3), (4,))), cupy)
    assert cudnn.runs == [["fprop"], ["dgrad"], ["wgrad"]]
    for a, b in zip(got, wanted, strict=True):
        compare(a, b, "float32")


def test_what_cudnn_has_no_plan_for_is_a_product_of_windows(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bpgpu")
    cudnn = use(monkeypatch, refuse=lambda operations: True)
    got, wanted = gradients(Case(f.conv2d, ((2, 3, 6, 5), (4, 3, 3, 3))), cupy)
    assert not cudnn.runs
    assert [r.message.split(":")[1] for r in caplog.records] == [" no plan"] * 3
    for a, b in zip(got, wanted, strict=True):
        compare(a, b, "float32")


@pytest.mark.parametrize("failure", ["absent", "broken", "no device"])
def test_without_cudnn_there_is_one_line_in_the_log(
    failure: str, cupy: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bpgpu")
    if failure == "absent":
        monkeypatch.setitem(sys.modules, "cudnn", None)
    elif failure == "broken":
        use(monkeypatch).backend_version = lambda: ctypes_fails()
    else:
        use(monkeypatch, starts=False)
    case = Case(f.conv2d, ((2, 3, 6, 5), (4, 3, 3, 3), (4,)))
    for _ in range(2):
        got, wanted = gradients(case, cupy)
        for a, b in zip(got, wanted, strict=True):
            compare(a, b, "float32")
    (record,) = caplog.records
    assert record.message.startswith("convolutions are matrix products")
    assert record.levelno == (logging.INFO if failure == "absent" else logging.WARNING)
    assert {"absent": "bpgpu[cudnn13]", "broken": "no libcudnn", "no device": "Create failed"}[
        failure
    ] in record.message


def ctypes_fails() -> Any:
    raise OSError("no libcudnn")


def test_float64_is_a_product_of_windows(cupy: Any) -> None:
    x, w = (on_gpu(cupy, np.ones(s)) for s in ((2, 3, 6, 5), (4, 3, 3, 3)))
    assert f.conv2d(x, w).get()[0, 0, 0, 0] == 27
    assert not cupy.cudnn.runs


def test_graphs_run_on_the_stream_of_now_and_are_not_planned_in_a_capture(cupy: Any) -> None:
    x, w = (on_gpu(cupy, np.ones(s, "f4")) for s in ((2, 3, 6, 5), (4, 3, 3, 3)))
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        f.conv2d(x, w)
        f.conv2d(x, w)
        assert cupy.cudnn.streams == [stream.ptr]
        stream.begin_capture()
        y = f.conv2d(x, w)
        with pytest.raises(DeviceError, match=r"convolution of \(2, 3, 6, 5\) and \(4, 3, 3, 3\)"):
            f.conv2d(x, w, padding=1)
        stream.end_capture().launch()
        assert y.get()[0, 0, 0, 0] == 27


def test_operands_may_stand_anywhere(cupy: Any) -> None:
    """Plans load 16 bytes at once, so what begins between is copied; so is a bias with gaps."""
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=s).astype("f4") for s in ((4, 1, 3, 5), (2, 1, 3, 3), (4,)))
    last = on_gpu(cupy, x)[1:]  # begins 60 bytes on
    assert last.data.ptr % 16
    y = f.conv2d(last, on_gpu(cupy, w), on_gpu(cupy, b)[::2])
    assert cupy.cudnn.runs == [["fprop", "bias"]]
    np.testing.assert_allclose(y.get(), f.conv2d(x[1:], w, b[::2]), rtol=1e-5, atol=1e-6)


def test_each_thread_has_a_handle_of_its_own(cupy: Any) -> None:
    """A handle is told the stream, and threads have streams of their own."""
    x, w = (on_gpu(cupy, np.ones(s, "f4")) for s in ((2, 3, 6, 5), (4, 3, 3, 3)))
    made: list[str] = []
    used: list[str] = []

    def create() -> str:
        made.append(f"handle {len(made)}")
        return made[-1]

    cupy.cudnn.create_handle = create
    cupy.cudnn.set_stream = lambda handle, stream: used.append(handle)
    f.conv2d(x, w)
    thread = threading.Thread(target=f.conv2d, args=(x, w))
    thread.start()
    thread.join()
    f.conv2d(x, w)
    assert made == used == ["handle 0", "handle 1"]


GEOMETRIES = [
    Geometry((9, 8), (3, 2), (1, 1), ((1, 1), (0, 2)), (1, 1), 1, (9, 9)),
    Geometry((9, 8), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 2, (5, 4)),
    Geometry((9,), (3,), (1,), ((0, 0),), (2,), 1, (5,)),
    Geometry((5, 6, 7), (3, 3, 3), (1, 1, 1), ((0, 0),) * 3, (1, 1, 1), 1, (3, 4, 5)),
]


@pytest.mark.parametrize("dtype", ["FLOAT", "HALF", "BFLOAT16"])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=range(len(GEOMETRIES)))
def test_the_real_frontend_takes_the_graphs(geometry: Geometry, dtype: str) -> None:
    """Building and validating a graph needs no driver, but libcudnn."""
    real = pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    x, y = (8, 4, *geometry.sizes), (8, 6, *geometry.counts)
    w, b = (6, 4 // geometry.groups, *geometry.kernel), (6,)
    graphs = {
        "convolve": ([x, w], y),
        "convolve with bias": ([x, w, b], y),
        "spread": ([y, w], x),
        "correlate": ([x, y], w),
    }
    with plain_cupy.installed():
        from bpgpu.kernels.cuda import cudnn

        for name, (shapes, out) in graphs.items():
            graph, tensors = cudnn.described(real, name, dtype, shapes, out, geometry)
            try:
                graph.validate()
            except RuntimeError as error:
                if "Unable to find symbol" in str(error):
                    pytest.skip("libcudnn is not installed")
                raise
            flat = [1] if len(geometry.sizes) == 1 else []
            assert list(tensors[-1].get_dim()) == [*out[:2], *flat, *out[2:]]
            assert tensors[-1].get_stride()[1] == 1
            for note in ("TENSOR_CORE", "DOWN_CONVERT_INPUTS", "NONDETERMINISTIC"):
                assert hasattr(real.numerical_note, note)
            assert hasattr(real.heur_mode, "A")
            assert hasattr(real.heur_mode, "FALLBACK")
            for method in fake_cudnn.make().pygraph.__dict__:
                assert method.startswith("_") or hasattr(graph, method)
