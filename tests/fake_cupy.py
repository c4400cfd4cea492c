"""A stand-in for CuPy, so that everything about CUDA that needs no kernel is tested without a GPU.

It behaves as CuPy 14 was seen to behave without a driver, without devices and without the CUDA libraries.
"""

from __future__ import annotations

import types
from typing import Any, ClassVar

import numpy as np


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int) -> None:
        names = {
            35: "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
            100: "cudaErrorNoDevice: no CUDA-capable device is detected",
            802: "cudaErrorSystemNotReady: system not yet initialized",
        }
        super().__init__(names[status])
        self.status = status


class DynamicLibNotFoundError(RuntimeError):
    """What `cuda.pathfinder` raises."""


class CompileException(Exception):  # noqa: N818 - CuPy's name
    pass


class Device:
    """`cupy.cuda.Device`: a context manager that may be entered again."""

    current: ClassVar[list[int]] = [0]

    def __init__(self, index: int) -> None:
        self.id = index

    def __enter__(self) -> Device:
        self.current.append(self.id)
        return self

    def __exit__(self, *error: Any) -> None:
        self.current.pop()

    mem_info = (60 * 2**30, 80 * 2**30)

    def synchronize(self) -> None:
        log.append(f"synchronize {self.id}")


class ndarray:  # noqa: N801 - CuPy's name
    """A GPU array with the values of a NumPy array. Like CuPy's it refuses to become one by itself."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.device = Device.current[-1]
        self.shape, self.dtype = values.shape, values.dtype

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "version": 3}

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("on the GPU")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def get(self) -> np.ndarray:
        return self.values.copy()


log: list[str] = []
"""What the fake devices were told to do."""


def make(
    *,
    devices: int = 2,
    driver: int = 13000,
    status: int = 0,
    missing: str = "",
    kernel: Any = None,
) -> types.ModuleType:
    """A module `cupy`.

    `status`: the CUDA error that counting devices ends with. `missing`: the library that does not load (`nvrtc`,
    `cublas`). `kernel`: what running a kernel raises, or the numbers that it gives.
    """
    del log[:]
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "14.2.0"

    def count() -> int:
        if status:
            raise CUDARuntimeError(status)
        return devices

    def nvrtc_version() -> tuple[int, int]:
        if missing == "nvrtc":
            raise DynamicLibNotFoundError('Failure finding "libnvrtc.so.13": No such file\nmore')
        return 13, 2

    class Cuda(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name == "cublas":
                if missing == "cublas":
                    raise ImportError('Failure finding "libcublasLt.so.13"')
                return types.ModuleType("cublas")
            raise AttributeError(name)

    def arange(n: int) -> ndarray:
        if isinstance(kernel, Exception):
            raise kernel
        return ndarray(np.arange(n) if kernel is None else np.asarray(kernel))

    def asarray(data: Any, dtype: Any = None) -> ndarray:
        if isinstance(data, list):
            return ndarray(np.stack([x.values for x in data]).astype(dtype or data[0].dtype))
        same = isinstance(data, ndarray) and (dtype is None or dtype == data.dtype)
        if same and data.device == Device.current[-1]:
            return data
        log.append(f"copy to {Device.current[-1]}")
        values = data.values if isinstance(data, ndarray) else np.asarray(data)
        return ndarray(values.astype(dtype or values.dtype))

    cupy.cuda = Cuda("cupy.cuda")
    cupy.cuda.Device = Device
    cupy.cuda.runtime = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: 13020,
        getDeviceCount=count,
        getDeviceProperties=lambda i: {"name": b"NVIDIA H100", "totalGlobalMem": 80 * 2**30},
    )
    cupy.cuda.nvrtc = types.SimpleNamespace(getVersion=nvrtc_version)
    cupy.cuda.compiler = types.SimpleNamespace(CompileException=CompileException)
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(
        used_bytes=lambda: 2**30, free_bytes=lambda: 2**29
    )
    cupy.ndarray = ndarray
    cupy.arange, cupy.asarray = arange, asarray
    return cupy
