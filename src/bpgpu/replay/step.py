"""`compile`: a step that is recorded, and then replayed while nothing it could notice has changed."""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from bpgpu.autodiff.tape import here
from bpgpu.backend.recording import now
from bpgpu.errors import ArgumentError
from bpgpu.replay.capture import GRAPHS, WARM, Candidate, Graph
from bpgpu.replay.guard import guard_of
from bpgpu.replay.places import Refused, State, belongs_to_user, state_of
from bpgpu.replay.program import Deviation, Recording, assembled, difference, written
from bpgpu.replay.record import record
from bpgpu.replay.trial import Trial

TRIES = 3
"""So many recordings of one key may differ from the one before, then it is not recorded again."""
KEYS = 32
"""So many keys are recorded while none of them comes back, then no other is."""
LONGEST = 512
"""After a refusal the step is not looked at for some calls: 8, 16, ..., at most so many."""
BINDINGS = 8
"""So many sets of objects (models, optimizers) are known at a time."""

_log = logging.getLogger("bpgpu")


class Entry:
    """What is known of one key."""

    def __init__(self, state: State) -> None:
        self.pinned = state.pinned  # keeps alive what the key tells by identity
        self.effects: tuple[tuple[int, int], ...] = ()
        self.template: Any = None
        self.recording: Recording | None = None
        self.program: Callable[..., Any] | None = None
        self.tested = False
        self.source = ""
        self.reason: str | None = None
        self.tries = 0
        self.calls = 0
        self.candidate: Candidate | None = None
        """Of a step on CUDA."""

    def forget(self) -> None:
        """Let go of a recording, which holds every array of a call."""
        if self.recording is not None:
            self.recording.recorder.forget()
            self.recording = None


class Binding:
    """A program with the objects that it runs on."""

    def __init__(self, entry: Entry, state: State) -> None:
        assert entry.program is not None
        self.entry, self.state = entry, state
        self.arrays = list(state.arrays)
        self.effects = [(state.slots[slot][0], state.slots[slot][1]) for slot, _ in entry.effects]
        self.template = entry.template
        self.program = entry.program
        changing = {number for _, number in self.effects}
        self.text, self.guard = guard_of(state, changing)

    def run(self, inputs: tuple[Any, ...]) -> Any:
        leaves, changed = self.program(*inputs)
        for (place, number), value in zip(self.effects, changed, strict=True):
            place.write(value)
            self.arrays[number] = value
        return assembled(self.template, iter(leaves))


