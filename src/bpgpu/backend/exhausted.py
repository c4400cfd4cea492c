"""A device that has no memory left, told in the words of this library."""

from __future__ import annotations

import re
from typing import Any

from bpgpu.backend import cupy as cuda
from bpgpu.backend import host
from bpgpu.backend.host import in_words
from bpgpu.errors import OutOfMemoryError

REMEDY = (
    "take a smaller batch_size, bpgpu.fit(micro_batch='auto') or accumulate=, or wrap parts of the model in "
    "bpgpu.checkpoint, which computes them again on the way back instead of keeping what they made"
)


def out_of_memory(error: MemoryError) -> OutOfMemoryError:
    """The error with what was asked for, what is free, and what to do. Raise it from the one that came."""
    if isinstance(error, OutOfMemoryError):
        return error
    on_cuda = type(error).__module__.partition(".")[0] in ("cupy", "cupy_backends")
    where = "the GPU" if on_cuda else "this machine"
    return OutOfMemoryError(
        f"{where} has no memory left: {_asked(error)}{_free(on_cuda)}; {REMEDY}"
    )


def _asked(error: MemoryError) -> str:
    shape: Any = getattr(error, "shape", None)  # NumPy's
    dtype: Any = getattr(error, "dtype", None)
    if shape is not None and dtype is not None:
        size = dtype.itemsize
        for n in shape:
            size *= int(n)
        shown = tuple(int(n) for n in shape)
        return f"an array of shape {shown} and dtype {dtype} takes {in_words(size)}"
    found = re.search(r"allocating ([\d,]+) bytes", str(error))  # CuPy's
    if found:
        return f"{in_words(int(found[1].replace(',', '')))} were asked for"
    return str(error) or "the system gave no more"


def _free(on_cuda: bool) -> str:
    try:
        memory = cuda.memory(None) if on_cuda else host.memory(None)
    except Exception:  # noqa: BLE001 - whatever a device without memory says: the first error counts
        return ""
    return f", and {memory}"
