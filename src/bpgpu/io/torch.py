"""torch's checkpoints: read as data, without torch and without running anything; and written for torch.

A file of `torch.save` is a zip archive with a pickle of the structure and the numbers beside it. A pickle is a small
program; the one reader here lets it call the few functions by which torch puts tensors together, replaced by ours, and
refuses the file if it names anything else.
"""

from __future__ import annotations

import errno
import io
import math
import pickle
import struct
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from bpgpu import tree as trees
from bpgpu.backend import storage
from bpgpu.errors import ArgumentError, CheckpointError, DtypeError, MissingFileError
from bpgpu.io import atomic
from bpgpu.io.saving import is_stateful

__all__ = ["load", "save"]

STORAGES = {
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
"""torch's names for arrays of numbers, and the dtypes."""
_STORAGE_OF = {dtype: name for name, dtype in STORAGES.items()}
_DTYPES = {*STORAGES.values(), "float", "double", "half", "long", "int"}


def load(path: Any) -> Any:
    """The arrays of a torch checkpoint (`.pt`, `.pth`), as a dict of NumPy arrays.

    Whatever structure was saved comes back: a `state_dict()` as `{name: array}`, a checkpoint with several parts as
    nested dicts and lists with numbers and strings. `model.load_state_dict(load(path))` fills a bpgpu model.

    *Raises* `CheckpointError` for a file that holds code (a whole model, an object of a class of one's own), for one
    in torch's form of before 2020, and for what is damaged; `MissingFileError` if there is no file.

    *Notes* torch is not needed, and nothing in the file is ever run. Arrays share memory where the tensors did.
    bfloat16, which NumPy lacks, is read as float32. `.safetensors` files are read by `bpgpu.load`.
    """
    file = atomic.checked_path("load", path)
    try:
        size = file.stat().st_size
        with zipfile.ZipFile(file) as archive:
            return _Reader(file, archive, size).read()
    except FileNotFoundError as error:
        raise MissingFileError(f"load: there is no file '{file}'") from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # the archive names a place before its beginning
            _refuse(file, f"it is no checkpoint of torch, or a damaged one ({error})")
        raise atomic.failure(f"load: '{file}' could not be read: {error}", error) from error
    except CheckpointError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged archive raises whatever it runs into
        with file.open("rb") as opened:
            begin = opened.read(9)
        if begin[:1] == b"\x80":
            _refuse(
                file,
                "it is in torch's form of before version 1.6; write it again there: "
                "torch.save(torch.load(path, weights_only=True), path)",
            )
        if begin[8:] == b"{":
            _refuse(file, "it is a safetensors file; bpgpu.load reads those")
        _refuse(
            file,
            f"it is no checkpoint of torch, or a damaged one ({type(error).__name__}: {error})",
        )


def _refuse(path: Path, why: str) -> NoReturn:
    raise CheckpointError(f"load: '{path}' cannot be loaded: {why}")


class _Kind(NamedTuple):
    """Stands for a class of torch that holds numbers of one dtype."""

    dtype: str


class _Numbers(NamedTuple):
    """The numbers of a storage."""

    flat: Any


class _Reader(pickle.Unpickler):
    """Reads the structure; every function that it may call is one of this file."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, size: int) -> None:
        self.path, self.archive, self.size = path, archive, size
        names = archive.namelist()
        found = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        self.folder = found[0][: -len("data.pkl")] if found else ""
        if any(name.startswith(f"{self.folder}code/") for name in names):
            _refuse(path, "it is a TorchScript program, so it holds code; save the state_dict()")
        if not found:
            _refuse(path, "it is a zip archive, but not one of torch.save")
        self.numbers: dict[str, _Numbers] = {}
        super().__init__(io.BytesIO(self.member("data.pkl")))

    def read(self) -> Any:
        name = f"{self.folder}byteorder"
        if name in self.archive.namelist() and self.member("byteorder").strip() != b"little":
            _refuse(self.path, "its numbers are big-endian")
        try:
            return _plain(self.load(), {})
        except CheckpointError:
            raise
        except RecursionError:
            _refuse(self.path, "its structure is nested too deep")
        except Exception as error:  # noqa: BLE001 - a damaged pickle raises whatever it runs into
            _refuse(self.path, f"its structure is damaged ({type(error).__name__}: {error})")

    def member(self, name: str) -> bytes:
        info = self.archive.getinfo(self.folder + name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > self.size:
            _refuse(self.path, f"'{name}' in it is compressed, which torch never does")
        return self.archive.read(info)

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for."""
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module == "torch" and name in STORAGES:
            return _Kind(STORAGES[name])
        if module == "torch" and name in _DTYPES:
            return name
        if module in ("torch", "torch.storage", "torch._utils"):
            _refuse(
                self.path,
                f"it holds '{module}.{name}', which has no counterpart here (quantized, sparse or "
                "of a subclass); save plain tensors",
            )
        _refuse(
            self.path,
            f"it holds code: it names '{module}.{name}', which would be run. Only tensors, numbers, "
            "texts and containers are read; save model.state_dict() instead of the model",
        )

    def persistent_load(self, pid: Any) -> _Numbers:
        """The numbers that stand beside the structure."""
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage"):
            _refuse(self.path, "its structure names something else than numbers")
        _, kind, key, _, count = pid
        if not isinstance(kind, _Kind) or type(key) is not str or type(count) is not int:
            _refuse(self.path, "it names numbers of an unknown kind")
        if key not in self.numbers:
            data = bytearray(self.member(f"data/{key}"))
            stored = storage.Kind(kind.dtype, (count,))
            if count < 0 or len(data) < stored.nbytes:
                _refuse(self.path, f"the numbers '{key}' are truncated")
            self.numbers[key] = _Numbers(storage.view(memoryview(data)[: stored.nbytes], stored))
        return self.numbers[key]


def _tensor(numbers: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Any:
    """In place of `torch._utils._rebuild_tensor_v2`: a view of the numbers."""
    parts = (offset, *shape, *strides)
    if not isinstance(numbers, _Numbers) or any(type(n) is not int or n < 0 for n in parts):
        raise ValueError("a tensor has an impossible shape")
    end = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 1
    if math.prod(shape) and end > numbers.flat.shape[0]:
        raise ValueError("a tensor reaches beyond its numbers")
    return storage.strided(numbers.flat, offset, tuple(shape), tuple(strides))


def _parameter(data: Any, *_: Any) -> Any:
    """In place of `torch._utils._rebuild_parameter`."""
    return data


def _size(values: Any = ()) -> tuple[Any, ...]:
    """In place of `torch.Size`."""
    return tuple(values)


def _device(name: Any, *_: Any) -> str:
    """In place of `torch.device`."""
    return str(name)


def _text_as_bytes(text: Any, encoding: Any) -> bytes:
    """In place of `_codecs.encode`, by which pickles of torch write bytes."""
    if type(text) is not str or encoding != "latin1":
        raise ValueError("bytes are written in an unknown form")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "Counter"): Counter,
    ("_codecs", "encode"): _text_as_bytes,
    **{
        (home, kind.__name__): kind
        for home in ("builtins", "__builtin__")
        for kind in (set, complex)
    },
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
}


