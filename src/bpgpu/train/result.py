"""What a training gives back: its history, and why it ended."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bpgpu.errors import MissingFileError, StorageError
from bpgpu.plot import plot


@dataclass(repr=False)
class Result:
    """The result of `fit`."""

    model: Any
    history: dict[str, list[Any]]
    """A list for each name (`"loss"`, `"accuracy"`, `"val_loss"` ...), with a value for each epoch."""
    stopped_by: str
    """Why training ended, with the numbers; `"interrupted"` after Ctrl-C."""
    epochs: int
    """How many epochs were finished."""
    steps: int
    """How many steps the optimizer made."""
    seconds: float
    device: Any
    """Where it ran; `result.device.reason` says why."""
    ema: Any = field(default=None)
    """The average of the weights, with `ema=`; `result.ema.copy_to()` puts it into the model."""
    micro_batch: int | None = None
    """Rows that were computed at a time in the end, with `micro_batch=`; `None` for whole batches."""

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the history into a file, a row for each epoch, with all digits.

        *Raises* `MissingFileError` if there is no such folder, `StorageError` if the system refuses.
        """
        rows = zip(*self.history.values(), strict=True)
        try:
            with Path(path).open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["epoch", *self.history])
                writer.writerows([i, *row] for i, row in enumerate(rows, 1))
        except FileNotFoundError as error:
            raise MissingFileError(
                f"to_csv: there is no folder '{Path(path).parent}'; make it first"
            ) from error
        except OSError as error:
            raise StorageError(f"to_csv: '{path}' cannot be written: {error.strerror}") from error

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """The curves of the loss and of each metric, training and validation in one plot; returns the figure.

        *Parameters* `path`: also save the figure there.

        *Raises* `MissingPackageError` without matplotlib: `pip install "bpgpu[plot]"`.

        *Notes* See `bpgpu.plot.plot`. The figure belongs to no window: it shows in a notebook, and is saved by
        `figure.savefig`.
        """
        return plot(self.history, path)

    def __repr__(self) -> str:
        last = ", ".join(f"{k} {v[-1]:.4g}" for k, v in self.history.items() if v and _drawable(v))
        return f"Result({self.epochs} epochs, {last}; stopped by: {self.stopped_by})"


def _drawable(values: list[Any]) -> bool:
    return all(isinstance(v, (int, float)) for v in values)
