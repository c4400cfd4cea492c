"""IDX files, in which MNIST and its kin come.

Two bytes of zero, one for the type, one for the number of dimensions, each dimension in four bytes, then the numbers:
all with the most significant byte first.
"""

from __future__ import annotations

import math
from typing import Any, BinaryIO

from bpgpu.backend import rows
from bpgpu.data.files import CHUNK, LIMIT, RATIO, Location, in_words, opened
from bpgpu.errors import DataError

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}
MOST_DIMENSIONS = 16


def read_idx(path: Location, *, max_bytes: int = LIMIT) -> Any:
    """The array of an IDX file, plain or packed by gzip, as an array of NumPy.

    *Returns* uint8, int8, int16, int32, float32 or float64, as the file says, in the order of bytes of this machine.

    *Parameters* `max_bytes`: how much a packed file may unpack to.

    *Raises* `DataError` for a file that is no IDX file, is cut off, holds more than its header says, or unpacks to more
    than `max_bytes`; `MissingFileError` (a `FileNotFoundError`), `StorageError` (an `OSError`).

    *Notes* The header is believed only as far as the file is long: no memory is taken for numbers that are not there.

    ```
    x = read_idx("train-images-idx3-ubyte.gz")       # (60000, 28, 28), uint8
    ```
    """
    name = in_words(path) if isinstance(path, str) or hasattr(path, "__fspath__") else ""
    with opened(path, max_bytes + 2 * CHUNK) as (source, size, packed):
        code, shape = _header(source, name)
        wanted = int(code[1]) * math.prod(shape)
        header = 4 + 4 * len(shape)
        if not packed and size != header + wanted:
            raise DataError(
                f"{name}: the header says {_described(code, shape)}, {header + wanted} bytes with the header, but the "
                f"file has {size}; it is {'cut off' if size < header + wanted else 'longer than that'}"
            )
        if packed and wanted > RATIO * size:
            raise DataError(
                f"{name}: the header says {_described(code, shape)}, more than {size} bytes of gzip can hold; the file "
                "is cut off or not what it says"
            )
        if wanted > max_bytes and packed:
            raise DataError(
                f"{name}: the header says {_described(code, shape)}, {wanted} bytes, more than max_bytes={max_bytes}"
            )
        data = _read(source, wanted)
        if len(data) < wanted or source.read(1):
            got = f"only {len(data)}" if len(data) < wanted else "more"
            raise DataError(
                f"{name}: the header says {_described(code, shape)}, {wanted} bytes, but the file has {got}"
            )
    try:
        return rows.from_big_endian(data, code, shape)
    except ValueError as error:
        raise DataError(
            f"{name}: the header says {_described(code, shape)}, which is no shape of an array ({error})"
        ) from None


def _header(source: BinaryIO, name: str) -> tuple[str, tuple[int, ...]]:
    start = source.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES:
        raise DataError(
            f"{name}: is no IDX file: expected 00 00, one of the types "
            f"{', '.join(f'{t:02x}' for t in TYPES)} and the number of dimensions, got {start.hex(' ') or 'nothing'}"
        )
    count = start[3]
    if not 1 <= count <= MOST_DIMENSIONS:
        raise DataError(
            f"{name}: expected 1 to {MOST_DIMENSIONS} dimensions in the header, got {count}"
        )
    sizes = source.read(4 * count)
    if len(sizes) < 4 * count:
        raise DataError(f"{name}: is cut off in its header, after {4 + len(sizes)} bytes")
    shape = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, 4 * count, 4))
    return TYPES[start[2]], shape


def _read(source: BinaryIO, wanted: int) -> bytearray:
    """So many bytes, or as many as there are. Memory grows with what comes."""
    data = bytearray()
    while len(data) < wanted:
        chunk = source.read(min(CHUNK, wanted - len(data)))
        if not chunk:
            break
        data += chunk
    return data


def _described(code: str, shape: tuple[int, ...]) -> str:
    kind = {"u": "uint", "i": "int", "f": "float"}[code[0]]
    return f"{kind}{8 * int(code[1])} of shape {shape}"
