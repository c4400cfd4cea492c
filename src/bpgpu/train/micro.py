"""Batches that do not fit into memory, taken in pieces: the gradient is that of the whole batch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal

from bpgpu import random
from bpgpu import tree as trees
from bpgpu.autodiff.state import write_into
from bpgpu.backend.exhausted import out_of_memory
from bpgpu.backend.libraries import namespace_of
from bpgpu.optim import GradientAccumulator
from bpgpu.train.batches import rows_of
from bpgpu.train.place import fields_of, put_back

Array = Any
Gradient = Callable[[Any, Any, Any], tuple[Any, Any]]


class MicroBatches:
    """Value and gradient of a batch, as `gradient(model, batch, weight)` would give them, piece by piece.

    *Parameters* `size`: rows of a piece; `"auto"`: the whole batch, until the memory is not enough. Then the pieces are
    halved, the batch is begun anew with nothing left of the attempt, and later batches are taken like that at once.
    """

    def __init__(self, gradient: Gradient, size: int | Literal["auto"], has_aux: bool) -> None:
        self._gradient, self._has_aux = gradient, has_aux
        self._adapts = size == "auto"
        self.size: int | None = None if size == "auto" else size

    def __call__(self, model: Any, batch: Any, weight: Any) -> tuple[Any, Any]:
        rows = rows_of(batch)
        while True:
            size = rows if self.size is None else min(self.size, rows)
            before = _state(model) if self._adapts else None
            try:
                return self._taken(model, batch, weight, rows, size)
            except MemoryError as error:
                if before is None:
                    raise
                _restore(before)
                if size <= 1:
                    raise out_of_memory(error) from error
                self._halve(size, error)

    def each_piece(self, batch: Any, use: Callable[[Any], None]) -> None:
        """Call `use` with the pieces of a batch, which changes nothing but what it adds up at its end."""
        start, rows = 0, rows_of(batch)
        while start < rows:
            size = rows - start if self.size is None else min(self.size, rows - start)
            try:
                use(batch if size == rows else _cut(batch, start, start + size))
            except MemoryError as error:
                if not self._adapts or size <= 1:
                    raise out_of_memory(error) from error
                self._halve(size, error)
                continue
            start += size

    def _halve(self, size: int, error: MemoryError) -> None:
        self.size = -(-size // 2)
        logging.getLogger("bpgpu").warning(
            "fit: %d rows do not fit into memory; batches are taken in pieces of %d rows, with the same gradient (%s)",
            size,
            self.size,
            out_of_memory(error).args[0].partition("; ")[0],
        )

    def _taken(self, model: Any, batch: Any, weight: Any, rows: int, size: int) -> tuple[Any, Any]:
        if size >= rows:
            return self._gradient(model, batch, weight)
        starts = range(0, rows, size)
        total = GradientAccumulator(len(starts))
        values, counts, predictions, grads = [], [], [], None
        for start in starts:
            piece, part = _cut((batch, weight), start, min(start + size, rows))
            value, found = self._gradient(model, piece, part)
            if self._has_aux:
                value, prediction = value
                predictions.append(prediction)
            count = rows_of(piece) if part is None else namespace_of(part).sum(part)
            values.append(value * count)
            counts.append(count)
            grads = total.add(found, count)
        value = sum(values[1:], values[0]) / sum(counts[1:], counts[0])
        if not self._has_aux:
            return value, grads
        joined = trees.map(lambda *ps: namespace_of(ps[0]).concat(ps, axis=0), *predictions)
        return (value, joined), grads


def _cut(tree: Any, start: int, stop: int) -> Any:
    """Some rows of every array."""
    return trees.map(lambda x: None if x is None else x[start:stop, ...], tree)


def few_rows(batch: Any, size: int | Literal["auto"]) -> Any:
    """So many rows of a batch as are sure to fit: two where nobody knows, since one is not enough for batch norm."""
    return _cut(batch, 0, min(rows_of(batch), 2 if size == "auto" else size))


State = tuple[list[tuple[Any, dict[str, Any]]], dict[int, Array], Any]


def _state(model: Any) -> State:
    """What a forward pass may change: attributes and buffers of the layers, and the keys of the thread."""
    copies = {id(b): (b, namespace_of(b).asarray(b, copy=True)) for _, b in model.named_buffers()}
    return fields_of(model), copies, random.get_state()


def _restore(before: State) -> None:
    fields, copies, keys = before
    put_back(fields)
    for buffer, copy in copies.values():
        write_into(buffer, copy)
    random.set_state(keys)
