"""Compiling and starting the kernels in `source/`.

A kernel is a template, and an expression such as `gelu<__half, 8>` names one instance of it. NVRTC
compiles an instance when it is first asked for, in about 0.1 s; CuPy keeps it on disk for the
processes after that. Within a step that is captured as a graph nothing may be compiled: the steps
before it, which run eagerly, have asked for all that it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy
import numpy as np

from bpgpu.kernels.cuda.sources import code_of

CUPY = "array_api_compat.cupy"
TYPES = {"f": "float", "d": "double", "e": "__half", "E": "__nv_bfloat16"}
"""What C++ calls a dtype, by its character."""
LARGEST = 2**30
"""Numbers in an array: with fewer, 32 bits count threads and places."""
THREADS = 256
"""In a block, where nothing else says how many."""
VECTOR = 16
"""Bytes that a thread loads at once."""

NULL = np.uint64(0)
"""In the place of an array that is absent."""


def runner(file: str) -> Callable[..., None]:
    """What starts the kernels of a file: `run(expression, grid, block, *arguments)`.

    Integers are passed as `int`, `None` as a null pointer, NumPy's scalars and records as they are.
    """
    functions: dict[tuple[int, str], Any] = {}

    def run(expression: str, grid: Any, block: Any, *arguments: Any) -> None:
        key = (cupy.cuda.runtime.getDevice(), expression)
        function = functions.get(key)
        if function is None:
            function = functions[key] = compiled(file, expression)
        function(_shape(grid), _shape(block), tuple([_argument(x) for x in arguments]))

    return run


def compiled(file: str, expression: str) -> Any:
    """An instance of a kernel, for the device of now."""
    module = cupy.RawModule(
        code=code_of(file), options=("--std=c++17",), name_expressions=(expression,)
    )
    return module.get_function(expression)


def _shape(x: Any) -> tuple[int, ...]:
    return x if type(x) is tuple else (x,)


def _argument(x: Any) -> Any:
    if x is None:
        return NULL
    return np.int32(x) if type(x) in (int, bool) else x


# ---- what kernels ask of arrays


current_device = cupy.cuda.runtime.getDevice


def is_here(x: Any) -> bool:
    """True for an array of CuPy on the device of now, where kernels are started."""
    return type(x) is cupy.ndarray and x.data.device_id == current_device()


def is_ours(x: Any) -> bool:
    """The same, of a dtype that kernels know."""
    return is_here(x) and x.dtype.char in TYPES and hasattr(cupy, "RawModule")


def name_of(x: Any) -> str:
    """What C++ calls the dtype of an array."""
    return TYPES[x.dtype.char]


def wide_of(x: Any) -> Any:
    """The dtype in which numbers of `x` are summed."""
    return np.dtype("float64" if x.dtype.char == "d" else "float32")


def pack(columns: int, *arrays: Any) -> int:
    """How many numbers a thread loads at once from rows of so many: 16 bytes, if the rows are of
    whole packs and each array begins at such an address; else a single one."""
    n = VECTOR // int(arrays[0].dtype.itemsize)
    whole = columns % n == 0 and all(x.data.ptr % VECTOR == 0 for x in arrays)
    return n if whole else 1


def row_threads(packs: int) -> int:
    """The threads of a block that walks along a row of so many packs: whole warps."""
    return min(512, max(32, -(-packs // 32) * 32))


def blocks(threads: int) -> int:
    """So many blocks of `THREADS` have at least so many threads."""
    return -(-threads // THREADS)


def order_of(x: Any) -> tuple[int, ...]:
    """The axes from the slowest in memory to the fastest."""
    return tuple(sorted(range(x.ndim), key=lambda axis: -x.strides[axis]))


def is_dense(x: Any) -> bool:
    """True for an array without gaps in memory, in whatever order its axes stand."""
    return bool(x.flags.c_contiguous or x.transpose(order_of(x)).flags.c_contiguous)


def empty_as(x: Any) -> Any:
    """Memory for an array like `x`, which has no gaps: in the same order."""
    if x.flags.c_contiguous:
        return cupy.empty(x.shape, x.dtype)
    order = order_of(x)
    made = cupy.empty(tuple([x.shape[axis] for axis in order]), x.dtype)
    return made.transpose(tuple([order.index(axis) for axis in range(x.ndim)]))


def in_order_of(x: Any, g: Any) -> Any:
    """`g` of the dtype of `x`, which has no gaps, and in the order of its memory."""
    same = g.strides == x.strides or (g.flags.c_contiguous and x.flags.c_contiguous)
    if same and g.dtype == x.dtype:
        return g
    copy = empty_as(x)
    copy[...] = g
    return copy
