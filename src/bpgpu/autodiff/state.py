"""State that a traced function changes on objects: running statistics, random keys, counters.

All of it is written through `write`, which strips the trace (a model never holds traced arrays) and
remembers what was there before. So a function that fails leaves everything as it was, and a
function that is run a second time on the way back (`checkpoint`) meets the state of its first run
and leaves no mark."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.array import Array, raw
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of


class Journal:
    """What places held when they were first written to.

    *Parameters* `copies`: keep copies of arrays. A model takes over its new state in place, over the
    very arrays that it had before; a journal that is read after that needs its own.
    """

    def __init__(self, copies: bool = False) -> None:
        self._copies = copies
        self._before: dict[tuple[int, str], tuple[Any, str, Any]] = {}

    def note(self, owner: Any, name: str) -> None:
        if (id(owner), name) not in self._before:
            value = _get(owner, name)
            self._before[id(owner), name] = (owner, name, copied(value) if self._copies else value)

    def note_contents(self, x: Any) -> None:
        """Remember the values of a plain array that is about to be written in place."""
        if (id(x), "") not in self._before:
            self._before[id(x), ""] = (x, "", namespace_of(x).asarray(x, copy=True))

    def restore(self) -> Journal:
        """Put everything back to what it was; the journal that undoes this."""
        undo = Journal()
        for owner, name, value in self._before.values():
            if name:
                undo.note(owner, name)
                _set(owner, name, value)
            else:
                undo.note_contents(owner)
                backend_of(namespace_of(owner)).copy_into(owner, value)
        return undo


class _Journals(threading.local):
    def __init__(self) -> None:
        self.open: list[Journal] = []


_journals = _Journals()
_MISSING = object()


def write(owner: Any, name: str, value: Any) -> None:
    """Set a piece of state, without its trace."""
    for journal in _journals.open:
        journal.note(owner, name)
    _set(owner, name, detached(value))


def write_into(x: Any, value: Any) -> Any:
    """Write over the values of an array, without their trace; the array that now holds them.

    A plain array is written in place where its library can. A traced one is a handle, which is bound to the values.
    """
    value = detached(value)
    if type(x) is Array:
        for journal in _journals.open:
            journal.note(x, "value")
        x.value = value
        return x
    for journal in _journals.open:
        journal.note_contents(x)
    return backend_of(namespace_of(x)).copy_into(x, value)


def detached(value: Any) -> Any:
    """The value with plain arrays in place of traced ones."""
    return trees.map(lambda x: raw(x) if type(x) is Array else x, value)


def copied(value: Any) -> Any:
    """The value with copies of its arrays; a traced one stays what it is on its tape."""
    if type(value) is Array:
        return Array(copied(value.value), value.tape, value.index)
    if trees.container(value) is not None:
        return trees.map(copied, value)
    return namespace_of(value).asarray(value, copy=True) if trees.is_array(value) else value


@contextmanager
def recording() -> Iterator[Journal]:
    """Keep a journal of what is written inside, to be read when that is long done."""
    journal = Journal(copies=True)
    _journals.open.append(journal)
    try:
        yield journal
    finally:
        _journals.open.remove(journal)


class all_or_nothing:  # noqa: N801 - used like a function
    """Undo what was written inside if it ends with an exception."""

    def __enter__(self) -> None:
        self.journal = Journal()
        _journals.open.append(self.journal)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        _journals.open.pop()
        if error is not None:
            self.journal.restore()


def _get(owner: Any, name: str) -> Any:
    return owner.value if type(owner) is Array else owner.__dict__.get(name, _MISSING)


def _set(owner: Any, name: str, value: Any) -> None:
    if type(owner) is Array:
        owner.value = value
    elif value is _MISSING:
        owner.__dict__.pop(name, None)
    else:
        owner.__dict__[name] = value