class Compiled:
    """A step that may be replayed; made by `compile`.

    *Attributes* `replays`: how many calls were replays. `calls`: all calls. `reason`: why the last call was none, or
    `None`. `source`: the program that was replayed last, as Python. `step`: the function itself.
    """

    _bpgpu_compiled = True

    def __init__(self, step: Callable[..., Any]) -> None:
        if not callable(step):
            raise ArgumentError(
                f"compile: expected a function, got {type(step).__name__}; write step = bpgpu.compile(step)"
            )
        functools.update_wrapper(self, step, updated=())
        belongs_to_user(step)
        self.step = step
        self.reset()

    def reset(self) -> None:
        """Forget all programs."""
        self.replays = self.calls = 0
        self.reason: str | None = None
        self._entries: dict[Any, Entry] = {}
        self._bindings: list[Binding | Graph] = []
        self._names: set[str] = set()
        self._more: list[Callable[..., Any]] = []
        self._stale = 0
        self._refused = False
        self._rebound = 0
        self._pause = 0
        self._patience = 1
        self._told: set[str] = set()
        self._lock = threading.RLock()

    @property
    def source(self) -> str:
        """The program that was replayed last: one line for each call; empty before the first replay."""
        first = self._bindings[0] if self._bindings else None
        return first.entry.source if isinstance(first, Binding) else ""

    def show(self) -> None:
        """Print the program, or why there is none. A CUDA graph has no text."""
        if self._bindings and not self.source:
            sys.stdout.write("replayed as a CUDA graph\n")
            return
        why = self.reason or "it has not been called often enough"
        sys.stdout.write((self.source or f"not replayed: {why}").rstrip() + "\n")

    def __reduce__(self) -> Any:
        return Compiled, (self.step,)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **options: Any) -> Any:
        if here.tape is not None or now() is not None:  # part of a trace, or of an outer recording
            return self.step(*args, **options)
        if not self._lock.acquire(blocking=False):
            return self._eager(
                args, options, "it is running already, in another thread or in itself"
            )
        try:
            return self._call(args, options)
        finally:
            self._lock.release()

    def _call(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        self.calls += 1
        for i, binding in enumerate(self._bindings):
            inputs = self._asked(binding, args, options)
            if inputs is not None:
                if i:
                    self._bindings.insert(0, self._bindings.pop(i))
                try:
                    result = binding.run(inputs)
                except Deviation:
                    return self._eager(
                        args, options, "an array that it branches on has another value"
                    )
                self.replays += 1
                self.reason = None
                self._rebound = 0
                return result
        if self._pause:  # looking takes longer than an eager step
            self._pause -= 1
            return self.step(*args, **options)
        result = self._slowly(args, options)
        if self._refused:
            self._patience = min(2 * self._patience, LONGEST)
            self._pause = self._patience if self._patience > 4 else 0
        return result

    def _asked(
        self, binding: Binding | Graph, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        try:
            return binding.guard(args, options, binding.arrays)
        except (LookupError, AttributeError, TypeError, ValueError, NameError):
            return None

    def _slowly(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A call that no binding fits: it is recorded, or its program is bound to other objects."""
        self._refused = False
        try:
            state = state_of(self.step, args, options, self._names, self._more)
            key = tuple(state.key)
            known = self._entries.get(key)
        except Refused as refused:
            return self._eager(args, options, str(refused))
        except Exception as error:  # noqa: BLE001 - objects of any kind were asked for their attributes
            return self._eager(args, options, f"what it can read cannot be told: {error!r}")
        entry = known
        if entry is None:
            if self._stale >= KEYS:
                reason = f"{self._varying(state)} changes from call to call"
                return self._eager(args, options, reason)
            entry = self._entries[key] = Entry(state)
            self._stale += 1
            if len(self._entries) > 4 * KEYS:
                del self._entries[next(iter(self._entries))]
        entry.calls += 1
        if entry.reason is not None:
            return self._eager(args, options, entry.reason)
        if state.library == "cupy":
            return self._on_device(entry, key, state)
        if entry.program is not None and not entry.tested:
            return self._tested(entry, state, args, options)
        if entry.program is not None:
            self._rebound += 1
            if self._rebound > BINDINGS:
                return self._eager(args, options, "it is given other objects at each call")
            self._bind(entry, state)
            return self._call_bound(args, options)
        return self._recorded(entry, state)

    def _call_bound(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        binding = self._bindings[0]
        inputs = self._asked(binding, args, options)
        if inputs is None:
            return self._eager(args, options, "its arguments cannot be told apart")
        try:
            result = binding.run(inputs)
        except Deviation:
            return self._eager(args, options, "an array that it branches on has another value")
        self.replays += 1
        self.reason = None
        return result

    def _tested(
        self, entry: Entry, state: State, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        """The first run of a program: undone, and compared with a run of the step itself, which counts."""
        try:
            binding = Binding(entry, state)
        except (SyntaxError, RecursionError, MemoryError) as error:
            entry.reason = f"its guard cannot be written: {error}"
            return self._eager(args, options, entry.reason)
        inputs = self._asked(binding, args, options)
        if inputs is None:
            entry.reason = "its arguments cannot be told apart"
            return self._eager(args, options, entry.reason)
        trial = Trial(binding, inputs)
        result = self.step(*args, **options)
        entry.reason = trial.difference(result)
        entry.tested = not trial.deviated
        for other in self._entries.values():
            other.forget()
        self.reason = entry.reason or "it is being tested"
        if entry.reason is not None:
            self._tell(entry.reason)
        return result

    def _on_device(self, entry: Entry, key: Any, state: State) -> Any:
        """A call with arrays of CuPy that no graph fits: it warms up, or is captured and tested."""
        if entry.candidate is None:
            entry.candidate = Candidate(state)
            self._drop_graphs(key)
        candidate = entry.candidate
        if candidate.graph is not None:
            candidate.graph.bind(state)
            self._stale = 0
            self._bindings = [b for b in self._bindings if b is not candidate.graph]
            self._bindings.insert(0, candidate.graph)
            return self._call_bound(args=state.args, options=state.options)
        found: list[Callable[..., Any]] = []
        if candidate.warm < WARM:
            result, reason, found = candidate.warmed(self.step, state, self._names, self._more)
            self._more += [f for f in found if f not in self._more]
        else:
            result, reason = candidate.tested(self.step, state)
            entry.reason = reason
        self.reason = reason or "it is being captured"
        if reason is not None:
            entry.tries += 1
            if not found and entry.tries >= TRIES:
                entry.reason = reason
            if entry.calls > 1 or entry.reason is not None:
                self._tell(reason)
        if entry.reason is not None:
            entry.candidate = None  # and the memory of its pool
        return result

    def _drop_graphs(self, key: Any) -> None:
        """Let go of the oldest graphs, and of the memory that they keep, before there is another."""
        held = [k for k, e in self._entries.items() if e.candidate is not None and k != key]
        for k in held[: max(0, len(held) - GRAPHS + 1)]:
            gone = self._entries.pop(k).candidate
            self._bindings = [b for b in self._bindings if gone is None or b is not gone.graph]

    def _bind(self, entry: Entry, state: State) -> None:
        self._stale = 0
        self._bindings.insert(0, Binding(entry, state))
        del self._bindings[BINDINGS:]

    def _recorded(self, entry: Entry, state: State) -> Any:
        before, entry.recording = entry.recording, None
        try:
            made = record(self.step, state, self._names, self._more)
        except Refused as refused:  # nothing has run yet
            entry.reason = str(refused)
            return self._eager(state.args, state.options, entry.reason)
        if made.found:
            self._more += [f for f in made.found if f not in self._more]
        entry.recording = made.recording
        self.reason = made.reason or "it is being recorded"
        if made.recording is None:
            entry.tries += 1
            if not made.found and entry.tries >= TRIES:
                entry.reason = made.reason
            if entry.calls > 1:
                self._tell(self.reason)
            return made.result
        if before is None:
            return made.result
        reason = difference(before, made.recording)
        before.recorder.forget()
        if reason is None:
            try:
                entry.source, entry.program = written(made.recording)
                entry.effects, entry.template = made.recording.effects, made.recording.result
                entry.recording = made.recording
                entry.forget()
            except (ValueError, SyntaxError, RecursionError) as error:
                reason = entry.reason = str(error)
        if reason is not None:
            entry.tries += 1
            self.reason = reason
            if entry.tries >= TRIES:
                entry.reason = reason
            self._tell(reason)
        return made.result

    def _eager(self, args: tuple[Any, ...], options: dict[str, Any], reason: str) -> Any:
        self._refused = True
        self.reason = reason
        self._tell(reason)
        return self.step(*args, **options)

    def _tell(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            name = getattr(self.step, "__qualname__", repr(self.step))
            _log.info("compile: %s runs eagerly: %s", name, reason)

    def _varying(self, state: State) -> str:
        """What differs between this call and the one before it."""
        *_, last = self._entries
        for old, new, path in zip(last, state.key, state.paths, strict=False):
            if old != new:
                return path
        return "the number of things that it can read"


def compile(step: Callable[..., Any]) -> Compiled:
    """A step that runs faster: recorded, and replayed as one function of plain NumPy calls, or as one CUDA graph.

    *Parameters* `step`: a function that may take its model, its optimizer and its batch as arguments or close over
    them, or a bound method.

    *Returns* a function that gives bit for bit what `step` gives. Calls that cannot be replayed run as they are;
    `reason` says why, and so does the log `bpgpu`, once.

    *Notes* The array library is NumPy or CuPy; with others the step runs as it is. What is watched, and what is not, is
    told in the documentation under "compile". `replays` counts the calls that were replayed, `show()` prints the
    program.

    >>> import numpy as np
    >>> w = np.ones(2)
    >>> def step(x):
    ...     global w
    ...     w -= 0.5 * x
    ...     return w.sum()
    >>> fast = compile(step)
    >>> [float(fast(np.ones(2))) for _ in range(4)]
    [1.0, 0.0, -1.0, -2.0]
    """
    return Compiled(step)
