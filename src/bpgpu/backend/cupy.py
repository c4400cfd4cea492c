"""CUDA through CuPy: whether it works on this machine, and what can be asked of a device.

CuPy imports without a driver, a device or the CUDA libraries, and then fails in a different way at each call. So it is
asked one thing after another; the first step that fails raises `NoDeviceError` with the cause and the remedy. CuPy is
imported when CUDA is first asked for, never before.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from bpgpu.backend import forked, host
from bpgpu.backend.host import Memory
from bpgpu.errors import DeviceError

INSTALL = (
    'install it with pip install "bpgpu[cuda13]" (needs an NVIDIA driver of version 580 or newer) or '
    'pip install "bpgpu[cuda12]" (525 or newer)'
)

_IMPORT_FAILURES = (ImportError, AttributeError, OSError, RuntimeError)
"""What an import of CuPy ends with if it does not fit the NumPy or the system at hand."""


class NoDeviceError(Exception):
    """CUDA cannot be used: the cause in half a sentence, and what to do about it."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}; {remedy}")
        self.cause, self.remedy = cause, remedy


class Survey(NamedTuple):
    """What was found on this machine."""

    devices: int
    """How many CUDA devices can be used; 0 if there is an obstacle."""
    obstacle: NoDeviceError | None


@functools.cache
def survey() -> Survey:
    """Look for CUDA, once in a process. Never raises."""
    try:
        cupy = load()
        count = count_devices(cupy)
        load_libraries(cupy)
    except NoDeviceError as obstacle:
        return Survey(0, obstacle)
    return Survey(count, None)


@functools.cache
def trial(index: int) -> NoDeviceError | None:
    """Run one kernel on a device, once in a process; what went wrong, if anything. Never raises."""
    try:
        run_kernel(load(), index)
    except NoDeviceError as obstacle:
        return obstacle
    return None


# ---- the steps


def load() -> Any:
    """CuPy, imported."""
    if forked.in_fork():
        raise NoDeviceError(forked.CAUSE, forked.REMEDY)
    try:
        with warnings.catch_warnings():
            # CuPy's own twenty lines on the matter; ours follow
            warnings.filterwarnings("ignore", message=r"(?s).*multiple CuPy packages")
            import cupy
    except ModuleNotFoundError as error:
        if error.name == "cupy":
            raise NoDeviceError("CuPy is not installed", INSTALL) from None
        raise _broken(error) from error
    except _IMPORT_FAILURES as error:
        raise _broken(error) from error
    _warn_of_several()
    return cupy


def _broken(error: Exception) -> NoDeviceError:
    reason = _first_line(error.__cause__ or error)
    return NoDeviceError(
        f"CuPy is installed, but does not import ({reason})",
        'run python -c "import cupy" to see all of the error, and reinstall it: ' + INSTALL,
    )


def installed() -> list[str]:
    """The names of the installed packages that bring a module `cupy`."""
    from importlib.metadata import distributions

    names = {dist.metadata["Name"] for dist in distributions()}
    pattern = re.compile(r"(amd-)?cupy(-(cuda|rocm)[\w-]*)?", re.IGNORECASE)
    return sorted(name for name in names if name and pattern.fullmatch(name))


@functools.cache
def _warn_of_several() -> None:
    names = installed()
    if len(names) > 1:
        warnings.warn(
            f"several CuPy packages are installed: {', '.join(names)}. They overwrite each other's files; uninstall "
            'all of them, then pip install "bpgpu[cuda13]" or "bpgpu[cuda12]"',
            RuntimeWarning,
            stacklevel=2,
        )


