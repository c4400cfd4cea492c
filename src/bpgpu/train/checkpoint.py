"""Checkpoints of a training: written while it runs, and taken up bit for bit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from bpgpu.errors import ArgumentError
from bpgpu.io import load, save
from bpgpu.train.callbacks import Callback


class Checkpoint(Callback):
    """Saves the whole training every so often, and when it ends.

    *Parameters*

    - `path`: the file, always that of the newest checkpoint. It is replaced whole or not at all.
    - `every_steps`: save after so many batches: also within an epoch, and with `accumulate=` within a step.
    - `every_epochs`: save after so many epochs; 1 if neither is given.
    - `keep`: keep so many, the older ones beside `path` with the number of the batch in their name.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every_steps: int | None = None,
        every_epochs: int | None = None,
        keep: int = 1,
    ) -> None:
        counts: dict[str, Any] = {
            "every_steps": every_steps,
            "every_epochs": every_epochs,
            "keep": keep,
        }
        for name, value in counts.items():
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int) or value < 1
            ):
                raise ArgumentError(
                    f"Checkpoint: expected {name} as an integer of at least 1, got {value!r}"
                )
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise ArgumentError(
                f"checkpoint: there is no folder '{self.path.parent}'; make it first"
            )
        if self.path.is_dir():
            raise ArgumentError(
                f"checkpoint: '{self.path}' is a folder; give the name of a file in it, "
                f"'{self.path / 'run.safetensors'}'"
            )
        self.every_steps, self.keep = every_steps, keep
        self.every_epochs = every_epochs or (None if every_steps else 1)

    def save(self, run: Any) -> None:
        """Save a training as it is."""
        save(self.path, **parts_of(run))
        if self.keep > 1:
            self._keep(run.batch)

    def _keep(self, batch: int) -> None:
        stem, suffix = self.path.stem, self.path.suffix
        mine = self.path.with_name(f"{stem}-{batch:09d}{suffix}")
        mine.unlink(missing_ok=True)
        try:
            mine.hardlink_to(self.path)
        except OSError:  # not every file system has links
            shutil.copyfile(self.path, mine)
        pattern = f"{stem}-{'[0-9]' * 9}{suffix}"
        for old in sorted(self.path.parent.glob(pattern))[: -self.keep]:
            old.unlink()

    def on_batch_end(self, run: Any) -> None:
        due = self.every_steps is not None and run.batch % self.every_steps == 0
        if due or run.stopped_by is not None:
            self.save(run)

    def on_epoch_end(self, run: Any) -> None:
        due = self.every_epochs is not None and run.epoch % self.every_epochs == 0
        if due or run.stopped_by is not None:
            self.save(run)


def parts_of(run: Any) -> dict[str, Any]:
    """All that changes in a training, by name, as `bpgpu.save` takes it."""
    parts = {"model": run.model, "optimizer": run.optimizer, "training": run}
    if run.schedule is not None:
        parts["schedule"] = run.schedule
    if run.ema is not None:
        parts["ema"] = run.ema
    if run.scaler is not None:
        parts["scaler"] = run.scaler
    return parts


def resume(run: Any, path: Any) -> None:
    """Go on where a checkpoint was saved."""
    load(path, **parts_of(run))


def resolve(checkpoint: Any, resume: Any) -> tuple[Checkpoint | None, Any]:
    """The arguments of `fit` as a callback, and the path to resume from, if there is one."""
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint(checkpoint)
    if resume is False or resume is None:
        return checkpoint, None
    if resume is True:
        if checkpoint is None:
            raise ArgumentError(
                "resume: True goes on from the file of checkpoint=, which was not given; pass checkpoint=path too"
            )
        return checkpoint, checkpoint.path if checkpoint.path.exists() else None
    return checkpoint, resume
