"""Where batches come from: arrays through a `DataLoader`, or any iterable of batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from bpgpu import tree as trees
from bpgpu.backend.libraries import namespace_of
from bpgpu.backend.look import at_hand
from bpgpu.data import DataLoader, check_finite
from bpgpu.data.columns import is_columns
from bpgpu.device import Device, to_device
from bpgpu.device import device as find_device
from bpgpu.errors import ArgumentError, DataError
from bpgpu.train.place import Elsewhere, Place, check_together


class Batches:
    """The batches of an epoch, on the device of the model, and how far they were given.

    `position` counts the batches that were given in this epoch. A source without a state of its own (a list of batches,
    a generator) is taken up after an interruption by passing over as many batches.
    """

    def __init__(self, source: Any, place: Place, what: str) -> None:
        self.source, self.place, self.what = source, place, what
        self.is_loader = isinstance(source, DataLoader)
        self.only_once = not self.is_loader and iter(source) is source
        self.position = 0
        self._skip = 0
        self._first: list[Any] = []
        self._used = False

    def __iter__(self) -> Iterator[Any]:
        at_home = (
            isinstance(self.place, Elsewhere) or getattr(self.source, "device", 0) == self.place
        )
        return iter(self.source) if self.is_loader and at_home else self._others()

    def _others(self) -> Iterator[Any]:
        if self.only_once and self._used:
            raise DataError(
                f"{self.what}: a generator lasts for one epoch, and training is to go on; pass epochs=1, a list of "
                "batches, or an object whose __iter__ begins anew"
            )
        self._used = True
        skip, self._skip = self._skip, 0
        self.position = skip
        first, self._first = self._first, []
        batches = itertools.chain(first, self.source) if self.only_once else self.source
        for batch in itertools.islice(batches, skip, None):
            self.position += 1
            yield self._moved(batch)
        if self.position == 0 and not (
            self.is_loader and self.count
        ):  # a resumed one may be through
            raise DataError(f"{self.what}: it has no batches; there is nothing to train on")
        self.position = 0

    def _moved(self, batch: Any) -> Any:
        return to_device(batch, self.place) if isinstance(self.place, Device) else batch

    def first(self, moved: bool = True) -> Any:
        """A first batch, for checks; nothing is used up. Of a data set it has the examples with the smallest and the
        largest class, so that labels out of range show."""
        batch = self._example()
        return self._moved(batch) if moved else batch

    def _example(self) -> Any:
        if self.is_loader:
            loader = self.source
            order = _telling(loader.data) if loader.batch_size > 1 else None
            return loader._batch(order, 0, min(loader.batch_size, loader.rows))
        if not self.only_once:
            for batch in self.source:
                return batch
        elif not self._first:
            self._first = list(itertools.islice(self.source, 1))
        if not self._first:
            raise DataError(f"{self.what}: it has no batches; there is nothing to train on")
        return self._first[0]

    @property
    def count(self) -> int | None:
        """How many batches an epoch has, if that is known."""
        return len(self.source) if hasattr(self.source, "__len__") else None

    @property
    def at_end(self) -> bool:
        """True if the batch that was given last is known to be the last of its epoch."""
        return self.count == (self.source.position if self.is_loader else self.position)

    def state_dict(self) -> dict[str, Any]:
        if self.is_loader:
            return {"source": self.source.state_dict()}
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.is_loader:
            self.source.load_state_dict(state["source"])
        else:
            self._skip = state["position"]


def _telling(data: Any) -> Any:
    """An order that begins with the rows of the smallest and the largest class, if there are classes to look at."""
    if not isinstance(data, tuple) or len(data) < 2 or not is_columns(data):
        return None
    y = data[1]
    if not trees.is_array(y) or len(y.shape) != 1 or "int" not in str(y.dtype) or not at_hand(y):
        return None
    xp = namespace_of(y)
    ends = [int(xp.argmin(y)), int(xp.argmax(y))]
    others = [i for i in range(min(int(y.shape[0]), MOST)) if i not in ends]
    return find_device("cpu").asarray([*dict.fromkeys(ends), *others])


MOST = 1 << 16
"""No more rows than these are put into the batch that is looked at first."""


def batches_of(
    data: Any,
    what: str,
    model: Any,
    place: Place,
    *,
    wish: Any = "auto",
    batch_size: int,
    shuffle: bool = False,
    seed: int | None = None,
    finite: bool = True,
) -> Batches:
    """Batches of `data`, which is checked as far as it can be without using it up."""
    if isinstance(data, (str, bytes)) or data is None:
        raise ArgumentError(
            f"{what}: expected arrays, as in (x, y), or an iterable of batches, got {data!r:.40}"
        )
    is_loader, by_columns = isinstance(data, DataLoader), is_columns(data)
    columns = data.data if is_loader else data
    if is_columns(columns):
        check_together(model, columns, what, wish, place)
        if finite:
            check_finite(columns, what)
    if is_loader:
        return Batches(data, place, what)
    is_sequence = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    if by_columns or (is_sequence and not hasattr(data, "__iter__")):
        device = place if isinstance(place, Device) else None
        try:
            loader = DataLoader(data, batch_size, shuffle, seed=seed, device=device)
        except DataError as error:
            raise DataError(str(error).replace("data:", f"{what}:", 1)) from None
        return Batches(loader, place, what)
    if not hasattr(data, "__iter__"):
        raise ArgumentError(
            f"{what}: expected arrays, as in (x, y), or an iterable of batches, got a {type(data).__name__}"
        )
    batches = Batches(data, place, what)
    first = batches.first(moved=False)
    if not trees.leaves(first):
        raise DataError(
            f"{what}: expected batches of arrays, got a {type(first).__name__} as the first one; convert lists of "
            "numbers to arrays"
        )
    check_together(model, first, what, wish, place)
    return batches


def rows_of(batch: Any) -> int:
    """How many examples a batch has: the length of its first array."""
    while type(batch) is tuple or type(batch) is list:
        batch = batch[0]
    if not trees.is_array(batch):
        batch = trees.leaves(batch)[0]
    return int(batch.shape[0]) if batch.shape else 1
