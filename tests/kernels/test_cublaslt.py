"""Products by cuBLASLt: what is asked of the library, computed by a stand-in, is what was meant."""

from __future__ import annotations

import ctypes
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fake_cublaslt
import plain_cupy
from bpgpu.errors import DeviceError
from bpgpu.kernels.cuda import cublaslt
from bpgpu.kernels.cuda.cublaslt_values import STATUS, VALUES


@pytest.fixture
def lib(monkeypatch: pytest.MonkeyPatch) -> Any:
    return fake_cublaslt.make()


@pytest.fixture
def products(lib: Any) -> Iterator[Any]:
    """The module, over the stand-ins for CuPy and cuBLASLt."""
    with plain_cupy.installed():
        from bpgpu.kernels.cuda import products

        made = cublaslt.Library(lib)
        products.library = lambda: made
        yield products


def array(shape: tuple[int, ...], dtype: Any = "f4", seed: int = 0) -> Any:
    return plain_cupy.wrapped(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def close(got: Any, wanted: Any, bound: float = 1e-5) -> None:
    got, wanted = np.asarray(got, "f8"), np.asarray(wanted, "f8")
    assert got.shape == wanted.shape
    assert np.max(np.abs(got - wanted), initial=0) <= bound * max(
        1, np.max(np.abs(wanted), initial=0)
    )


# ---- the numbers of the headers


def headers() -> str:
    """All of NVIDIA's headers that the numbers come from, or a skip."""
    pathfinder = pytest.importorskip("cuda.pathfinder", reason="finds the headers of CUDA")
    found = pathfinder.find_nvidia_header_directory("cublas")
    if found is None:
        pytest.skip("the headers of cuBLAS are not installed")
    names = ("cublasLt.h", "cublas_api.h", "library_types.h")
    return "\n".join(
        (Path(found) / name).read_text() for name in names if (Path(found) / name).exists()
    )


def test_the_numbers_are_those_of_the_headers() -> None:
    text = headers()
    known: dict[str, int] = {}
    line = r"^\s*(CU[A-Z0-9_]+)\s*=\s*(.+?)\s*(?:,|/\*|$)"
    for name, value in re.findall(line, text, re.MULTILINE):
        if name in {**VALUES, **STATUS} or name.startswith("CUBLASLT_EPILOGUE"):
            known[name] = eval(value, {}, known)
    for name, value in {**VALUES, **STATUS}.items():
        assert known[name] == value, name


def test_the_result_of_the_heuristics_has_the_size_that_the_library_writes() -> None:
    assert ctypes.sizeof(cublaslt.Heuristic) == 96
    assert cublaslt.Heuristic.workspace.offset == 64
    assert cublaslt.Heuristic.state.offset == 72


def test_the_installed_library_takes_what_it_is_given() -> None:
    """Without a driver: versions, descriptors and layouts; a handle is refused with our error."""
    pytest.importorskip("cuda.pathfinder", reason="finds cuBLASLt")
    try:
        real = cublaslt.library()
    except DeviceError as error:
        pytest.skip(str(error))
    assert real.version >= 120000
    made = ctypes.c_void_p()
    assert real.MatmulDescCreate(ctypes.byref(made), VALUES["CUBLAS_COMPUTE_32F"], 0) == 0
    for name, value in (
        ("TRANSA", ctypes.c_int32(1)),
        ("EPILOGUE", ctypes.c_uint32(VALUES["CUBLASLT_EPILOGUE_RELU_AUX_BIAS"])),
        ("BIAS_POINTER", ctypes.c_void_p(256)),
        ("EPILOGUE_AUX_POINTER", ctypes.c_void_p(256)),
        ("EPILOGUE_AUX_LD", ctypes.c_int64(128)),
    ):
        attribute = VALUES[f"CUBLASLT_MATMUL_DESC_{name}"]
        size = ctypes.sizeof(value)
        assert real.MatmulDescSetAttribute(made, attribute, ctypes.byref(value), size) == 0
        assert real.MatmulDescSetAttribute(made, attribute, ctypes.byref(value), size - 1) == 7
    assert real.MatmulDescDestroy(made) == 0
    assert real.MatrixLayoutCreate(ctypes.byref(made), VALUES["CUDA_R_16BF"], 3, 4, 5) == 0
    for name, value in (
        ("BATCH_COUNT", ctypes.c_int32(2)),
        ("STRIDED_BATCH_OFFSET", ctypes.c_int64(20)),
    ):
        attribute = VALUES[f"CUBLASLT_MATRIX_LAYOUT_{name}"]
        size = ctypes.sizeof(value)
        assert real.MatrixLayoutSetAttribute(made, attribute, ctypes.byref(value), size) == 0
    assert real.MatrixLayoutDestroy(made) == 0
    assert real.MatmulPreferenceCreate(ctypes.byref(made)) == 0
    value = ctypes.c_uint32(16)
    attribute = VALUES["CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES"]
    assert real.MatmulPreferenceSetAttribute(made, attribute, ctypes.byref(value), 4) == 0
    assert real.MatmulPreferenceDestroy(made) == 0
    message = "cuBLASLt cannot be used on cuda:0: CUBLAS_STATUS_NOT_INITIALIZED"
    try:
        real.handle(0)
    except DeviceError as error:
        message = str(error)
    assert message.startswith("cuBLASLt cannot be used on cuda:0: CUBLAS_STATUS_NOT_INITIALIZED")


# ---- products


def stands(x: Any, way: str) -> Any:
    """The same matrices, standing in memory in another way."""
    x = np.asarray(x)
    if way == "turned":
        x = np.swapaxes(np.ascontiguousarray(np.swapaxes(x, -1, -2)), -1, -2)
    elif way == "rows apart":
        wide = np.full((*x.shape[:-1], x.shape[-1] + 3), np.nan, x.dtype)
        wide[..., : x.shape[-1]] = x
        x = wide[..., : x.shape[-1]]
    elif way == "with gaps":
        wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)
        wide[..., ::2] = x
        x = wide[..., ::2]
    elif way == "backwards":
        x = np.ascontiguousarray(x[..., ::-1, :])[..., ::-1, :]
    elif way == "stack inside" and x.ndim > 2:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -2)), -2, 0)
    elif way == "unaligned":
        flat = np.zeros(x.size + 1, x.dtype)
        flat[1:] = x.reshape(-1)
        x = flat[1:].reshape(x.shape)
    return plain_cupy.wrapped(x)


