"""The safetensors format: 8 bytes that give the length of a header, the header as JSON, and the numbers.

    {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {"key": "text"}}

Other programs read and write it too (https://github.com/huggingface/safetensors). A file is data only: nothing in it
is ever run. Whatever a header claims is checked against the size of the file before memory is taken for it.
"""

from __future__ import annotations

import json
import mmap
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

from bpgpu.backend import storage
from bpgpu.backend.storage import Kind
from bpgpu.errors import CheckpointError, MissingFileError
from bpgpu.io.atomic import failure
from bpgpu.io.structure import stored_kind

CODES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "BF16": "bfloat16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "C64": "complex64",
}
"""The names of dtypes in the format."""
_CODE_OF = {dtype: code for code, dtype in CODES.items()}
LONGEST_HEADER = 100_000_000
"""In bytes: the limit of the format."""
ALIGNMENT = 64
"""The numbers begin at a multiple of this, as processors and array libraries like it."""
_DIMENSIONS = 64
"""NumPy's limit."""

Array = Any


class Entry(NamedTuple):
    """An array of a file: what it is, and where its bytes stand."""

    kind: Kind
    begin: int
    end: int


# ---- writing


def chunks(arrays: dict[str, Array], metadata: dict[str, str]) -> Iterator[Any]:
    """The bytes of a file, one array at a time."""
    kinds = {name: stored_kind(storage.kind_of(x)) for name, x in arrays.items()}
    # the widest numbers first, so that each array begins at a multiple of its width
    order = sorted(kinds, key=lambda name: (-storage.SIZES[kinds[name].dtype], name))
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in order:
        begin, end = end, end + kinds[name].nbytes
        dtype, shape = kinds[name]
        entry = {"dtype": _CODE_OF[dtype], "shape": list(shape), "data_offsets": [begin, end]}
        header[name] = entry
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > LONGEST_HEADER:
        raise CheckpointError(
            f"save: names, numbers and strings take {len(text)} bytes, the format allows {LONGEST_HEADER}; keep large "
            "lists of numbers as arrays"
        )
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        yield storage.bytes_of(arrays[name])


# ---- reading


class File:
    """A safetensors file, opened for reading; closed as a context manager.

    Its arrays look at the file itself and are read when they are first used. What is written to them stays in memory.

    *Raises* `MissingFileError` or `StorageError` if there is nothing to be read, `CheckpointError` if it is no such
    file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map: mmap.mmap | bytes = b""
        try:
            facts = path.stat()
            if stat.S_ISDIR(facts.st_mode):
                self.refuse("it is a folder; give the name of a file in it")
            if not stat.S_ISREG(facts.st_mode):  # to open a pipe would be to wait for its writer
                self.refuse("it is a device or a pipe, no file")
            with path.open("rb", buffering=0) as file:
                if facts.st_size:
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except FileNotFoundError as error:
            raise MissingFileError(f"load: there is no file '{path}'") from error
        except OSError as error:
            raise failure(
                f"load: '{path}' could not be read: {error.strerror or error}", error
            ) from error
        self.entries, self.metadata = self._header()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """The mapping goes with the last array that looks at it."""
        self._map = b""

    def refuse(self, why: str) -> NoReturn:
        """Raise an error that names the file."""
        raise CheckpointError(f"load: '{self.path}' cannot be loaded: {why}. Nothing was changed")

    def array(self, name: str, kind: Kind | None = None) -> Array:
        """An array of the file, as NumPy's; complex if it was stored so and `kind` says it."""
        entry = self.entries[name]
        bytes_ = memoryview(self._map)[self._start + entry.begin : self._start + entry.end]
        return storage.view(bytes_, kind or entry.kind)

    def _header(self) -> tuple[dict[str, Entry], dict[str, str]]:
        size = len(self._map)
        length = int.from_bytes(self._map[:8], "little")
        self._start = 8 + length
        if size < 10 or self._start > size or self._map[8:9] != b"{" or length > LONGEST_HEADER:
            self.refuse(_what_else(self._map[:512], size))
        header = json_object(self, self._map[8 : self._start], "header")
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
            self.refuse("its metadata are no texts by name")
        entries = {name: self._entry(name, entry) for name, entry in header.items()}
        self._check_places(entries, size - self._start)
        return entries, metadata

    def _entry(self, name: str, entry: Any) -> Entry:
        short = f"{name:.80}"
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            self.refuse(f"the header says about '{short}' something else than dtype, shape, place")
        code, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in CODES:
            self.refuse(f"'{short}' has dtype {code!r:.40}, which has no counterpart here")
        if not (_counts(shape) and len(shape) <= _DIMENSIONS):
            self.refuse(f"'{short}' has the impossible shape {shape!r:.80}")
        if not (_counts(place) and len(place) == 2):
            self.refuse(f"'{short}' has the impossible place {place!r:.80}")
        kind = Kind(CODES[code], tuple(shape))
        if _volume(shape) > 2**60 or kind.nbytes != place[1] - place[0]:
            self.refuse(
                f"'{short}' has dtype {code} and shape {shape!r:.80}, which do not fit its place {place!r:.80}"
            )
        return Entry(kind, *place)

    def _check_places(self, entries: dict[str, Entry], size: int) -> None:
        """Arrays follow one another, without holes and to the end of the file."""
        end = 0
        for name, entry in sorted(entries.items(), key=lambda item: item[1][1:]):
            if entry.begin != end:
                self.refuse(f"the bytes of '{name:.80}' do not follow those before")
            end = entry.end
        if end > size:
            self.refuse(
                f"it is truncated: {end - size} bytes are missing at its end; the copy or the download was cut short"
            )
        if end < size:
            self.refuse(f"there are {size - end} bytes too many at its end")


