"""What is loaded into what: a plan for each part, which checks first, and writes only when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bpgpu import tree as trees
from bpgpu.backend import storage
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import CheckpointError, DtypeError
from bpgpu.io.saving import is_stateful, shares_state
from bpgpu.io.structure import State


class Plan:
    """How a part is loaded: `prepare` converts, `commit` writes and returns what the caller gets."""

    def objects(self) -> Iterator[Stateful]:
        """The objects in it: they have the last word about their state, and are loaded first."""
        yield from ()

    def prepare(self) -> None:
        """Convert what will be written; nothing is changed."""

    def commit(self) -> Any:
        """Write, and return what the caller gets. This cannot fail any more."""


def plan_for(part: Any, value: Any, path: str, problems: list[str]) -> Plan:
    """The plan of a part; adds to `problems` what does not fit."""
    if is_stateful(part):
        if isinstance(value, State):
            return Stateful(part, value, path, problems)
        problems.append(
            f"{path}: expected the state of an object, the file has {_described(value)}"
        )
        return Plan()
    if isinstance(value, State):
        value = value.saved
    if trees.is_array(part):
        return Leaf(part, value, path, problems)
    if part is None or trees.container(part) is None or not _holds_more(part):
        if part is not None and _holds_more(value):
            problems.append(f"{path}: the file has arrays in it, the part has none")
        return Whole(value)
    return Branches(part, value, path, problems)


def _holds_more(tree: Any) -> bool:
    """True if a tree holds arrays, objects with a state, or containers that a file does not know."""
    if trees.is_array(tree) or is_stateful(tree) or isinstance(tree, State):
        return True
    how = trees.container(tree)
    if how is None:
        return False
    known = isinstance(tree, (dict, list)) or type(tree) is tuple
    return not known or any(_holds_more(v) for v in how.values(tree))


class Whole(Plan):
    """Numbers, strings and lists of them: the file's take the place of those that were given."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def prepare(self) -> None:
        self.value = plain(self.value)

    def commit(self) -> Any:
        return self.value


def plain(value: Any, copies: dict[int, Any] | None = None, *, own: bool = True) -> Any:
    """A tree as the caller gets it: the states of objects as the dicts that they are, and arrays in memory of their own
    unless they will be copied anyway."""
    copies = {} if copies is None else copies
    if isinstance(value, State):
        return plain(value.saved, copies, own=own)
    if trees.is_array(value):
        if own and id(value) not in copies:
            copies[id(value)] = storage.copy(value)
        return copies.get(id(value), value)
    if isinstance(value, dict):
        return {k: plain(v, copies, own=own) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(v, copies, own=own) for v in value)
    return value


class Stateful(Plan):
    """An object with `load_state_dict`.

    One that can tell beforehand what does not fit has a method `_loading(state, transient)`, which returns that as a
    list, and a function that writes. Of another, the present state is kept, to be restored if anything fails.
    """

    def __init__(self, part: Any, state: State, path: str, problems: list[str]) -> None:
        self.part, self.state, self.path = part, state, path
        self.write: Callable[[], Any] | None = None
        if hasattr(part, "_loading"):
            found, self.write = part._loading(*state)
            problems += [f"{path}.{problem}" for problem in found]

    def objects(self) -> Iterator[Stateful]:
        yield self

    def load(self) -> Callable[[], None]:
        """Load an object that tells only now whether its state fits; returns a function that undoes it.

        *Raises* `CheckpointError` with the object's own words; then it is as it was.
        """
        if self.write is not None:
            return lambda: None
        before = trees.map(_copied, self.part.state_dict())

        def restore() -> None:
            self.part.load_state_dict(before)

        try:
            self.part.load_state_dict(plain(self.state, own=not shares_state(self.part)))
        except BaseException as error:
            restore()
            if not isinstance(error, Exception):
                raise
            kind = type(self.part).__name__
            raise CheckpointError(
                f"load: '{self.path}' does not fit: {kind} refuses its state: {type(error).__name__}: {error}. "
                "Nothing was changed"
            ) from error
        return restore

    def commit(self) -> Any:
        if self.write is not None:
            self.write()
        return self.part


def _copied(x: Any) -> Any:
    return namespace_of(x).asarray(x, copy=True)


class Leaf(Plan):
    """An array: overwritten if it can be."""

    def __init__(self, target: Any, value: Any, path: str, problems: list[str]) -> None:
        self.target, self.value, self.path = target, value, path
        if not trees.is_array(value):
            problems.append(f"{path}: expected an array, the file has {_described(value)}")
            return
        obstacle = storage.obstacle(target, storage.kind_of(value))
        if obstacle:
            problems.append(f"{path}: {obstacle}")

    def prepare(self) -> None:
        try:
            made = storage.like(self.target, self.value)
        except DtypeError as error:
            raise CheckpointError(f"load: '{self.path}' {error}. Nothing was changed") from error
        self.write = storage.writer(self.target, made)

    def commit(self) -> Any:
        return self.write()


class Branches(Plan):
    """A container: branch by branch."""

    def __init__(self, part: Any, value: Any, path: str, problems: list[str]) -> None:
        self.part = part
        how = trees.container(part)
        assert how is not None
        self.how = how
        keys = how.keys(part)
        found = _branches(value, keys, isinstance(part, dict))
        self.plans: list[Plan] = []
        if found is None:
            kind = type(part).__name__
            problems.append(f"{path}: expected a {kind}, the file has {_described(value)}")
            return
        for key, branch in zip(keys, how.values(part), strict=True):
            if key in found:
                self.plans.append(plan_for(branch, found[key], f"{path}.{key}", problems))
            else:
                problems.append(f"{path}.{key}: missing in the file")
        unexpected = [key for key in found if key not in keys]
        problems += [f"{path}.{key}: unexpected, the part has none" for key in unexpected]

    def objects(self) -> Iterator[Stateful]:
        for plan in self.plans:
            yield from plan.objects()

    def prepare(self) -> None:
        for plan in self.plans:
            plan.prepare()

    def commit(self) -> Any:
        return self.how.rebuild(self.part, [plan.commit() for plan in self.plans])


def _branches(value: Any, keys: list[Any], by_name: bool) -> dict[Any, Any] | None:
    """The branches of a value by key; `None` if it is another kind of container."""
    if isinstance(value, dict):
        return value if by_name or all(isinstance(k, str) for k in keys) else None
    if isinstance(value, (list, tuple)) and not by_name:
        return dict(enumerate(value)) if keys == list(range(len(keys))) else None
    return None


def _described(value: Any) -> str:
    if isinstance(value, State):
        return "the state of an object"
    if trees.is_array(value):
        return f"an array of shape {tuple(value.shape)}"
    return f"{value!r:.40}" if trees.container(value) is None else f"a {type(value).__name__}"
