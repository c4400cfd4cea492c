"""Arrays of every library as the bytes of a file, and back: little-endian, in C order, one array at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bpgpu.backend import backend_of
from bpgpu.backend.host import to_numpy
from bpgpu.backend.libraries import library_of, namespace_of
from bpgpu.errors import DtypeError

if TYPE_CHECKING:
    from bpgpu.backend.host import NumpyArray

SIZES = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "uint16": 2,
    "int16": 2,
    "float16": 2,
    "bfloat16": 2,
    "uint32": 4,
    "int32": 4,
    "float32": 4,
    "uint64": 8,
    "int64": 8,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}
"""The dtypes that can be stored, and the bytes that a number takes."""

_RANKS = (("bool",), ("uint", "int"), ("float", "bfloat"), ("complex",))
"""Kinds of numbers; each holds those before it."""


class Kind(NamedTuple):
    """What is stored of an array beside its numbers."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * SIZES[self.dtype]


def kind_of(x: Any) -> Kind:
    """The dtype and the shape of an array of any library.

    *Raises* `DtypeError` with the second half of a sentence, for an array that cannot be stored.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise DtypeError("is a masked array; store x.filled(0) and x.mask")
    namespace_of(x)
    layout = str(getattr(x, "layout", "torch.strided"))
    dtype = _name(x.dtype)
    if dtype not in SIZES or layout != "torch.strided":
        what = f"dtype {x.dtype}" + ("" if layout == "torch.strided" else f" and layout {layout}")
        raise DtypeError(f"has {what}; what can be stored is {', '.join(SIZES)}")
    return Kind(dtype, tuple(int(n) for n in x.shape))


def _name(dtype: Any) -> str:
    return str(getattr(dtype, "name", None) or dtype).rpartition(".")[2]


def bytes_of(x: Any) -> memoryview:
    """The numbers of an array as they stand in a file. Copied to the host, and only there if they must be."""
    if _name(x.dtype) == "bfloat16":
        x = _halves(x)
    host = to_numpy(x)
    host = np.ascontiguousarray(host, dtype=host.dtype.newbyteorder("<"))
    return host.reshape(-1).view(np.uint8).data


def _halves(x: Any) -> Any:
    """The bits of bfloat16 numbers as 16-bit integers, since NumPy has no such dtype."""
    if library_of(x) == "torch":
        return x.detach().contiguous().view(namespace_of(x).int16)
    return np.ascontiguousarray(to_numpy(x)).view(np.uint16).reshape(x.shape)


def view(buffer: Any, kind: Kind) -> NumpyArray:
    """The numbers that stand in a buffer, as a NumPy array that looks at it; of bfloat16, a copy in float32."""
    stored = {"bfloat16": "uint16", "bool": "uint8"}.get(kind.dtype, kind.dtype)
    if not kind.nbytes:
        return np.zeros(kind.shape, "float32" if kind.dtype == "bfloat16" else kind.dtype)
    flat = np.frombuffer(buffer, dtype=np.dtype(stored).newbyteorder("<"))
    if kind.dtype == "bfloat16":
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    elif kind.dtype == "bool":
        flat = flat != 0
    # NumPy calls a complex128 aligned at 8 bytes; torch reads it as 16 and crashes
    aligned = flat.ctypes.data % flat.dtype.itemsize == 0
    flat = flat.astype(flat.dtype.newbyteorder("="), copy=not aligned)
    return flat.reshape(kind.shape)


def strided(
    flat: NumpyArray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> NumpyArray:
    """A view of flat numbers, with strides counted in numbers; the caller has checked that it stays inside."""
    if not math.prod(shape):
        return np.zeros(shape, flat.dtype)
    steps = [step * flat.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps)


def copy(x: NumpyArray) -> NumpyArray:
    """The array in memory of its own."""
    return np.array(x)


# ---- into the arrays that are there


def obstacle(target: Any, kind: Kind) -> str:
    """Why an array of this kind cannot be loaded into `target`; empty if it can."""
    shape = tuple(target.shape)
    if shape != kind.shape:
        return f"expected shape {shape}, the file has {kind.shape}"
    wanted = kind_of(target).dtype
    if _rank(kind.dtype) > _rank(wanted):
        return f"expected {wanted}, the file has {kind.dtype}, which does not fit into it"
    return ""


def _rank(dtype: str) -> int:
    return next(i for i, names in enumerate(_RANKS) if dtype.startswith(names))


def like(target: Any, value: NumpyArray) -> Any:
    """A NumPy array as one of the library, dtype and device of `target`.

    *Raises* `DtypeError` with half a sentence if integers do not fit.
    """
    xp = namespace_of(target)
    wanted = _name(target.dtype)
    if wanted != "bfloat16":
        made = value.astype(wanted, copy=False)
        if made.dtype.kind in "iu" and value.dtype != made.dtype and not np.all(made == value):
            raise DtypeError(f"holds numbers that do not fit into {wanted}")
        value = made
    backend = backend_of(xp)
    device = backend.device_of(target)
    array = xp.asarray(value, device=device)
    if (
        backend.device_of(array) != device
    ):  # CuPy makes arrays on the device of now, whatever it is told
        array = backend.to_device(array, device)
    return array if array.dtype == target.dtype else xp.astype(array, target.dtype)


def writer(target: Any, value: Any) -> Callable[[], Any]:
    """A function that puts `value` in the place of `target` and returns the array that now holds it.

    Numbers are written into `target` if it can be written to; else `value` is the new array.
    """
    if not _can_be_written(target):
        own = namespace_of(value).asarray(value, copy=True)
        return lambda: own
    backend = backend_of(namespace_of(target))
    return lambda: backend.copy_into(target, value)


def _can_be_written(x: Any) -> bool:
    if not hasattr(x, "__setitem__") or hasattr(x, "at"):
        return False
    if isinstance(x, np.generic) or not getattr(getattr(x, "flags", None), "writeable", True):
        return False
    strides = x.stride() if callable(getattr(x, "stride", None)) else getattr(x, "strides", ())
    return 0 not in strides or 0 in x.shape
