"""Trees as JSON: numbers exactly, containers by kind, and arrays by the names under which they are stored.

Strings, booleans, `None` and lists are JSON's own, and so are finite floats and small integers. Everything else is
an object with one entry, its kind: `{"tuple": [...]}`, `{"dict": {...}}`, `{"array": "model.0.weight"}`.

The format of the file has no complex128, so complex arrays are stored as pairs of real numbers, along a new last axis.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from bpgpu import tree as trees
from bpgpu.backend import storage
from bpgpu.backend.storage import Kind
from bpgpu.errors import ArgumentError, CheckpointError, DtypeError

DEEPEST = 100
"""So deep may trees be nested; JSON of hostile files is deeper."""
_SAFE = 2**53
"""Integers below this are exact in every reader of JSON."""


_NUMBERS = (float, int)


class State(NamedTuple):
    """The state of an object: what it saves everywhere, and what only goes on training needs, by path."""

    saved: Any
    transient: dict[str, Any]


def is_complex(kind: Kind) -> bool:
    """True for complex numbers."""
    return kind.dtype.startswith("complex")


def stored_kind(kind: Kind) -> Kind:
    """What stands in the file for an array of this kind."""
    if not is_complex(kind):
        return kind
    return Kind("float32" if kind.dtype == "complex64" else "float64", (*kind.shape, 2))


def complex_kind(kind: Kind) -> Kind:
    """The inverse: of an array of pairs, the complex one."""
    wanted = {"float32": "complex64", "float64": "complex128"}.get(kind.dtype)
    if wanted is None or kind.shape[-1:] != (2,):
        raise CheckpointError("its structure calls an array complex that is none")
    return Kind(wanted, kind.shape[:-1])


class Encoder:
    """Trees to JSON; collects the arrays that it meets in `arrays`, by name."""

    def __init__(self, state_of: Callable[[Any], Any]) -> None:
        self.arrays: dict[str, Any] = {}
        self._state_of = state_of
        self._names: dict[int, str] = {}

    def part(self, name: str, value: Any) -> Any:
        """A part of a file. An array that stands at several of its places is stored once."""
        self._names = {}
        return self._encode(value, (name,))

    def _encode(self, x: Any, path: tuple[str, ...]) -> Any:
        if len(path) > DEEPEST:
            raise ArgumentError(
                f"save: '{'.'.join(path[:3])}...' is nested more than {DEEPEST} deep; does it hold itself?"
            )
        x = self._state_of(x)
        if isinstance(x, State):
            return {"state": [self._encode(x.saved, path), self._encode(x.transient, path)]}
        if trees.is_array(x):
            return self._array(x, path)
        if x is None or isinstance(x, (bool, int, float, complex, str)):
            return _scalar(x)
        if isinstance(x, Mapping):
            return self._encode_dict(x, path)
        if type(x) is list and all(type(v) in _NUMBERS for v in x):
            return [_scalar(v) for v in x]  # a long history, quickly
        how = trees.container(x)
        if how is None:
            raise ArgumentError(
                f"save: '{'.'.join(path)}' is {_described(x)}, which cannot be saved; give arrays, numbers, strings, "
                "None, containers of them, or an object with state_dict and load_state_dict"
            )
        keys = [str(k) for k in how.keys(x)]
        branches = [self._encode(v, (*path, k)) for k, v in zip(keys, how.values(x), strict=True)]
        if isinstance(x, list):
            return branches
        if isinstance(x, tuple) and not hasattr(x, "_fields"):
            return {"tuple": branches}
        return {"dict": dict(zip(keys, branches, strict=True))}

    def _encode_dict(self, x: Mapping[Any, Any], path: tuple[str, ...]) -> Any:
        items = [(k, self._encode(v, (*path, str(k)))) for k, v in x.items()]
        if all(isinstance(k, str) for k, _ in items):
            return {"dict": {str(k): v for k, v in items}}
        return {"pairs": [[self._key(k, path), v] for k, v in items]}

    def _key(self, key: Any, path: tuple[str, ...]) -> Any:
        if isinstance(key, tuple):
            return {"tuple": [self._key(k, path) for k in key]}
        if key is None or isinstance(key, (bool, int, float, complex, str)):
            return _scalar(key)
        raise ArgumentError(
            f"save: '{'.'.join(path)}' has the key {key!r}, {_described(key)}; keys can be strings, numbers, None and "
            "tuples of them"
        )

    def _array(self, x: Any, path: tuple[str, ...]) -> Any:
        try:
            kind = storage.kind_of(x)
        except DtypeError as error:
            raise DtypeError(f"save: '{'.'.join(path)}' {error}") from error
        return {"complex array" if is_complex(kind) else "array": self._stored(x, path)}

    def _stored(self, x: Any, path: tuple[str, ...]) -> str:
        name = self._names.get(id(x))
        if name is None:
            plain = ".".join(path).encode("utf-8", "replace").decode("utf-8")
            name, count = plain, 1
            while name in self.arrays or name == "__metadata__":
                count += 1
                name = f"{plain}~{count}"
            self._names[id(x)] = name
            self.arrays[name] = x
        return name


def _scalar(x: Any) -> Any:
    if isinstance(x, bool) or x is None:
        return x
    if isinstance(x, str):
        return str(x)
    if isinstance(x, int):
        return int(x) if -_SAFE < x < _SAFE else {"int": hex(x)}
    if isinstance(x, complex):
        return {"complex": [_scalar(x.real), _scalar(x.imag)]}
    return float(x) if math.isfinite(x) else {"float": repr(float(x))}


def _described(x: Any) -> str:
    cls = type(x)
    name = cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"
    return f"a {name}"


# ---- back


class Decoder:
    """JSON to trees; `array` gives the array of a name, which is complex or not."""

    def __init__(self, array: Callable[[str, bool], Any]) -> None:
        self._find = array

    def __call__(self, node: Any, depth: int = 0) -> Any:
        """The tree of a node.

        *Raises* `CheckpointError` with half a sentence for one that no `Encoder` has written.
        """
        if depth > DEEPEST + 10:
            raise CheckpointError("its structure is nested too deep")
        if node is None or isinstance(node, (bool, int, float, str)):
            return node
        if isinstance(node, list):
            if all(type(v) in _NUMBERS for v in node):
                return node
            return [self(v, depth + 1) for v in node]
        if not (isinstance(node, dict) and len(node) == 1):
            raise CheckpointError("its structure has an entry of an unknown kind")
        (kind, value), *_ = node.items()
        decode = _DECODERS.get(kind)
        if decode is None:
            raise CheckpointError(f"its structure has an entry of the unknown kind {kind[:40]!r}")
        return decode(self, value, depth + 1)

    def _array(self, name: Any, depth: int) -> Any:
        return self._find(_of(str, name), False)

    def _complex_array(self, name: Any, depth: int) -> Any:
        return self._find(_of(str, name), True)

    def _tuple(self, value: Any, depth: int) -> Any:
        return tuple(self(v, depth) for v in _of(list, value))

    def _dict(self, value: Any, depth: int) -> Any:
        return {k: self(v, depth) for k, v in _of(dict, value).items()}

    def _pairs(self, value: Any, depth: int) -> Any:
        items = [(self(k, depth), self(v, depth)) for k, v in _lists_of_two(value)]
        try:
            found = dict(items)
        except TypeError as error:
            raise CheckpointError("its structure has a key that cannot be one") from error
        if len(found) != len(items):
            raise CheckpointError("its structure has a key twice")
        return found

    def _int(self, value: Any, depth: int) -> Any:
        if not re.fullmatch(r"-?0x[0-9a-f]{1,100000}", _of(str, value)):
            raise CheckpointError("its structure has an integer that is none")
        return int(value, 16)

    def _float(self, value: Any, depth: int) -> Any:
        if value not in ("nan", "inf", "-inf"):
            raise CheckpointError("its structure has a float that is none")
        return float(value)

    def _complex(self, value: Any, depth: int) -> Any:
        parts = [self(v, depth) for v in _of(list, value)]
        if len(parts) != 2 or not all(isinstance(v, float) for v in parts):
            raise CheckpointError("its structure has a complex number that is none")
        return complex(*parts)

    def _state(self, value: Any, depth: int) -> Any:
        ((saved, transient),) = _lists_of_two([value])
        return State(self(saved, depth), _of(dict, self(transient, depth)))


_DECODERS: dict[str, Callable[[Decoder, Any, int], Any]] = {
    "array": Decoder._array,
    "complex array": Decoder._complex_array,
    "tuple": Decoder._tuple,
    "dict": Decoder._dict,
    "pairs": Decoder._pairs,
    "int": Decoder._int,
    "float": Decoder._float,
    "complex": Decoder._complex,
    "state": Decoder._state,
}


def _of(cls: type, value: Any) -> Any:
    if not isinstance(value, cls):
        raise CheckpointError(f"its structure has a {type(value).__name__} for a {cls.__name__}")
    return value


def _lists_of_two(value: Any) -> Iterator[list[Any]]:
    for pair in _of(list, value):
        if len(_of(list, pair)) != 2:
            raise CheckpointError("its structure has a pair that is none")
        yield pair
