"""One recorded call: handles are put in the place of arrays, the step runs, and everything is put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpgpu.autodiff.namespace import Namespace, _namespaces
from bpgpu.backend import recording
from bpgpu.backend.recording import Handle, Recorder, plain_of
from bpgpu.replay.places import SIMPLE, Place, Refused, State, state_of
from bpgpu.replay.program import Fresh, Output, Recording
from bpgpu.replay.trial import Snapshot
from bpgpu.replay.watch import Watch

for _cls in (recording.Recorded, recording.RecordedScalar):
    _namespaces[_cls] = Namespace(recording.namespace)


class Recorded:
    """What came of a recorded call: its result, and the recording or the reason why there is none."""

    def __init__(self) -> None:
        self.result: Any = None
        self.recording: Recording | None = None
        self.reason: str | None = None
        self.found: list[Callable[..., Any]] = []


def record(
    f: Callable[..., Any], state: State, names: set[str], more: list[Callable[..., Any]]
) -> Recorded:
    """Run `f` on the arguments of `state`. Its results and effects are those of any other run."""
    recorder, made = Recorder(), Recorded()
    for x in state.arrays:
        recorder.handle(x)
    swap, before = _Swap(state, recorder), Snapshot(state)
    effects: list[tuple[int, int]] = []
    try:
        args, options = swap.enter()
        with recorder, Watch(recorder, state.codes) as watch:
            result = f(*args, **options)
    except (TypeError, AttributeError, BufferError) as error:
        swap.leave()
        _seen_effects(f, state, names, more, recorder)
        if recorder.failure is not None and "Recorded" not in str(error):
            raise
        # perhaps the fault of a handle, which is no NumPy array to compiled code: the step itself shall say
        before.restore()
        made.result = f(*state.args, **state.options)
        made.reason = "it gives arrays to code that takes nothing but NumPy's own"
        return made
    finally:
        swap.leave()
        effects = _seen_effects(f, state, names, more, recorder)
    made.found = watch.found
    template = _template(result, recorder, state)
    made.result = unwrapped(result)
    made.reason = recorder.failure
    if made.reason is None:
        made.recording = Recording(recorder, swap.count, tuple(effects), template)
    else:
        recorder.forget()
    return made


def _seen_effects(
    f: Callable[..., Any],
    state: State,
    names: set[str],
    more: list[Callable[..., Any]],
    recorder: Recorder,
) -> list[tuple[int, int]]:
    try:
        return _effects(f, state, names, more)
    except Refused as refused:
        recorder.fail_late(str(refused))
    except Exception as error:  # noqa: BLE001 - the call has been made, and its result counts
        recorder.fail_late(f"what it has changed cannot be told: {error!r}")
    return []


class _Swap:
    """Handles in the place of arrays, and the way back."""

    def __init__(self, state: State, recorder: Recorder) -> None:
        self.state, self.recorder = state, recorder
        self.handles = [recorder.handles[i] for i in range(len(state.arrays))]
        self.rates = [recorder.handle(place.read()) for place in state.rates]
        self.count = len(recorder.handles)
        self.undo: list[tuple[Place, Any, Any]] = []

    def enter(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put the handles in; the arguments with handles."""
        state = self.state
        for place, number in state.slots:
            if not isinstance(place.owner, tuple):
                self._put(place, self.handles[number])
        for place, rate in zip(state.rates, self.rates, strict=True):
            self._put(place, rate)
        for place in state.places:
            if isinstance(place.value, tuple) and not isinstance(place.owner, tuple):
                new = self.replaced(place.value)
                if new is not place.value:
                    self._put(place, new)
        for container in state.given:  # tuples among the arguments are no places
            items = container.items() if type(container) is dict else enumerate(container)
            for key, value in list(items):
                new = self.replaced(value) if isinstance(value, tuple) else value
                if new is not value and not isinstance(container, tuple):
                    self._put(Place("argument", container, "item", key, value), new)
        return self.replaced(state.args), state.options

    def _put(self, place: Place, value: Any) -> None:
        try:
            place.write(value)
        except (TypeError, AttributeError) as error:
            raise Refused(f"{place.path} holds an array that cannot be followed") from error
        self.undo.append((place, place.value, value))

    def replaced(self, value: Any) -> Any:
        """An array, or a tuple of them, with handles."""
        known = self.recorder.known(value)
        if known is not None:
            return known
        if isinstance(value, tuple):
            items = [self.replaced(v) for v in value]
            if all(a is b for a, b in zip(items, value, strict=True)):
                return value
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        return value

    def leave(self) -> None:
        """Put back what is still there; what the step has put in the place of it stays."""
        for place, before, handle in reversed(self.undo):
            try:
                now = place.read()
            except (KeyError, IndexError, AttributeError, ValueError):
                continue
            if now is handle or (isinstance(now, Handle) and now.value is before):
                place.write(before)


