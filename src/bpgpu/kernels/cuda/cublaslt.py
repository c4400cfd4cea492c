"""cuBLASLt, NVIDIA's library of matrix products, called through ctypes.

CuPy's own products are refused while a CUDA graph is captured, copy transposed operands, and know
neither TF32 as a setting nor a bias. This is the thinnest layer over the library that has all of
it: a `Plan` is one product, decided once; running it is one call.

The library thinks in matrices that are stored by columns. A matrix by rows is its transpose by
columns, so `D = X Y` by rows is asked for as `D' = Y' X'`: the operands change places, and nothing
is copied.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import threading
from collections.abc import Callable
from ctypes import byref, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p, sizeof
from typing import Any, NamedTuple

from bpgpu.errors import DeviceError
from bpgpu.kernels.cuda.cublaslt_values import STATUS, VALUES

WORKSPACE = 32 * 2**20
"""Bytes of memory that a product may use besides its operands: what NVIDIA advises for Hopper."""

WITH_VECTOR = (
    VALUES["CUBLASLT_EPILOGUE_BIAS"]
    | VALUES["CUBLASLT_EPILOGUE_BGRADA"]
    | VALUES["CUBLASLT_EPILOGUE_BGRADB"]
    | (VALUES["CUBLASLT_EPILOGUE_DRELU_BGRAD"] ^ VALUES["CUBLASLT_EPILOGUE_DRELU"])
)
"""The bits of the epilogues that read a bias, or write the gradient of one."""

ALIGNED = 256
"""Bytes of alignment beyond which nothing gets faster."""

_POINTER = c_void_p
_FUNCTIONS: dict[str, list[Any]] = {
    "cublasLtCreate": [_POINTER],
    "cublasLtMatmulDescCreate": [_POINTER, c_int, c_int],
    "cublasLtMatmulDescDestroy": [_POINTER],
    "cublasLtMatmulDescSetAttribute": [_POINTER, c_int, _POINTER, c_size_t],
    "cublasLtMatrixLayoutCreate": [_POINTER, c_int, c_uint64, c_uint64, c_int64],
    "cublasLtMatrixLayoutDestroy": [_POINTER],
    "cublasLtMatrixLayoutSetAttribute": [_POINTER, c_int, _POINTER, c_size_t],
    "cublasLtMatmulPreferenceCreate": [_POINTER],
    "cublasLtMatmulPreferenceDestroy": [_POINTER],
    "cublasLtMatmulPreferenceSetAttribute": [_POINTER, c_int, _POINTER, c_size_t],
    "cublasLtMatmulAlgoGetHeuristic": [*[_POINTER] * 7, c_int, _POINTER, _POINTER],
    "cublasLtMatmul": [*[_POINTER] * 14, c_size_t, _POINTER],
}
"""What is called of the library, and with what."""


class Heuristic(ctypes.Structure):
    """`cublasLtMatmulHeuristicResult_t`: an algorithm for a product, and what it needs."""

    _fields_ = [
        ("algorithm", c_uint64 * 8),
        ("workspace", c_size_t),
        ("state", c_int),
        ("waves", ctypes.c_float),
        ("reserved", c_int * 4),
    ]


class UnsupportedError(Exception):
    """The library has no algorithm for a product."""


class Spec(NamedTuple):
    """A product as the library sees it, by columns: `D (m, n) = alpha op(A) op(B) + beta D`, then
    the epilogue."""

    m: int
    n: int
    k: int
    kind: int
    """Of the numbers of A and B: a `cudaDataType`."""
    kind_out: int
    compute: int
    turned: tuple[bool, bool]
    """Whether A and B are stored transposed."""
    leading: tuple[int, int, int]
    """Numbers from one column of A, B and D to the next."""
    batch: int = 1
    steps: tuple[int, int, int] = (0, 0, 0)
    """Numbers from one matrix of a stack to the next; 0 where one matrix serves for all."""
    alpha: float = 1.0
    beta: float = 0.0
    epilogue: int = VALUES["CUBLASLT_EPILOGUE_DEFAULT"]
    aux_leading: int = 0
    aligned: int = ALIGNED
    """Bytes that divide all addresses."""


class Library:
    """The functions of cuBLASLt, and a handle for each device.

    `functions` is the library as ctypes loads it, or what takes its place in a test."""

    def __init__(self, functions: Any) -> None:
        for name, types in _FUNCTIONS.items():
            function = getattr(functions, name)
            function.argtypes, function.restype = types, c_int
            setattr(self, name.removeprefix("cublasLt"), function)
        functions.cublasLtGetVersion.restype = c_size_t
        self.version: int = functions.cublasLtGetVersion()
        self._handles: dict[int, Any] = {}

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)  # all names are set in __init__

    def handle(self, device: int) -> Any:
        """Of the current device, whose number is `device`."""
        found = self._handles.get(device)
        if found is None:
            found = c_void_p()
            check(self.Create(byref(found)), f"cuBLASLt cannot be used on cuda:{device}")
            self._handles[device] = found
        return found


@functools.cache
def library() -> Library:
    """cuBLASLt, loaded from where CuPy has it from."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")  # which CuPy depends on
        return Library(ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublasLt").abs_path))
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DeviceError(
            f"cuBLASLt does not load ({reason}); install the CUDA libraries with pip install "
            '"bpgpu[cuda13]" or "bpgpu[cuda12]"'
        ) from error


def check(status: int, what: str) -> None:
    """Raise what a status of the library means, if it is not success."""
    if status == 0:
        return
    names = {value: name for name, value in STATUS.items()}
    name = names.get(status, f"status {status}")
    remedies = {
        "CUBLAS_STATUS_NOT_INITIALIZED": "the driver or the device does not answer; run python -m "
        "bpgpu check",
        "CUBLAS_STATUS_ALLOC_FAILED": "the device has no memory left; use smaller batches",
        "CUBLAS_STATUS_ARCH_MISMATCH": "this build of CUDA does not know the device; install a "
        "newer one",
        "CUBLAS_STATUS_EXECUTION_FAILED": "an earlier computation on the device may have failed; "
        "run with CUDA_LAUNCH_BLOCKING=1 to see which",
    }
    remedy = remedies.get(name, "BPGPU_ACCEL=0 computes it in another way; please report it")
    raise DeviceError(f"{what}: {name}; {remedy}")


class Plan:
    """A product that is decided: descriptors, layouts and an algorithm. Never changed, but for the
    addresses of a bias and of auxiliary numbers, which the library keeps in the descriptor."""

    def __init__(self, lib: Library, device: int, spec: Spec) -> None:
        self.spec, self._lib, self._handle = spec, lib, lib.handle(device)
        self._made: list[tuple[Any, Any]] = []  # what must be destroyed, and by what
        self._operation = self._described()
        rows = (
            (spec.k, spec.m) if spec.turned[0] else (spec.m, spec.k),
            (spec.n, spec.k) if spec.turned[1] else (spec.k, spec.n),
            (spec.m, spec.n),
        )
        kinds = (spec.kind, spec.kind, spec.kind_out)
        self._a, self._b, self._d = (
            self._layout(kind, *sizes, leading, step)
            for kind, sizes, leading, step in zip(
                kinds, rows, spec.leading, spec.steps, strict=True
            )
        )
        real = ctypes.c_double if spec.kind == VALUES["CUDA_R_64F"] else ctypes.c_float
        self._factors = real(spec.alpha), real(spec.beta)
        self._alpha, self._beta = map(ctypes.addressof, self._factors)
        self._chosen = self._algorithm()
        self._lock = threading.Lock()
        self._bias = self._aux = 0
        self.run = self._runner(lib.Matmul)

    def run_with(
        self, bias: int, aux: int, a: int, b: int, d: int, workspace: int, stream: int
    ) -> None:
        """The same with an epilogue that reads or writes at the addresses `bias` and `aux`."""
        with self._lock:
            if bias != self._bias:
                self._put("BIAS_POINTER", c_void_p(bias))
                self._bias = bias
            if aux != self._aux:
                self._put("EPILOGUE_AUX_POINTER", c_void_p(aux))
                self._aux = aux
            self.run(a, b, d, workspace, stream)

    def _runner(self, matmul: Any) -> Callable[[int, int, int, int, int], None]:
        """What multiplies the matrices at the addresses `a` and `b`, and writes to `d`: with all
        that stays the same at hand, since this is called for every product."""
        spec, handle, operation, algorithm = (
            self.spec,
            self._handle,
            self._operation,
            ctypes.addressof(self._chosen),
        )
        of_a, of_b, of_d, alpha, beta = self._a, self._b, self._d, self._alpha, self._beta

        def run(a: int, b: int, d: int, workspace: int, stream: int) -> None:
            status = matmul(
                handle, operation, alpha, a, of_a, b, of_b, beta, d, of_d, d, of_d,
                algorithm, workspace, WORKSPACE, stream,
            )  # fmt: skip
            if status:
                check(status, f"a matrix product failed ({spec})")

        return run

    def _described(self) -> Any:
        spec, lib = self.spec, self._lib
        double = VALUES["CUDA_R_64F"]
        scale = double if spec.kind == double else VALUES["CUDA_R_32F"]
        made = c_void_p()
        check(lib.MatmulDescCreate(byref(made), spec.compute, scale), "a descriptor was refused")
        self._made.append((lib.MatmulDescDestroy, made))
        self._operation = made
        for name, turned in zip(("TRANSA", "TRANSB"), spec.turned, strict=True):
            self._put(name, c_int32(VALUES["CUBLAS_OP_T" if turned else "CUBLAS_OP_N"]))
        self._put("EPILOGUE", c_uint32(spec.epilogue))
        if spec.epilogue & WITH_VECTOR:
            # the algorithm is chosen by the alignment of these; the true addresses follow
            self._put("BIAS_POINTER", c_void_p(spec.aligned))
        if spec.aux_leading:
            self._put("EPILOGUE_AUX_POINTER", c_void_p(spec.aligned))
            self._put("EPILOGUE_AUX_LD", c_int64(spec.aux_leading))
        return made

    def _put(self, name: str, value: Any) -> None:
        attribute = VALUES[f"CUBLASLT_MATMUL_DESC_{name}"]
        status = self._lib.MatmulDescSetAttribute(
            self._operation, attribute, byref(value), sizeof(value)
        )
        check(status, f"a descriptor of a product refused {name}")

    def _layout(self, kind: int, rows: int, columns: int, leading: int, step: int) -> Any:
        lib, made = self._lib, c_void_p()
        status = lib.MatrixLayoutCreate(byref(made), kind, rows, columns, leading)
        check(status, f"a layout was refused ({rows} x {columns}, {leading})")
        self._made.append((lib.MatrixLayoutDestroy, made))
        if self.spec.batch > 1:
            batch = {
                "BATCH_COUNT": c_int32(self.spec.batch),
                "STRIDED_BATCH_OFFSET": c_int64(step),
            }
            for name, value in batch.items():
                attribute = VALUES[f"CUBLASLT_MATRIX_LAYOUT_{name}"]
                status = lib.MatrixLayoutSetAttribute(made, attribute, byref(value), sizeof(value))
                check(status, f"a layout refused {name}")
        return made

    def _algorithm(self) -> Heuristic:
        """What the library's heuristics think is fastest."""
        lib, preference, chosen, count = self._lib, c_void_p(), Heuristic(), c_int()
        check(lib.MatmulPreferenceCreate(byref(preference)), "a preference was refused")
        wishes: dict[str, Any] = {"MAX_WORKSPACE_BYTES": c_size_t(WORKSPACE)}
        for operand in "ABCD":
            wishes[f"MIN_ALIGNMENT_{operand}_BYTES"] = c_uint32(self.spec.aligned)
        try:
            for name, value in wishes.items():
                attribute = VALUES[f"CUBLASLT_MATMUL_PREF_{name}"]
                status = lib.MatmulPreferenceSetAttribute(
                    preference, attribute, byref(value), sizeof(value)
                )
                check(status, f"a preference refused {name}")
            status = lib.MatmulAlgoGetHeuristic(
                self._handle, self._operation, self._a, self._b, self._d, self._d,
                preference, 1, byref(chosen), byref(count),
            )  # fmt: skip
        finally:
            lib.MatmulPreferenceDestroy(preference)
        none = STATUS["CUBLAS_STATUS_NOT_SUPPORTED"], STATUS["CUBLAS_STATUS_INVALID_VALUE"]
        if status in none or (status == 0 and (count.value == 0 or chosen.state)):
            raise UnsupportedError(str(self.spec))
        check(status, f"no algorithm was found for a product ({self.spec})")
        return chosen

    def __del__(self) -> None:
        for destroy, made in getattr(self, "_made", ()):
            destroy(made)
