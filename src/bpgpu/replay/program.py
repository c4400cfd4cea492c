"""From two recordings to a function: compared line by line, cleared of what nobody uses, written out as source."""

from __future__ import annotations

import keyword
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from bpgpu.backend.recording import Constant, Line, Recorder, Ref
from bpgpu.replay.places import SIMPLE

SYMBOLS: dict[Any, str] = {
    **{getattr(operator, n): f"{{}} {s}= {{}}" for n, s in (
        *(("iadd", "+"), ("isub", "-"), ("imul", "*"), ("itruediv", "/"), ("imatmul", "@")),
        *(("ifloordiv", "//"), ("imod", "%"), ("ipow", "**"), ("iand", "&"), ("ior", "|")),
        *(("ixor", "^"), ("ilshift", "<<"), ("irshift", ">>")),
    )},
    **{getattr(operator, n): f"{{}} {s} {{}}" for n, s in (
        *(("add", "+"), ("sub", "-"), ("mul", "*"), ("truediv", "/"), ("matmul", "@")),
        *(("floordiv", "//"), ("mod", "%"), ("pow", "**"), ("and_", "&"), ("or_", "|")),
        *(("xor", "^"), ("lshift", "<<"), ("rshift", ">>"), ("eq", "=="), ("ne", "!=")),
        *(("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">=")),
    )},
    operator.neg: "-{}",
    operator.invert: "~{}",
    operator.getitem: "{}[{}]",
    operator.setitem: "{}[{}] = {}",
}  # fmt: skip


_TAKEN = ("bool", "slice", "Deviation", "replay")


class Deviation(Exception):  # noqa: N818 - a signal, and not a fault
    """A check of the program found another truth than was recorded: nothing has been changed yet."""


class Output(NamedTuple):
    """A leaf of what the step returned: the variable of a program, or a constant to be copied."""

    number: int


class Fresh(NamedTuple):
    """A plain array that the step made and returned: each call gets a copy."""

    array: Any


class Recording(NamedTuple):
    """One recorded call."""

    recorder: Recorder
    inputs: int
    """The first so many handles are the inputs."""
    effects: tuple[tuple[int, int], ...]
    """Places that get another array: the number of the slot, and of the handle."""
    result: Any
    """What the step returned, with `Output` in place of arrays."""


def difference(a: Recording, b: Recording) -> str | None:
    """Why two recordings are not the same program; `None` if they are."""
    ours, theirs = a.recorder.lines, b.recorder.lines
    if a.inputs != b.inputs or a.effects != b.effects:
        return "two calls in a row changed different things"
    for x, y in zip(ours, theirs, strict=False):
        if not _same_function(x, y) or x.outs != y.outs or x.shapes != y.shapes:
            return f"two calls in a row computed {_called(x)} and {_called(y)} at the same place"
        if x.expected != y.expected or x.changed != y.changed:
            return "two calls in a row took different branches"
        if not _same((x.args, x.options), (y.args, y.options)):
            return f"{_called(x)} got other constants in two calls in a row"
    if len(ours) != len(theirs):
        return "two calls in a row differ in length"
    return None if _same(a.result, b.result) else "two calls in a row returned different constants"


def _same_function(x: Line, y: Line) -> bool:
    f, g = x.function, y.function
    if isinstance(f, operator.attrgetter):
        return str(f) == str(g)
    return f is g or bool(f == g)  # bound methods are made anew at each look


def _called(line: Line) -> str:
    f = line.function
    return str(f) if isinstance(f, operator.attrgetter) else str(getattr(f, "__name__", f))


def _same(x: Any, y: Any) -> bool:
    cls = type(x)
    if cls is not type(y):
        return False
    if cls is Ref or cls is Output:
        return bool(x.number == y.number)
    if cls is Constant:
        y.kept = x.array is y.array
        return _equal(x.values, y.values)
    if cls is Fresh:
        return _equal(x.array, y.array)
    if cls in (list, tuple):
        return len(x) == len(y) and all(map(_same, x, y))
    if cls is dict:
        return list(x) == list(y) and all(map(_same, x.values(), y.values()))
    if cls is slice:
        return _same((x.start, x.stop, x.step), (y.start, y.stop, y.step))
    if cls is float:
        return (x == y and math.copysign(1, x) == math.copysign(1, y)) or (x != x and y != y)
    if cls in SIMPLE:
        return bool(x == y)
    if hasattr(x, "tobytes") and not isinstance(x, type):
        return _equal(x, y)
    if isinstance(x, (list, tuple)):
        return len(x) == len(y) and all(map(_same, x, y))
    return x is y or (x == y) is True


def _equal(x: Any, y: Any) -> bool:
    return bool(x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes())


def needed(recording: Recording) -> list[Line]:
    """The lines without those that reach no result, no state and no check.

    *Raises* `ValueError` with the reason if a check comes after a change of state.
    """
    recorder = recording.recorder
    roots = recorder.roots
    kept: set[int] = set(roots[: recording.inputs])  # memory that outlives the call, or is read
    outside = set(kept)
    live: set[int] = set()

    def use(x: Any) -> None:
        if type(x) in (Ref, Output):
            live.add(x.number)
            kept.add(roots[x.number])
            kept.update(recorder.reads.get(x.number, ()))
        elif type(x) in (list, tuple):
            for v in x:
                use(v)
        elif type(x) is dict:
            for v in x.values():
                use(v)
        elif type(x) is slice:
            use((x.start, x.stop, x.step))

    results: list[Any] = []
    _leaves(recording.result, results)
    use([x for x in results if type(x) is Output])
    use([Output(h) for _, h in recording.effects])
    found = []
    for line in reversed(recorder.lines):
        if (
            line.expected is not None
            or any(n in live for n in line.outs)
            or any(root in kept for root in line.changed)
        ):
            found.append(line)
            use((line.args, line.options))
    found.reverse()
    touched = False
    for line in found:
        if line.expected is not None and touched:
            raise ValueError("it branches on the value of an array after it has changed state")
        touched = touched or any(root in outside for root in line.changed)
    return found


class Source:
    """The text of a program, and the objects that it names."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self._by_id: dict[int, str] = {}
        self._keep: list[Any] = []

    def name(self, value: Any, hint: str) -> str:
        found = self._by_id.get(id(value))
        if found is None:
            usable = hint.isidentifier() and not keyword.iskeyword(hint)
            found = hint if usable and hint not in self.names and hint not in _TAKEN else ""
            found = found or f"{hint if usable else 'constant'}_{len(self.names)}"
            self._by_id[id(value)], self.names[found] = found, value
            self._keep.append(value)
        return found

    def text(self, x: Any) -> str:
        cls = type(x)
        if cls in (Ref, Output):
            return f"v{x.number}"
        if cls is Constant:
            return self.name(x, "constant")
        if cls is list:
            return f"[{', '.join(map(self.text, x))}]"
        if cls is tuple:
            return f"({', '.join(map(self.text, x))}{',' * (len(x) == 1)})"
        if cls is slice:
            return f"slice({self.text(x.start)}, {self.text(x.stop)}, {self.text(x.step)})"
        if x is Ellipsis:
            return "..."
        if cls in SIMPLE and (cls is not float or math.isfinite(x)) and cls is not complex:
            text = repr(x)
            return f"({text})" if text.startswith("-") else text
        hint = getattr(x, "__name__", None) or getattr(x, "name", None)
        return self.name(x, str(hint or "constant"))

    def line(self, line: Line) -> str:
        f, args = line.function, line.args
        if line.expected is not None:
            return f"if bool({self.text(args[0])}) is not {line.expected}: raise Deviation"
        left = f"{', '.join(f'v{n}' for n in line.outs)} = " if line.outs else ""
        symbol = SYMBOLS.get(f) if not line.options and f.__hash__ else None
        if symbol is not None:
            parts = [self.text(x) for x in args]
            if f in (operator.getitem, operator.setitem):
                parts[1] = self.index(args[1])
            return left + symbol.format(*parts)
        if isinstance(f, operator.attrgetter):
            return f"{left}{self.text(args[0])}.{f.__reduce__()[1][0]}"
        given = [self.text(x) for x in args]
        given += [f"{k}={self.text(v)}" for k, v in line.options.items()]
        owner = getattr(f, "__objclass__", None)
        if owner is not None and args and type(args[0]) is Ref:
            return f"{left}{given[0]}.{f.__name__}({', '.join(given[1:])})"
        ufunc: Any = getattr(f, "__self__", None)  # of numpy.add.reduce
        named = f.__name__ if not hasattr(ufunc, "nin") else f"{ufunc.__name__}_{f.__name__}"
        return f"{left}{self.name(f, named)}({', '.join(given)})"

    def index(self, key: Any) -> str:
        parts = key if type(key) is tuple and key else (key,)
        if any(type(k) is tuple for k in parts):
            return self.text(key)
        text = ", ".join(self._part(k) for k in parts)
        return text + "," * (type(key) is tuple and len(key) == 1)

    def _part(self, k: Any) -> str:
        if type(k) is not slice:
            return self.text(k)
        ends = ["" if v is None else self.text(v) for v in (k.start, k.stop, k.step)]
        return ":".join(ends if ends[2] else ends[:2])


def written(recording: Recording) -> tuple[str, Callable[..., Any]]:
    """The source of a program, and the function: inputs -> (result leaves, arrays of the effects)."""
    lines = needed(recording)
    source = Source()
    inputs = [f"v{i}" for i in range(recording.inputs)]
    outs: list[Any] = []
    _leaves(recording.result, outs)
    ends = {x.number for x in outs if type(x) is Output} | {h for _, h in recording.effects}
    last: dict[int, int] = {}
    for i, line in enumerate(lines):
        for n in (*line.outs, *_used((line.args, line.options))):
            last[n] = i
    body = []
    for i, line in enumerate(lines):
        body.append(source.line(line))
        gone = sorted(
            n
            for n in {*line.outs, *_used((line.args, line.options))}
            if last[n] == i and n not in ends and n >= recording.inputs
        )
        if gone and i + 1 < len(lines):
            body.append("del " + ", ".join(f"v{n}" for n in gone))
    leaves = [
        f"v{x.number}" if type(x) is Output else f"{source.name(x.array, 'constant')}.copy()"
        for x in outs
    ]
    changed = [f"v{h}" for _, h in recording.effects]
    body.append(
        f"return ({' '.join(f'{v},' for v in leaves)}), ({' '.join(f'{v},' for v in changed)})"
    )
    text = f"def replay({', '.join(inputs)}):\n" + "\n".join(f"    {line}" for line in body) + "\n"
    scope = {name: (_held(v) if type(v) is Constant else v) for name, v in source.names.items()}
    scope["Deviation"] = Deviation
    exec(compile(text, "<replayed step>", "exec"), scope)
    return text, scope["replay"]


def _held(constant: Constant) -> Any:
    """The array itself, if it was the same one in both recordings; else the values that it had."""
    return constant.array if constant.kept else constant.values


def _used(x: Any) -> list[int]:
    if type(x) is Ref:
        return [x.number]
    if type(x) is slice:
        x = (x.start, x.stop, x.step)
    if type(x) is dict:
        x = tuple(x.values())
    if type(x) in (list, tuple):
        return [n for v in x for n in _used(v)]
    return []


def _leaves(x: Any, found: list[Any]) -> None:
    if type(x) in (Output, Fresh):
        found.append(x)
    elif type(x) in (list, tuple) or (isinstance(x, tuple) and hasattr(x, "_fields")):
        for v in x:
            _leaves(v, found)
    elif type(x) is dict:
        for v in x.values():
            _leaves(v, found)


def assembled(result: Any, leaves: Any) -> Any:
    """The result of a call, with its arrays in place."""
    cls = type(result)
    if cls in (Output, Fresh):
        return next(leaves)
    if cls in (list, tuple):
        return cls([assembled(v, leaves) for v in result])
    if isinstance(result, tuple) and hasattr(cls, "_fields"):
        return cls(*[assembled(v, leaves) for v in result])
    if cls is dict:
        return {k: assembled(v, leaves) for k, v in result.items()}
    return result
