"""DataLoader: the order, the batches, taking it up in the middle, and what is said about data that are wrong."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.data import DataLoader, collate
from bpgpu.data import feed as feeds
from bpgpu.errors import ArgumentError, DataError, LibraryError

X, Y = np.arange(40.0).reshape(20, 2), np.arange(20)


def labels(loader: Any) -> list[list[int]]:
    return [bp.to_numpy(y).tolist() for _, y in loader]


def test_batches_without_shuffling_are_the_data_in_order() -> None:
    assert labels(DataLoader((X, Y), 8)) == [
        list(range(8)),
        list(range(8, 16)),
        list(range(16, 20)),
    ]


@pytest.mark.parametrize("size", [1, 3, 7, 20, 50])
@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_gives_every_row_once_at_any_size(size: int, shuffle: bool) -> None:
    loader = DataLoader((X, Y), size, shuffle, seed=3)
    batches = list(loader)
    assert len(batches) == len(loader) == -(-20 // size)
    for x, y in batches:
        np.testing.assert_array_equal(x[:, 0], 2.0 * y)
    assert sorted(i for _, y in batches for i in y.tolist()) == list(range(20))


def test_drop_last_leaves_a_short_batch_out() -> None:
    loader = DataLoader((X, Y), 8, drop_last=True)
    assert len(loader) == 2
    assert [len(y) for _, y in loader] == [8, 8]


def test_the_order_is_the_same_in_every_library(xp: Any) -> None:
    here = DataLoader((X, Y), 6, shuffle=True, seed=5)
    there = DataLoader((xp.asarray(X), xp.asarray(Y)), 6, shuffle=True, seed=5)
    for _ in range(2):
        assert labels(here) == labels(there)


def test_the_order_is_the_same_with_jax() -> None:
    jnp = pytest.importorskip("jax.numpy")
    there = DataLoader((jnp.asarray(X), jnp.asarray(Y)), 6, shuffle=True, seed=5)
    assert labels(there) == labels(DataLoader((X, Y), 6, shuffle=True, seed=5))
    assert labels(DataLoader((jnp.asarray(X), jnp.asarray(Y)), 6)) == labels(DataLoader((X, Y), 6))


def test_the_arrays_of_a_second_device_stay_there() -> None:
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    y = strict.asarray(Y, device=device)
    for shuffle in (False, True):
        batches = list(DataLoader((y, y), 6, shuffle, seed=5))
        assert all(b.device == device for batch in batches for b in batch)
        assert labels(batches) == labels(DataLoader((X, Y), 6, shuffle, seed=5))


def test_the_order_of_an_epoch_follows_from_seed_and_epoch_alone() -> None:
    first = DataLoader((X, Y), 6, shuffle=True, seed=5)
    epochs = [labels(first) for _ in range(3)]
    assert epochs[0] != epochs[1]
    late = DataLoader((X, Y), 6, shuffle=True, seed=5)
    late.epoch = 2
    assert labels(late) == epochs[2]
    for epoch in (0, 2, 63, 64, 65, 1000):
        key = bp.random.fold_in(bp.random.key(5), epoch)
        np.testing.assert_array_equal(late.order(epoch), bp.random.permutation(key, 20))


def test_without_a_seed_the_order_follows_from_the_stream_of_the_thread() -> None:
    def epoch() -> list[list[int]]:
        return labels(DataLoader((X, Y), 6, shuffle=True))

    bp.seed(1)
    first, second = epoch(), epoch()
    bp.seed(1)
    assert [first, second] == [epoch(), epoch()]
    assert first != second
    bp.seed(1)
    before = bp.random.get_state()
    DataLoader((X, Y), 6)  # draws nothing
    assert bp.random.get_state() == before


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("given", range(9))
def test_a_loader_is_taken_up_with_the_very_next_batch(given: int, prefetch: int) -> None:
    def new(seed: int) -> DataLoader:
        return DataLoader((X, Y), 6, shuffle=True, seed=seed, prefetch=prefetch)

    whole = [y for loader in [new(5)] for _ in range(3) for y in labels(loader)]
    loader, seen, state = new(5), [], new(5).state_dict()
    while len(seen) < given:
        for _, y in loader:
            seen.append(y.tolist())
            state = json.loads(json.dumps(loader.state_dict()))
            if len(seen) == given:
                break
    other = new(77)  # the key comes with the state
    other.load_state_dict(state)
    assert (other.epoch, other.position) == (loader.epoch, loader.position)
    while len(seen) < len(whole):
        seen += labels(other)
    assert seen == whole


def test_a_state_after_the_last_batch_ends_the_epoch_first() -> None:
    loader = DataLoader((X, Y), 10)
    batches = iter(loader)
    next(batches), next(batches)
    assert (loader.epoch, loader.position) == (0, 2)
    other = DataLoader((X, Y), 10)
    other.load_state_dict(loader.state_dict())
    assert labels(other) == []
    assert (other.epoch, other.position) == (1, 0)
    assert len(labels(other)) == 2


def test_a_loop_that_was_left_begins_the_next_epoch() -> None:
    loader = DataLoader((X, Y), 6, shuffle=True, seed=5)
    for _ in loader:
        break
    assert (loader.epoch, loader.position) == (0, 1)
    np.testing.assert_array_equal(np.concatenate(labels(loader)), loader.order(1))
    assert (loader.epoch, loader.position) == (2, 0)


def test_two_loops_at_once_do_not_disturb_each_other() -> None:
    loader = DataLoader((X, Y), 6)
    assert [a[1].tolist() == b[1].tolist() for a, b in zip(loader, loader, strict=True)] == 4 * [
        True
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batch_size": 4}, "in the middle of an epoch with batch_size 6, this loader has batch_size 4"),
        ({"drop_last": True}, "with drop_last False, this loader has drop_last True"),
        ({"shuffle": False}, "taken with shuffle=True, this loader has shuffle=False"),
    ],
)  # fmt: skip
def test_a_state_of_another_loader_is_refused_and_changes_nothing(
    change: dict[str, Any], text: str
) -> None:
    loader = DataLoader((X, Y), 6, shuffle=True, seed=5)
    next(iter(loader))
    options = {"batch_size": 6, "shuffle": True, "seed": 9, **change}
    other = DataLoader((X, Y), **options)
    before = other.state_dict()
    with pytest.raises(DataError, match=text):
        other.load_state_dict(loader.state_dict())
    assert other.state_dict() == before


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"epoch": 0},
        {"epoch": -1},
        {"position": 1.5},
        {"key": [1]},
        {"key": 3},
        {"position": 99},
    ],
)
def test_a_state_that_is_none_is_refused(state: Any) -> None:
    loader = DataLoader((X, Y), 6, shuffle=True, seed=5)
    if state is not None and len(state) == 1 and state != {"epoch": 0}:
        state = {**loader.state_dict(), **state}
    with pytest.raises(DataError, match="DataLoader: expected"):
        loader.load_state_dict(state)


def test_a_state_between_epochs_goes_with_more_data() -> None:
    loader = DataLoader((X, Y), 6, shuffle=True, seed=5)
    labels(loader)
    more = DataLoader((np.concat([X, X]), np.concat([Y, Y])), 9, shuffle=True, seed=5)
    more.load_state_dict(loader.state_dict())
    assert more.epoch == 1


def test_batches_keep_the_tree_of_the_data() -> None:
    Pair = namedtuple("Pair", "x y")

    @dataclass
    class Sample:
        x: Any
        note: str

    (batch, *_) = DataLoader(
        {"a": X, "b": (Pair(X, Y), None), "c": Sample(X, "n")}, 3, shuffle=True
    )
    assert batch["b"][1] is None
    assert type(batch["b"][0]) is Pair
    assert batch["c"].note == "n"
    assert {x.shape for x in (batch["a"], batch["b"][0].x, batch["c"].x)} == {(3, 2)}
    (batch, *_) = DataLoader(Y, 3)
    assert batch.tolist() == [0, 1, 2]


@pytest.mark.parametrize("shuffle", [False, True])
def test_changing_a_batch_leaves_the_data_alone(xp: Any, shuffle: bool) -> None:
    x = xp.asarray(X)
    for (batch,) in DataLoader((x,), 6, shuffle, seed=0):
        batch *= 0
    np.testing.assert_array_equal(bp.to_numpy(x), X)


def test_arrays_that_are_not_contiguous() -> None:
    x = np.asfortranarray(X)[::2]
    loader = DataLoader((x, Y[::2]), 3, shuffle=True, seed=0)
    for a, b in loader:
        np.testing.assert_array_equal(a[:, 0], 2 * b)


def test_a_memory_map_is_read_by_rows(tmp_path: Any) -> None:
    np.save(tmp_path / "x.npy", X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    (batch, *_) = DataLoader(x, 6, shuffle=True, seed=0)
    assert type(batch) is np.ndarray
    batch += 1


class Squares:
    """A data set as torch knows them."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> tuple[Any, int, float]:
        return np.full(2, i), i, i / 2


