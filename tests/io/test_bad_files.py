"""Files that are none of `save`: each is told what it is, nothing is changed, and no memory is taken for a claim."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import CheckpointError, MissingFileError, StorageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.safetensors"


def written(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(dtype: Any = "F32", shape: Any = (1,), place: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": place}


def ours(structure: Any, **changes: Any) -> dict[str, Any]:
    text = structure if isinstance(structure, str) else json.dumps(structure)
    return {"format": "bpgpu", "version": "1", "structure": text} | changes


def refused(path: Path, *words: str) -> None:
    """Both ways of loading say so, with the path, and leave the model as it is."""
    model = bp.nn.Linear(2, 1)
    before = model.weight.copy()
    for parts in ({}, {"model": model}):
        with pytest.raises(CheckpointError) as caught:
            bp.load(path, **parts)
        text = str(caught.value)
        assert str(path) in text
        assert "Nothing was changed" in text
        for word in words:
            assert word in text
    assert np.array_equal(model.weight, before)


# ---- foreign files


def test_an_empty_file(path: Path) -> None:
    path.touch()
    refused(path, "it is empty")


def test_a_folder(tmp_path: Path) -> None:
    refused(tmp_path, "it is a folder; give the name of a file in it")


def test_no_file(path: Path) -> None:
    for act in (lambda: bp.load(path), lambda: bp.load(path / "in" / "none")):
        with pytest.raises(MissingFileError, match="load: there is no file"):
            act()
    with pytest.raises(FileNotFoundError):
        bp.load(path)


def test_a_file_below_a_file(path: Path) -> None:
    path.write_text("x")
    with pytest.raises(StorageError, match="could not be read: Not a directory"):
        bp.load(path / "x")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="it is a device or a pipe, no file"):
        bp.load(path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user with few rights")
def test_a_file_without_the_right_to_read(path: Path) -> None:
    bp.save(path, a=1)
    path.chmod(0)
    with pytest.raises(StorageError, match="could not be read: Permission denied"):
        bp.load(path)


def test_a_pickle_is_never_run(path: Path) -> None:
    path.write_bytes(pickle.dumps({"w": [1] * 100}, protocol=4))
    refused(path, "it is a pickle", "bpgpu never runs one")


def test_a_zip_of_torch(path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(2)}, path)
    refused(path, "it is a zip archive, as torch.save, numpy.savez and Keras write them")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x", "y")
    refused(path, "it is a zip archive")


def test_an_array_of_numpy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    refused(path, "numpy.load")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "it is a web page"),
        (b"\n  <html>\n<head>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "it is an HDF5 file"),
        (b"\x1f\x8b\x08\x00" + bytes(100), "compressed by gzip"),
        (b"GGUF" + bytes(100), "it is a GGUF file"),
        (bytes(4096), "it begins with zeros only"),
        (b"x", "it is no safetensors file"),
        (b"1234567", "it is no safetensors file"),
        (b"{}", "it is no safetensors file"),
        (b'{"model": [1, 2, 3], "more": "text"}', "it is no safetensors file"),
        (os.urandom(8)[:7] + b"\xffx" + bytes(100), "it is no safetensors file"),
    ],
)
def test_a_file_of_another_kind(content: bytes, words: str, path: Path) -> None:
    path.write_bytes(content)
    refused(path, words)


# ---- damaged files


def test_a_file_cut_anywhere(path: Path) -> None:
    bp.save(path, model=bp.nn.Linear(2, 1), epoch=3)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="Nothing was changed"):
            bp.load(path)
    path.write_bytes(whole[:-1])
    refused(path, "it is truncated: 1 bytes are missing at its end; the copy or the download")
    path.write_bytes(whole[:100])
    refused(path, "it is truncated: its header takes")
    path.write_bytes(whole + b"\0\0")
    refused(path, "there are 2 bytes too many at its end")


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        (b"{}" + b"x" * 10, b"", "its header is no JSON: Extra data"),
        (b'{"a"', b"", "its header is no JSON"),
        (b'{"a": \xff}', b"", "its header is no JSON: 'utf-8' codec"),
        (b'{"a": 1, "a": 2}', b"", "a name stands in it twice"),
        (b'{"a": NaN}', b"", "NaN in it"),
        (b'{"a":' + b"[" * 200000 + b"]" * 200000 + b"}", b"", "its header is no JSON: nested too"),
        (b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b"]}}", b"", "its header is no JSON"),
        ({"a": 3}, b"", "the header says about 'a' something else than dtype, shape, place"),
        ({"a": {"dtype": "F32"}}, b"", "the header says about 'a' something else"),
        ({"a": entry() | {"x": 1}}, bytes(4), "the header says about 'a' something else"),
        ({"a": entry("F8_E4M3")}, bytes(4), "'a' has dtype 'F8_E4M3', which has no counterpart"),
        ({"a": entry(["F32"])}, bytes(4), "'a' has dtype ['F32'], which has no counterpart"),
        ({"a": entry(shape=[-1])}, bytes(4), "'a' has the impossible shape [-1]"),
        ({"a": entry(shape=[True])}, bytes(4), "'a' has the impossible shape [True]"),
        ({"a": entry(shape=[1.0])}, bytes(4), "'a' has the impossible shape [1.0]"),
        ({"a": entry(shape=[2**63])}, bytes(4), "'a' has the impossible shape"),
        ({"a": entry(shape=[1] * 65)}, bytes(4), "'a' has the impossible shape"),
        ({"a": entry(shape=[2**62, 2**62, 0], place=[0, 0])}, b"", "do not fit its place"),
        ({"a": entry(shape=[2])}, bytes(4), "'a' has dtype F32 and shape [2], which do not fit"),
        ({"a": entry(place=[4, 0])}, bytes(4), "do not fit its place [4, 0]"),
        ({"a": entry(place=[0])}, bytes(4), "'a' has the impossible place [0]"),
        ({"a": entry(place=[-4, 0])}, bytes(4), "'a' has the impossible place [-4, 0]"),
        ({"a": entry(place=[0, 2**64])}, bytes(4), "'a' has the impossible place"),
        ({"a": entry(shape=[2**40], place=[0, 2**42])}, bytes(4), "it is truncated"),
        ({"a": entry(place=[4, 8])}, bytes(8), "the bytes of 'a' do not follow those before"),
        ({"a": entry(), "b": entry()}, bytes(4), "the bytes of 'b' do not follow those before"),
        ({"a": entry(), "b": entry(place=[2, 6])}, bytes(6), "the bytes of 'b' do not follow"),
        ({"__metadata__": []}, b"", "its metadata are no texts by name"),
        ({"__metadata__": {"a": 1}}, b"", "its metadata are no texts by name"),
    ],
    ids=range(29),
)  # fmt: skip
def test_a_header_that_cannot_be(header: Any, data: bytes, words: str, path: Path) -> None:
    refused(written(path, header, data), words)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (ours({}, version="2"), "it was written by a later bpgpu (version 2 of the format, this"),
        (ours({}, version="one"), "it has the impossible version 'one'"),
        (ours({}, version="²"), "it has the impossible version"),
        (ours({}, version="0"), "it has the impossible version '0'"),
        (ours("{"), "its structure is no JSON"),
        (ours("[]"), "its structure is no JSON object"),
        (ours('{"a":' * 1001 + "1" + "}" * 1001), "its structure "),
        (ours('{"a": ' + "[" * 50000 + "]" * 50000 + "}"), "its structure is no JSON: nested too"),
        (ours('{"model": ' + "[" * 900 + "]" * 900 + "}"), "its structure is nested too deep"),
        (ours('{"a": 1, "a": 2}'), "its structure is no JSON: a name stands in it twice"),
        (ours('{"a": Infinity}'), "its structure is no JSON: Infinity in it"),
        (ours('{"a": ' + "9" * 5000 + "}"), "its structure is no JSON"),
        (ours({"model": {"array": "x"}}), "its structure names an array 'x' that is not there"),
        (ours({"model": {"array": 3}}), "its structure has a int for a str"),
        (ours({"model": {"pickle": "x"}}), "an entry of the unknown kind 'pickle'"),
        (ours({"model": {"a": 1, "b": 2}}), "an entry of an unknown kind"),
        (ours({"model": {}}), "an entry of an unknown kind"),
        (ours({"model": {"tuple": 3}}), "its structure has a int for a list"),
        (ours({"model": {"dict": [1]}}), "its structure has a list for a dict"),
        (ours({"model": {"pairs": [[1]]}}), "its structure has a pair that is none"),
        (ours({"model": {"pairs": [[[], 1]]}}), "its structure has a key that cannot be one"),
        (ours({"model": {"pairs": [[1, 1], [1, 2]]}}), "its structure has a key twice"),
        (ours({"model": {"int": "ten"}}), "its structure has an integer that is none"),
        (ours({"model": {"float": "1e5"}}), "its structure has a float that is none"),
        (ours({"model": {"complex": [1]}}), "its structure has a complex number that is none"),
        (ours({"model": {"state": [1]}}), "its structure has a pair that is none"),
        (ours({"model": {"state": [{}, 1]}}), "its structure has"),
    ],
    ids=range(27),
)  # fmt: skip
def test_a_structure_that_cannot_be(metadata: Any, words: str, path: Path) -> None:
    refused(written(path, {"__metadata__": metadata}), words)


def test_arrays_that_the_structure_leaves_out(path: Path) -> None:
    header = {"__metadata__": ours({"model": 1}), "a": entry()}
    refused(written(path, header, bytes(4)), "its structure leaves out the arrays 'a'")


def test_pairs_that_are_none(path: Path) -> None:
    header = {"__metadata__": ours({"model": {"complex array": "a"}}), "a": entry()}
    refused(written(path, header, bytes(4)), "calls an array complex that is none")


@pytest.mark.parametrize("saved", [3, [], "x", None, {"weight": 1, "bias": 2}])
def test_a_state_that_is_none(saved: Any, path: Path) -> None:
    node = {"dict": saved} if isinstance(saved, dict) else saved
    written(path, {"__metadata__": ours({"part": {"state": [node, {"dict": {}}]}})})
    model = bp.nn.Linear(2, 1)
    optimizer = bp.optim.Adam(model)
    for part in (
        model, optimizer, bp.optim.lr_scheduler.StepLR(optimizer, 1), bp.optim.EMA(model)
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match="Nothing was changed"):
            bp.load(path, part=part)


def test_booleans_are_true_or_false_whatever_the_bytes(path: Path) -> None:
    written(path, {"a": entry("BOOL", [3], [0, 3])}, bytes([0, 1, 7]))
    found = bp.load(path)["a"]
    assert found.view(np.uint8).tolist() == [0, 1, 1]


def test_arrays_at_odd_places_are_read(path: Path) -> None:
    """Other programs do not align; torch crashed on a complex number at an odd place."""
    torch = pytest.importorskip("torch")
    data = b"\x01" + np.arange(4, dtype="<f8").tobytes()
    header = {
        "__metadata__": ours({"b": {"array": "b"}, "z": {"complex array": "z"}}),
        "b": entry("BOOL", [1], [0, 1]),
        "z": entry("F64", [2, 2], [1, 33]),
    }
    written(path, header, data)
    assert bp.load(path)["z"].tolist() == [1j, 2 + 3j]
    found = bp.load(path, z=torch.zeros(2, dtype=torch.complex128))["z"]
    assert found.tolist() == [1j, 2 + 3j]
    written(path, {"x": entry("F64", [], [1, 9]), "b": entry("U8", [1], [0, 1])}, data[:9])
    assert bp.load(path)["x"] == 0


def test_claims_take_no_memory(path: Path) -> None:
    """A header of a few bytes that claims gigabytes is refused before anything is allocated."""
    claims: list[tuple[bytes, bytes]] = [
        ((10**8).to_bytes(8, "little"), b"{" + bytes(100)),
        ((2**63).to_bytes(8, "little"), b"{" + bytes(100)),
    ]
    header = json.dumps({"a": entry("F64", [2**30, 2**20], [0, 2**53])}).encode()
    claims.append((len(header).to_bytes(8, "little"), header))
    for length, rest in claims:
        path.write_bytes(length + rest)
        tracemalloc.start()
        with pytest.raises(CheckpointError):
            bp.load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20


def test_a_header_longer_than_the_format_allows(path: Path) -> None:
    path.write_bytes((10**9).to_bytes(8, "little") + b"{" + bytes(100))
    refused(path, "its header claims 1000000000 bytes, the format allows 100000000")


@pytest.mark.skipif(sys.platform != "linux", reason="counts pages as Linux does")
def test_saving_and_loading_take_no_second_copy(path: Path) -> None:
    """100 MB and their average are saved, and loaded into arrays that are there, with 60 MB to spare."""
    script = f"""
import resource, numpy as np, bpgpu as bp
x = {{"x": np.ones((12, 1000, 1000))}}
parts = {{"x": x, "average": bp.optim.EMA(x)}}
bp.save({str(path)!r}, **parts)
anonymous = lambda: int(open('/proc/self/status').read().split('RssAnon:')[1].split()[0])
import threading, time
peak = [0]; done = threading.Event()
def watch():
    while not done.is_set():
        peak[0] = max(peak[0], anonymous()); time.sleep(0.001)
start = anonymous()
thread = threading.Thread(target=watch); thread.start()
bp.save({str(path)!r}, **parts)
bp.load({str(path)!r}, x=x)
done.set(); thread.join()
print((peak[0] - start) // 1024)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 60
