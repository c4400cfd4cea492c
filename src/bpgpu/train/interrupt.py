"""Ctrl-C: a step that has begun is finished first, so that the weights are whole."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Interrupts:
    """Inside, the first Ctrl-C only sets `asked`; a second one raises `KeyboardInterrupt` as usual.

    Only the main thread hears signals, and a handler that the program has set itself is left alone.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._before = signal.signal(signal.SIGINT, self._noted)
        return self

    def _noted(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
