"""A stand-in for cuBLASLt: it reads the descriptors that it is given, and computes with NumPy on the addresses.

It knows only the C interface, by the numbers of NVIDIA's headers, and refuses what the real library refuses: layouts
that overlap, sizes that do not fit, addresses that are aligned less than the algorithm was chosen for.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import types
from typing import Any

import numpy as np

__name__ = "cupy.cublaslt"  # code that bp.compile trusts, as it does that of the library

INVALID_VALUE, NOT_SUPPORTED = 7, 15
MAGIC = 0xC0FFEE
TYPES = {0: np.dtype("f4"), 1: np.dtype("f8"), 2: np.dtype("f2")}
try:
    import ml_dtypes

    TYPES[14] = np.dtype(ml_dtypes.bfloat16)
except ImportError:
    pass


def installed(monkeypatch: Any, **options: Any) -> Any:
    """The library under the kernels for CUDA, which are imported over a stand-in for CuPy."""
    from bpgpu.kernels.cuda import cublaslt, every, products

    assert every
    lib = make(**options)
    opened = cublaslt.Library(lib)
    monkeypatch.setattr(products, "library", lambda: opened)
    return lib


class Refused(Exception):  # noqa: N818
    pass


def make(*, refuse: Any = lambda epilogue: False, launch: Any = lambda run: run()) -> Any:
    """The library; `refuse` tells for an epilogue whether there is no algorithm with it, and `launch` runs what a
    GPU would, or notes it for later."""
    lib = types.SimpleNamespace()
    lib.objects, lib.calls, lib.numbers = {}, [], itertools.count(1000)
    lib.failing = 0
    lib.asked = 0

    def new(out: Any, **facts: Any) -> int:
        out._obj.value = number = next(lib.numbers)
        lib.objects[number] = facts
        return 0

    def set_attribute(made: Any, attribute: int, value: Any, size: int) -> int:
        assert ctypes.sizeof(value._obj) == size
        lib.objects[made.value][attribute] = value._obj.value or 0
        return 0

    def destroy(made: Any) -> int:
        del lib.objects[made.value]
        return 0

    def heuristic(
        handle: Any, op: Any, a: Any, b: Any, c: Any, d: Any, preference: Any,
        wanted: int, result: Any, count: Any,
    ) -> int:  # fmt: skip
        lib.asked += 1
        op, wishes = lib.objects[op.value], lib.objects[preference.value]
        assert handle.value in lib.objects
        assert wanted == 1
        if refuse(op[7]):
            return NOT_SUPPORTED
        assert wishes[1] == 32 * 2**20
        least = min(wishes[k] for k in (5, 6, 7, 8))
        result._obj.algorithm[0], result._obj.algorithm[1] = MAGIC, least
        count._obj.value = 1
        return 0

    def matmul(
        handle: Any, op: Any, alpha: int, a: int, la: Any, b: int, lb: Any, beta: int,
        c: int, lc: Any, d: int, ld: Any, algorithm: int, workspace: int, size: int, stream: int,
    ) -> int:  # fmt: skip
        if lib.failing:
            return lib.failing
        magic, least = (ctypes.c_uint64 * 2).from_address(algorithm)
        assert magic == MAGIC
        assert handle.value in lib.objects
        assert (c, lc) == (d, ld)
        assert size == 32 * 2**20
        (ctypes.c_char * size).from_address(workspace)[size - 1] = b"x"
        assert all(pointer % least == 0 for pointer in (a, b, d))
        now = dict(lib.objects[op.value])
        real = ctypes.c_double if now["compute"] == 70 else ctypes.c_float
        factors = [real.from_address(v).value for v in (alpha, beta)]
        layouts = [lib.objects[v.value] for v in (la, lb, ld)]
        lib.calls.append(dict(now, alignment=least, stream=stream, alpha=factors[0]))
        try:
            launch(lambda: _matmul(now, factors, (a, b, d), layouts))
        except Refused:
            return INVALID_VALUE
        return 0

    lib.cublasLtGetVersion = lambda: 130500

    def create(out: Any) -> int:
        return 1 if getattr(create, "failing", False) else new(out)

    lib.cublasLtCreate = create
    lib.cublasLtMatmulDescCreate = lambda out, compute, scale: new(
        out, compute=compute, scale=scale
    )
    lib.cublasLtMatrixLayoutCreate = lambda out, kind, rows, columns, leading: new(
        out, kind=kind, rows=rows, columns=columns, leading=leading
    )
    lib.cublasLtMatmulPreferenceCreate = lambda out: new(out)
    for name in ("MatmulDesc", "MatrixLayout", "MatmulPreference"):
        setattr(lib, f"cublasLt{name}Destroy", lambda made: destroy(made))
        setattr(lib, f"cublasLt{name}SetAttribute", lambda *args: set_attribute(*args))
    lib.cublasLtMatmulAlgoGetHeuristic, lib.cublasLtMatmul = heuristic, matmul
    return lib


def _matmul(op: Any, factors: Any, at: Any, layouts: Any) -> None:
    assert op["scale"] == (1 if op["compute"] == 70 else 0)
    alpha, beta = factors
    a, b, d = (_matrices(p, layout) for p, layout in zip(at, layouts, strict=True))
    a = np.swapaxes(a, 1, 2) if op.get(3) else a
    b = np.swapaxes(b, 1, 2) if op.get(4) else b
    if len({len(v) for v in (a, b, d)}) > 1 or a.shape[2] != b.shape[1]:
        raise Refused
    if (a.shape[1], b.shape[2]) != d.shape[1:]:
        raise Refused
    exact = [_rounded(v, op["compute"]).astype("f8") for v in (a, b)]
    z = alpha * (exact[0] @ exact[1])
    if beta:
        z = z + beta * d.astype("f8")
    d[...] = _epilogue(op, z, exact, d)


def _matrices(pointer: int, layout: Any) -> Any:
    """`(batch, rows, columns)` over the memory at an address, stored by columns."""
    dtype = TYPES[layout["kind"]]
    rows, columns, leading = layout["rows"], layout["columns"], layout["leading"]
    if leading < rows:
        raise Refused
    batch, step = layout.get(5, 1), layout.get(6, 0)
    size = (batch - 1) * step + (columns - 1) * leading + rows
    memory = np.frombuffer((ctypes.c_char * (size * dtype.itemsize)).from_address(pointer), dtype)
    steps = tuple(s * dtype.itemsize for s in (step, 1, leading))
    return np.lib.stride_tricks.as_strided(memory, (batch, rows, columns), steps, writeable=True)


def _rounded(v: Any, compute: int) -> Any:
    if compute == 77:  # TF32: ten bits of fraction, ties away from zero
        bits = np.ascontiguousarray(v, "f4").view("u4") + np.uint32(0x1000)
        return (bits & np.uint32(0xFFFFE000)).view("f4")
    if compute == 75:
        bits = np.ascontiguousarray(v, "f4").view("u4")
        bits = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return (bits & np.uint32(0xFFFF0000)).view("f4")
    return v.astype("f2") if compute == 74 else v


def _epilogue(op: Any, z: Any, operands: Any, d: Any) -> Any:
    """By columns: a bias is one number for each row."""
    kind, (batch, m, n) = op[7], z.shape
    if kind == 1:
        return z
    if batch > 1:
        raise Refused
    z = z[0]
    leading = op.get(12, 0)
    if kind & 4:
        z = z + _vector(op[8], m, d.dtype)[:, None]
    if kind in (256, 512):
        a, b = operands
        totals = a[0].sum(axis=1) if kind == 256 else b[0].sum(axis=0)
        _vector(op[8], len(totals), d.dtype)[...] = totals
    elif kind in (136, 152, 130, 134):  # ReLU with bits
        if leading % 128 or leading < m:
            raise Refused
        memory = _vector(op[11], n * leading // 8, np.dtype("u1")).reshape(n, -1)
        if kind & 8:
            z = z * np.unpackbits(memory, axis=1, bitorder="little")[:, :m].T
        else:
            bits = np.zeros((n, leading), "u1")
            bits[:, :m] = (z > 0).T
            memory[...] = np.packbits(bits, axis=1, bitorder="little")
    elif kind in (192, 208, 160, 164):  # GELU with the numbers before it
        if leading % 8 or leading < m:
            raise Refused
        memory = _vector(op[11], n * leading, d.dtype).reshape(n, leading)
        if kind & 64:
            z = z * gelu_slope(memory[:, :m].T.astype("f8"))
        else:
            memory[:, :m] = z.T
    if kind & 2 and not kind & 8:
        z = np.maximum(z, 0)
    if kind & 32:
        z = gelu(z)
    if kind & 16:
        _vector(op[8], m, d.dtype)[...] = z.sum(axis=1)
    return z[None]


def _vector(pointer: int, size: int, dtype: Any) -> Any:
    return np.frombuffer((ctypes.c_char * (size * dtype.itemsize)).from_address(pointer), dtype)


def gelu(z: Any) -> Any:
    """The form with tanh."""
    return 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def gelu_slope(z: Any) -> Any:
    t = np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * math.sqrt(2 / math.pi) * (
        1 + 3 * 0.044715 * z**2
    )
