"""DataLoader: a data set in batches, in an order that a seed decides and that can be taken up in the middle."""

from __future__ import annotations

import functools
import operator
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from bpgpu import random
from bpgpu import tree as trees
from bpgpu.backend import rows
from bpgpu.backend.upload import Uploader
from bpgpu.data.columns import checked_columns, checked_examples, collate, is_columns, to_batches
from bpgpu.data.dataset import Dataset
from bpgpu.data.feed import ahead
from bpgpu.device import Device, to_device
from bpgpu.device import device as find_device
from bpgpu.errors import ArgumentError, DataError
from bpgpu.random.threefry import blocks

SHARE = 0.5
"""A data set moves to a CUDA device whole if it takes no more than this part of the memory that is free there."""


class DataLoader:
    """The batches of a data set, epoch after epoch.

    Each `for batch in loader:` goes through the data once. The order of epoch `e` is the permutation
    `bpgpu.random.permutation(fold_in(key(seed), e), n)`: it depends on nothing but the seed, the epoch and the
    number of examples, and is the same on every device.

    *Parameters*

    - `data`: an array, or a tree of arrays (tuple, dict, named tuple, dataclass) with one row for each example; a
      batch is the same tree. Or an object with `__len__` and `__getitem__`, a list of examples for instance, whose
      examples `collate_fn` puts together.
    - `batch_size`: examples in a batch, at least 1. The last batch may have fewer.
    - `shuffle`: a new order in each epoch.
    - `drop_last`: leave a last batch out that has fewer examples.
    - `seed`: an integer in [0, 2**64). `None` takes a key from this thread's stream (`bpgpu.seed`), if it shuffles.
    - `device`: where batches are to be; `None` leaves them where the data are. Arrays are moved there once if they
      fit (on CUDA: into half of the free memory), else batch by batch while the device computes.
    - `prefetch`: how many batches a thread prepares ahead. `None`: 2 if batches are copied to a GPU, else 0, since
      taking rows out of an array costs less than handing them over.
    - `collate_fn`: makes a batch of a list of examples; by default `bpgpu.data.collate`.

    *Attributes* `epoch` and `position`: the epoch and how many of its batches were given. After the last batch
    `position` is `len(loader)` until the loop ends; then the next epoch begins.

    *Raises* `DataError` for arrays of different length (by name) and for an empty data set; `ArgumentError` for a
    `batch_size` below 1.

    *Notes* A loop that was left with `break` is not taken up again: the next one begins the next epoch. It is taken
    up by `load_state_dict`, with the very next batch. Batches are copies: changing one leaves the data alone.

    >>> import numpy as np
    >>> x, y = np.arange(10.0), np.arange(10)
    >>> loader = DataLoader((x, y), batch_size=4, shuffle=True, seed=0)
    >>> [yb.tolist() for xb, yb in loader]
    [[6, 9, 2, 0], [3, 8, 4, 1], [7, 5]]
    """

    def __init__(
        self,
        data: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        seed: int | None = None,
        device: str | Device | None = None,
        prefetch: int | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        self.batch_size = _count("batch_size", batch_size, 1)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        self.device = None if device is None else find_device(device)
        if isinstance(data, Dataset):
            data = tuple(data)
        is_tree = is_columns(data)
        if is_tree:
            data, self.rows = checked_columns(data)
        else:
            self.rows = checked_examples(data)
        if len(self) == 0:
            raise DataError(
                f"drop_last: the data set has {self.rows} rows and batch_size is {self.batch_size}, so there would "
                f"be no batch; leave drop_last out, or take a batch_size of at most {self.rows}"
            )
        self.resident = is_tree and _fits(data, self.device)
        """True if the arrays are where the batches are to be."""
        self.data = to_device(data, self.device) if self.device and self.resident else data
        by_copy = self.device is not None and not self.resident
        self._uploads = by_copy and self.device is not None and self.device.type == "cuda"
        self.prefetch = (
            2 * self._uploads
            if prefetch is None
            else _count("prefetch", prefetch, int(self._uploads))
        )
        self._is_tree, self._collate = is_tree, collate_fn or collate
        self._batch = to_batches(self.data, self._is_tree, self._collate)
        self._key = _key_words(seed) if shuffle else None
        self.epoch = 0
        self.position = 0
        self._open: weakref.ref[_Pass] | None = None
        self._was_left = False

    def __len__(self) -> int:
        """How many batches an epoch has."""
        whole, rest = divmod(self.rows, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        if self._was_left:
            self._begin(self.epoch + 1)
        newest = _Pass(self, self._batches(self.epoch, self.position))
        self._open = weakref.ref(newest)  # what was left ends, and its thread with it
        return newest

    def _begin(self, epoch: int, position: int = 0) -> None:
        self.epoch, self.position, self._open, self._was_left = epoch, position, None, False

    def order(self, epoch: int) -> Any:
        """The order of an epoch as an array of NumPy, or `None` if it is that of the data."""
        if self._key is None:
            return None
        return random.permutation(_epoch_key(*self._key, epoch), self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is, as plain numbers: the next batch, the key of the order, and what both rest on."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "key": None if self._key is None else list(self._key),
            "rows": self.rows,
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the very next batch after those that were given when the state was taken.

        *Raises* `DataError`, and changes nothing, if the state is not one of a DataLoader, or if it stands in the
        middle of an epoch of a loader with other data, another `batch_size`, or another `drop_last`.
        """
        epoch, position, key = _checked_state(state)
        if (key is None) == self.shuffle:
            raise DataError(
                f"DataLoader: the state was taken with shuffle={key is not None}, this loader has "
                f"shuffle={self.shuffle}"
            )
        for name in ("rows", "batch_size", "drop_last") if position else ():
            if state[name] != getattr(self, name):
                raise DataError(
                    f"DataLoader: the state was taken in the middle of an epoch with {name} {state[name]}, this "
                    f"loader has {name} {getattr(self, name)}; the next batch would be another one"
                )
        if position > len(self):
            raise DataError(f"DataLoader: expected position in [0, {len(self)}], got {position}")
        self._key = key
        self._begin(epoch, position)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None, "_was_left": False, "_batch": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._batch = to_batches(self.data, self._is_tree, self._collate)

    def _batches(self, epoch: int, position: int) -> Iterator[Any]:
        batches = self._sliced(epoch, position)
        if self._uploads and self.device is not None:
            return ahead(batches, self.prefetch, Uploader(self.device.index or 0))
        if self.device is not None and not self.resident:
            batches = (to_device(batch, self.device) for batch in batches)
        return ahead(batches, self.prefetch) if self.prefetch else batches

    def _sliced(self, epoch: int, position: int) -> Iterator[Any]:
        order = self.order(epoch)
        for i in range(position, len(self)):
            start = i * self.batch_size
            yield self._batch(order, start, min(start + self.batch_size, self.rows))

    def __repr__(self) -> str:
        return (
            f"DataLoader({self.rows} rows, batch_size={self.batch_size}, shuffle={self.shuffle}, epoch {self.epoch}, "
            f"position {self.position} of {len(self)})"
        )


class _Pass:
    """One way through the data. The loader follows the newest."""

    def __init__(self, loader: DataLoader, batches: Iterator[Any]) -> None:
        self._loader, self._batches = loader, batches

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        loader = self._loader
        follows = loader._open is not None and loader._open() is self
        try:
            batch = next(self._batches)
        except StopIteration:
            if follows:
                loader._begin(loader.epoch + 1)
            raise
        if follows:
            loader.position += 1
            loader._was_left = True  # until the loop ends
        return batch


def _fits(data: Any, device: Device | None) -> bool:
    """Whether the arrays of a tree can be where the batches are to be, as a whole."""
    if device is None or device.type == "cpu":
        return True
    memory = device.memory()
    if memory.free is None:
        return True
    size = sum(rows.size_in_bytes(x) for x in trees.leaves(data))
    return size <= SHARE * (memory.free + (memory.pooled or 0))


def _key_words(seed: int | None) -> tuple[int, int]:
    key = random.next_key() if seed is None else random.key(seed)
    high, low = (int(word) & 0xFFFFFFFF for word in key)
    return high, low


AHEAD = 64
"""Keys of epochs are made so many at a time: one takes as long as all of these."""


def _epoch_key(high: int, low: int, epoch: int) -> random.Key:
    """`fold_in(key, epoch)`."""
    return _epoch_keys(high, low, epoch // AHEAD)[epoch % AHEAD]


@functools.lru_cache(maxsize=16)
def _epoch_keys(high: int, low: int, part: int) -> Any:
    return rows.columns(blocks(random.key((high << 32) | low), AHEAD, part * AHEAD))


def _count(name: str, value: Any, least: int) -> int:
    try:
        count = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = -1
    if count < least:
        raise ArgumentError(f"{name}: expected an integer of at least {least}, got {value!r}")
    return count


def _checked_state(state: Any) -> tuple[int, int, tuple[int, int] | None]:
    """Epoch, position and key of a state, or an error."""
    names = ["batch_size", "drop_last", "epoch", "key", "position", "rows"]
    if not isinstance(state, dict) or sorted(map(str, state)) != names:
        got = sorted(map(str, state)) if isinstance(state, dict) else type(state).__name__
        raise DataError(f"DataLoader: expected a state with the entries {names}, got {got}")
    key = state["key"]
    words = (0, 0) if key is None else key if isinstance(key, (list, tuple)) else ()
    numbers = [state["epoch"], state["position"], *words]
    if len(numbers) != 4 or not all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 1 << 63 for n in numbers
    ):
        raise DataError(
            "DataLoader: expected epoch and position of at least 0 and a key of two words in the state, got "
            f"{state['epoch']!r}, {state['position']!r} and {state['key']!r}"
        )
    epoch, position, high, low = numbers
    return epoch, position, None if key is None else (high & 0xFFFFFFFF, low & 0xFFFFFFFF)
