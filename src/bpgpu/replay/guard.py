"""The question asked before each replay, as source: is everything that the step can read as it was recorded?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpgpu.replay.places import SETTINGS, SIMPLE, Place, State

GROUP = 40
"""So many conditions in one line of the source."""


def guard_of(state: State, changing: set[int]) -> tuple[str, Callable[..., Any]]:
    """`guard(args, options, arrays)`: the inputs of the program, or `None` if something is not as it was.

    *Parameters* `changing`: the numbers of the arrays that the program replaces; they are read from `arrays`.
    """
    return _Guard(state, changing).built()


class _Guard:
    def __init__(self, state: State, changing: set[int]) -> None:
        self.state = state
        self.changing = changing
        self.scope: dict[str, Any] = {}
        self._names: dict[int, str] = {}
        self.keep: list[Any] = []
        self.conditions: list[str] = []
        self.given: dict[int, str] = {}
        self.inputs = [f"arrays[{i}]" for i in range(len(state.arrays))]

    def name(self, value: Any, letter: str) -> str:
        self.keep.append(value)  # so that its identity stays its own
        found = self._names.get(id(value))
        if found is None:
            found = self._names[id(value)] = f"{letter}{len(self._names)}"
            self.scope[found] = value
        return found

    def built(self) -> tuple[str, Callable[..., Any]]:
        state = self.state
        for setting in SETTINGS.values():
            self.conditions.append(f"{self.name(setting, 's')}() == {setting()!r}")
        self._arguments()
        for place in state.places:
            where = self.where(place)
            if where is not None:
                self._value(where, place.value)
        for container, size in state.sizes:
            self.conditions.append(f"len({self.name(container, 'o')}) == {size}")
        self._arrays()
        for place in state.rates:
            where = self.where(place)
            self.conditions.append(f"type({where}) is float")
            self.inputs.append(str(where))
        lines = []
        for i in range(0, len(self.conditions), GROUP):
            joined = " and ".join(self.conditions[i : i + GROUP])
            lines.append(f"    if not ({joined}): return None")
        body = "\n".join([*lines, f"    return ({' '.join(f'{x},' for x in self.inputs)})"])
        text = f"def guard(args, options, arrays):\n{body}\n"
        exec(compile(text, "<guard of a replayed step>", "exec"), self.scope)
        return text, self.scope["guard"]

    def where(self, place: Place) -> str | None:
        """The expression that reads a place; `None` for one that cannot change."""
        inside = self.given.get(id(place.owner))
        if inside is not None:
            return f"{inside}[{place.key!r}]"
        if isinstance(place.owner, tuple) or place.path == "the step":
            return None
        owner = self.name(place.owner, "o")
        if place.how == "item":
            return f"{owner}[{place.key!r}]"
        return f"{owner}.{place.key}"

    def _value(self, where: str, value: Any) -> None:
        """A value is the same object as before, or a number or text that is equal to it."""
        same = f"{where} is {self.name(value, 'k')}"
        cls = type(value)
        if cls in (set, frozenset):
            self.conditions.append(f"{where} == {self.name(frozenset(value), 'k')}")
        if cls in SIMPLE and value is not None and cls is not bool:
            equal = f"{where} == {self.name(value, 'k')}"
            if cls in (float, complex) and (value != value or value == 0):  # NaN, and -0.0 == 0.0
                equal = f"repr({where}) == {repr(value)!r}"
            same = f"({same} or type({where}) is {self.name(cls, 't')} and {equal})"
        self.conditions.append(same)

    def _arguments(self) -> None:
        """The containers among the arguments: their classes and names."""
        args, options = self.state.args, self.state.options
        inner = [x for x in self.state.given if x is not args and x is not options]
        self.given[id(args)], self.given[id(options)] = "args", "options"
        self.conditions.append(f"len(args) == {len(args)}")
        self.conditions.append(f"options.keys() == {set(options)!r}" if options else "not options")
        for container in (args, options, *inner):
            items = container.items() if type(container) is dict else enumerate(container)
            for key, value in items:
                if any(value is x for x in inner):
                    where = f"{self.given[id(container)]}[{key!r}]"
                    self.given[id(value)] = where
                    self.conditions.append(f"type({where}) is {self.name(type(value), 't')}")
                    self.conditions.append(f"len({where}) == {len(value)}")
                    if type(value) is dict:
                        self.conditions.append(f"list({where}) == {list(value)!r}")

    def _arrays(self) -> None:
        """Arrays that are kept somewhere are told by identity, those among the arguments by their looks."""
        first: dict[int, str] = {}
        kept = {n for place, n in self.state.slots if id(place.owner) not in self.given}
        for place, number in self.state.slots:
            where = self.where(place)
            if where is None:
                continue
            if number in kept:
                if number in self.changing:
                    self.conditions.append(f"{where} is arrays[{number}]")
                else:
                    array = self.name(self.state.arrays[number], "k")
                    self.conditions.append(f"{where} is {array}")
                continue
            if number in first:
                self.conditions.append(f"{where} is {first[number]}")
                continue
            x = self.state.arrays[number]
            self.conditions += [
                f"type({where}) is {self.name(type(x), 't')}",
                f"{where}.shape == {x.shape!r}",
                f"{where}.dtype == {self.name(x.dtype, 't')}",
                f"{where}.strides == {x.strides!r}",
            ]
            if self.state.library == "numpy":
                self.conditions.append(f"{where}.flags.writeable is {x.flags.writeable}")
            else:
                self.conditions.append(f"{where}.device.id == {self.state.device}")
            self.conditions += [f"{where} is not {other}" for other in first.values()]
            first[number] = where
            self.inputs[number] = where
