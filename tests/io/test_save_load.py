"""What `save` writes, `load` reads: every library and dtype, every container, every number."""

from __future__ import annotations

import json
import math
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bpgpu as bp
from bpgpu.errors import ArgumentError, CheckpointError, DtypeError

INTEGERS = ["bool", *(f"{sign}int{bits}" for sign in ("u", "") for bits in (8, 16, 32, 64))]
DTYPES = [*INTEGERS, "float32", "float64", "complex64", "complex128"]
VERSION_1 = Path(__file__).parent / "version1.safetensors"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.safetensors"


def numbers(dtype: str, shape: tuple[int, ...]) -> Any:
    rng = np.random.default_rng(1)
    values = rng.normal(size=shape) * 100
    if dtype.startswith("complex"):
        values = values + 1j * rng.normal(size=shape)
    if dtype.startswith("uint"):
        values = np.abs(values)
    return np.asarray(values).astype(dtype)


def same(a: Any, b: Any) -> bool:
    """Bit for bit: also NaN and the sign of zero."""
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# ---- arrays


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0,), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_shape_comes_back(
    xp: Any, dtype: str, shape: tuple[int, ...], path: Path
) -> None:
    x = numbers(dtype, shape)
    target = xp.asarray(np.zeros_like(x))
    bp.save(path, part=xp.asarray(x))
    assert same(bp.load(path)["part"], x)
    loaded = bp.load(path, part=target)["part"]
    assert type(loaded) is type(target)
    assert loaded.dtype == target.dtype
    assert same(bp.to_numpy(loaded), x)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_of_torch_comes_back(dtype: str, path: Path) -> None:
    torch = pytest.importorskip("torch")
    x = torch.tensor([[1.5, -0.0, math.inf], [3e-5, 0.1, -7.0]], dtype=getattr(torch, dtype))
    bp.save(path, x=x, turned=x.T)
    found = bp.load(path, x=torch.zeros_like(x), turned=torch.zeros_like(x.T))
    assert torch.equal(found["x"].view(torch.int16), x.view(torch.int16))
    assert torch.equal(found["turned"], x.T)
    assert found["x"].dtype == x.dtype
    exact = np.float16 if dtype == "float16" else np.float32
    assert same(bp.load(path)["x"], x.float().numpy().astype(exact))


def test_half_precision_of_jax_comes_back(path: Path) -> None:
    jnp = pytest.importorskip("jax.numpy")
    x = jnp.asarray([[1.5, -2.25], [0.1, 7.0]], dtype=jnp.bfloat16)
    bp.save(path, x=x)
    found = bp.load(path, x=jnp.zeros_like(x))["x"]
    assert found.dtype == x.dtype
    assert bool((found == x).all())


def test_numbers_of_a_bfloat16_are_loaded_into_any_floating_array(path: Path) -> None:
    torch = pytest.importorskip("torch")
    bp.save(path, x=torch.tensor([0.1, 2.0], dtype=torch.bfloat16))
    found = bp.load(path, x=np.zeros(2))["x"]
    assert found.tolist() == [0.10009765625, 2.0]


@pytest.mark.parametrize(
    "x",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12.0)[::-2],
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.broadcast_to(np.float32(3), (2, 3)),
        np.asfortranarray(np.arange(6, dtype="<c8").reshape(2, 3)),
        np.arange(4, dtype=">c16"),
        np.float32(2.5),
        np.bool_(True),
    ],
    ids=["transposed", "reversed", "big-endian", "broadcast", "fortran", "complex", "scalar", "bool"],
)  # fmt: skip
def test_arrays_in_any_order_of_memory(x: Any, path: Path) -> None:
    bp.save(path, x=x)
    found = bp.load(path)["x"]
    assert np.array_equal(found, x)
    assert found.dtype == x.dtype.newbyteorder("=")
    assert found.flags.c_contiguous
    assert found.flags.writeable


def test_nan_keeps_its_bits(path: Path) -> None:
    x = np.array([0x7FC00001, 0xFFC00000, 0x80000000, 0x00000001], dtype=np.uint32)
    bp.save(path, x=x.view(np.float32))
    assert bp.load(path)["x"].view(np.uint32).tolist() == x.tolist()