def _plain(x: Any, seen: dict[int, Any]) -> Any:
    """The structure in dicts, lists and tuples; what stands at several places is gone through once."""
    if id(x) in seen:
        return seen[id(x)]
    if isinstance(x, dict):
        found: Any = {key: _plain(value, seen) for key, value in x.items()}
    elif isinstance(x, (list, tuple, set)) and not isinstance(x, (_Kind, _Numbers)):
        found = type(x)(_plain(value, seen) for value in x)
    elif isinstance(x, (_Kind, _Numbers)) or callable(x):
        raise ValueError("it holds a class where a value should be")
    else:
        return x
    seen[id(x)] = found
    return found


# ---- writing


def save(path: Any, state: Any) -> None:
    """Write a file that `torch.load(path, weights_only=True)` reads, with tensors in place of arrays.

    *Parameters* `state`: a Module or another object with a `state_dict`, or a tree: dicts, lists and tuples of arrays,
    numbers, strings and `None`.

    *Raises* `ArgumentError` and `DtypeError` for what torch has no form for, `StorageError` if the system refuses. The
    file is written whole or not at all.
    """
    file = atomic.checked_path("save", path)
    writer = _Writer()
    writer.put(state.state_dict() if is_stateful(state) else state, "state")
    structure = b"\x80\x02" + b"".join(writer.parts) + b"."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", structure)
        archive.writestr("archive/byteorder", b"little")
        for key, x in enumerate(writer.arrays):
            archive.writestr(f"archive/data/{key}", storage.bytes_of(x))
        archive.writestr("archive/version", b"3\n")
    atomic.write(file, [buffer.getbuffer()])


class _Writer:
    """Writes a structure as the pickle that torch would write."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.arrays: list[Any] = []
        self.keys: dict[int, int] = {}

    def put(self, x: Any, path: str) -> None:
        out = self.parts
        if x is None or type(x) is bool:
            out.append({None: b"N", True: b"\x88", False: b"\x89"}[x])
        elif type(x) is int:
            data = x.to_bytes(x.bit_length() // 8 + 1, "little", signed=True)
            if len(data) > 255:
                raise ArgumentError(f"save: '{path}' is an integer that is too large for torch")
            out.append(b"\x8a" + bytes([len(data)]) + data)
        elif type(x) is float:
            out.append(b"G" + struct.pack(">d", x))
        elif type(x) is str:
            data = x.encode("utf-8", "surrogatepass")
            out.append(b"X" + struct.pack("<I", len(data)) + data)
        elif isinstance(x, dict):
            out.append(b"}(")
            for key, value in x.items():
                self.put(key, path)
                self.put(value, f"{path}.{key}")
            out.append(b"u")
        elif isinstance(x, (list, tuple)):
            out.append(b"](" if isinstance(x, list) else b"(")
            for n, value in enumerate(x):
                self.put(value, f"{path}.{n}")
            out.append(b"e" if isinstance(x, list) else b"t")
        elif trees.is_array(x):
            self.array(x, path)
        else:
            raise ArgumentError(
                f"save: '{path}' is of type {type(x).__name__}; a file for torch holds arrays, numbers, texts, None, "
                "dicts, lists and tuples"
            )

    def array(self, x: Any, path: str) -> None:
        try:
            kind = storage.kind_of(x)
        except DtypeError as error:
            raise DtypeError(f"save: '{path}' {error}") from error
        if kind.dtype not in _STORAGE_OF:
            raise DtypeError(f"save: '{path}' has dtype {kind.dtype}, which torch's files have not")
        if id(x) not in self.keys:  # one array at two places is one tensor
            self.keys[id(x)] = len(self.arrays)
            self.arrays.append(x)
        strides = tuple(math.prod(kind.shape[k + 1 :]) for k in range(len(kind.shape)))
        out = self.parts
        out.append(b"ctorch._utils\n_rebuild_tensor_v2\n((")
        self.put("storage", path)
        out.append(f"ctorch\n{_STORAGE_OF[kind.dtype]}\n".encode())
        for value in (str(self.keys[id(x)]), "cpu", math.prod(kind.shape)):
            self.put(value, path)
        out.append(b"tQ")
        for part in (0, kind.shape, strides, False):
            self.put(part, path)
        out.append(b"ccollections\nOrderedDict\n)RtR")
