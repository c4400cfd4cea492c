"""What a training shows while it runs: one live line, or a plain line for each epoch."""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

from bpgpu.backend.look import at_hand
from bpgpu.errors import ArgumentError, MissingPackageError
from bpgpu.train.callbacks import Callback

REFRESH = 0.1
"""Seconds from one look at the loss to the next; on a GPU, where looking waits for the device, ten times as many."""

FORMAT = "{desc} |{bar:16}| {percentage:3.0f}% {remaining}{postfix}"
"""Where the end is known: short, so that the numbers fit into a line."""


def progress_of(wish: Any, place: Any, epochs: int | None, batches: int | None) -> list[Callback]:
    """The callback that shows progress: none for `False`; `"auto"` looks where the output goes.

    *Raises* `MissingPackageError` if a live line was asked for and tqdm is missing.
    """
    if wish is False or wish is None:
        return []
    if wish not in ("auto", True, "live", "plain"):
        raise ArgumentError(
            f"progress: expected 'auto', 'live', 'plain', True or False, got {wish!r}"
        )
    live = wish == "live" or (wish != "plain" and _is_live())
    if live:
        try:
            tqdm = importlib.import_module("tqdm.auto").tqdm
        except ImportError as error:
            if wish != "auto":
                raise MissingPackageError(
                    f'progress: a live line needs the package tqdm: pip install "bpgpu[progress]" ({error})'
                ) from error
        else:
            return [Live(tqdm, place, epochs, batches)]
    return [Plain(place, epochs)]


def _is_live() -> bool:
    out = sys.stdout
    return "ipykernel" in sys.modules or (
        out is not None and hasattr(out, "isatty") and out.isatty()
    )


class Plain(Callback):
    """A line for each epoch."""

    def __init__(self, place: Any, epochs: int | None) -> None:
        self.place, self.epochs = place, epochs

    def on_train_begin(self, run: Any) -> None:
        self._start = time.perf_counter()
        _write(f"training on {self.place} ({self.place.reason})")

    def on_epoch_begin(self, run: Any) -> None:
        self._epoch = time.perf_counter()

    def on_epoch_end(self, run: Any) -> None:
        spent = time.perf_counter() - self._epoch
        total = "" if self.epochs is None else f"/{self.epochs}"
        _write(f"epoch {run.epoch}{total}  {values(run)}  {spent:.1f} s")

    def on_train_end(self, run: Any) -> None:
        if run.stopped_by is not None:
            _write(f"stopped: {run.stopped_by} ({time.perf_counter() - self._start:.1f} s)")


class Live(Callback):
    """One line that is drawn anew: epoch, bar, time left, loss and metrics."""

    def __init__(self, tqdm: Any, place: Any, epochs: int | None, batches: int | None) -> None:
        self.tqdm, self.place, self.epochs = tqdm, place, epochs
        self.total = None if epochs is None or batches is None else epochs * batches
        self._next = 0.0
        self._pause = REFRESH

    def on_train_begin(self, run: Any) -> None:
        _write(f"training on {self.place} ({self.place.reason})")
        self._bar = self.tqdm(
            total=self.total,
            initial=run.batch,
            file=sys.stdout,
            dynamic_ncols=True,
            unit="batch",
            bar_format=None if self.total is None else FORMAT,
        )
        self._describe(run)

    def _describe(self, run: Any) -> None:
        total = "" if self.epochs is None else f"/{self.epochs}"
        self._bar.set_description(f"epoch {run.epoch + 1}{total}", refresh=False)

    def on_epoch_begin(self, run: Any) -> None:
        self._describe(run)

    def on_batch_end(self, run: Any) -> None:
        now = time.perf_counter()
        if now < self._next:
            return
        if not at_hand(run.loss):
            self._pause = 10 * REFRESH
        self._bar.update(run.batch - self._bar.n)
        self._bar.set_postfix_str(f"loss {float(run.loss):.4g} {self._last}")
        self._next = time.perf_counter() + self._pause

    _last = ""

    def on_epoch_end(self, run: Any) -> None:
        self._last = f"({values(run)})"
        self._bar.update(run.batch - self._bar.n)
        self._bar.set_postfix_str(values(run))

    def on_train_end(self, run: Any) -> None:
        self._bar.close()
        if run.stopped_by is not None:
            _write(f"stopped: {run.stopped_by}")


def values(run: Any) -> str:
    """The last entry of each column that is a number."""
    pairs = ((name, column[-1]) for name, column in run.history.items() if column)
    return "  ".join(f"{name} {v:.4g}" for name, v in pairs if isinstance(v, (int, float)))


def _write(line: str) -> None:
    if sys.stdout is not None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
