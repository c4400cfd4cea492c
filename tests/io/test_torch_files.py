"""torch's checkpoints, read without running anything, and written."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import (
    ArgumentError,
    CheckpointError,
    DtypeError,
    MissingFileError,
    ModuleError,
)

torch = pytest.importorskip("torch")


def test_a_state_dict_fills_a_model(tmp_path):
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)
    ).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    ours = bp.nn.Sequential(bp.nn.Linear(3, 4), bp.nn.BatchNorm1d(4), bp.nn.Linear(4, 2)).eval()
    ours.load_state_dict(bp.io.torch.load(tmp_path / "w.pt"))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(ours(x), theirs(torch.from_numpy(x)).detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "bool",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "float32",
        "float64",
        "complex64",
    ],
)
def test_every_dtype_comes_back_and_goes_out(tmp_path, name):
    want = (torch.arange(6).reshape(2, 3) % 2).to(getattr(torch, name))
    torch.save({"x": want}, tmp_path / "a.pt")
    got = bp.io.torch.load(tmp_path / "a.pt")["x"]
    assert got.dtype.name == name
    np.testing.assert_array_equal(got, want.numpy())
    bp.io.torch.save(tmp_path / "b.pt", {"x": got})
    back = torch.load(tmp_path / "b.pt", weights_only=True)["x"]
    assert back.dtype == want.dtype
    assert torch.equal(back, want)


def test_bfloat16_is_read_as_float32_and_written_from_torch(tmp_path):
    x = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    torch.save(x, tmp_path / "a.pt")
    np.testing.assert_array_equal(bp.io.torch.load(tmp_path / "a.pt"), np.float32([1.5, -2]))
    bp.io.torch.save(tmp_path / "b.pt", [x])
    assert torch.equal(torch.load(tmp_path / "b.pt", weights_only=True)[0], x)


def test_views_parameters_and_nested_parts_are_read(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    content = {
        "view": base[1:, ::2].T,
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 2),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "spread": torch.ones(1).expand(3),
        "epoch": 7,
        "list": [1.5, None, True, "text", (1, 2), torch.Size([3])],
        "ordered": OrderedDict(a=torch.ones(1)),
        "dtype": torch.float32,
        "big": 2**80,
    }
    torch.save(content, tmp_path / "a.pt")
    got = bp.io.torch.load(tmp_path / "a.pt")
    np.testing.assert_array_equal(got["view"], content["view"].numpy())
    assert got["scalar"].shape == ()
    assert got["empty"].shape == (0, 2)
    np.testing.assert_array_equal(got["parameter"], np.ones(2))
    np.testing.assert_array_equal(got["spread"], np.ones(3))
    assert got["list"] == [1.5, None, True, "text", (1, 2), (3,)]
    assert type(got["ordered"]) is dict
    assert (got["epoch"], got["dtype"], got["big"]) == (7, "float32", 2**80)


def test_the_state_of_an_optimizer_is_read(tmp_path):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pt"
    )
    got = bp.io.torch.load(tmp_path / "a.pt")
    assert got["optimizer"]["state"][0]["exp_avg"].shape == (1, 2)


def test_what_schedules_and_people_keep_beside_weights_is_read(tmp_path):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    more = {"labels": {"cat", "dog"}, "z": 1 - 2j, "raw": b"\x00\xff", "shared": [[1]] * 2}
    for protocol in (2, 4):
        torch.save(
            {"schedule": schedule.state_dict(), **more}, tmp_path / "a.pt", pickle_protocol=protocol
        )
        got = bp.io.torch.load(tmp_path / "a.pt")
        assert got["schedule"]["milestones"] == {3: 1, 5: 1}
        assert {name: got[name] for name in more} == more


def test_a_model_goes_to_torch(tmp_path):
    ours = bp.nn.LSTM(3, 4)
    bp.io.torch.save(tmp_path / "a.pt", ours)
    theirs = torch.nn.LSTM(3, 4)
    theirs.load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    np.testing.assert_array_equal(theirs.weight_ih_l0.detach(), ours.weight_ih_l0)


def test_whatever_structure_goes_to_torch(tmp_path):
    content = {"a": [1, -300, 2**70, 1.25, None, True, "é", ()], 3: {"x": np.float64([[1, 2]]).T}}
    bp.io.torch.save(tmp_path / "a.pt", content)
    got = torch.load(tmp_path / "a.pt", weights_only=True)
    assert got["a"] == content["a"]
    assert got[3]["x"].shape == (2, 1)
    again = bp.io.torch.load(tmp_path / "a.pt")
    assert again["a"] == content["a"]


def test_safetensors_of_torch_load_as_they_are(tmp_path):
    files = pytest.importorskip("safetensors.torch")
    files.save_file(torch.nn.Linear(2, 3).state_dict(), tmp_path / "a.safetensors")
    bp.nn.Linear(2, 3).load_state_dict(bp.load(tmp_path / "a.safetensors"))


def test_weights_go_to_torch_as_safetensors_under_their_own_names(tmp_path):
    files = pytest.importorskip("safetensors.torch")
    ours = bp.nn.Sequential(bp.nn.Linear(2, 3), bp.nn.BatchNorm1d(3))
    bp.save(tmp_path / "a.safetensors", **ours.state_dict())
    theirs = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    theirs.load_state_dict(files.load_file(tmp_path / "a.safetensors"))
    np.testing.assert_array_equal(theirs[0].weight.detach(), ours[0].weight)


# ---- files that are refused


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch hacked",)


def test_a_file_that_holds_code_is_refused_and_nothing_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"x": torch.ones(2), "y": Evil()}, tmp_path / "a.pt")
    with pytest.raises(
        CheckpointError, match=r"it holds code: it names '\w+\.system', which would be run"
    ):
        bp.io.torch.load(tmp_path / "a.pt")
    assert not Path("hacked").exists()


def test_a_whole_model_is_refused_with_the_remedy(tmp_path):
    torch.save(torch.nn.Linear(2, 1), tmp_path / "a.pt")
    with pytest.raises(
        CheckpointError, match=r"torch.nn.modules.linear.Linear.*save model.state_dict\(\) instead"
    ):
        bp.io.torch.load(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\neval\n(X\x01\x00\x00\x001tR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(K\x00K\x00)))tR.",
        b"ctorch\nFloatStorage\n.",
        b"ccollections\nOrderedDict\n.",
        b"}(",
        b"",
        b"(" * 50 + b".",
        b"X\x07\x00\x00\x00storageQ.",
        b"csubprocess\nPopen\n(X\x02\x00\x00\x00lstR.",
    ],
)
def test_a_pickle_of_whatever_kind_is_refused(tmp_path, program):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", program)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        bp.io.torch.load(tmp_path / "a.pt")


def test_a_tensor_that_reaches_beyond_its_numbers_is_refused(tmp_path):
    bp.io.torch.save(tmp_path / "a.pt", np.ones(3, np.float32))
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    members["archive/data/0"] = members["archive/data/0"][:8]
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(CheckpointError, match="truncated"):
        bp.io.torch.load(tmp_path / "b.pt")


def test_files_of_other_kinds_are_told(tmp_path):
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"x": 1}, 2))
    with pytest.raises(CheckpointError, match=r"torch's form of before version 1.6"):
        bp.io.torch.load(tmp_path / "old.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(CheckpointError, match="it is no checkpoint of torch"):
        bp.io.torch.load(tmp_path / "text.pt")
    np.savez(tmp_path / "n.npz", x=np.ones(1))
    with pytest.raises(CheckpointError, match=r"a zip archive, but not one of torch.save"):
        bp.io.torch.load(tmp_path / "n.npz")
    with pytest.raises(MissingFileError, match="there is no file"):
        bp.io.torch.load(tmp_path / "none.pt")


def test_a_file_of_the_other_kind_names_the_reader(tmp_path):
    bp.save(tmp_path / "a.safetensors", w=np.ones(2))
    with pytest.raises(CheckpointError, match=r"a safetensors file; bpgpu\.load reads those"):
        bp.io.torch.load(tmp_path / "a.safetensors")
    torch.save({"w": torch.ones(2)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"bpgpu\.io\.torch\.load reads those of torch"):
        bp.load(tmp_path / "a.pt")
    with pytest.raises(ModuleError, match=r"got str; a file is read first: bpgpu\.load\(path\)"):
        bp.nn.Linear(1, 1).load_state_dict("a.pt")


def test_a_damaged_archive_is_told_whatever_it_breaks(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "a.pt")
    whole = (tmp_path / "a.pt").read_bytes()
    central = whole.index(b"PK\x01\x02")
    for at, value in (
        (central + 8, b"\x01"),  # encrypted
        (central + 9, b"\x08"),  # names in UTF-8 ...
        (central + 24, b"\xff\xff\x00\x00"),  # longer than the file
        (central + 42, b"\xff\xff\xff\x00"),  # begins behind the end
    ):
        damaged = whole[:at] + value + whole[at + len(value) :]
        if value == b"\x08":
            damaged = damaged.replace(b"a/data.pkl", b"a/data\xffpkl")  # ... which they are not
        (tmp_path / "b.pt").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"b\.pt' cannot be loaded"):
            bp.io.torch.load(tmp_path / "b.pt")


def test_an_archive_that_begins_before_its_file_is_told(tmp_path):
    bp.io.torch.save(tmp_path / "a.pt", {"w": np.ones(2)})
    whole = bytearray((tmp_path / "a.pt").read_bytes())
    at = whole.rindex(b"PK\x05\x06") + 16
    for value in (b"\xff\xff\xff\x7f", b"\xff\xff\x00\x00"):
        whole[at : at + 4] = value
        (tmp_path / "b.pt").write_bytes(whole)
        with pytest.raises(CheckpointError, match="no checkpoint of torch, or a damaged one"):
            bp.io.torch.load(tmp_path / "b.pt")


def test_lists_in_lists_that_are_shared_are_gone_through_once(tmp_path):
    content = [1]
    for _ in range(100):  # 2 ** 100 lists, if each were gone through at each place
        content = [content, content]
    torch.save(content, tmp_path / "a.pt")
    got = bp.io.torch.load(tmp_path / "a.pt")
    assert got[0] is got[1]


def test_what_torch_has_no_form_for_is_not_written(tmp_path):
    with pytest.raises(ArgumentError, match=r"'state.a.f' is of type function"):
        bp.io.torch.save(tmp_path / "a.pt", {"a": {"f": test_files_of_other_kinds_are_told}})
    with pytest.raises(DtypeError, match=r"'state.x' has dtype uint32"):
        bp.io.torch.save(tmp_path / "a.pt", {"x": np.ones(1, np.uint32)})
    assert list(tmp_path.iterdir()) == []
