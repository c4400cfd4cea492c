"""glibc's malloc, told to keep the memory of large temporaries.

NumPy makes a new array for each result. Large ones glibc gives back to the system as soon as they are freed, and the
system clears each page anew when the next one is touched: for arrays of one MiB that takes over ten times as long as
the arithmetic itself. Two thresholds decide it. Raising only one of them does not help, and setting one switches off
glibc's own adjustment of both.
"""

from __future__ import annotations

import ctypes
import os
import sys

VARIABLE = "BPGPU_KEEP_MALLOC"

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_FROM_HEAP = 2**30  # larger arrays are mapped and given back one by one, as before
_NEVER = 2**31 - 1  # the top of the heap is not given back


class _State:
    """What was decided; once for the process, as malloc is."""

    reason = "not yet: it is applied when the CPU is first used"
    applied = False
    decided = False


def keep() -> None:
    """Leave malloc as it is. *Raises* `RuntimeError` if it was changed already."""
    if _State.applied:
        raise RuntimeError(
            "keep_malloc: malloc was tuned already, when the CPU was first used; call it right after import bpgpu, or "
            f"set {VARIABLE}=1"
        )
    _State.decided, _State.reason = True, "left as it is, by keep_malloc()"


def tune() -> None:
    """Raise both thresholds, the first time this is called; elsewhere than on glibc do nothing."""
    if not _State.decided:
        _State.decided = True
        _State.reason = _tuned()


def _tuned() -> str:
    if os.environ.get(VARIABLE, "") not in ("", "0"):
        return f"left as it is, by {VARIABLE}"
    library = _glibc()
    if library is None:
        return "left as it is: not glibc"
    done = library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_FROM_HEAP) and library.mallopt(
        _M_TRIM_THRESHOLD, _NEVER
    )
    _State.applied = bool(done)
    return "freed memory is kept for the next arrays" if done else "left as it is: mallopt refused"


def trim() -> bool:
    """Give the free memory that malloc keeps back to the system; True if there was any."""
    library = _glibc()
    return library is not None and bool(library.malloc_trim(0))


def state() -> str:
    """What was done, in words."""
    return _State.reason


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    names = ("gnu_get_libc_version", "mallopt", "malloc_trim")
    return library if all(hasattr(library, name) for name in names) else None
