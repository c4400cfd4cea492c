"""The host: arrays of every library as NumPy's, and what can be asked of the CPU and its memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bpgpu.backend.libraries import library_of, namespace_of
from bpgpu.errors import DtypeError, LibraryError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    NumpyArray = NDArray[Any]

NUMBERS = "biufcV"
"""The kinds of dtype that count as numbers; `V` is what NumPy calls bfloat16 and other dtypes of `ml_dtypes`."""


class Memory(NamedTuple):
    """The memory of a device, in bytes; `None` where the system does not tell."""

    used: int | None
    """Taken by arrays on a CUDA device; on the CPU by this process as a whole."""
    pooled: int | None
    """Kept by CuPy's pool for the next arrays: free to this process, taken in the eyes of all others."""
    free: int | None
    total: int | None

    def __str__(self) -> str:
        words = [f"{in_words(self.used)} used"]
        if self.pooled:
            words.append(f"{in_words(self.pooled)} pooled")
        return f"{', '.join(words)}, {in_words(self.free)} free of {in_words(self.total)}"


def in_words(size: int | None) -> str:
    """A number of bytes in words.

    >>> in_words(3 * 2**29)
    '1.5 GiB'
    """
    if size is None:
        return "unknown"
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


# ---- arrays


def to_numpy(x: Any) -> NumpyArray:
    """The values of an array of any library as a NumPy array, sharing its memory where the library lets it.

    *Raises* `LibraryError` for what is no array, `DtypeError` for a dtype that NumPy lacks.
    """
    if isinstance(x, (np.ndarray, np.generic)):
        return np.asarray(x)
    array = _CONVERTERS.get(library_of(x), np.asarray)(x)
    if array.dtype.kind not in NUMBERS:
        raise LibraryError(
            f"to_numpy: an array of {library_of(x)} has no conversion to NumPy; convert it with that library's own "
            "functions first"
        )
    return array


def _from_cupy(x: Any) -> NumpyArray:
    return x.get()  # type: ignore[no-any-return]


def _from_ours(x: Any) -> NumpyArray:
    """Arrays of `bpgpu.testing.capture_lint`, which refuse, or of a trace, which raise what their loss would be."""
    return x.get() if hasattr(type(x), "get") else np.asarray(x)


def _from_torch(x: Any) -> NumpyArray:
    """The values of a tensor. One that requires a gradient is left as it is: torch's graph is not ours to guard."""
    try:
        return x.detach().cpu().resolve_conj().resolve_neg().numpy()  # type: ignore[no-any-return]
    except TypeError as error:
        raise DtypeError(
            f"to_numpy: a torch tensor with dtype {x.dtype} and layout {x.layout} has no counterpart in NumPy; "
            "convert it first, with x.float() or x.to_dense()"
        ) from error


def _from_strict(x: Any) -> NumpyArray:
    return np.asarray(x.to_device(namespace_of(x).Device("CPU_DEVICE")))


_CONVERTERS: dict[str, Callable[[Any], NumpyArray]] = {
    "array_api_strict": _from_strict,
    "bpgpu": _from_ours,
    "cupy": _from_cupy,
    "torch": _from_torch,
}


def dtype_of(dtype: Any) -> np.dtype[Any] | None:
    """NumPy's dtype for a name, or for a dtype object of any library; `None` stays `None`.

    >>> dtype_of("float32"), dtype_of(float)
    (dtype('float32'), dtype('float64'))
    """
    if dtype is None:
        return None
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        # dtype objects of other libraries carry NumPy's name at the end of theirs: torch.float32
        try:
            found = np.dtype(str(dtype).rpartition(".")[2])
        except TypeError:
            found = np.dtype(object)
    if found.kind not in NUMBERS:
        raise DtypeError(
            f"dtype {dtype!r} is not known: expected a name such as 'float32', 'float64', 'complex64', 'int64' or "
            "'bool', or a dtype object of an array library"
        )
    return found


def asarray(data: Any, dtype: Any, index: int | None = None) -> NumpyArray:
    """`data` as a NumPy array: numbers, nested lists, arrays of any library. Copied only where it must be."""
    wanted = dtype_of(dtype)
    if hasattr(data, "__array_namespace__") or hasattr(data, "__dlpack__"):
        return np.asarray(to_numpy(data), dtype=wanted)
    array = np.asarray(data)
    if array.dtype.kind not in NUMBERS:
        raise DtypeError(
            f"asarray: expected numbers, got {type(data).__name__} that NumPy reads as dtype {array.dtype}; turn "
            "strings, missing values and objects into numbers first"
        )
    return np.asarray(array, dtype=wanted)


# ---- the device


def namespace() -> Any:
    """The namespace of NumPy's arrays."""
    import array_api_compat.numpy as xp

    return xp


def synchronize(index: int | None) -> None:
    """Nothing: NumPy has finished when it returns."""


def entered(index: int | None) -> contextlib.AbstractContextManager[Any]:
    """Nothing to enter: NumPy has one device."""
    return contextlib.nullcontext()


def memory(index: int | None) -> Memory:
    """The memory of the machine. Linux tells all of it; other systems less."""
    names = os.sysconf_names if hasattr(os, "sysconf") else {}
    page = os.sysconf("SC_PAGE_SIZE") if "SC_PAGE_SIZE" in names else 0
    total = page * os.sysconf("SC_PHYS_PAGES") if "SC_PHYS_PAGES" in names else None
    used = free = None
    with contextlib.suppress(OSError, LookupError):
        used = page * int(_told("/proc/self/statm").split()[1])
        facts = dict(line.split(":") for line in _told("/proc/meminfo").splitlines())
        free = 1024 * int(facts["MemAvailable"].split()[0])
    return Memory(used=used, pooled=0, free=free, total=total)


def _told(path: str) -> str:
    """What Linux tells in a file."""
    with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123 - pathlib is slow to import
        return file.read()


def name(index: int | None) -> str:
    """The processor and how many of its cores this process may use."""
    import platform

    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = _told("/proc/cpuinfo").splitlines()
        model = next(s for s in lines if s.startswith("model name")).partition(": ")[2]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores"


def blas() -> str:
    """The library behind NumPy's products of matrices, which decides their speed."""
    facts: Any = np.show_config(mode="dicts")
    found = facts.get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()
