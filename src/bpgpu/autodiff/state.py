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


class Journal:
    """What places held when they were first written to."""

    def __init__(self) -> None:
        self._before: dict[tuple[int, str], tuple[Any, str, Any]] = {}

    def note(self, owner: Any, name: str) -> None:
        self._before.setdefault((id(owner), name), (owner, name, _get(owner, name)))

    def restore(self) -> Journal:
        """Put everything back to what it was; the journal that undoes this."""
        undo = Journal()
        for owner, name, value in self._before.values():
            undo.note(owner, name)
            _set(owner, name, value)
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


def detached(value: Any) -> Any:
    """The value with plain arrays in place of traced ones."""
    return trees.map(lambda x: raw(x) if type(x) is Array else x, value)


@contextmanager
def recording() -> Iterator[Journal]:
    """Keep a journal of what is written inside."""
    journal = Journal()
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
    return owner.__dict__.get(name, _MISSING)


def _set(owner: Any, name: str, value: Any) -> None:
    if value is _MISSING:
        owner.__dict__.pop(name, None)
    else:
        owner.__dict__[name] = value
