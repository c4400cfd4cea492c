"""What a training writes down while it runs: rows of a CSV file, or curves for TensorBoard.

Both are callbacks of `bpgpu.fit`, and both serve a loop of one's own through `log`.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from bpgpu.errors import ArgumentError, MissingFileError, MissingPackageError, StorageError


class Logger:
    """Base of the loggers: a subclass defines `log`, and may define `open` and `close`.

    As a callback it logs the last entry of each list in `run.history` when an epoch ends, under the number of the
    epochs that are done, `run.epoch`.
    """

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Write down values under a step: an epoch, usually. Numbers, or arrays of one number."""
        raise NotImplementedError

    def open(self, step: int) -> None:
        """Begin after `step`: what was written for later steps, by a run that was interrupted, is forgotten."""

    def close(self) -> None:
        """Finish; more can be logged later."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ---- as a callback

    def on_train_begin(self, run: Any) -> None:
        self.open(run.epoch)

    def on_epoch_begin(self, run: Any) -> None:
        pass

    def on_step_end(self, run: Any) -> None:
        pass

    def on_epoch_end(self, run: Any) -> None:
        row = {name: column[-1] for name, column in run.history.items() if column}
        self.log(run.epoch, {k: v for k, v in row.items() if v is not None and k != "epoch"})

    def on_train_end(self, run: Any) -> None:
        self.close()


class CSVLogger(Logger):
    """A CSV file with one row for each epoch, written as it ends: it can be read while training goes on.

    *Parameters*

    - `path`: the file. One that is there is replaced, unless training is resumed: then its rows up to where the run
      goes on stay.
    - `step_name`: the name of the first column.

    *Raises* `MissingFileError` or `StorageError` when it is made, if the file cannot be written.

    *Notes* Columns come in the order in which they are first logged; a row has gaps where a value was not logged.
    Numbers are written with all their digits.

    >>> import os, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "log.csv")
    >>> with CSVLogger(path) as logger:
    ...     logger.log(1, {"loss": 0.5})
    ...     logger.log(2, {"loss": 0.25, "accuracy": 1.0})
    >>> with open(path) as file:
    ...     print(file.read().strip())
    epoch,loss,accuracy
    1,0.5,
    2,0.25,1.0
    >>> folder.cleanup()
    """

    def __init__(self, path: str | os.PathLike[str], *, step_name: str = "epoch") -> None:
        self.path = Path(path)
        self.step_name = step_name
        self._rows: list[dict[str, str]] | None = None
        self._columns = [step_name]
        with self._told():
            self.path.open("a").close()

    def open(self, step: int) -> None:
        rows = self._read() if step > 0 else []
        self._rows = [row for row in rows if _number(row[self.step_name]) <= step]
        self._columns = list(dict.fromkeys([self.step_name, *(k for r in rows for k in r)]))
        self._write_all()

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        if self._rows is None:
            self.open(0)
        if self.step_name in values:
            raise ArgumentError(
                f"CSVLogger: a value is called '{self.step_name}', which is the column of the steps; pass another "
                "step_name"
            )
        row = {self.step_name: str(step)} | {name: _text(value) for name, value in values.items()}
        assert self._rows is not None
        self._rows.append(row)
        new = [name for name in row if name not in self._columns]
        if new:
            self._columns += new
            self._write_all()
            return
        with self._told(), self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns, restval="").writerow(row)

    def _read(self) -> list[dict[str, str]]:
        with self._told(), self.path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        whole = [r for r in rows if None not in r and _is_number(r.get(self.step_name))]
        if rows and not whole:
            raise ArgumentError(
                f"CSVLogger: '{self.path}' has no column '{self.step_name}' with numbers, so it is not the log of the "
                "run that is resumed; choose another path"
            )
        return [{k: v for k, v in row.items() if v} for row in whole]

    def _write_all(self) -> None:
        """All rows anew, whole or not at all."""
        new = self.path.with_name(f"{self.path.name}.tmp")
        with self._told():
            with new.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self._columns, restval="")
                writer.writeheader()
                writer.writerows(self._rows or [])
            new.replace(self.path)

    @contextlib.contextmanager
    def _told(self) -> Any:
        """Tell errors of the system with the path."""
        try:
            yield
        except FileNotFoundError as error:
            raise MissingFileError(
                f"CSVLogger: there is no folder '{self.path.parent}'; make it first"
            ) from error
        except OSError as error:
            raise StorageError(
                f"CSVLogger: '{self.path}' cannot be written: {error.strerror or error}"
            ) from error


class TensorBoard(Logger):
    """Curves for TensorBoard: `tensorboard --logdir runs` shows them while training goes on.

    *Parameters*

    - `folder`: where the files of this run go; each run needs a folder of its own, in a common one.
    - `every_steps`: log the loss of every so many steps too, under `"step/loss"`. On a GPU this waits for the device
      each time; `None` logs epochs only.

    *Raises* `MissingPackageError` when it is made, if the package tensorboardX is missing: `pip install
    "bpgpu[tensorboard]"`.

    *Notes* A run that is resumed goes on in the same folder; what an interrupted one had written for later epochs is
    hidden. A name such as `"validation/loss"` puts curves into groups.
    """

    def __init__(self, folder: str | os.PathLike[str], *, every_steps: int | None = None) -> None:
        if every_steps is not None and not (isinstance(every_steps, int) and every_steps >= 1):  # type: ignore[redundant-expr]
            raise ArgumentError(
                f"TensorBoard: expected every_steps of at least 1 or None, got {every_steps!r}"
            )
        try:
            self._module = importlib.import_module("tensorboardX")
        except ImportError as error:
            raise MissingPackageError(
                f'TensorBoard needs the package tensorboardX: pip install "bpgpu[tensorboard]" ({error})'
            ) from error
        self.folder = os.fspath(folder)
        self.every_steps = every_steps
        self._writer: Any = None

    def open(self, step: int) -> None:
        self.close()
        # TensorBoard drops what older files say from this step on
        self._writer = self._module.SummaryWriter(
            self.folder, purge_step=step + 1 if step else None
        )

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        if self._writer is None:
            self.open(0)
        for name, value in values.items():
            self._writer.add_scalar(name, float(value), step)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def on_step_end(self, run: Any) -> None:
        if self.every_steps is not None and run.step % self.every_steps == 0:
            self.log(run.step, {"step/loss": run.loss})


def _text(value: Any) -> str:
    """A value with all its digits."""
    if isinstance(value, (str, bool)) or value is None:
        return "" if value is None else str(value)
    return repr(int(value)) if isinstance(value, int) else repr(float(value))


def _number(text: str | None) -> float:
    return float(text or "nan")


def _is_number(text: str | None) -> bool:
    try:
        return _number(text) >= 0
    except ValueError:
        return False