def test_examples_one_by_one_are_put_together() -> None:
    for shuffle in (False, True):
        for x, i, half in DataLoader(Squares(), 4, shuffle, seed=0):
            assert (x.shape[1], i.dtype, half.dtype) == (2, np.int64, np.float32)
            np.testing.assert_array_equal(x[:, 0], i)
            np.testing.assert_array_equal(half, i / 2)
    assert list(DataLoader(Squares(), 10, collate_fn=len)) == [10]


def test_a_list_is_a_data_set_of_examples() -> None:
    assert [b.tolist() for b in DataLoader([3, 1, 2], 2)] == [[3, 1], [2]]
    assert list(DataLoader(["a", "b", "c"], 2)) == [["a", "b"], ["c"]]
    with pytest.raises(DataError, match=r"shape \(20,\).*pass a tuple, \(x, y\)"):
        list(DataLoader([X, Y], 2))


@pytest.mark.parametrize(
    ("examples", "text"),
    [
        ([(1, 2), (1,)], r"the parts \[0, 1\], number 1 is a tuple with the parts \[0\]"),
        ([{"a": 1}, 3], "number 1 is a int"),
        ([np.ones(2), np.ones(3)], r"shape \(2,\), number 1 is an array of shape \(3,\)"),
        ([np.ones(2), 1.0], r"number 1 is a float"),
    ],
)
def test_examples_that_do_not_fit_together_are_named(examples: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        collate(examples)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ((X[:5], Y), "data: y has 20 rows, x has 5"),
        ({"left": X, "right": (Y, Y[:7])}, "data: right.1 has 7 rows, left has 20"),
        ((X, Y, Y[:3]), "data: part 2 has 3 rows, x has 20"),
        ((X[:0], Y[:0]), "data: x has 0 rows"),
        ([], "has 0 examples"),
        ((X, np.asarray(1.0)), "data: y is a single number"),
        ((), "data: expected arrays, got a tuple without any"),
        ((1, 2), "data: expected arrays, got a tuple without any"),
        (3, "__len__ and __getitem__, got int"),
        ((b for b in "ab"), "an iterable of batches needs no DataLoader"),
        ((X, np.asarray(["a"] * 20)), "data: y has dtype <U1; turn its entries into numbers"),
        ((np.ma.masked_array(X), Y), "data: x is a masked array"),
    ],
)
def test_data_that_cannot_be_cut_into_batches_are_named(data: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        DataLoader(data)


@pytest.mark.parametrize("size", [0, -1, 2.5, None, True, "8"])
def test_a_batch_size_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(ArgumentError, match="batch_size: expected an integer of at least 1"):
        DataLoader((X, Y), size)


def test_an_epoch_without_batches_is_refused() -> None:
    with pytest.raises(DataError, match="drop_last: the data set has 20 rows and batch_size is 21"):
        DataLoader((X, Y), 21, drop_last=True)


def test_what_only_looks_like_an_array_is_refused() -> None:
    class Fake:
        shape, dtype = (3,), "float32"

    with pytest.raises(DataError, match="data: x: expected an array of NumPy"):
        DataLoader((Fake(), Y))
    assert not issubclass(DataError, LibraryError)


@pytest.mark.parametrize("batch_size", [1, 6])
def test_batches_ahead_are_the_same_batches(batch_size: int) -> None:
    for prefetch in (1, 3, 100):
        plain = DataLoader((X, Y), batch_size, shuffle=True, seed=2)
        loader = DataLoader((X, Y), batch_size, shuffle=True, seed=2, prefetch=prefetch)
        for _ in range(2):
            assert labels(loader) == labels(plain)
    assert not [t for t in threading.enumerate() if t.name == "bpgpu-batches"]


def test_the_thread_ends_with_the_loop() -> None:
    loader = DataLoader((X, Y), 1, prefetch=2)
    for _ in loader:
        break
    assert not [t for t in threading.enumerate() if t.name == "bpgpu-batches"]


def test_an_error_of_the_thread_is_raised_where_its_batch_would_come() -> None:
    class Broken(Squares):
        def __getitem__(self, i: int) -> Any:
            if i == 5:
                raise OSError("disk")
            return i

    batches = iter(DataLoader(Broken(), 2, prefetch=3))
    assert [next(batches).tolist(), next(batches).tolist()] == [[0, 1], [2, 3]]
    with pytest.raises(OSError, match="disk"):
        next(batches)


def test_copies_and_pickles_go_on_at_the_same_place() -> None:
    loader = DataLoader((X, Y), 6, shuffle=True, seed=5)
    next(iter(loader))
    for other in (copy.deepcopy(loader), pickle.loads(pickle.dumps(loader))):
        assert (other.epoch, other.position) == (0, 1)
        np.testing.assert_array_equal(np.concatenate(labels(other)), loader.order(0)[6:])


class Uploads:
    """What copies to a device, as far as the host can tell: each step is noted."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def pin(self, batch: int) -> int:
        if batch == 4:
            raise OSError("disk")
        return batch * 10

    def start(self, pinned: int) -> int:
        self.log.append(f"start {pinned}")
        return pinned + 1

    def finish(self, ticket: int) -> int:
        self.log.append(f"finish {ticket}")
        return ticket


def test_uploads_begin_before_their_batches_are_asked_for() -> None:
    uploads = Uploads()
    batches = feeds.ahead(iter(range(8)), 2, uploads)  # type: ignore[arg-type]
    seen = []
    with pytest.raises(OSError, match="disk"):
        seen.extend(iter(lambda: next(batches), None))
    batches = feeds.ahead(iter(range(3)), 2, uploads)  # type: ignore[arg-type]
    uploads.log.clear()
    assert list(batches) == [1, 11, 21]
    assert [s for s in uploads.log if s.startswith("start")] == ["start 0", "start 10", "start 20"]


def test_a_device_that_is_named_gets_the_batches() -> None:
    torch = pytest.importorskip("torch")
    loader = DataLoader((torch.asarray(X), torch.asarray(Y)), 6, device="cpu")
    assert loader.resident
    assert all(type(b) is np.ndarray for batch in loader for b in batch)
    batches = DataLoader(Squares(), 4, device="cpu")
    assert not batches.resident
    assert type(next(iter(batches))[0]) is np.ndarray
