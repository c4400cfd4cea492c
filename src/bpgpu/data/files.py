"""Files of data, packed by gzip or plain, read no further than a limit.

What goes wrong is told in the words of this library: `MissingFileError` and `StorageError`, which are `OSError`s too,
where the system refuses, and `DataError` where the file is not what it should be.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bpgpu.errors import ArgumentError, DataError, MissingFileError, StorageError

Location = str | os.PathLike[str]

LIMIT = 4 << 30
"""Bytes that a packed file may unpack to, unless more are asked for."""
CHUNK = 1 << 20
RATIO = 1100
"""More than this gzip never gains: a stored bit stands for at most 258 bytes of a repeated string."""


def in_words(path: Any) -> str:
    """A path as errors show it."""
    return repr(os.fspath(path))


@contextlib.contextmanager
def opened(path: Location, limit: int = LIMIT) -> Iterator[tuple[BinaryIO, int, bool]]:
    """The bytes of a file, unpacked; the size of the file itself; and whether it was packed.

    *Raises* `MissingFileError`, `StorageError`; `DataError` from the reading for a damaged packing, or one of more than
    `limit` bytes. A plain file has no limit: it cannot hold more than the disk.
    """
    try:
        path = Path(path)
    except TypeError:
        raise ArgumentError(
            f"path: expected a string or a path, got {type(path).__name__}"
        ) from None
    with _told(path), contextlib.ExitStack() as stack:
        facts = path.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise StorageError(f"{in_words(path)} is a folder; name a file in it")
        if not stat.S_ISREG(facts.st_mode):
            raise StorageError(f"{in_words(path)} is no regular file; copy its content to one")
        plain = stack.enter_context(path.open("rb"))
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        source = stack.enter_context(gzip.GzipFile(fileobj=plain)) if packed else plain
        bounded = _Bounded(source, limit if packed else max(limit, facts.st_size), in_words(path))
        yield io.BufferedReader(bounded, CHUNK), facts.st_size, packed


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Errors of the system and of the packing in the words of this library."""
    try:
        yield
    except (DataError, StorageError):
        raise
    except FileNotFoundError:
        raise MissingFileError(
            f"there is no file {in_words(path)} (looked for from the folder {in_words(Path.cwd())})"
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{in_words(path)}: the gzip file is damaged or cut off ({error}); fetch it again"
        ) from None
    except OSError as error:
        raise StorageError(
            f"{in_words(path)}: cannot be read ({error.strerror or error})"
        ) from None
    except ValueError as error:
        if "null" not in str(error):
            raise
        raise StorageError(f"{in_words(path)}: no name of a file ({error})") from None


class _Bounded(io.RawIOBase):
    """A stream that ends with an error when more than `limit` bytes come out of it."""

    def __init__(self, source: Any, limit: int, name: str) -> None:
        self._source, self._left, self._limit, self._name = source, limit, limit, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(min(len(buffer), CHUNK))
        self._left -= len(data)
        if self._left < 0:
            raise DataError(
                f"{self._name}: holds more than {self._limit} bytes; allow more (max_bytes) if it should"
            )
        buffer[: len(data)] = data
        return len(data)


@contextlib.contextmanager
def opened_text(path: Location, encoding: str, limit: int = LIMIT) -> Iterator[io.TextIOWrapper]:
    """The text of a file, line ends as they are.

    *Raises* what `opened` raises; `ArgumentError` for an encoding that does not exist; `DataError` for bytes that are
    none of it.
    """
    try:
        "".encode(encoding)
    except (LookupError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"encoding: expected one of Python's text encodings, got {encoding!r} ({error})"
        ) from None
    name = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    with opened(path, limit) as (source, _, _):
        try:
            yield io.TextIOWrapper(source, encoding=name, newline="")
        except UnicodeError as error:
            raise DataError(
                f"{in_words(path)}: {_where(path, name, limit)}is not text in {encoding} ({_reason(error)}); give its "
                f"encoding, perhaps '{_guess(path)}'"
            ) from None


def _guess(path: Location) -> str:
    """The likeliest encoding of a text that is not UTF-8: by its first two bytes, which say so in UTF-16."""
    with opened(path, LIMIT) as (source, _, _):
        return (
            "utf-16" if source.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "latin-1"
        )


def _reason(error: UnicodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte 0x{error.object[error.start]:02x}: {error.reason}"
    return str(error)


def _where(path: Location, encoding: str, limit: int) -> str:
    """The first line that is none of an encoding in which lines end with one byte."""
    if encoding not in ("utf-8-sig", "ascii"):
        return ""
    with opened(path, limit) as (source, _, _):
        for number, line in enumerate(iter(lambda: source.readline(CHUNK), b""), 1):
            try:
                line.decode(encoding.removesuffix("-sig"))
            except UnicodeDecodeError:
                return f"line {number}: "
    return ""
