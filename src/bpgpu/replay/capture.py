"""Steps of CuPy's arrays: captured once as a CUDA graph, and launched.

A graph is bound to memory. So what the step reads stands at fixed places: kept arrays where they are, the arrays among
the arguments in copies that each call refreshes, learning rates as numbers on the device. A graph belongs to the very
arrays that it was captured with; where one was replaced, the step is captured anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from bpgpu.backend import capture
from bpgpu.backend.recording import Recorder
from bpgpu.replay.guard import guard_of
from bpgpu.replay.places import SIMPLE, Refused, State, state_of
from bpgpu.replay.program import Output, assembled
from bpgpu.replay.trial import Snapshot, bits
from bpgpu.replay.watch import Watch

WARM = 2
"""So many calls of a key run as they are first: kernels are compiled, plans are made, the pool gets its memory."""
GRAPHS = 4
"""So many graphs of a step are kept, each with the memory of its temporary arrays."""


class Candidate:
    """What one key of a step becomes: warmed up, captured, tested."""

    def __init__(self, state: State) -> None:
        self.place = capture.Place(state.device)
        self.warm = 0
        self.grown = 0
        self.graph: Graph | None = None

    def warmed(
        self,
        f: Callable[..., Any],
        state: State,
        names: set[str],
        more: list[Callable[..., Any]],
    ) -> tuple[Any, str | None, list[Callable[..., Any]]]:
        """A call as it is, on the stream: its result, why it cannot be captured, and functions that were found."""
        watch = Watch(Recorder(), state.codes)
        with self.place.entered(own_memory=True), _on_device(state, []), watch.recorder, watch:
            result = f(*state.args, **state.options)
        reason = watch.recorder.failure or _changed(f, state, names, more)
        watch.recorder.forget()
        if reason is None:
            self.warm += 1
        return result, reason, watch.found

    def tested(self, f: Callable[..., Any], state: State) -> tuple[Any, str | None]:
        """Capture the call, launch it, undo what it did, and run the call itself, which counts.

        *Returns* its result, and the reason if its graph does not the same to the last bit.
        """
        try:
            before, containers = [x.copy() for x in state.arrays], Snapshot(state, arrays=False)
            graph = Graph(self.place, state)
        except MemoryError:
            return f(*state.args, **state.options), "the device has no memory left to test it"
        try:
            grown = graph.captured(f)
        except Refused as refused:
            return f(*state.args, **state.options), str(refused)
        except Exception as error:  # noqa: BLE001 - whatever ended it: nothing has run, and the call itself comes now
            containers.restore()
            return f(*state.args, **state.options), _described(error)
        containers.restore()
        if grown:
            self.grown += 1
            reason = "memory was asked of CUDA while it was captured" if self.grown > 1 else None
            return f(*state.args, **state.options), reason
        inputs = (*state.arrays, *(place.read() for place in state.rates))
        given = bits(graph.run(inputs))
        after = [bits(x) for x in state.arrays]
        for x, values in zip(state.arrays, before, strict=True):
            x[...] = values
        with self.place.entered(own_memory=False), _on_device(state, graph.rates):
            result = f(*state.args, **state.options)
        if bits(result) != given:
            return result, "its graph gives another result than the step"
        if [bits(x) for x in state.arrays] != after:
            return result, "its graph leaves arrays otherwise than the step"
        self.graph = graph
        return result, None


class Graph:
    """A captured step, and the memory that it reads and writes."""

    def __init__(self, place: capture.Place, state: State) -> None:
        self.place, self.state = place, state
        self.arrays = state.arrays
        kept = {number for place_, number in state.slots if not state.is_given(place_)}
        with place.entered(own_memory=False):
            self.inputs = {
                i: x.copy(order="K") for i, x in enumerate(state.arrays) if i not in kept
            }
            self.rates = [capture.scalar(place_.read()) for place_ in state.rates]
        self._rates = [place_.read() for place_ in state.rates]
        self._graph: Any = None
        self._outputs: list[Any] = []
        self._template: Any = None
        self._result: Any = None

    def bind(self, state: State) -> None:
        """Take the objects that hold the arrays now; the arrays are the same, since the key tells them."""
        self.state, self.arrays = state, state.arrays
        self.text, self.guard = guard_of(state, set())

    def captured(self, f: Callable[..., Any]) -> int:
        """Let the stream capture a call; how many bytes its pool has grown by."""
        state = self.state
        known = {id(state.arrays[i]): x for i, x in self.inputs.items()}
        args = _replaced(state.args, known)
        options = _replaced(state.options, known)
        with self.place.entered(own_memory=True), _on_device(state, self.rates):
            made = self.place.captured(lambda: f(*args, **options))
        self._graph, self._result = made.graph, made.result
        self._template = self._noted(made.result, {id(x): x for x in state.arrays})
        return made.grown

    def run(self, inputs: tuple[Any, ...]) -> Any:
        """Launch the graph on these arrays and learning rates. What it returns is copied out of its memory."""
        with self.place.entered(own_memory=False):
            for i, x in self.inputs.items():
                x[...] = inputs[i]
            for i, rate in enumerate(inputs[len(self.arrays) :]):
                if rate != self._rates[i]:
                    self.rates[i].fill(rate)
                    self._rates[i] = rate
            self.place.launch(self._graph)
            outputs = [x.copy() for x in self._outputs]
        return assembled(self._template, iter(outputs))

    def _noted(self, x: Any, arrays: dict[int, Any]) -> Any:
        """A result with `Output` in place of the graph's arrays.

        *Raises* `Refused` for a result of another kind.
        """
        cls = type(x)
        if cls in SIMPLE or id(x) in arrays:
            return x
        if hasattr(x, "tobytes") and not isinstance(x, type):
            owner = capture.owner_of(x)
            if any(owner is capture.owner_of(a) for a in self.arrays):
                raise Refused("it returns a view of an array that is kept")
            self._outputs.append(x)
            return Output(len(self._outputs) - 1)
        if cls is dict:
            return {k: self._noted(v, arrays) for k, v in x.items()}
        if cls in (list, tuple):
            return cls([self._noted(v, arrays) for v in x])
        if isinstance(x, tuple) and hasattr(cls, "_fields"):
            return cls(*[self._noted(v, arrays) for v in x])
        if any(place.value is x for place in self.state.places):
            return x
        raise Refused(f"it returns a {cls.__name__}")


@contextlib.contextmanager
def _on_device(state: State, rates: list[Any]) -> Iterator[None]:
    """Learning rates as numbers of the device, until the block ends."""
    rates = rates or [capture.scalar(place.read()) for place in state.rates]
    for place, rate in zip(state.rates, rates, strict=True):
        place.write(rate)
    try:
        yield
    finally:
        for place, rate in zip(state.rates, rates, strict=True):
            with contextlib.suppress(LookupError, AttributeError):
                if place.read() is rate:
                    place.write(place.value)


def _changed(
    f: Callable[..., Any], state: State, names: set[str], more: list[Callable[..., Any]]
) -> str | None:
    """What a call has changed but the values of arrays; `None` if nothing."""
    try:
        after = state_of(f, state.args, state.options, names, more)
    except Refused as refused:
        return str(refused)
    for before, now, path in zip(state.key, after.key, state.paths, strict=False):
        if before != now:
            if before[:1] == now[:1] == ("array",) and before[:-1] == now[:-1]:
                return (
                    f"it puts another array at {path}; write to the one that is there, x[...] = y"
                )
            return f"it changes {path}"
    if len(state.key) != len(after.key):
        return f"it changes {max(state.paths, after.paths, key=len)[min(len(state.key), len(after.key))]}"
    for old, new in zip(state.rates, after.rates, strict=True):
        if old.value != new.value:
            return f"it changes {old.path}; step the schedule outside"
    return None


def _replaced(x: Any, known: dict[int, Any]) -> Any:
    """Arguments with other arrays, in containers of their own."""
    if id(x) in known:
        return known[id(x)]
    cls = type(x)
    if cls is dict:
        return {k: _replaced(v, known) for k, v in x.items()}
    if cls in (list, tuple):
        return cls([_replaced(v, known) for v in x])
    if isinstance(x, tuple) and hasattr(cls, "_fields"):
        return cls(*[_replaced(v, known) for v in x])
    return x


def _described(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"it cannot be captured: {lines[0] if lines else type(error).__name__}"
