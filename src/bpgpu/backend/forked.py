"""CUDA does not survive a fork: the child has the driver's memory without its threads, and every call of it fails.

The parent notes that it has used CUDA; a child that was forked after that is told so in our words, not the driver's.
"""

from __future__ import annotations

import os
from collections.abc import Callable

CAUSE = (
    "this process was forked from one that had used CUDA already, and CUDA does not work in a fork"
)
REMEDY = (
    'start processes with multiprocessing.get_context("spawn") (mp_context= of ProcessPoolExecutor), '
    "or fork before CUDA is first used"
)


Forget = Callable[[], None]


class _State:
    found: tuple[Forget, ...] = ()
    """What forgets the devices that were found; empty as long as CUDA is not in use."""
    forked = False


def note_use(*forget: Forget) -> None:
    """CUDA is in use in this process from now on; a fork of it first calls `forget`."""
    _State.found = forget


def in_fork() -> bool:
    """True in a process that was forked after CUDA was used."""
    return _State.forked


def _after_fork() -> None:
    for forget in _State.found:
        forget()
        _State.forked = True


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
