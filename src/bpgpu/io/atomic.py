"""Writing a file so that there is always a whole one: the old one until the last moment, then the new one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bpgpu.errors import ArgumentError, MissingFileError, StorageError

try:
    import fcntl
except ImportError:  # Windows, where a file that someone writes cannot be deleted anyway
    fcntl = None  # type: ignore[assignment]

_REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room in your quota",
    errno.EFBIG: "the system limits the size of a file, see ulimit -f",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
}


def write(path: Path, chunks: Iterable[Any]) -> None:
    """Replace the file at `path` by one of these bytes, whole or not at all, also if the process is killed meanwhile.

    The bytes go to a temporary file in the same folder, to the disk, and then under the name in one step. A symbolic
    link stays one: the file that it points to is replaced. The rights of the old file are kept.

    *Raises* `StorageError` if the system refuses, `MissingFileError` for a folder that is not there. Then the old file
    is as it was, and no temporary one is left.
    """
    try:
        target = Path(os.path.realpath(path))
        _check(path, target)
        _remove_leftovers(target)
        with _temporary(target) as (name, file):
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            _keep_rights(target, file)
            os.fsync(file.fileno())
            if os.name == "nt":
                file.close()  # no name can be given to an open file
            name.replace(target)
        _sync_folder(target.parent)
    except FileNotFoundError as error:
        raise MissingFileError(
            f"save: there is no folder '{path.parent}' for '{path.name}'; make it first"
        ) from error
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        remedy = _REMEDIES.get(error.errno or 0, "see the system's message")
        raise failure(
            f"save: '{path}' could not be written: {error.strerror or error}. Nothing was changed; {remedy}",
            error,
        ) from error


def failure(message: str, cause: OSError) -> StorageError:
    """The error with the number that the system gave."""
    error = StorageError(message)
    error.errno = cause.errno
    return error


def checked_path(who: str, path: Any) -> Path:
    """The path as one, or an error."""
    try:
        name = os.fspath(path)
    except TypeError:
        name = None
    if not isinstance(name, str) or not name or "\0" in name:
        raise ArgumentError(
            f"{who}: expected the path of a file as a str or a pathlib.Path, got {path!r:.200}"
        )
    return Path(name)


def _check(path: Path, target: Path) -> None:
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise StorageError(
            f"save: '{path}' is a folder; give the name of a file in it, '{path / 'model.safetensors'}'"
        )
    if not stat.S_ISREG(mode):
        raise StorageError(f"save: '{path}' is a device or a pipe; give the name of a file")


def _keep_rights(target: Path, file: BinaryIO) -> None:
    with contextlib.suppress(OSError):  # no old file, or a file system without rights
        mode = stat.S_IMODE(target.stat().st_mode)
        if hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)


def _sync_folder(folder: Path) -> None:
    """The new name to the disk, where the system can: Windows and some network file systems cannot."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# ---- temporary files, and those that a killed process has left


def _prefix(target: Path) -> str:
    """How the temporary files of a target begin: of the same length for every name, since names cannot be long."""
    return f".bpgpu-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}-"


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside the target; deleted if it was not moved away."""
    name, handle = _locked(target)
    try:
        with os.fdopen(handle, "wb") as file:
            yield name, file
    except BaseException:
        with contextlib.suppress(OSError):
            name.unlink()
        raise


def _locked(target: Path) -> tuple[Path, int]:
    """A new file that nobody else deletes: they see by the lock that its writer is alive."""
    while True:
        name = target.parent / f"{_prefix(target)}{secrets.token_hex(8)}.tmp"
        handle = os.open(
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
        )
        _lock(handle, wait=True)
        if os.fstat(handle).st_nlink or os.name == "nt":
            return name, handle
        os.close(handle)  # deleted between the two lines above


def _lock(handle: int, wait: bool) -> bool:
    """True if this process has the file for itself now."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # someone else has it, or the file system knows no locks
        return False
    return True


def _remove_leftovers(target: Path) -> None:
    """Delete the temporary files of processes that were killed while they wrote this target."""
    prefix = _prefix(target)
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(".tmp"):
                _remove_if_left(Path(entry.path))


def _remove_if_left(name: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        try:
            if _lock(handle, wait=False):
                name.unlink()
        finally:
            os.close(handle)
        if os.name == "nt":
            name.unlink()  # refused while its writer is alive
