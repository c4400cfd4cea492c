"""Where batches come from: arrays through a `DataLoader`, or any iterable of batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from bpgpu import tree as trees
from bpgpu.data import DataLoader, check_finite
from bpgpu.data.columns import is_columns
from bpgpu.device import Device, to_device
from bpgpu.errors import ArgumentError, DataError
from bpgpu.train.place import Elsewhere, check_together


class Batches:
    """The batches of an epoch, on the device of the model, and how far they were given.

    `position` counts the batches that were given in this epoch. A source without a state of its own (a list of batches,
    a generator) is taken up after an interruption by passing over as many batches.
    """

    def __init__(self, source: Any, place: Device | Elsewhere, what: str) -> None:
        self.source, self.place, self.what = source, place, what
        self.is_loader = isinstance(source, DataLoader)
        self.only_once = not self.is_loader and iter(source) is source
        self.position = 0
        self._skip = 0
        self._first: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        if self.is_loader and self._at_home(self.source):
            return iter(self.source)
        return self._others()

    def _at_home(self, loader: DataLoader) -> bool:
        return loader.device == self.place or isinstance(self.place, Elsewhere)

    def _others(self) -> Iterator[Any]:
        skip, self._skip = self._skip, 0
        self.position = skip
        first, self._first = self._first, []
        batches = itertools.chain(first, self.source) if self.only_once else self.source
        for batch in itertools.islice(batches, skip, None):
            self.position += 1
            yield self._moved(batch)
        self.position = 0

    def _moved(self, batch: Any) -> Any:
        return to_device(batch, self.place) if isinstance(self.place, Device) else batch

    def first(self) -> Any:
        """The first batch, for checks; nothing is used up."""
        if self.is_loader:
            loader = self.source
            return self._moved(loader._batch(None, 0, min(loader.batch_size, loader.rows)))
        if not self.only_once:
            for batch in self.source:
                return self._moved(batch)
        elif not self._first:
            self._first = list(itertools.islice(self.source, 1))
        if not self._first:
            raise DataError(f"{self.what}: it has no batches; there is nothing to train on")
        return self._moved(self._first[0])

    def __len__(self) -> int:
        return len(self.source)

    @property
    def count(self) -> int | None:
        """How many batches an epoch has, if that is known."""
        return len(self.source) if hasattr(self.source, "__len__") else None

    def state_dict(self) -> dict[str, Any]:
        if hasattr(self.source, "state_dict"):
            return {"source": self.source.state_dict()}
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "source" in state:
            self.source.load_state_dict(state["source"])
        else:
            self._skip = state["position"]


def batches_of(
    data: Any,
    what: str,
    model: Any,
    place: Device | Elsewhere,
    *,
    batch_size: int,
    shuffle: bool = False,
    seed: int | None = None,
    finite: bool = True,
) -> Batches:
    """Batches of `data`, which is checked as far as it can be without using it up."""
    device = place if isinstance(place, Device) else None
    if isinstance(data, (str, bytes)) or data is None:
        raise ArgumentError(
            f"{what}: expected arrays, as in (x, y), or an iterable of batches, got {data!r:.40}"
        )
    examples = (
        hasattr(data, "__getitem__") and hasattr(data, "__len__") and not hasattr(data, "__iter__")
    )
    if isinstance(data, DataLoader):
        if device is None and is_columns(data.data):
            check_together(model, data.data, what)
        if finite and is_columns(data.data):
            check_finite(data.data, what)
        return Batches(data, place, what)
    if examples or is_columns(data):
        if is_columns(data):
            if device is None:
                check_together(model, data, what)
            if finite:
                check_finite(data, what)
        loader = DataLoader(data, batch_size, shuffle, seed=seed, device=device)
        return Batches(loader, place, what)
    if not hasattr(data, "__iter__"):
        raise ArgumentError(
            f"{what}: expected arrays, as in (x, y), or an iterable of batches, got a {type(data).__name__}"
        )
    if isinstance(data, list) and data and not trees.leaves(data):
        raise DataError(
            f"{what}: expected batches of arrays, got a list of {type(data[0]).__name__}"
        )
    return Batches(data, place, what)


def rows_of(batch: Any) -> int:
    """How many examples a batch has: the length of its first array."""
    while type(batch) is tuple or type(batch) is list:
        batch = batch[0]
    if not trees.is_array(batch):
        batch = trees.leaves(batch)[0]
    return int(batch.shape[0]) if batch.shape else 1
