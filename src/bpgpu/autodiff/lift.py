"""Into a trace and out of it: arrays of the arguments become traced, results become plain again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.array import Array, fresh, raw
from bpgpu.autodiff.dtypes import is_floating, kind
from bpgpu.autodiff.namespace import Namespace, traced_namespace, traced_over
from bpgpu.autodiff.rule import library_name
from bpgpu.autodiff.tape import Tape, here
from bpgpu.backend import default_namespace
from bpgpu.backend.libraries import namespace_of as plain_namespace
from bpgpu.errors import ArgumentError, DeviceError, DtypeError, LibraryError, TreeError


class Call:
    """The arguments of one call of a transformed function, for error messages: `argument 1
    ('y')`."""

    def __init__(self, name: str, f: Callable[..., Any]) -> None:
        check_function(name, f)
        self.name, self.f = name, f

    def where(self, position: int | str, path: str = "") -> str:
        label = repr(position) if isinstance(position, str) else self._label(position)
        place = f", at '{path}'" if path else ""
        return f"{self.name}: argument {label}{place}"

    def _label(self, position: int) -> str:
        try:
            names = [p.name for p in inspect.signature(self.f).parameters.values()]
            return f"{position} ('{names[position]}')"
        except (TypeError, ValueError, IndexError):
            return str(position)


def check_function(name: str, f: Any) -> None:
    """Raise unless `f` can be called: a gradient is that of a function, not of its value."""
    if not callable(f):
        call = f"{name}(f, x)" if name in ("vjp", "jvp") else f"{name}(f)(x)"
        raise ArgumentError(f"{name}: expected a function, got {type(f).__name__}; write {call}")


def is_number(x: Any) -> bool:
    """True for the Python numbers that can be differentiated."""
    return type(x) is float or type(x) is complex


def is_input(x: Any) -> bool:
    """True for a leaf of a differentiated argument."""
    return trees.is_array(x) or is_number(x)


Opened = dict[int, dict[str, Any]]
"""The branches of objects, by the identity of each: looked for once in a call."""


def find_namespace(
    given: Sequence[Any], rest: Sequence[Any] = (), opened: Opened | None = None
) -> Namespace:
    """The traced namespace for these arguments: that of their first floating array, else of any
    array."""
    opened = {} if opened is None else opened
    for tree in (*given, *rest):
        leaf = _first(tree, is_floating, opened)
        if leaf is not None:
            return traced_namespace(leaf)
    leaf = _first((*given, *rest), trees.is_array, opened)
    return traced_over(default_namespace()) if leaf is None else traced_namespace(leaf)


def _first(tree: Any, accept: Callable[[Any], bool], opened: Opened) -> Any:
    """The first leaf, depth first, that is accepted."""
    how = trees.container(tree)
    if how is None:
        return tree if accept(tree) else None
    branches = how.values(tree) if how.identity is None else _branches(tree, how, opened).values()
    for branch in branches:
        found = _first(branch, accept, opened)
        if found is not None:
            return found
    return None


def _branches(tree: Any, how: Any, opened: Opened) -> dict[str, Any]:
    """The branches of an object with their names."""
    found = opened.get(id(tree))
    if found is None:
        found = opened[id(tree)] = dict(how.identity.branches(tree))
    return found


class Inputs:
    """The differentiated arguments of one call, lifted onto a tape.

    The place of each leaf on the tape is remembered, not its traced array: the function may bind
    that handle to another value."""

    def __init__(self, tape: Tape, call: Call, opened: Opened | None = None) -> None:
        self.tape, self.call = tape, call
        self.opened: Opened = {} if opened is None else opened
        self.leaves: list[Any] = []
        self.twins: list[tuple[Callable[[Any, Any], None], Any, Any]] = []
        self.names: dict[int, list[str]] = {}
        """The branches of the objects among the arguments, by the identity of the object."""

    def lift(self, position: int, tree: Any) -> Any:
        """The tree with traced arrays in place of its leaves."""
        if trees.container(tree) is None and not is_input(tree):
            raise DtypeError(
                f"{self.call.where(position)}: expected a floating array to differentiate, got "
                f"{_shown(tree)}{_remedy(tree)}"
            )
        first = len(self.leaves)
        try:
            return self._lift(tree, set())
        except _Refused as refused:
            path = path_of(tree, len(self.leaves) - first, is_input)
            raise refused.error(f"{self.call.where(position, path)}{refused}") from None

    def _lift(self, tree: Any, seen: set[Any]) -> Any:
        how = trees.kind_of(tree)
        if how is True:
            return self._lift_leaf(tree, seen)
        if how is False:
            return self._lift_leaf(tree, seen) if is_number(tree) else tree
        if how.identity is None:
            return how.rebuild(tree, [self._lift(v, seen) for v in how.values(tree)])
        _, make_twin, finish = how.identity
        old = _branches(tree, how, self.opened)
        self.names[id(tree)] = list(old)
        twin = make_twin(tree, old.values(), [self._lift(v, seen) for v in old.values()])
        self.twins.append((finish, tree, twin))
        return twin

    def finish(self) -> None:
        """The function has succeeded: what it changed on objects is carried over to the
        originals."""
        for carry_over, original, twin in self.twins:
            carry_over(original, twin)

    def _lift_leaf(self, leaf: Any, seen: set[Any]) -> Array:
        tape = self.tape
        if is_number(leaf):
            leaf = tape.namespace.xp.asarray(leaf)
        identity = tape.namespace.backend.identity(leaf)
        if identity in seen:
            raise _Refused(
                TreeError,
                ": the same array stands at another place of the tree too, so that its "
                "gradient has no "
                "one place. Pass it once, or copy it",
            )
        if leaf.dtype not in tape.reals and kind(leaf.dtype) == "other":
            raise _Refused(
                DtypeError,
                f": a gradient needs a floating array, got dtype {leaf.dtype}. Cast it first "
                "(xp.astype(x, xp.float32)), or pass it as an argument that is not differentiated "
                "(argnums)",
            )
        check_same(leaf, tape.namespace)
        seen.add(identity)
        if tape.nested:
            leaf = fresh(leaf) if type(leaf) is Array else Array(leaf)
        elif type(leaf) is Array:  # made by the traced namespace, but outside of any gradient
            if leaf.tape is not None:
                leaf.tape.check()
            leaf = raw(leaf)
        self.leaves.append(leaf)
        return Array(leaf, tape, tape.input())


class _Refused(Exception):  # noqa: N818 - never leaves this file
    """A leaf cannot be lifted; the place is added where it is known."""

    def __init__(self, error: type[Exception], text: str) -> None:
        super().__init__(text)
        self.error = error


def path_of(tree: Any, k: int, leaf: Callable[[Any], bool]) -> str:
    """The dotted path of leaf `k`."""
    return [path for path, _ in trees.items(tree, leaf)][k]


def _shown(x: Any) -> str:
    return "None" if x is None else f"{type(x).__name__} {x!r}"


def _remedy(x: Any) -> str:
    if isinstance(x, int):
        return f"; write {x}.0"
    return "; pass an array, a float, or a tree of them"


def check_same(leaf: Any, namespace: Namespace) -> None:
    """Raise unless a leaf is of the library that is traced."""
    if type(leaf) in namespace.types:
        return
    xp = plain_namespace(raw(leaf))
    if xp is namespace.xp or xp.__name__ == namespace.xp.__name__:  # a recording bears its name
        namespace.types.add(type(raw(leaf)))
    else:
        raise _Refused(
            LibraryError,
            f" is an array of {library_name(xp)}, but the differentiated arrays are of "
            f"{library_name(namespace.xp)}. Convert it first: bpgpu.to_numpy(x), or "
            "bpgpu.to_device(x, device)",
        )


def lift_constants(call: Call, position: int | str, tree: Any, namespace: Namespace) -> Any:
    """The tree with its plain arrays as constants of the traced namespace."""
    how = trees.container(tree)
    if how is not None and how.identity is not None:
        return tree
    count = 0

    def one(leaf: Any) -> Any:
        nonlocal count
        if type(leaf) is not Array:
            try:
                check_same(leaf, namespace)
            except _Refused as refused:
                path = path_of(tree, count, trees.is_array)
                raise refused.error(f"{call.where(position, path)}{refused}") from None
            leaf = Array(leaf)
        else:
            leaf = fresh(leaf)
        count += 1
        return leaf

    return trees.map(one, tree)


def check_devices(call: Call, leaves: Sequence[Any], namespace: Namespace) -> None:
    """Raise unless all arrays are on one device."""
    backend = namespace.backend
    if backend.one_device:
        return
    found = [backend.device_of(raw(x)) for x in leaves]
    devices = {str(d) for d in found if d is not None}  # None: not known while a compiler traces
    if len(devices) > 1:
        raise DeviceError(
            f"{call.name}: the arguments are on different devices: "
            f"{', '.join(sorted(devices))}. Move them to one "
            "first, with bpgpu.to_device(tree, device)"
        )


def lower(tape: Tape, tree: Any) -> Any:
    """Results of a closed trace as the caller sees them: the values under this tape's arrays.

    Constants are plain arrays again once no other trace is open.
    """

    def one(x: Any) -> Any:
        if type(x) is Array and x.tape is tape:
            x = x.value
        if type(x) is not Array:
            return x
        return x.value if x.tape is None and here.tape is None else fresh(x)

    return trees.map(one, tree)
