"""What a training writes down while it runs."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bpgpu.errors import ArgumentError, MissingFileError, MissingPackageError, StorageError
from bpgpu.train.loggers import CSVLogger, TensorBoard


def run(epoch: int, /, **history: Any) -> Any:
    return SimpleNamespace(epoch=epoch, step=10 * epoch, history=history, loss=np.float32(0.5))


def epochs(logger: Any, first: int, last: int, **columns: list[float]) -> None:
    """What fit calls from epoch `first` to `last`."""
    history: dict[str, list[float]] = {name: [] for name in columns}
    logger.on_train_begin(run(first))
    for epoch in range(first, last):
        logger.on_epoch_begin(run(epoch))
        logger.on_step_end(run(epoch))
        for name, values in columns.items():
            history[name].append(values[epoch])
        logger.on_epoch_end(run(epoch + 1, **history))
    logger.on_train_end(run(last))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.csv"


def test_a_row_for_each_epoch(path: Path) -> None:
    epochs(CSVLogger(path), 0, 2, loss=[0.1, 1e-300], accuracy=[math.nan, math.inf])
    assert path.read_text().split() == ["epoch,loss,accuracy", "1,0.1,nan", "2,1e-300,inf"]


def test_rows_can_be_read_while_training_goes_on(path: Path) -> None:
    logger = CSVLogger(path, step_name="step")
    logger.log(1, {"loss": np.float32(0.5)})
    assert path.read_text().split() == ["step,loss", "1,0.5"]
    logger.log(2, {"loss": np.float64(1) / 3, "note": 'a,"b"', "n": 10**20, "none": None})
    rows = path.read_text().splitlines()
    assert rows == ["step,loss,note,n,none", "1,0.5,,,", f'2,{1 / 3!r},"a,""b""",{10**20},']


def test_what_was_not_measured_in_an_epoch_leaves_a_gap(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    history: dict[str, Any] = {"epoch": [1, 2], "loss": [2.0, 1.0], "score": [None, 3.0]}
    for logger in (CSVLogger(path), TensorBoard(tmp_path / "curves")):
        epochs(logger, 0, 2, **history)
    assert path.read_text().split() == ["epoch,loss,score", "1,2.0,", "2,1.0,3.0"]
    assert ("score", 1, 3.0) not in scalars(tmp_path / "curves")


def test_a_new_run_begins_a_new_file(path: Path) -> None:
    for losses in ([3.0, 2.0], [5.0]):
        epochs(CSVLogger(path), 0, len(losses), loss=losses)
    assert path.read_text().split() == ["epoch,loss", "1,5.0"]


def test_a_resumed_run_goes_on_and_forgets_what_came_after_its_checkpoint(path: Path) -> None:
    losses = [4.0, 3.0, 2.0, 1.0]
    epochs(CSVLogger(path), 0, 3, loss=losses)
    epochs(CSVLogger(path), 1, 4, loss=losses, accuracy=[0.0, 0.1, 0.2, 0.3])
    rows = ["epoch,loss,accuracy", "1,4.0,", "2,3.0,0.1", "3,2.0,0.2", "4,1.0,0.3"]
    assert path.read_text().split() == rows
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_row_that_was_cut_short_is_forgotten(path: Path) -> None:
    path.write_text("epoch,loss\n1,4.0\n2,3.0\n,")
    epochs(CSVLogger(path), 2, 3, loss=[0, 0, 2.0])
    assert path.read_text().split() == ["epoch,loss", "1,4.0", "2,3.0", "3,2.0"]


def test_a_file_that_is_no_log_is_not_overwritten_by_a_resumed_run(path: Path) -> None:
    path.write_text("name,age\nAda,36\n")
    with pytest.raises(ArgumentError, match="has no column 'epoch' with numbers"):
        CSVLogger(path).on_train_begin(run(1))
    assert path.read_text() == "name,age\nAda,36\n"


def test_a_file_that_cannot_be_written_is_told_before_training(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"there is no folder '.*none'; make it first"):
        CSVLogger(tmp_path / "none" / "log.csv")
    with pytest.raises(StorageError, match=r"cannot be written: Is a directory"):
        CSVLogger(tmp_path)


def test_a_value_with_the_name_of_the_steps_is_refused(path: Path) -> None:
    with pytest.raises(ArgumentError, match="a value is called 'epoch'"):
        CSVLogger(path).log(1, {"epoch": 3})


# ---- TensorBoard


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """What the files of a folder say, oldest first."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.iterdir()):
        raw, at = file.read_bytes(), 0
        while at < len(raw):
            size = int.from_bytes(raw[at : at + 8], "little")
            event = Event.FromString(raw[at + 12 : at + 12 + size])
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            at += 16 + size
    return found


def test_curves_for_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    epochs(TensorBoard(tmp_path / "run"), 0, 2, **{"loss": [2.0, 1.0], "validation/loss": [4.0, 3]})
    assert scalars(tmp_path / "run") == [
        ("loss", 1, 2.0), ("validation/loss", 1, 4.0), ("loss", 2, 1.0), ("validation/loss", 2, 3.0),
    ]  # fmt: skip


def test_the_loss_of_steps_for_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    with TensorBoard(tmp_path, every_steps=20) as logger:
        for epoch in range(4):
            logger.on_step_end(run(epoch))
    assert scalars(tmp_path) == [("step/loss", 0, 0.5), ("step/loss", 20, 0.5)]


def test_a_resumed_run_goes_on_in_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    for first, last in ((0, 3), (1, 3)):
        epochs(TensorBoard(tmp_path), first, last, loss=[2.0, 1.0, 0.5])
    assert ("loss", 3, 0.5) in scalars(tmp_path)


def test_tensorboard_without_its_package_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingPackageError, match=r'pip install "bpgpu\[tensorboard\]"'):
        TensorBoard(tmp_path)


@pytest.mark.parametrize("every", [0, -1, 1.5, "1"])
def test_tensorboard_takes_whole_steps(every: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="expected every_steps of at least 1 or None, got"):
        TensorBoard(tmp_path, every_steps=every)
