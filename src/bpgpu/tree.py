"""Trees: the nested dicts, lists, tuples, named tuples and dataclasses in which arrays are kept.

A leaf is an array: whatever has a `shape` and a `dtype`. Everything else that is no container (a
number, a string, `None`, a function) is part of the structure and is passed through untouched.
Other classes join with `register`; that is how `nn.Module` becomes a tree without this file knowing
of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

from bpgpu.errors import TreeError

Leaf = Callable[[Any], bool]


class Identity(NamedTuple):
    """How an object is differentiated that is more than the sum of its branches: a Module.

    It stays itself where it is not differentiated, and its gradient is a dict of its branches."""

    branches: Callable[[Any], Iterator[tuple[str, Any]]]
    """The branches with their names, in order."""
    twin: Callable[[Any, Iterable[Any], Iterable[Any]], Any]
    """A copy of the object with others in the place of these branches."""
    finish: Callable[[Any, Any], None]
    """Carry what a function has changed on the twin back to the object itself."""


class Container(NamedTuple):
    """How a class of containers is taken apart and put together again."""

    keys: Callable[[Any], list[Any]]
    """The names of the branches, in order."""
    values: Callable[[Any], Any]
    """The branches, in the same order."""
    rebuild: Callable[[Any, list[Any]], Any]
    """A container like the given one, with other branches."""
    identity: Identity | None = None


_kinds: dict[type, Container | bool] = {}
"""What each class is, found once: a container, an array (`True`), or part of the structure
(`False`)."""
_registered: list[tuple[type, Container]] = []


def register(
    cls: type,
    branches: Callable[[Any], Iterator[tuple[str, Any]]],
    twin: Callable[[Any, Iterable[Any], Iterable[Any]], Any],
    finish: Callable[[Any, Any], None],
) -> None:
    """Make `cls` and its subclasses containers with an identity; see `Identity` for the functions."""
    how = Container(
        keys=lambda x: [name for name, _ in branches(x)],
        values=lambda x: (branch for _, branch in branches(x)),
        rebuild=lambda x, values: twin(x, [branch for _, branch in branches(x)], values),
        identity=Identity(branches, twin, finish),
    )
    _registered.append((cls, how))
    _kinds.clear()


def kind_of(x: Any) -> Container | bool:
    """What `x` is: a container, an array (`True`), or part of the structure (`False`)."""
    cls = type(x)
    kind = _kinds.get(cls)
    if kind is None:
        kind = _kinds[cls] = _find(cls, x)
    return kind


def container(tree: Any) -> Container | None:
    """How to take `tree` apart, or `None` if it is a leaf or part of the structure."""
    kind = kind_of(tree)
    return None if kind is True or kind is False else kind


def is_array(x: Any) -> bool:
    """True for anything that looks like an array: it has a shape and a dtype."""
    return kind_of(x) is True


def _find(cls: type, example: Any) -> Container | bool:
    for registered, how in _registered:
        if issubclass(cls, registered):
            return how
    if issubclass(cls, (ModuleType, type)):  # NumPy itself and its classes have both names, too
        return False
    if hasattr(example, "shape") and hasattr(example, "dtype"):
        return True
    if issubclass(cls, dict):
        return _DICT
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return _NAMEDTUPLE
    if issubclass(cls, (list, tuple)):
        return _SEQUENCE
    return _DATACLASS if dataclasses.is_dataclass(cls) else False


def _rebuild_dict(old: Any, values: list[Any]) -> Any:
    items = zip(old, values, strict=True)
    if type(old) is dict:
        return dict(items)
    new = old.copy()  # keeps what a subclass adds: the factory of a defaultdict, say
    new.update(items)
    return new


def _rebuild_dataclass(old: Any, values: list[Any]) -> Any:
    new = object.__new__(type(old))
    for field, value in zip(dataclasses.fields(old), values, strict=True):
        object.__setattr__(new, field.name, value)
    return new


def _fields(t: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(t)]


_DICT = Container(list, lambda t: t.values(), _rebuild_dict)
_SEQUENCE = Container(
    lambda t: list(range(len(t))), lambda t: t, lambda old, values: type(old)(values)
)
_NAMEDTUPLE = Container(
    lambda t: list(t._fields), lambda t: t, lambda old, values: type(old)(*values)
)
_DATACLASS = Container(
    _fields, lambda t: [getattr(t, name) for name in _fields(t)], _rebuild_dataclass
)


def map(f: Callable[..., Any], tree: Any, *rest: Any, leaf: Leaf = is_array) -> Any:
    """Apply `f` to each leaf of `tree` (and to what stands there in `rest`); keep the structure.

    *Parameters* `leaf` tells what counts as a leaf; by default arrays. Other values are returned as
    they are.

    *Raises* `TreeError` if a tree of `rest` lacks a branch of `tree` or has one more.

    >>> map(lambda x: 2 * x, {"a": 1, "b": (2, None)}, leaf=lambda x: isinstance(x, int))
    {'a': 2, 'b': (4, None)}
    """
    how = container(tree)
    if how is None:
        return f(tree, *rest) if leaf(tree) else tree
    if not rest:
        return how.rebuild(tree, [map(f, v, leaf=leaf) for v in how.values(tree)])
    others = [_matching(how, tree, other) for other in rest]
    branches = zip(how.values(tree), *others, strict=True)
    return how.rebuild(tree, [map(f, *vs, leaf=leaf) for vs in branches])


def _matching(how: Container, tree: Any, other: Any) -> list[Any]:
    """The branches of `other` in the order of those of `tree`."""
    keys = how.keys(tree)
    if container(other) is not how:
        raise TreeError(
            f"trees differ: expected a {type(tree).__name__} with the branches {keys}, got a "
            f"{type(other).__name__}; pass a tree of the same structure"
        )
    found = dict(zip(how.keys(other), how.values(other), strict=True))
    if set(found) != set(keys):
        raise TreeError(
            f"trees differ: expected the branches {keys}, got {list(found)}; pass a tree of the "
            "same structure"
        )
    return [found[key] for key in keys]


def items(tree: Any, leaf: Leaf = is_array) -> Iterator[tuple[str, Any]]:
    """The leaves with their dotted paths, in order.

    >>> list(items({"a": [1, 2]}, leaf=lambda x: isinstance(x, int)))
    [('a.0', 1), ('a.1', 2)]
    """
    how = container(tree)
    if how is None:
        if leaf(tree):
            yield "", tree
        return
    for key, branch in zip(how.keys(tree), how.values(tree), strict=True):
        for path, value in items(branch, leaf):
            yield (f"{key}.{path}" if path else str(key)), value


def leaves(tree: Any, leaf: Leaf = is_array) -> list[Any]:
    """The leaves, in order."""
    found: list[Any] = []
    _gather(tree, leaf, found)
    return found


def _gather(tree: Any, leaf: Leaf, found: list[Any]) -> None:
    how = container(tree)
    if how is not None:
        for branch in how.values(tree):
            _gather(branch, leaf, found)
    elif leaf(tree):
        found.append(tree)


def flatten(tree: Any, leaf: Leaf = is_array) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The leaves, and a function that puts other leaves into the same structure.

    >>> values, rebuild = flatten((1, [2]), leaf=lambda x: isinstance(x, int))
    >>> rebuild([v + 1 for v in values])
    (2, [3])
    """
    found = leaves(tree, leaf)

    def rebuild(values: list[Any]) -> Any:
        if len(values) != len(found):
            raise TreeError(f"expected {len(found)} leaves, got {len(values)}")
        stream = iter(values)
        return map(lambda _: next(stream), tree, leaf=leaf)

    return found, rebuild
