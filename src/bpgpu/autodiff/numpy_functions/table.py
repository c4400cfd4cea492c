"""How NumPy's functions are written here: `f(xp, ...)` with NumPy's arguments and the traced namespace."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, TypeVar

from bpgpu.autodiff.array import Array
from bpgpu.autodiff.rule import SCALARS
from bpgpu.errors import NotDifferentiableError

F = TypeVar("F", bound=Callable[..., Any])


class Table(dict[str, Callable[..., Any]]):
    """NumPy's functions by path: `sum`, `linalg.norm`.

    As a decorator it adds one: `@table("amax", "max")`. Of its arguments, those named in `arrays` arrive as traced
    arrays or Python numbers, whatever the caller gave (lists, plain arrays); by default the first.
    """

    def __call__(self, *names: str, arrays: tuple[str, ...] | None = None) -> Callable[[F], F]:
        def add(f: F) -> F:
            for name in names or (f.__name__.rstrip("_"),):
                self[name] = accepting(name, f, arrays)
            return f

        return add


def accepting(
    name: str, f: Callable[..., Any], arrays: tuple[str, ...] | None
) -> Callable[..., Any]:
    """`f` with its array arguments made traced, and an error of ours for options that it does not know."""
    signature = inspect.signature(f)
    parameters = list(signature.parameters)[1:]
    operands = frozenset(parameters[:1] if arrays is None else arrays)

    @functools.wraps(f)
    def call(xp: Any, /, *args: Any, **options: Any) -> Any:
        values = [
            traced(xp, x) if k in operands else x
            for k, x in zip_longest(parameters[: len(args)], args)
        ]
        options = {
            k: traced(xp, v) if k in operands else v
            for k, v in options.items()
            if k not in DEFAULTS or not DEFAULTS[k](v)
        }
        try:
            return f(xp, *values, **options)
        except TypeError as error:
            explain_options(name, signature, (xp, *values), options, error)
            raise

    return call


def explain_options(
    name: str, signature: inspect.Signature, args: Any, options: Any, error: TypeError
) -> None:
    """Raise our error if `error` comes from arguments that the function does not have."""
    try:
        signature.bind(*args, **options)
    except TypeError as mismatch:
        raise NotDifferentiableError(
            f"numpy.{name} of a traced array: {mismatch}. Its other options have no derivative here; write what they "
            "do with functions of xp = bpgpu.array_namespace(x)"
        ) from error


DEFAULTS: dict[str, Callable[[Any], bool]] = {
    "out": lambda v: v is None,
    "subok": lambda v: True,
    "order": lambda v: v in (None, "K", "C", "A"),
    "casting": lambda v: v == "same_kind",
}
"""Options that change nothing here, with a test of that; others are passed on."""


def traced(xp: Any, x: Any) -> Any:
    """A traced array of what NumPy takes for one; Python numbers stay, since they take the dtype of others."""
    if type(x) is Array or type(x) in SCALARS or x is None:
        return x
    return xp.asarray(x)


def as_array(xp: Any, x: Any, like: Any) -> Any:
    """A number as an array with the dtype of another; an array as it is."""
    return xp.asarray(x, dtype=like.dtype) if type(x) in SCALARS else x