def json_object(file: File, text: str | bytes, what: str) -> dict[str, Any]:
    """A JSON object from a file, without the liberties that Python's reader takes."""
    try:
        plain = text if isinstance(text, str) else str(text, "utf-8")
        found = json.loads(plain, object_pairs_hook=_without_twins, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        file.refuse(f"its {what} is no JSON: {'nested too deep' if deep else str(error)[:100]}")
    if not isinstance(found, dict):
        file.refuse(f"its {what} is no JSON object")
    return found


def _without_twins(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) != len(items):
        raise ValueError("a name stands in it twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} in it")


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 2**63 for n in values)


def _volume(shape: list[int]) -> int:
    """The number of entries if no axis were empty: NumPy refuses shapes for which it is too large."""
    volume = 1
    for n in shape:
        volume *= n or 1
    return volume


_SIGNATURES = {
    b"PK\x03\x04": "it is a zip archive, as torch.save, numpy.savez and Keras write them; bpgpu.io.torch.load "
    "reads those of torch.save",
    b"\x80": "it is a pickle, as older torch.save and joblib write them; bpgpu never runs one",
    b"\x93NUMPY": "it is an array of numpy.save; read it with numpy.load",
    b"\x89HDF": "it is an HDF5 file, as Keras writes them",
    b"\x1f\x8b": "it is compressed by gzip; unpack it first",
    b"GGUF": "it is a GGUF file",
    b"version https://git-lfs": "it stands for a file that Git LFS has not fetched; run git lfs pull",
    b"<": "it is a web page, so the download went wrong",
}


def _what_else(begin: bytes, size: int) -> str:
    """What a file is that is none of ours, in words."""
    if size == 0:
        return "it is empty"
    if begin[8:9] == b"{":
        length = int.from_bytes(begin[:8], "little")
        if length <= LONGEST_HEADER:
            return f"it is truncated: its header takes {length} bytes, the whole file has {size}"
        return f"its header claims {length} bytes, the format allows {LONGEST_HEADER}"
    if not begin.strip(b"\0"):
        return "it begins with zeros only, as after a crash of the system"
    for signature, words in _SIGNATURES.items():
        if begin.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(signature):
            return words
    return "it is no safetensors file"