def test_complex_arrays_stand_in_the_file_as_pairs(path: Path) -> None:
    numpy_file = pytest.importorskip("safetensors.numpy")
    bp.save(path, z=np.array([1 + 2j, 3 - 4j]))
    assert numpy_file.load_file(path)["z"].tolist() == [[1, 2], [3, -4]]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array(["a"]), "'part.x' has dtype <U1; what can be stored is bool, uint8"),
        (np.array([object()]), "has dtype object"),
        (np.zeros(2, dtype="datetime64[s]"), "has dtype datetime64"),
        (np.zeros(2, dtype=[("a", "f4")]), "has dtype"),
        (np.zeros(2, dtype=np.longdouble), "has dtype "),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "is a masked array; store x.filled"),
    ],
    ids=["text", "objects", "dates", "records", "long double", "masked"],
)
def test_an_array_of_something_else_is_refused(x: Any, message: str, path: Path) -> None:
    if x.dtype == np.float64 and "masked" not in message:
        pytest.skip("long double is double here")
    with pytest.raises(DtypeError) as caught:
        bp.save(path, part={"x": x})
    assert message in str(caught.value)
    assert not path.exists()


def test_a_sparse_tensor_is_refused(path: Path) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(DtypeError, match=r"'x' has dtype torch.float32 and layout torch.sparse"):
        bp.save(path, x=torch.eye(2).to_sparse())


def test_a_tensor_that_requires_a_gradient_gives_its_values(path: Path) -> None:
    torch = pytest.importorskip("torch")
    bp.save(path, x=torch.ones(2, requires_grad=True))
    assert bp.load(path)["x"].tolist() == [1, 1]


def test_arrays_of_a_second_device_return_to_it(path: Path) -> None:
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    bp.save(path, x=strict.asarray([1.0, 2.0], device=device))
    here = bp.load(path, x=strict.zeros(2))["x"]
    there = bp.load(path, x=strict.zeros(2, device=device))["x"]
    assert here.device == strict.Device("CPU_DEVICE")
    assert there.device == device
    assert bp.to_numpy(there).tolist() == [1, 2]


# ---- trees of arrays as parts


def test_arrays_are_overwritten_in_place(path: Path) -> None:
    bp.save(path, params={"w": np.arange(3.0), "b": [np.ones(1)]})
    mine = {"w": np.zeros(3, np.float32), "b": [np.zeros(1)]}
    w = mine["w"]
    found = bp.load(path, params=mine)["params"]
    assert found["w"] is w
    assert w.tolist() == [0, 1, 2]
    assert w.dtype == np.float32


def test_arrays_that_cannot_be_written_to_are_replaced(path: Path) -> None:
    locked = np.zeros(3)
    locked.flags.writeable = False
    parts: dict[str, Any] = {
        "locked": locked,
        "spread": np.broadcast_to(np.zeros(1), (3,)),
        "scalar": np.float64(0),
    }
    bp.save(path, locked=np.ones(3), spread=np.arange(3.0), scalar=np.float64(7))
    found = bp.load(path, **parts)
    assert found["locked"].tolist() == [1, 1, 1]
    assert found["spread"].tolist() == [0, 1, 2]
    assert found["scalar"] == 7
    assert locked.tolist() == [0, 0, 0]


def test_named_tuples_and_dataclasses_come_back_through_the_part(path: Path) -> None:
    bp.save(path, a=Point(np.ones(2), 3), b=Record(np.zeros(1), "x"))
    assert bp.load(path)["a"] == {"x": pytest.approx([1, 1]), "y": 3}
    found = bp.load(path, a=Point(np.zeros(2), 0), b=Record(np.ones(1), ""))
    assert isinstance(found["a"], Point)
    assert found["a"].x.tolist() == [1, 1]
    assert found["b"] == Record(found["b"].w, "x")


class Point(NamedTuple):
    x: Any
    y: Any


@dataclass
class Record:
    w: Any
    name: str


def test_a_tie_is_stored_once_and_comes_back(path: Path) -> None:
    x = np.ones(1000)
    bp.save(path, a={"x": x, "y": x}, b=x)
    assert path.stat().st_size < 3 * 8000
    found = bp.load(path)
    assert found["a"]["x"] is found["a"]["y"]
    assert found["a"]["x"] is not found["b"]


