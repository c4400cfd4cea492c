"""IDX files: every type, plain and packed, and what is said about those that are damaged or lie."""

from __future__ import annotations

import gzip
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpgpu.data import read_idx
from bpgpu.errors import ArgumentError, BpgpuError, DataError, MissingFileError, StorageError

TYPES = {8: "u1", 9: "i1", 11: "i2", 12: "i4", 13: "f4", 14: "f8"}
MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist"


def idx(x: np.ndarray, code: int, shape: tuple[int, ...] | None = None) -> bytes:
    shape = x.shape if shape is None else shape
    sizes = b"".join(n.to_bytes(4, "big") for n in shape)
    return bytes([0, 0, code, len(shape)]) + sizes + x.astype(">" + TYPES[code]).tobytes()


X = np.arange(24).reshape(2, 3, 4) - 5


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("code", TYPES)
def test_every_type_is_read_in_native_order(tmp_path: Path, code: int, packed: bool) -> None:
    x = X.astype(TYPES[code])
    data = idx(x, code)
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    found = read_idx(path)
    assert found.dtype == x.dtype
    assert found.dtype.isnative
    assert found.flags.writeable
    np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize("shape", [(1,), (0,), (3, 0, 2), (1,) * 16])
def test_shapes_at_the_edge(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = np.ones(shape, dtype=np.uint8)
    (tmp_path / "x").write_bytes(idx(x, 8))
    np.testing.assert_array_equal(read_idx(str(tmp_path / "x")), x)


WHOLE = idx(X, 12)
HUGE = idx(X, 12, (1 << 31, 1 << 31, 1 << 31))
PACKED = gzip.compress(WHOLE, mtime=0)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is no IDX file: .* got nothing"),
        (b"\x89PNG", "is no IDX file: .* got 89 50 4e 47"),
        (b"\0\0\x0a\x01", "is no IDX file"),
        (b"\0\0\x08\0", "expected 1 to 16 dimensions in the header, got 0"),
        (b"\0\0\x08\xff", "expected 1 to 16 dimensions in the header, got 255"),
        (WHOLE[:9], "is cut off in its header, after 9 bytes"),
        (WHOLE[:-1], r"int32 of shape \(2, 3, 4\), 112 bytes with the header, but the file has 111; it is cut off"),
        (WHOLE + b"x", "but the file has 113; it is longer than that"),
        (HUGE, "it is cut off"),
        (gzip.compress(WHOLE[:-1], mtime=0), "96 bytes, but the file has only 95"),
        (gzip.compress(WHOLE + b"x", mtime=0), "96 bytes, but the file has more"),
        (gzip.compress(HUGE, mtime=0), "more than .* bytes of gzip can hold"),
        (PACKED[:-9], "the gzip file is damaged or cut off"),
        (PACKED[:30] + b"junk" + PACKED[34:], "the gzip file is damaged or cut off"),
        (idx(X[:0], 8, (0, 2**32 - 1, 2**32 - 1)), "is no shape of an array"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_told_in_words(tmp_path: Path, data: bytes, text: str) -> None:
    (tmp_path / "x.idx").write_bytes(data)
    with pytest.raises(DataError, match=text) as caught:
        read_idx(tmp_path / "x.idx")
    assert repr(str(tmp_path / "x.idx")) in str(caught.value)


def test_a_header_that_lies_takes_no_memory(tmp_path: Path) -> None:
    lie = idx(np.zeros(1 << 20, dtype=np.uint8), 8, (1 << 29,))
    (tmp_path / "x").write_bytes(gzip.compress(lie, mtime=0) + bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(DataError):
        read_idx(tmp_path / "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24


def test_a_packed_file_unpacks_no_further_than_the_limit(tmp_path: Path) -> None:
    zeros = np.zeros(1 << 22, dtype=np.uint8)
    (tmp_path / "x").write_bytes(gzip.compress(idx(zeros, 8), mtime=0))
    assert read_idx(tmp_path / "x").size == 1 << 22
    with pytest.raises(DataError, match="4194304 bytes, more than max_bytes=1000"):
        read_idx(tmp_path / "x", max_bytes=1000)


def test_what_the_system_refuses_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(
        MissingFileError, match=rf"there is no file {re.escape(repr(str(tmp_path / 'no')))}"
    ):
        read_idx(tmp_path / "no")
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "no")
    with pytest.raises(StorageError, match="is a folder; name a file in it"):
        read_idx(tmp_path)
    with pytest.raises(StorageError, match="no name of a file"):
        read_idx("a\0b")
    with pytest.raises(StorageError, match="is no regular file"):
        read_idx("/dev/zero")
    with pytest.raises(StorageError):
        read_idx(tmp_path / ("x" * 5000))
    for wrong in (None, 3):
        with pytest.raises(ArgumentError, match="path: expected a string or a path"):
            read_idx(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(200))
def test_damaged_files_raise_errors_of_the_family(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(gzip.compress(WHOLE, mtime=0) if seed % 2 else WHOLE)
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(len(data))] = rng.integers(256)
    (tmp_path / "x").write_bytes(data)
    try:
        read_idx(tmp_path / "x")
    except BpgpuError:
        return


@pytest.mark.skipif(not MNIST.exists(), reason="the files of MNIST are not beside this repository")
def test_the_real_files_of_mnist() -> None:
    x: Any = read_idx(MNIST / "t10k-images-idx3-ubyte.gz")
    y: Any = read_idx(MNIST / "t10k-labels-idx1-ubyte.gz")
    assert (x.shape, x.dtype, y.shape) == ((10_000, 28, 28), np.uint8, (10_000,))
    assert np.bincount(y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
