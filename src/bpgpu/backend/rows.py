"""Rows of arrays: the batches that a data set is cut into, and their way to a GPU.

A batch is a copy, so that what is done to it leaves the data set as it is.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from bpgpu.backend import backend_of
from bpgpu.backend.host import NUMBERS
from bpgpu.backend.libraries import namespace_of


def ready(x: Any) -> Any:
    """The array as rows are taken from it: subclasses of NumPy's array lose what they add to it.

    *Raises* `ValueError` with half a sentence for an array whose rows are no numbers.
    """
    if not isinstance(x, np.ndarray):
        namespace_of(x)
        return x
    if isinstance(x, np.ma.MaskedArray):
        raise ValueError("is a masked array; fill its holes, x.filled(0), or leave those rows out")
    if x.dtype.kind not in NUMBERS:
        raise ValueError(f"has dtype {x.dtype}; turn its entries into numbers")
    return np.asarray(x)


def take(x: Any, index: Any) -> Any:
    """The rows of `x` at the integers of `index`, which is an array of the same library and device.

    NumPy's `take` is faster than an index while the array is contiguous; else it copies all of it first.
    """
    if isinstance(x, np.ndarray):
        return x.take(index, axis=0) if x.flags.c_contiguous else x[index]
    return namespace_of(x).take(x, index, axis=0)


def copy(x: Any, start: int, stop: int) -> Any:
    """The rows from `start` to `stop`."""
    if isinstance(x, np.ndarray):
        return np.array(x[start:stop])
    if hasattr(x, "at"):  # immutable, as JAX has them
        return x[start:stop, ...]
    return namespace_of(x).asarray(x[start:stop, ...], copy=True)


def indices_like(order: Any, x: Any) -> Any:
    """NumPy's integers beside `x`."""
    if isinstance(x, np.ndarray):
        return order
    xp = namespace_of(x)
    return xp.asarray(order, device=backend_of(xp).device_of(x))


def size_in_bytes(x: Any) -> int:
    """How much memory the entries of an array take."""
    itemsize = getattr(x.dtype, "itemsize", None)
    if itemsize is None:
        itemsize = np.dtype(str(x.dtype).rpartition(".")[2]).itemsize
    size: int = int(itemsize) * math.prod(x.shape)
    return size


def stack(arrays: list[Any]) -> Any:
    """Arrays of one shape as the rows of a new one."""
    return namespace_of(arrays[0]).stack(arrays)


def columns(arrays: Sequence[Any]) -> Any:
    """Arrays of one shape `(N,)` as the columns of a new one."""
    return namespace_of(arrays[0]).stack(arrays, axis=1)


def numbers(values: list[Any]) -> Any:
    """Python's numbers as an array of NumPy: int64, bool, or float32, in which networks compute."""
    x = np.asarray(values)
    return x.astype(np.float32) if x.dtype == np.float64 else x


def from_big_endian(data: bytearray, code: str, shape: tuple[int, ...]) -> Any:
    """The numbers that stand in `data` with the most significant byte first, as a native array on the same memory.

    *Parameters* `code` is NumPy's letter and size, as in `"f4"`.

    *Raises* `ValueError` for a shape that NumPy cannot have.
    """
    x = np.frombuffer(data, dtype=f">{code}").reshape(shape)
    if x.dtype.itemsize > 1 and sys.byteorder == "little":
        x.byteswap(inplace=True)
    return x.view(x.dtype.newbyteorder("="))


def from_doubles(columns: list[Any], dtype: Any) -> Any:
    """Columns of the standard library's `array("d")` as `(rows, columns)`; too large a number becomes infinite."""
    x = np.empty((len(columns[0]), len(columns)), dtype=dtype)
    with np.errstate(over="ignore"):
        for i, column in enumerate(columns):
            x[:, i] = np.frombuffer(column, dtype=np.float64)
    return x


def code_points(text: str) -> Any:
    """The numbers that Unicode gives to the characters of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)


def text_of(points: Any) -> str:
    """The text of such numbers."""
    return str(np.asarray(points, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass"))