@pytest.mark.parametrize(
    ("saved", "part", "message"),
    [
        ({"w": np.ones(2)}, {"w": np.ones(3)}, "part.w: expected shape (3,), the file has (2,)"),
        ({"w": np.ones(2)}, {"v": np.ones(2)}, "part.v: missing in the file; part.w: unexpected"),
        ([np.ones(2)], [np.ones(2), np.ones(2)], "part.1: missing in the file"),
        ({"w": np.ones(2)}, [np.ones(2)], "part: expected a list, the file has a dict"),
        ({"w": 3}, {"w": np.ones(2)}, "part.w: expected an array, the file has 3"),
        ({"w": np.ones(2)}, {"w": 3}, "part: the file has arrays in it, the part has none"),
        (np.ones(2), np.ones(2, int), "part: expected int64, the file has float64, which does not"),
        (np.ones(2) + 1j, np.ones(2), "part: expected float64, the file has complex128"),
        (np.ones(2), np.ones(2, bool), "part: expected bool, the file has float64"),
        (np.array([300]), np.ones(1, np.int8), "'part' holds numbers that do not fit into int8"),
        (np.array([-1]), np.ones(1, np.uint8), "'part' holds numbers that do not fit into uint8"),
    ],
)
def test_a_tree_that_does_not_fit_is_refused(
    saved: Any, part: Any, message: str, path: Path
) -> None:
    before = bp.tree.map(np.copy, part)
    bp.save(path, first=np.ones(2), part=saved)
    first = np.zeros(2)
    with pytest.raises(CheckpointError) as caught:
        bp.load(path, first=first, part=part)
    assert message in str(caught.value)
    assert str(path) in str(caught.value) or "'part'" in str(caught.value)
    assert "Nothing was changed" in str(caught.value)
    assert first.tolist() == [0, 0]
    assert str(before) == str(part)


# ---- numbers and containers


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 2**53 - 1, 2**53, -(2**64), 10**5000, 0.1, -0.0, 1e-320, 1.7976931348623157e308,
        math.inf, -math.inf, "", "é \U0001f600 \x00 \ud800", 1 + 2j, complex(math.inf, -0.0), [], {}, (),
        [1, [2.0, ["a"]]], (1, (2,), [3]), {"a": {"b.c": 1}, "": 2}, {1: "a", "1": "b", None: 3, (1, "x"): 4, 0.5: 5},
        {"dict": 1}, {"array": "x"}, {"array": "part.x"}, [{"tuple": [1]}], {True: 1},
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_numbers_and_containers_come_back_exactly(value: Any, path: Path) -> None:
    bp.save(path, value=value)
    found = bp.load(path)["value"]
    assert found == value
    assert type(found) is type(value)
    assert repr(found) == repr(value) if not isinstance(value, int) else True


def test_nan_comes_back(path: Path) -> None:
    bp.save(path, value={"a": math.nan, "b": complex(0, math.nan)})
    found = bp.load(path)["value"]
    assert math.isnan(found["a"])
    assert math.isnan(found["b"].imag)


keys = st.text(max_size=4) | st.integers() | st.floats(allow_nan=False) | st.none() | st.booleans()
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.complex_numbers(allow_nan=False)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys | st.tuples(keys, keys), inner, max_size=3)
    ),
    max_leaves=20,
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=values)
def test_any_tree_of_numbers_comes_back(value: Any, path: Path) -> None:
    bp.save(path, value=value)
    assert repr(bp.load(path)["value"]) == repr(value)


def test_subclasses_of_dict_are_saved_as_dicts(path: Path) -> None:
    bp.save(path, a=OrderedDict(x=1), b=defaultdict(list, {"y": [2]}))
    assert bp.load(path) == {"a": {"x": 1}, "b": {"y": [2]}}


def test_a_part_of_numbers_is_returned(path: Path) -> None:
    bp.save(path, epoch=7, history={"loss": [3.0, 2.0]}, extra=[np.ones(2)])
    found = bp.load(path, epoch=0, history={}, extra=None)
    assert found["epoch"] == 7
    assert found["history"] == {"loss": [3.0, 2.0]}
    assert found["extra"][0].tolist() == [1, 1]


def test_names_with_dots_and_letters_of_all_kinds(path: Path) -> None:
    tree = {"a.b": np.ones(1), "a": {"b": np.zeros(1)}, "ß λ": np.ones(2), "\ud800": np.ones(3)}
    tree |= {1: np.ones(4), "1": np.ones(5), "__metadata__": np.ones(6)}  # type: ignore[dict-item]
    bp.save(path, tree=tree, __metadata__=np.ones(7))
    found = bp.load(path)
    assert {k: np.shape(v) for k, v in found["tree"].items() if k != "a"} == {
        k: np.shape(v) for k, v in tree.items() if k != "a"
    }
    assert found["tree"]["a"]["b"].tolist() == [0]
    assert found["__metadata__"].shape == (7,)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": {1, 2}}, "'part.a' is a set, which cannot be saved"),
        (lambda: 0, "'part' is a function"),
        (b"bytes", "'part' is a bytes"),
        ({"k": {frozenset(): 1}}, "'part.k' has the key frozenset()"),
        (Path("x"), "which cannot be saved; give arrays, numbers, strings, None, containers of them"),
        (bp.nn.Linear, "'part' is a type"),
    ],
)  # fmt: skip
def test_what_cannot_be_saved_is_named(value: Any, message: str, path: Path) -> None:
    with pytest.raises(ArgumentError) as caught:
        bp.save(path, part=value)
    assert message in str(caught.value)
    assert not path.exists()


