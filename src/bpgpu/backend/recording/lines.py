"""What a recording is made of: lines, and what stands in them."""

from __future__ import annotations

from typing import Any

import numpy as np


class Line:
    """One call of a program: `outs = function(*args, **options)`.

    Handles among the arguments stand as `Ref`. `changed` are the memories that it writes to. A line with `expected` is
    a check: the truth of its one argument must be as it was when it was recorded.
    """

    __slots__ = ("args", "changed", "expected", "function", "options", "outs", "shapes")

    def __init__(
        self,
        function: Any,
        args: tuple[Any, ...],
        options: dict[str, Any],
        outs: tuple[int, ...] = (),
        shapes: Any = None,
        changed: tuple[int, ...] = (),
        expected: bool | None = None,
    ) -> None:
        self.function, self.args, self.options = function, args, options
        self.outs, self.shapes, self.changed, self.expected = outs, shapes, changed, expected


class Ref:
    """The variable of a program that a handle stands for."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Constant:
    """A plain array that a call has met, and its values at that moment.

    `kept` if it was the same array in two recordings.
    """

    __slots__ = ("array", "kept", "values")

    def __init__(self, array: Any) -> None:
        self.array, self.values, self.kept = array, array.copy(), False


class Handle:
    """What stands for a value while it is recorded; `handles` has the kinds of it."""

    __slots__ = ("number", "recorder", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Any, recorder: Any, number: int) -> None:
        self.value, self.recorder, self.number = value, recorder, number


def owner_of(x: Any) -> Any:
    """What holds the memory that an array looks at."""
    base = getattr(x, "base", None)
    while base is not None:
        x, base = base, getattr(base, "base", None)
    return x


def looks_at(x: Any, args: Any) -> bool:
    """True if an array is one of the plain arguments, or a view of one."""
    owner = owner_of(x)
    for v in args:
        if type(v) in (list, tuple):
            if looks_at(x, v):
                return True
        elif type(v) is np.ndarray and owner_of(v) is owner:
            return True
    return False


def plain_of(x: Any) -> Any:
    """The argument with arrays in place of handles."""
    if isinstance(x, Handle):
        return x.value
    cls = type(x)
    if cls is list or cls is tuple:
        return cls([plain_of(v) for v in x])
    if cls is slice:
        return slice(plain_of(x.start), plain_of(x.stop), plain_of(x.step))
    if cls is dict:
        return {k: plain_of(v) for k, v in x.items()}
    return x


def is_tuple_of_arrays(x: Any) -> bool:
    return (
        isinstance(x, (tuple, list))
        and bool(x)
        and all(isinstance(v, (np.ndarray, np.generic)) for v in x)
    )


def name_of(function: Any) -> str:
    return str(getattr(function, "__name__", function))
