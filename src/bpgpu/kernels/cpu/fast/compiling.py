"""How the loops of this folder are compiled.

Serial, since NumPy's matrix products keep threads of their own, whose idle ones spin for a while:
two pools of threads take the cores from each other. Sums may be taken in another order and products
fused with sums; NaN and infinities mean what they always do. Divisions are not tested for zero,
which would keep a loop from being vectorised.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numba
from numba.core import event

_njit: Any = numba.njit
_OPTIONS = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
}


class _Announcer(event.Listener):  # type: ignore[misc,unused-ignore]
    """Says once that something is being compiled, before it begins."""

    said = False

    def on_start(self, event: Any) -> None:
        dispatcher = event.data["dispatcher"]
        if not self.said and dispatcher.py_func.__module__.startswith(__package__):
            type(self).said = True
            logging.getLogger("bpgpu").warning(
                "compiling kernels for the CPU, each when it is first used: some seconds in all; "
                "they are kept for the next run"
            )

    def on_end(self, event: Any) -> None:
        pass


_register: Any = event.register
_register("numba:compile", _Announcer())


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A loop, compiled when it is first called and kept on disk where there is a place for it."""
    try:
        made: Callable[..., Any] = _njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder that can be written to
        made = _njit(**_OPTIONS)(function)
    return made


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function for use within loops."""
    made: Callable[..., Any] = _njit(**_OPTIONS)(function)
    return made
