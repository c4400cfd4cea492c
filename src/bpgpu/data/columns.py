"""Data sets: a tree of arrays with one row for each example, or an object that gives examples one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpgpu import tree as trees
from bpgpu.backend import rows
from bpgpu.errors import BpgpuError, DataError

Array = Any


def named(path: str) -> str:
    """What a leaf is called in an error: in a tuple, the first is x and the second y, as in `(x, y)`."""
    name = {"": "data", "0": "x", "1": "y"}.get(path, path)
    return f"part {name}" if name.isdigit() else name


def is_columns(data: Any) -> bool:
    """True for an array and for trees of arrays, but for lists: those are examples, as in torch."""
    kind = trees.kind_of(data)
    return kind is not False and not isinstance(data, list)


def checked_columns(data: Any) -> tuple[Any, int]:
    """The tree with arrays that rows can be taken from, and how many rows they have.

    *Raises* `DataError` that names the array: one without rows, one of another length, one that holds no numbers.
    """
    arrays = list(trees.items(data))
    if not arrays:
        raise DataError(
            f"data: expected arrays, got a {type(data).__name__} without any; make arrays of lists, with "
            "bpgpu.device('cpu').asarray(x), and pass (x, y), a dict of arrays, or an object with __len__ and "
            "__getitem__"
        )
    for path, x in arrays:
        _check(path, x)
    (first, x), *others = arrays
    count = int(x.shape[0])
    for path, y in others:
        if y.shape[0] != count:
            raise DataError(
                f"data: {named(path)} has {y.shape[0]} rows, {named(first)} has {count}; each example is one row of "
                "every array"
            )
    if count == 0:
        raise DataError(f"data: {named(first)} has 0 rows; there is nothing to train on")
    return trees.map(rows.ready, data), count


def _check(path: str, x: Array) -> None:
    name = named(path)
    if len(x.shape) == 0:
        raise DataError(
            f"data: {name} is a single number; expected an array with one row for each example"
        )
    try:
        rows.ready(x)
    except BpgpuError as error:
        raise DataError(f"data: {name + ': ' if path else ''}{error}") from None
    except ValueError as error:
        raise DataError(f"data: {name} {error}") from None


def checked_examples(data: Any) -> int:
    """How many examples an object has that gives them one by one, or an error."""
    if hasattr(data, "iloc"):
        raise DataError(
            "data: a table of pandas is read by columns; pass arrays, as in (df[inputs].to_numpy(), "
            "df[target].to_numpy())"
        )
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise DataError(
            f"data: expected arrays, a tree of them, or an object with __len__ and __getitem__, got "
            f"{type(data).__name__}; an iterable of batches needs no DataLoader"
        )
    count = len(data)
    if count == 0:
        raise DataError("data: the data set has 0 examples; there is nothing to train on")
    return int(count)


def collate(examples: list[Any]) -> Any:
    """A batch from examples: trees of one structure become one tree, in which arrays are stacked.

    Python's numbers become an array: integers int64, floating numbers float32. What is neither is kept in a list.

    *Raises* `DataError` if arrays differ in shape or trees in structure.

    >>> collate([(1, 0.5), (2, 1.5)])
    (array([1, 2]), array([0.5, 1.5], dtype=float32))
    """
    first = examples[0]
    how = trees.container(first)
    if how is not None:
        keys = how.keys(first)
        for i, other in enumerate(examples):
            if trees.container(other) is not how or how.keys(other) != keys:
                raise DataError(
                    f"data: examples differ in structure: the first of a batch has the parts {keys}, number {i} is "
                    f"{_described(other)}"
                )
        parts = zip(*(how.values(e) for e in examples), strict=True)
        return how.rebuild(first, [collate(list(part)) for part in parts])
    if trees.is_array(first):
        return _stacked(examples)
    if all(isinstance(e, (bool, int, float)) for e in examples):
        return rows.numbers(examples)
    return examples


def _stacked(examples: list[Any]) -> Array:
    shape = tuple(examples[0].shape)
    for i, other in enumerate(examples):
        if not trees.is_array(other) or tuple(other.shape) != shape:
            raise DataError(
                f"data: examples differ: the first of a batch is an array of shape {shape}, number {i} is "
                f"{_described(other)}. A list is taken as examples: for arrays with one row for each example pass a "
                "tuple, (x, y); for examples of different length pass collate_fn"
            )
    return rows.stack(examples)


def _described(x: Any) -> str:
    if trees.is_array(x):
        return f"an array of shape {tuple(x.shape)}"
    how = trees.container(x)
    return f"a {type(x).__name__}" + (f" with the parts {how.keys(x)}" if how else "")


def to_batches(
    data: Any, is_tree: bool, collate_fn: Callable[[list[Any]], Any]
) -> Callable[[Any, int, int], Any]:
    """The function `(order, start, stop) -> batch`, where `order` is `None` for the order of the data itself."""
    if not is_tree:

        def gathered(order: Any, start: int, stop: int) -> Any:
            index = range(start, stop) if order is None else order[start:stop].tolist()
            return collate_fn([data[i] for i in index])

        return gathered

    arrays, rebuild = trees.flatten(data)
    if type(data) is tuple and len(arrays) == len(data) and all(map(trees.is_array, data)):
        rebuild = tuple  # the same, without a walk for each batch
    last: list[Any] = [None, []]  # the order of the epoch, and the same integers beside each array

    def sliced(order: Any, start: int, stop: int) -> Any:
        if order is None:
            return rebuild([rows.copy(x, start, stop) for x in arrays])
        if last[0] is not order:
            last[:] = [order, [rows.indices_like(order, x) for x in arrays]]
        pairs = zip(arrays, last[1], strict=True)
        return rebuild([rows.take(x, index[start:stop]) for x, index in pairs])

    return sliced
