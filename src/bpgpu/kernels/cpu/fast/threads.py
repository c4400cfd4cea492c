"""Work shared out among threads.

The loops of this folder let go of Python's lock, so its own threads will do. Those that wait do not
spin, unlike the ones that NumPy keeps for matrix products: after such a product these look out for
the next for a while, and take a core from everybody else. So what is shared out here calls none.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

LEAST = 2**18
"""So many numbers to read and write are worth a thread of their own."""

_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


def _count() -> int:
    """As many as NumPy's products use: what the environment says, else one for each core."""
    for name in _VARIABLES:
        value = os.environ.get(name, "")
        if value.isdecimal() and int(value) > 0:
            return int(value)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


WORKERS = _count()


def share(work: Callable[..., None], parts: Sequence[tuple[Any, ...]]) -> None:
    """Call `work` with each of the parts: every thread, the calling one too, takes the next that is
    left, so that one whose core is taken by somebody else does not hold up the others."""
    if len(parts) == 1:
        work(*parts[0])
        return
    left = deque(parts)

    def take() -> None:
        while left:
            try:
                part = left.popleft()
            except IndexError:  # another thread took the last one
                return
            work(*part)

    waiting = [_threads().submit(take) for _ in range(min(WORKERS, len(parts)) - 1)]
    take()
    for future in waiting:
        future.result()


def cut(n: int, least: int = 1, each: int = 4) -> list[tuple[int, int]]:
    """`range(n)` in some stretches for each worker, or in fewer of at least so many."""
    if WORKERS == 1 or n < 2 * least:
        return [(0, n)]
    count = max(1, min(WORKERS * each, n // max(least, 1)))
    ends = [n * i // count for i in range(count + 1)]
    return list(itertools.pairwise(ends))


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, WORKERS - 1), thread_name_prefix="bpgpu")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # the threads stay with the parent
