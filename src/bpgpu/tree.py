"""Trees: the nested dicts, lists, tuples, named tuples and dataclasses in which arrays are kept.

A leaf is an array: whatever has a `shape` and a `dtype`. Everything else that is no container (a number, a string,
`None`, a function) is part of the structure and is passed through untouched. Classes of other modules join with
`register`; that is how `nn.Module` becomes a tree without this file knowing of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bpgpu.errors import TreeError




class Container(NamedTuple):
    """How a class of containers is taken apart and put together again."""

    children: Callable[[Any], list[tuple[str, Any]]]
    """The named branches, in order."""
    rebuild: Callable[[Any, list[Any]], Any]
    """A new container like the given one, with other branches."""


def _rebuild_namedtuple(old: Any, values: list[Any]) -> Any:
    return type(old)(*values)


def _rebuild_dataclass(old: Any, values: list[Any]) -> Any:
    new = object.__new__(type(old))
    for field, value in zip(dataclasses.fields(old), values, strict=True):
        object.__setattr__(new, field.name, value)
    return new


def _rebuild_dict(old: Any, values: list[Any]) -> Any:
    items = zip(old, values, strict=True)
    if type(old) is dict:
        return dict(items)
    new = old.copy()  # keeps what a subclass adds: the factory of a defaultdict, the order of an OrderedDict
    new.update(items)
    return new


_DICT = Container(lambda t: [(str(k), v) for k, v in t.items()], _rebuild_dict)
_SEQUENCE = Container(
    lambda t: [(str(i), v) for i, v in enumerate(t)], lambda old, values: type(old)(values)
)
_NAMEDTUPLE = Container(lambda t: list(zip(t._fields, t, strict=True)), _rebuild_namedtuple)
_DATACLASS = Container(
    lambda t: [(f.name, getattr(t, f.name)) for f in dataclasses.fields(t)], _rebuild_dataclass
)

_containers: dict[type, Container | None] = {}  # what each class is, found once
_registered: list[tuple[type, Container]] = []


def register(
    cls: type,
    children: Callable[[Any], list[tuple[str, Any]]],
    rebuild: Callable[[Any, list[Any]], Any],
) -> None:
    """Make `cls` and its subclasses containers.

    `children(t)` lists the branches as `(name, value)`; `rebuild(t, values)` makes a container like `t` from new
    values in the same order.
    """
    _registered.append((cls, Container(children, rebuild)))
    _containers.clear()


def container(tree: Any) -> Container | None:
    """How to take `tree` apart, or `None` if it is a leaf or part of the structure."""
    cls = type(tree)
    try:
        return _containers[cls]
    except KeyError:
        found = _containers[cls] = _find(cls)
        return found


def _find(cls: type) -> Container | None:
    for registered, how in _registered:
        if issubclass(cls, registered):
            return how
    if issubclass(cls, dict):
        return _DICT
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return _NAMEDTUPLE
    if issubclass(cls, (list, tuple)):
        return _SEQUENCE
    if dataclasses.is_dataclass(cls) and not hasattr(cls, "dtype"):
        return _DATACLASS
    return None


def is_array(x: Any) -> bool:
    """True for anything that looks like an array: it has a shape and a dtype."""
    return hasattr(x, "shape") and hasattr(x, "dtype")


def map(
    f: Callable[..., Any], tree: Any, *rest: Any, leaf: Callable[[Any], bool] = is_array
) -> Any:
    """Apply `f` to each leaf of `tree` (and the leaves at the same places of `rest`); keep the structure.

    *Parameters* `leaf` tells what counts as a leaf; by default arrays. Other values are returned as they are.

    *Raises* `TreeError` if a tree of `rest` lacks a branch of `tree` or has one more.

    >>> map(lambda x: 2 * x, {"a": 1, "b": (2, None)}, leaf=lambda x: isinstance(x, int))
    {'a': 2, 'b': (4, None)}
    """
    how = container(tree)
    if how is None:
        return f(tree, *rest) if leaf(tree) else tree
    branches = how.children(tree)
    if not rest:
        return how.rebuild(tree, [map(f, v, leaf=leaf) for _, v in branches])
    others = [_matching(how, branches, tree, other) for other in rest]
    values = [
        map(f, v, *(o[i] for o in others), leaf=leaf) for i, (_, v) in enumerate(branches)
    ]
    return how.rebuild(tree, values)


def _matching(
    how: Container, branches: list[tuple[str, Any]], tree: Any, other: Any
) -> list[Any]:
    """The branches of `other` in the order of `branches`."""
    if container(other) is not how:
        raise TreeError(
            f"trees differ: expected a {type(tree).__name__} with {len(branches)} branches, got a "
            f"{type(other).__name__}; pass a tree of the same structure"
        )
    found = dict(how.children(other))
    names = [name for name, _ in branches]
    if sorted(found) != sorted(names):
        raise TreeError(
            f"trees differ: expected the branches {names}, got {list(found)}; pass a tree of the same structure"
        )
    return [found[name] for name in names]


def items(tree: Any, leaf: Callable[[Any], bool] = is_array) -> Iterator[tuple[str, Any]]:
    """The leaves with their dotted paths, in order.

    >>> list(items({"a": [1, 2]}, leaf=lambda x: isinstance(x, int)))
    [('a.0', 1), ('a.1', 2)]
    """
    how = container(tree)
    if how is None:
        if leaf(tree):
            yield "", tree
        return
    for name, branch in how.children(tree):
        for path, value in items(branch, leaf):
            yield (f"{name}.{path}" if path else name), value


def leaves(tree: Any, leaf: Callable[[Any], bool] = is_array) -> list[Any]:
    """The leaves, in order."""
    return [value for _, value in items(tree, leaf)]


def flatten(
    tree: Any, leaf: Callable[[Any], bool] = is_array
) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The leaves, and a function that puts other leaves into the same structure.

    >>> values, rebuild = flatten((1, [2]), leaf=lambda x: isinstance(x, int))
    >>> rebuild([v + 1 for v in values])
    (2, [3])
    """

    def rebuild(values: list[Any]) -> Any:
        if len(values) != len(found):
            raise TreeError(f"expected {len(found)} leaves, got {len(values)}")
        stream = iter(values)
        return map(lambda _: next(stream), tree, leaf=leaf)

    found = leaves(tree, leaf)
    return found, rebuild