def count_devices(cupy: Any) -> int:
    """How many devices the driver shows; at least one."""
    runtime = cupy.cuda.runtime
    found = f"CuPy {cupy.__version__} found"
    driver, status, words = 0, 0, ""
    try:
        driver = runtime.driverGetVersion()
        count = runtime.getDeviceCount()
        if count > 0:
            forked.note_use(survey.cache_clear, trial.cache_clear)  # counting starts the driver
            return int(count)
    except runtime.CUDARuntimeError as error:
        status, words = error.status, _first_line(error)
    if driver == 0:
        raise NoDeviceError(
            f"{found}, but no CUDA driver (driver version 0)",
            "install NVIDIA's driver, version 580 or newer for bpgpu[cuda13] or 525 or newer for bpgpu[cuda12]; a "
            "container must be given the GPU, for example with docker run --gpus all",
        )
    if status == INSUFFICIENT_DRIVER:
        raise NoDeviceError(
            f"{found}, but the driver is too old: it gives CUDA {_dotted(driver)}, CuPy was built for CUDA "
            f"{_dotted(runtime.runtimeGetVersion())}",
            "update NVIDIA's driver to version 580 or newer, or to 525 or newer and install bpgpu[cuda12]",
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    remedy = "check what nvidia-smi shows" + (
        "" if visible is None else f", and CUDA_VISIBLE_DEVICES, which is set to {visible!r}"
    )
    if status in (0, NO_DEVICE):
        raise NoDeviceError(
            f"{found} and a driver for CUDA {_dotted(driver)}, but no device", remedy
        )
    raise NoDeviceError(f"{found}, but CUDA does not answer ({words})", remedy)


INSUFFICIENT_DRIVER, NO_DEVICE = 35, 100
"""Values of `cudaError_t`."""


def load_libraries(cupy: Any) -> None:
    """Load the CUDA libraries that every computation needs: the compiler and the products of matrices."""
    touches: dict[str, Callable[[], Any]] = {
        "NVRTC": cupy.cuda.nvrtc.getVersion,
        "cuBLAS": lambda: cupy.cuda.cublas,  # CuPy loads it on the way to the attribute
    }
    for library, touch in touches.items():
        try:
            touch()
        except (ImportError, OSError, RuntimeError) as error:
            major = cupy.cuda.runtime.runtimeGetVersion() // 1000
            raise NoDeviceError(
                f"CuPy {cupy.__version__} and a driver found, but the CUDA library {library} does not load "
                f"({_first_line(error)})",
                f'install the CUDA libraries with pip install "bpgpu[cuda{major}]"',
            ) from error


def run_kernel(cupy: Any, index: int) -> None:
    """Compile and run one small kernel on a device, and look at the numbers."""
    failures = (
        ImportError,
        MemoryError,
        OSError,
        RuntimeError,
        cupy.cuda.compiler.CompileException,
    )
    remedy = f'run python -c "import cupy; cupy.cuda.Device({index}).use(); print(cupy.arange(4))" to see more of it'
    try:
        with cupy.cuda.Device(index):
            numbers = cupy.arange(4).get().tolist()
    except failures as error:
        raise NoDeviceError(
            f"CuPy {cupy.__version__} found cuda:{index}, but a first kernel fails ({_first_line(error)})",
            remedy,
        ) from error
    if numbers != [0, 1, 2, 3]:
        raise NoDeviceError(
            f"CuPy {cupy.__version__} found cuda:{index}, but a first kernel computes wrong numbers ({numbers})",
            remedy,
        )


def _dotted(version: int) -> str:
    """13020 as CUDA's users read it: 13.2."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__


# ---- the devices


def _usable() -> Any:
    """CuPy, to work with; a process that was forked too late is told so."""
    if forked.in_fork():
        raise DeviceError(f"CUDA: {forked.CAUSE}. Remedy: {forked.REMEDY}")
    import cupy

    return cupy


def namespace() -> Any:
    """The namespace of CuPy's arrays."""
    from bpgpu.backend import cupy_arrays

    return cupy_arrays.namespace()


def asarray(data: Any, dtype: Any, index: int | None) -> Any:
    """`data` as a CuPy array on a device: from the host, or straight from where it is if that is a GPU."""
    cupy = _usable()
    if hasattr(data, "detach"):  # a torch tensor; one that requires a gradient hides its memory
        data = data.detach()
    if not _on_gpu(data):
        data = host.asarray(data, dtype)
    with cupy.cuda.Device(index):
        return cupy.asarray(data, dtype=host.dtype_of(dtype))


def _on_gpu(data: Any) -> bool:
    """True for arrays in the memory of a GPU, of any library, and for lists of them."""
    if isinstance(data, (list, tuple)):
        return bool(data) and _on_gpu(data[0])
    return hasattr(data, "__cuda_array_interface__")


def synchronize(index: int | None) -> None:
    """Wait until a device has finished all that it was given."""
    cupy = _usable()
    cupy.cuda.Device(index).synchronize()


def entered(index: int | None) -> contextlib.AbstractContextManager[Any]:
    """A context in which CuPy's own functions make their arrays on a device, in this thread."""
    cupy = _usable()
    return cupy.cuda.Device(index)  # type: ignore[no-any-return]


def memory(index: int | None) -> Memory:
    """The memory of a device, and what CuPy's pool holds of it."""
    cupy = _usable()
    with cupy.cuda.Device(index) as device:
        free, total = device.mem_info
        pool = cupy.get_default_memory_pool()
        return Memory(pool.used_bytes(), pool.free_bytes(), free, total)


@functools.cache
def name(index: int | None) -> str:
    """What its maker calls a device, and how much memory it has."""
    import cupy

    facts = cupy.cuda.runtime.getDeviceProperties(index)
    return f"{facts['name'].decode()}, {host.in_words(facts['totalGlobalMem'])}"