def _effects(
    f: Callable[..., Any],
    state: State,
    names: set[str],
    more: list[Callable[..., Any]],
) -> list[tuple[int, int]]:
    """Which places hold another array now. All handles that were left anywhere are replaced.

    *Raises* `Refused` if anything else has changed.
    """
    after = state_of(f, state.args, state.options, names, more)
    for place, _ in after.slots:
        if isinstance(place.value, Handle) and not isinstance(place.owner, tuple):
            place.write(place.value.value)
    for place in after.places:
        if isinstance(place.value, tuple) and not isinstance(place.owner, tuple):
            plain = unwrapped(place.value)
            if plain is not place.value:
                place.write(plain)
    for before, now, path in zip(state.key, after.key, state.paths, strict=False):
        if before != now:
            raise Refused(f"it changes {path}")
    if len(state.key) != len(after.key):
        raise Refused(f"it changes {max(state.paths, after.paths, key=len)[len(state.key) - 1]}")
    found: list[tuple[int, int]] = []
    given = {id(x) for x in state.given}
    for i, (place, number) in enumerate(after.slots):
        if plain_of(place.value) is state.arrays[number]:
            continue
        inside = isinstance(place.owner, tuple) or id(place.owner) in given
        if not isinstance(place.value, Handle) or inside:
            raise Refused(f"it puts another array at {place.path}")
        found.append((i, place.value.number))
    for old, new in zip(state.rates, after.rates, strict=True):
        if old.value != new.value:
            raise Refused(f"it changes {old.path}; step the schedule outside")
    return found


def unwrapped(x: Any) -> Any:
    """A result with arrays in place of handles."""
    if isinstance(x, Handle):
        return x.value
    cls = type(x)
    if cls is dict:
        return {k: unwrapped(v) for k, v in x.items()}
    if isinstance(x, tuple) or cls is list:
        items = [unwrapped(v) for v in x]
        if all(a is b for a, b in zip(items, x, strict=True)):
            return x
        return cls(*items) if hasattr(cls, "_fields") else cls(items)
    return x


def _template(x: Any, recorder: Recorder, state: State) -> Any:
    """A result with `Output` in place of arrays; a result of another kind fails the recording."""
    if isinstance(x, Handle):
        return Output(x.number)
    cls = type(x)
    if cls in SIMPLE:
        return x
    if hasattr(x, "tobytes") and not isinstance(x, type):
        if recorder.owns(x):
            recorder.fail_late("it returns a plain view of its arrays")
        return Fresh(x)
    if cls is dict:
        return {k: _template(v, recorder, state) for k, v in x.items()}
    if cls in (list, tuple):
        return cls([_template(v, recorder, state) for v in x])
    if isinstance(x, tuple) and hasattr(cls, "_fields"):
        return cls(*[_template(v, recorder, state) for v in x])
    if not any(place.value is x for place in state.places):
        recorder.fail_late(f"it returns a {cls.__name__}")
    return x
