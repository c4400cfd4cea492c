"""Whatever happens while a file is written, there is a whole one: the old or the new."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import MissingFileError, StorageError
from bpgpu.io import atomic

POSIX = pytest.mark.skipif(os.name == "nt", reason="rights, links and limits of POSIX")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file.safetensors"
    bp.save(path, x=np.zeros(3))
    return path


def assert_as_before(path: Path) -> None:
    """The old file is whole, and nothing else is in the folder."""
    assert bp.load(path)["x"].tolist() == [0, 0, 0]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_new_file_takes_the_place_of_the_old_one(path: Path) -> None:
    bp.save(path, x=np.ones(1))
    assert bp.load(path)["x"].tolist() == [1]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("at", ["write", "flush", "fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "No space left on device. Nothing was changed; make room on the disk"),
        (errno.EIO, "Nothing was changed; see the system's message"),
        (errno.EACCES, "choose a folder that you may write to"),
    ],
)
def test_a_disk_that_refuses_leaves_the_old_file(
    at: str, number: int, remedy: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __getattr__(self, name: str) -> Any:
            return fail if name == at else getattr(self.file, name)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: Any) -> None:
            self.file.close()

    if at == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif at == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        fdopen = os.fdopen
        monkeypatch.setattr(os, "fdopen", lambda *a: Full(fdopen(*a)))
    with pytest.raises(StorageError) as caught:
        bp.save(path, x=np.ones(10**5))
    monkeypatch.undo()
    assert remedy in str(caught.value)
    assert f"save: '{path}' could not be written" in str(caught.value)
    assert caught.value.errno == number
    assert_as_before(path)


@POSIX
def test_a_limit_on_the_size_of_files_leaves_the_old_file(path: Path) -> None:
    script = f"""
import resource, numpy as np, bpgpu as bp
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
try:
    bp.save({str(path)!r}, x=np.ones(10**5))
except OSError as error:
    print(type(error).__name__, error)
"""
    done = python(script)
    assert "StorageError save: " in done.stdout
    assert "ulimit -f" in done.stdout
    assert_as_before(path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_leaves_the_old_file(
    error: type[BaseException], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Iterator[bytes]:
        yield b"half"
        raise error

    monkeypatch.setattr("bpgpu.io.container.chunks", interrupted)
    with pytest.raises(error):
        bp.save(path, x=1)
    assert_as_before(path)


def test_an_array_that_cannot_be_saved_leaves_the_old_file(path: Path) -> None:
    with pytest.raises(TypeError):
        bp.save(path, x=np.ones(3), y=np.array([object()]))
    assert_as_before(path)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(
        MissingFileError, match=r"there is no folder '.*runs' for 'a.st'; make it first"
    ):
        bp.save(tmp_path / "runs" / "a.st", x=1)
    assert not list(tmp_path.iterdir())


def test_a_folder_as_target(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"is a folder; give the name of a file in it"):
        bp.save(tmp_path, x=1)
    assert not list(tmp_path.iterdir())


@POSIX
def test_a_folder_below_a_file(path: Path) -> None:
    with pytest.raises(StorageError, match="could not be written: Not a directory"):
        bp.save(path / "x", x=1)


@POSIX
def test_a_pipe_as_target(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="is a device or a pipe"):
        bp.save(tmp_path / "pipe", x=1)


@POSIX
@pytest.mark.skipif(os.name != "nt" and os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(path: Path) -> None:
    path.parent.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="choose a folder that you may write to"):
            bp.save(path, x=1)
        assert_as_before(path)
    finally:
        path.parent.chmod(0o700)


@POSIX
def test_a_long_name(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    bp.save(path, x=1)
    assert bp.load(path) == {"x": 1}
    with pytest.raises(StorageError, match="File name too long"):
        bp.save(tmp_path / ("n" * 256), x=1)
    assert len(list(tmp_path.iterdir())) == 1


@POSIX
def test_a_symbolic_link_stays_one(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link = folder / "latest"
    link.symlink_to(path)
    bp.save(link, x=np.ones(1))
    assert link.is_symlink()
    assert bp.load(path)["x"].tolist() == [1]
    path.unlink()
    bp.save(link, x=np.ones(2))
    assert link.is_symlink()
    assert bp.load(path)["x"].tolist() == [1, 1]


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_the_rights_of_the_old_file_are_kept(path: Path, mode: int) -> None:
    path.chmod(mode)
    bp.save(path, x=1)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@POSIX
def test_a_new_file_has_the_rights_of_any_new_file(path: Path) -> None:
    plain = path.with_name("plain")
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_saves_at_the_same_time_leave_one_of_them_whole(path: Path) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(20):
                bp.save(path, x=np.full(5000, float(number)))
                found = bp.load(path)["x"]
                assert (found == found[0]).all()
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@POSIX
def test_what_a_killed_process_left_is_removed_by_the_next_save(path: Path) -> None:
    script = f"""
import os, signal, bpgpu as bp
from bpgpu.io import container
container.chunks = lambda *_: iter([b"half", os.kill(os.getpid(), signal.SIGKILL)])
bp.save({str(path)!r}, x=1)
"""
    script = script.replace(
        'iter([b"half", os.kill(os.getpid(), signal.SIGKILL)])',
        '(b"half" if i == 0 else os.kill(os.getpid(), signal.SIGKILL) for i in range(2))',
    )
    assert python(script, check=False).returncode == -signal.SIGKILL
    assert len(list(path.parent.iterdir())) == 2
    assert bp.load(path)["x"].tolist() == [0, 0, 0]
    bp.save(path, x=np.zeros(3))
    assert_as_before(path)


@POSIX
def test_what_a_living_process_writes_is_left_alone(path: Path) -> None:
    with atomic._temporary(path) as (name, _):
        bp.save(path, x=np.zeros(3))
        assert name.exists()
        name.replace(path.with_name("other"))
    path.with_name("other").unlink()
    assert_as_before(path)


def test_files_of_others_are_left_alone(path: Path) -> None:
    others = [path.with_name(".bpgpu-0000000000000000-00.tmp"), path.with_name("a.tmp")]
    for other in others:
        other.touch()
    bp.save(path, x=1)
    assert all(other.exists() for other in others)


def python(script: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=check
    )


def test_saving_where_files_cannot_be_locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = path.with_name(f"{atomic._prefix(path)}00.tmp")
    left.touch()
    monkeypatch.setattr(atomic, "fcntl", None)
    bp.save(path, x=np.ones(1))
    assert bp.load(path)["x"].tolist() == [1]
    assert left.exists()  # it may be a file that someone is writing


@POSIX
def test_what_cannot_be_locked_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    left = path.with_name(f"{atomic._prefix(path)}00.tmp")
    left.touch()
    monkeypatch.setattr("fcntl.flock", refuse)
    bp.save(path, x=np.ones(1))
    assert bp.load(path)["x"].tolist() == [1]
    assert left.exists()


@POSIX
@pytest.mark.slow
def test_a_training_that_is_killed_loses_nothing() -> None:
    script = Path(__file__).parents[2] / "ci" / "kill_test"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "5"], capture_output=True, text=True, check=False
    )
    assert "0 unreadable, 0 lost, 0 resumed runs that differ" in done.stdout, done.stderr