def test_a_tree_that_holds_itself_is_refused(path: Path) -> None:
    tree: list[Any] = []
    tree.append(tree)
    with pytest.raises(ArgumentError, match=r"nested more than 100 deep; does it hold itself\?"):
        bp.save(path, tree=tree)


def test_parts_need_names(path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"save: each part needs a name.*model=model"):
        bp.save(path, {"a": 1})
    with pytest.raises(ArgumentError, match=r"load: each part needs a name"):
        bp.load(path, {"a": 1})
    with pytest.raises(ArgumentError, match="save: nothing to save; name the parts"):
        bp.save(path)


@pytest.mark.parametrize("wrong", [None, 3, b"file", "", "a\0b", ["x"]])
def test_a_path_is_a_path(wrong: Any) -> None:
    for act in (lambda: bp.save(wrong, a=1), lambda: bp.load(wrong)):
        with pytest.raises(ArgumentError, match="expected the path of a file as a str or"):
            act()


# ---- other programs, and earlier versions


def test_the_reference_reader_reads_our_files(path: Path) -> None:
    numpy_file = pytest.importorskip("safetensors.numpy")
    tree = {d: numbers(d, (2, 3)) for d in DTYPES if not d.startswith("complex")}
    bp.save(path, tree=tree, empty=np.zeros((0, 2)), zero=np.ones(()))
    found = numpy_file.load_file(path)
    assert all(same(found[f"tree.{d}"], x) for d, x in tree.items())
    assert found["empty"].shape == (0, 2)
    assert found["zero"].shape == ()


def test_files_of_the_reference_writer_are_read(path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch_file = pytest.importorskip("safetensors.torch")
    state = {"a.weight": torch.randn(2, 3), "h": torch.ones(2, dtype=torch.bfloat16)}
    torch_file.save_file(state, path, metadata={"format": "pt"})
    found = bp.load(path)
    assert list(found) == ["a.weight", "h"]
    assert same(found["a.weight"], state["a.weight"].numpy())
    with pytest.raises(CheckpointError, match="written by another program and has no parts; read"):
        bp.load(path, model=bp.nn.Linear(1, 1))


def test_arrays_begin_at_multiples_of_their_width(path: Path) -> None:
    bp.save(path, a=np.ones(3, np.int8), b=np.ones(3), c=np.ones(1, np.float32))
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    assert length % 8 == 0
    assert [header[n]["data_offsets"] for n in "bca"] == [[0, 24], [24, 28], [28, 31]]


def test_files_of_version_1_stay_readable() -> None:
    """The file was written by version 1 and never changes: `python tests/io/test_save_load.py` made it."""
    found = bp.load(VERSION_1)
    for name, value in version_1().items():
        if name == "net":
            assert found[name].keys() == value.state_dict().keys()
            assert same(found[name]["0.weight"], [[1.0, 2.0], [3.0, 4.0]])
        else:
            assert repr(found[name]) == repr(value)
    net = version_1()["net"]
    assert bp.tree.leaves(bp.load(VERSION_1, net=net)["net"].state_dict())


def version_1() -> dict[str, Any]:
    net = bp.nn.Sequential(bp.nn.Linear(2, 2), bp.nn.Dropout())
    net.load_state_dict({"0.weight": np.array([[1.0, 2], [3, 4]]), "0.bias": np.zeros(2)})
    net.to(dtype="float64")
    net.load_state_dict({"0.weight": np.array([[1.0, 2], [3, 4]]), "0.bias": np.zeros(2)})
    tree = {
        "numbers": [1, -0.0, 2**70, math.inf, None, True, "é", 1 - 2j],
        ("key", 2): (np.arange(3), np.array([1 + 2j], np.complex64)),
        3: np.zeros((0, 2), np.float32),
        "bool": np.array([True, False]),
    }
    return {"net": net, "tree": tree, "epoch": 3}


if __name__ == "__main__":
    bp.save(VERSION_1, **version_1())