WAYS = ("plain", "turned", "rows apart", "with gaps", "backwards", "stack inside", "unaligned")
SHAPES = [
    ((3, 4), (4, 5)),
    ((1, 4), (4, 5)),
    ((3, 1), (1, 5)),
    ((3, 4), (4, 1)),
    ((1, 1), (1, 1)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((2, 3, 4), (1, 4, 5)),
    ((1, 3, 4), (2, 4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 6, 3, 4), (2, 6, 4, 5)),
    ((2, 6, 3, 4), (6, 4, 5)),
    ((2, 1, 3, 4), (6, 4, 5)),
    ((2, 6, 3, 4), (2, 1, 4, 5)),
    ((2, 6, 3, 4), (4, 5)),
    ((2, 1, 2, 3, 4), (3, 1, 4, 5)),
]


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_a_product_is_that_of_numpy_wherever_its_operands_stand(
    products: Any, lib: Any, a: Any, b: Any, dtype: str
) -> None:
    bound = {"f4": 1e-6, "f8": 1e-14, "f2": 2e-3}[dtype]
    x, y = array(a, dtype), array(b, dtype, 1)
    wanted = np.asarray(x, "f8") @ np.asarray(y, "f8")
    for one, other in itertools.product(WAYS, WAYS):
        out = products.product(stands(x, one), stands(y, other))
        assert out.dtype == x.dtype
        assert out.flags.c_contiguous
        close(out, wanted, bound)
    assert lib.asked <= len(lib.calls)


def test_the_kernel_takes_vectors_too(products: Any) -> None:
    m, v = array((3, 4)), array((4,), seed=1)
    stack, short = array((2, 3, 4), seed=2), array((3,), seed=3)
    for x, y in ((m, v), (v, m.T), (v, v), (short, stack), (stack, v)):
        close(products.matmul(x, y), np.asarray(x) @ np.asarray(y))


def test_what_the_library_does_not_know_is_left_to_cupy(products: Any, lib: Any) -> None:
    x, y = array((3, 4)), array((4, 5), seed=1)
    for a, b in (
        (x, y.astype("f8")),
        (x[:0], y),
        (x[:, :0], y[:0]),
        (x.astype("c8"), y.astype("c8")),
        (x.astype("i4"), y.astype("i4")),
    ):
        for _ in range(2):
            assert products.product(a, b) is None
            np.testing.assert_array_equal(products.matmul(a, b), np.asarray(a) @ np.asarray(b))
    with pytest.raises(ValueError, match="matmul"):  # CuPy says what is wrong
        products.matmul(x, x)
    assert not products.accepts(x[0, 0], x)
    assert not products.accepts(np.asarray(x), y)
    assert not lib.calls


def test_where_the_library_does_not_work_cupy_multiplies_and_the_reason_is_logged_once(
    products: Any, lib: Any, caplog: pytest.LogCaptureFixture
) -> None:
    lib.cublasLtCreate.failing = True
    x, y = array((3, 4)), array((4, 5), seed=1)
    for n in (1, 2, 3):
        close(products.matmul(x[:n], y), np.asarray(x[:n] @ y))
    (record,) = caplog.records
    assert "products are left to CuPy: cuBLASLt cannot be used on cuda:0" in record.message
    assert "CUBLAS_STATUS_NOT_INITIALIZED" in record.message


def test_a_product_is_decided_once(products: Any, lib: Any) -> None:
    x, y = array((3, 4)), array((4, 5), seed=1)
    for _ in range(3):
        products.product(x, y)
        products.product(y.T, x.T)
    assert lib.asked == 2
    assert len(lib.calls) == 6
    products.product(x.astype("f8"), y.astype("f8"))
    assert lib.asked == 3
    products.forget()
    products.product(x, y)
    assert lib.asked == 4


def test_transposed_operands_are_not_copied(
    products: Any, lib: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_copied", None)
    x, y = array((2, 6, 3, 4)), array((2, 6, 4, 5), seed=1)
    for one in ("plain", "turned", "rows apart"):
        close(products.product(stands(x, one), stands(y, "turned")), np.asarray(x @ y))
    close(
        products.product(x[0].swapaxes(-1, -2), x[0]), np.asarray(np.matrix_transpose(x[0]) @ x[0])
    )
    heads = array((3, 2, 4))  # of one example: (L, H, E) seen as (H, L, E)
    q = heads.transpose(1, 0, 2)
    close(products.product(q, q.swapaxes(-1, -2)), np.asarray(q @ np.matrix_transpose(q)))


def test_a_stack_by_one_matrix_is_one_product(products: Any, lib: Any) -> None:
    products.product(array((2, 6, 3, 4)), array((4, 5)))
    assert lib.calls[-1]
    (plan,) = [d.plan for d in products._decisions.values()]
    assert plan.spec.batch == 1
    assert plan.spec.n == 36


@pytest.mark.parametrize(
    ("mode", "bound", "least"),
    [("fp32", 1e-6, 0), ("tf32", 1e-3, 1e-5), ("bf16", 1e-2, 3e-4), ("fp16", 1e-3, 1e-5)],
)
def test_precision_says_how_float32_is_rounded(
    products: Any, monkeypatch: pytest.MonkeyPatch, mode: str, bound: float, least: float
) -> None:
    monkeypatch.setattr(products, "precision", lambda: mode)
    x, y = array((30, 40)), array((40, 50), seed=1)
    wanted = np.asarray(x, "f8") @ np.asarray(y, "f8")
    got = np.asarray(products.product(x, y))
    off = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
    assert least <= off <= bound
    double = products.product(x.astype("f8"), y.astype("f8"))
    close(double, wanted, 1e-14)


def test_bfloat16_is_multiplied_with_sums_in_float32(products: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="has bfloat16")
    x, y = array((30, 40)), array((40, 50), seed=1)
    x, y = (v.astype(ml_dtypes.bfloat16) for v in (x, y))
    got = products.product(x, y)
    assert got.dtype == x.dtype
    close(got, np.asarray(x, "f8") @ np.asarray(y, "f8"), 5e-3)
    close(products.product(x, y, dtype=np.dtype("f4")), np.asarray(x, "f8") @ np.asarray(y, "f8"))


def test_a_product_goes_where_it_is_told_to(products: Any) -> None:
    x, y = array((6, 3, 4)), array((6, 4, 5), seed=1)
    wide = array((3, 6, 8), seed=2)
    before = np.array(wide)
    out = wide[..., :5].transpose(1, 0, 2)
    assert products.product(x, y, out, alpha=0.5) is out
    close(out, 0.5 * np.asarray(x @ y))
    np.testing.assert_array_equal(wide[..., 5:], before[..., 5:])
    products.product(x, y, out, add=True)
    close(out, 1.5 * np.asarray(x @ y))


# ---- epilogues


@pytest.mark.parametrize("columns", [1, 5, 8, 130])
def test_epilogues_compute_what_their_names_say(products: Any, columns: int) -> None:
    x, y = array((3, 4)), array((4, columns), seed=1)
    b = array((columns,), seed=2)
    z = np.asarray(x @ y)

    def made(epilogue: str, **more: Any) -> Any:
        return products.product(x, y, epilogue=epilogue, **more)

    gelu, slope = fake_cublaslt.gelu, fake_cublaslt.gelu_slope
    close(made("BIAS", vector=b), z + np.asarray(b))
    close(made("RELU"), np.maximum(z, 0))
    close(made("GELU"), gelu(z))
    close(made("RELU_BIAS", vector=b), np.maximum(z + np.asarray(b), 0))
    close(made("GELU_BIAS", vector=b), gelu(z + np.asarray(b)))
    for activation in ("RELU", "GELU"):
        like = array((3, columns))
        aux = products.aux_for(f"{activation}_AUX_BIAS", like)
        got = made(f"{activation}_AUX_BIAS", vector=b, aux=aux)
        before = z + np.asarray(b)
        close(got, np.maximum(before, 0) if activation == "RELU" else gelu(before))
        # the way back through it, behind the product of the layer above
        g, w = array((3, 7), seed=3), array((7, columns), seed=4)
        through = (before > 0) if activation == "RELU" else slope(before)
        wanted = np.asarray(g @ w) * through
        close(products.product(g, w, epilogue=f"D{activation}", aux=aux), wanted)
        totals = products.cupy.empty(columns, "f4")
        back = products.product(g, w, epilogue=f"D{activation}_BGRAD", vector=totals, aux=aux)
        close(back, wanted)
        close(totals, wanted.sum(axis=0))


def test_a_bias_at_another_address_is_used(products: Any) -> None:
    x, y = array((3, 4)), array((4, 5), seed=1)
    for seed in (2, 3, 2, 4):
        b = array((5,), seed=seed)
        close(products.with_bias(x, y, b), np.asarray(x @ y) + np.asarray(b))


def test_the_gradient_of_a_bias_comes_with_that_of_the_weight(products: Any, lib: Any) -> None:
    g, x = array((6, 5)), array((6, 4), seed=1)
    for given in (g, stands(g, "turned"), stands(g, "with gaps")):
        gw, gb = products.product_and_sums(given.T, x)
        close(gw, np.asarray(g.T @ x))
        close(gb, np.asarray(g).sum(axis=0))
    assert all(call[7] == VALUES["CUBLASLT_EPILOGUE_BGRADB"] for call in lib.calls)


def test_without_an_algorithm_for_an_epilogue_it_is_computed_apart(products: Any) -> None:
    refusing = fake_cublaslt.make(refuse=lambda epilogue: epilogue != 1)
    made = cublaslt.Library(refusing)
    products.library = lambda: made
    x, y, b = array((3, 4)), array((4, 5), seed=1), array((5,), seed=2)
    close(products.with_bias(x, y, b), np.asarray(x @ y) + np.asarray(b))
    gw, gb = products.product_and_sums(x.T, array((3, 6), seed=3))
    close(gb, np.asarray(x).sum(axis=0))
    close(gw, np.asarray(x.T @ array((3, 6), seed=3)))


def test_without_any_algorithm_cupy_multiplies(products: Any) -> None:
    refusing = fake_cublaslt.make(refuse=lambda epilogue: True)
    made = cublaslt.Library(refusing)
    products.library = lambda: made
    x, y = array((3, 4)), array((4, 5), seed=1)
    close(products.matmul(x, y), np.asarray(x @ y))
    assert not refusing.calls


# ---- what goes wrong


def test_a_failure_is_a_device_error_that_names_the_status(products: Any, lib: Any) -> None:
    x, y = array((3, 4)), array((4, 5))
    lib.failing = 13
    with pytest.raises(DeviceError, match="CUBLAS_STATUS_EXECUTION_FAILED; an earlier computation"):
        products.product(x, y)
    lib.failing = 99
    with pytest.raises(DeviceError, match="status 99; BPGPU_ACCEL=0 computes it in another way"):
        products.product(x, y)


def test_within_a_capture_only_known_products_run(products: Any, lib: Any) -> None:
    x, y = array((3, 4)), array((4, 5))
    products.product(x, y)
    products.cupy.cuda.stream.capturing = True
    products.product(x, y)
    with pytest.raises(DeviceError, match=r"matrices \(4, 3\) and \(3, 4\) is met for the first"):
        products.product(x.T, x)
    assert lib.asked == 1


def test_each_stream_has_a_workspace_of_its_own(products: Any) -> None:
    x, y = array((3, 4)), array((4, 5))
    products.product(x, y)
    products.cupy.cuda.stream.ptr = 77
    products.product(x, y)
    assert set(products._workspaces) == {(0, 0), (0, 77)}


def test_descriptors_are_given_back(products: Any, lib: Any) -> None:
    products.product(array((3, 4)), array((4, 5)))
    assert len(lib.objects) == 5  # a handle, an operation, three layouts
    products.forget()
    assert len(lib.objects) == 1


def test_not_more_is_remembered_than_there_is_room_for(
    products: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "MANY", 3)
    for n in range(1, 9):
        close(
            products.product(array((n, 4)), array((4, 5))),
            np.asarray(array((n, 4)) @ array((4, 5))),
        )
    assert len(products._decisions) <= 3
