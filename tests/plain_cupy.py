"""The least of a CuPy: its arrays are NumPy's, with addresses of the host.

So a kernel that is compiled for the CPU, or a library that is imitated, can be given them. `installed()` puts it in the
place of CuPy for a while, with the kernels for CUDA imported over it. (`cupy_on_numpy` simulates streams and memory.)
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

COMPAT = "array_api_compat.cupy"


class ndarray(np.ndarray):  # noqa: N801 - CuPy's name
    """A NumPy array that says where it stands, as CuPy's do."""

    @property
    def data(self) -> Any:  # type: ignore[override]
        return types.SimpleNamespace(ptr=self.__array_interface__["data"][0], device_id=0)

    @property
    def device(self) -> str:  # type: ignore[override]
        return "cpu"

    def get(self) -> Any:
        return self.view(np.ndarray)


ndarray.__module__ = "cupy"


class Stream:
    """`cupy.cuda.Stream`."""

    def __init__(self, ptr: int = 0) -> None:
        self.ptr, self.capturing = ptr, False

    def is_capturing(self) -> bool:
        return self.capturing


def wrapped(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value).view(ndarray)
    if type(value) in (list, tuple):
        return type(value)(map(wrapped, value))
    return value


def _giving_arrays(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        return wrapped(function(*args, **options))

    return call


def _module_like(base: Any, name: str) -> Any:
    """The functions of a NumPy namespace, giving arrays of the stand-in."""
    made = types.ModuleType(name)
    for key in dir(base):
        value = getattr(base, key)
        if callable(value) and not isinstance(value, type):
            value = _giving_arrays(value)
        if not key.startswith("__") or key in ("__array_namespace_info__", "__array_api_version__"):
            setattr(made, key, value)
    return made


def empty(shape: Any, dtype: Any = float, order: str = "C", **options: Any) -> ndarray:
    """Aligned as CuPy's memory is, and full of numbers that nobody wants."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = np.full(size + 512, 0xFF, "u1")
    start = -memory.ctypes.data % 512
    return memory[start : start + size].view(dtype).reshape(shape).view(ndarray)


def make() -> Any:
    """A module `cupy`."""
    cupy: Any = _module_like(np, "cupy")
    stream = Stream()
    cupy.ndarray, cupy.empty = ndarray, empty
    cupy.cuda = types.ModuleType("cupy.cuda")
    cupy.cuda.Stream = Stream
    cupy.cuda.stream = stream  # what the stand-in works on
    cupy.cuda.get_current_stream = lambda: stream
    cupy.cuda.runtime = types.SimpleNamespace(getDevice=lambda: 0, runtimeGetVersion=lambda: 13020)
    return cupy


@contextlib.contextmanager
def installed() -> Iterator[Any]:
    """Within this block `import cupy` gives the stand-in, and its arrays are known to bpgpu."""
    import array_api_compat.numpy

    from bpgpu.autodiff import namespace
    from bpgpu.backend import _backends, libraries
    from bpgpu.kernels import registry

    compat = _module_like(array_api_compat.numpy, COMPAT)
    compat.linalg = _module_like(array_api_compat.numpy.linalg, f"{COMPAT}.linalg")
    compat.empty = empty
    modules = {m: sys.modules.pop(m) for m in list(sys.modules) if _goes(m)}
    tables: list[Any] = [registry._kernels, _backends, namespace._namespaces]
    kept = [table.pop(COMPAT, None) for table in tables]
    cupy = sys.modules["cupy"] = make()
    sys.modules[COMPAT] = cupy.compat = libraries._namespaces[ndarray] = compat
    try:
        yield cupy
    finally:
        del libraries._namespaces[ndarray]
        namespace._namespaces.pop(ndarray, None)
        for module in [m for m in sys.modules if _goes(m)]:
            del sys.modules[module]
        sys.modules.update(modules)
        for table, before in zip(tables, kept, strict=True):
            table.pop(COMPAT, None)
            if before is not None:
                table[COMPAT] = before


def _goes(module: str) -> bool:
    return module.partition(".")[0] == "cupy" or module.startswith((COMPAT, "bpgpu.kernels.cuda"))
