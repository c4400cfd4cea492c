"""The recorder of one run: what is called becomes a line."""

from __future__ import annotations

import operator
import random
import threading
from typing import Any, ClassVar, NamedTuple

import numpy as np

from bpgpu.backend.recording.lines import (
    Constant,
    Handle,
    Line,
    Ref,
    is_tuple_of_arrays,
    looks_at,
    name_of,
    owner_of,
    plain_of,
)


def random_states() -> tuple[Any, ...]:
    """The states of the generators that Python and NumPy keep for everybody."""
    state: Any = np.random.get_state()
    name, words, *rest = state
    return random.getstate(), name, words.tobytes(), *rest


class Active(threading.local):
    recorder: Recorder | None = None


active = Active()


def now() -> Recorder | None:
    """The recorder of this thread."""
    return active.recorder


class Kinds(NamedTuple):
    """The classes of handles; `handles` puts them in."""

    array: Any
    scalar: Any
    number: Any
    thing: Any


class Recorder:
    """The lines of one run. As a context manager, it is the recorder of this thread."""

    kinds: ClassVar[Kinds]

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.failure: str | None = None
        self.open = False
        self.thread = threading.get_ident()
        self.handles: list[Any] = []
        """By number; they keep their arrays alive, so that identities stay unique."""
        self.roots: list[int] = []
        """The memory that each handle looks at, told by the number of the first handle that did."""
        self.reads: dict[int, set[int]] = {}
        """What memory a function that a call gave may look at, by its number."""
        self._numbers: dict[int, int] = {}  # by the identity of the plain array
        self._memories: dict[int, int] = {}  # by the identity of the owner of memory

    def __enter__(self) -> Recorder:
        self.before, active.recorder = active.recorder, self
        self.random = random_states()
        self.open = True
        return self

    def __exit__(self, *error: object) -> None:
        active.recorder, self.open = self.before, False
        if self.random != random_states():
            self.fail_late("it draws random numbers of the host; draw them from a key")

    def forget(self) -> None:
        """Let go of all arrays: a handle that somebody still holds, a cache perhaps, keeps no more than its own."""
        self.lines, self.handles, self.roots, self.reads = [], [], [], {}
        self._numbers, self._memories = {}, {}

    def fail(self, reason: str) -> None:
        """This run cannot be repeated; the first reason counts."""
        if self.open:
            self.fail_late(reason)

    def fail_late(self, reason: str) -> None:
        """The same, after the run."""
        if self.failure is None:
            self.failure = reason

    def handle(self, value: Any) -> Any:
        """The handle of an array, a NumPy scalar, or a number that stands for an option."""
        number = self._numbers.get(id(value))
        if number is not None:
            return self.handles[number]
        number = len(self.handles)
        kinds = self.kinds
        cls = kinds.scalar if isinstance(value, np.generic) else kinds.number
        cls = kinds.array if isinstance(value, np.ndarray) else cls
        made = cls(value, self, number)
        self.handles.append(made)
        if cls is not kinds.number:  # equal numbers may be one object
            self._numbers[id(value)] = number
        self.roots.append(self._memories.setdefault(id(owner_of(value)), number))
        return made

    def known(self, array: Any) -> Any:
        """The handle of an array that has one."""
        number = self._numbers.get(id(array))
        return None if number is None else self.handles[number]

    def owns(self, array: Any) -> bool:
        """True if the memory of a plain array is that of a handle."""
        return id(owner_of(array)) in self._memories

    def call(self, function: Any, args: Any, options: dict[str, Any], out: Any = None) -> Any:
        """Compute, and note it. `out` is the handle that the call writes to."""
        result = function(*plain_of(args), **{k: plain_of(v) for k, v in options.items()})
        if not self.open or self.failure is not None:
            return result if out is None else out
        if self.thread != threading.get_ident():
            self.fail("its arrays are used in another thread")
            return result if out is None else out
        single = isinstance(result, (np.ndarray, np.generic))
        written: tuple[int, ...] = ()
        for v in [result] if single else result if isinstance(result, (tuple, list)) else ():
            if id(v) in self._numbers:  # it is one of the operands: it may have been written to
                written = (*written, self.roots[self._numbers[id(v)]])
            elif not self.owns(v) and looks_at(v, args):
                self.fail(f"{name_of(function)} gives a view of a constant")
        if out is None and not single and not is_tuple_of_arrays(result):
            if result is not NotImplemented:
                self.fail(f"{name_of(function)} gives no array but {type(result).__name__}")
            return result
        noted = tuple([self.noted(x) for x in args]), {k: self.noted(v) for k, v in options.items()}
        if out is not None:
            changed = (self.roots[out.number],) if type(out) is self.kinds.array else ()
            if not changed:
                self.fail(
                    f"{name_of(function)} writes to an array that the recording does not know"
                )
            self.lines.append(Line(function, *noted, changed=changed))
            return out
        outs = [self.handle(v) for v in ([result] if single else result)]
        shapes = [(x.value.shape, x.value.dtype) for x in outs]
        numbers = tuple([x.number for x in outs])
        self.lines.append(Line(function, *noted, numbers, shapes, written))
        if single:
            return outs[0]
        cls: Any = type(result)
        return cls(*outs) if hasattr(cls, "_fields") else cls(outs)

    def noted(self, x: Any) -> Any:
        """An argument as it stands in a line."""
        if isinstance(x, Handle):
            if x.recorder is self:
                return Ref(x.number)
            x = x.value
        cls = type(x)
        if cls is np.ndarray:
            if self.owns(x):
                self.fail("a plain view of one of its arrays is used")
            return Constant(x)
        if cls is list or cls is tuple:
            return cls([self.noted(v) for v in x])
        if cls is slice:
            return slice(self.noted(x.start), self.noted(x.stop), self.noted(x.step))
        return x

    def check(self, x: Any, expected: bool) -> None:
        """Note that the run has taken a branch."""
        if self.thread != threading.get_ident():
            self.fail("its arrays are used in another thread")
        if self.open and self.failure is None:
            self.lines.append(Line(bool, (Ref(x.number),), {}, expected=expected))

    def whole(self, function: Any, args: tuple[Any, ...]) -> Any:
        """Note a call as one line, whatever it does inside and whatever it gives: arrays, and functions of arrays."""
        result = function(*plain_of(args))
        if not self.open or self.failure is not None:
            return result
        noted = tuple([self.noted(x) for x in args])
        reads = {self.roots[x.number] for x in args if isinstance(x, Handle)}
        return self._given(result, function, noted, reads)

    def _given(self, value: Any, function: Any, noted: tuple[Any, ...], reads: set[int]) -> Any:
        """A handle of what a call gave; the parts of a tuple by lines of their own."""
        if value is None:
            return None
        if isinstance(value, (np.ndarray, np.generic)):
            made = self.handle(value)
            looks: Any = (value.shape, value.dtype)
        else:
            if isinstance(value, (int, float, complex, str)):
                self.fail(f"{name_of(function)} gives a number")
            made = self.kinds.thing(value, self, len(self.handles))
            self.handles.append(made)
            self.roots.append(made.number)
            self.reads[made.number] = reads
            looks = type(value)
        self.lines.append(Line(function, noted, {}, (made.number,), [looks]))
        if not isinstance(value, (tuple, list)):
            return made
        whole = Ref(made.number)
        parts = [self._given(v, operator.getitem, (whole, i), reads) for i, v in enumerate(value)]
        cls: Any = type(value)
        return cls(*parts) if hasattr(cls, "_fields") else cls(parts)
