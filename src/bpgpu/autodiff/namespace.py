"""The traced namespace: the whole Array API over traced arrays, made of the rules and a plain
namespace."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from bpgpu.autodiff.array import Array, carries_gradient, raw, refuse_conversion
from bpgpu.autodiff.compilers import ready
from bpgpu.autodiff.dtypes import is_floating, real_dtypes
from bpgpu.autodiff.rule import (
    SCALARS,
    Elementwise,
    Rule,
    apply,
    rebuilt,
    undefined,
)
from bpgpu.autodiff.rules import (
    COMPOSED,
    HANDLES,
    INSPECT,
    LISTED,
    OPERATORS,
    PLAIN,
    RULES,
    UNDEFINED,
)
from bpgpu.backend import Backend, backend_of
from bpgpu.backend.libraries import namespace_of as plain_namespace
from bpgpu.errors import LibraryError, NotDifferentiableError

EXTENSIONS = ("linalg", "fft")


class Namespace:
    """A namespace of the standard over traced arrays of the library `xp`.

    Functions are made when they are first asked for. Each is one of five kinds (see
    `rules/__init__.py`): with a rule, composed of other functions, without a gradient by nature,
    about dtypes rather than values, or without a derivative."""

    def __init__(self, xp: Any, root: Namespace | None = None, prefix: str = "") -> None:
        self.xp = xp
        self.root = root or self
        self.backend: Backend = root.backend if root is not None else backend_of(xp)
        self.types: set[type] = set() if root is None else root.types  # of its arrays, seen so far
        self.reals: frozenset[Any] = root.reals if root is not None else real_dtypes(xp)
        self.__name__ = (
            f"bpgpu.traced.{xp.__name__.rpartition('.')[2] if root is None else prefix[:-1]}"
        )
        self._prefix = prefix
        self._base = getattr(xp, prefix[:-1]) if prefix else xp

    def __repr__(self) -> str:
        return f"<traced namespace over {self._base.__name__}>"

    def __dir__(self) -> list[str]:
        return sorted({*dir(self._base), *EXTENSIONS} if not self._prefix else dir(self._base))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in _DUNDERS:
            raise AttributeError(f"{self!r} has no attribute {name!r}")
        value = self._make(name)
        self.__dict__[name] = value  # later look-ups are plain attribute reads
        return value

    def _make(self, name: str) -> Any:
        if name in EXTENSIONS and not self._prefix:
            return Namespace(self.xp, self, f"{name}.")
        if self._prefix == "linalg." and name in (
            "matmul",
            "matrix_transpose",
            "tensordot",
            "vecdot",
        ):
            return getattr(self.root, name)
        f = getattr(self._base, name)
        if not callable(f) or isinstance(f, type):
            return f
        path = self._prefix + name
        if path in INSPECT:
            return inspected(f)
        if path in PLAIN:
            return constant(f)
        if path in COMPOSED:
            return composed(self.root, f, COMPOSED[path], always=path in HANDLES)
        if path in OPERATORS:
            return _operated(OPERATORS[path], f)
        if path in LISTED:
            return _listed(RULES[path], f)
        if path in RULES:
            return ruled(RULES[path], f)
        if path in UNDEFINED:
            return unruled(f, path, UNDEFINED[path])
        return f if self.backend.asks_arrays else beyond(f, path)

    # ---- services that the standard keeps on the array object

    def to_device(self, x: Array, device: Any, *, stream: Any = None) -> Array:
        return RULES["to_device"](x, device, stream=stream)  # type: ignore[no-any-return]


_DUNDERS = ("__array_namespace_info__", "__array_api_version__")
_namespaces: dict[Any, Namespace] = {}  # by type of plain array, and by plain namespace


def traced_namespace(value: Any) -> Namespace:
    """The traced namespace for a plain array (or the plain array under a traced one)."""
    value = raw(value)
    try:
        return _namespaces[type(value)]
    except KeyError:
        found = _namespaces[type(value)] = traced_over(plain_namespace(value))
        return found


def traced_over(xp: Any) -> Namespace:
    """The traced namespace over a plain one."""
    try:
        return _namespaces[xp.__name__]
    except KeyError:
        found = _namespaces[xp.__name__] = Namespace(xp)
        return found


def array_namespace(*arrays: Any) -> Any:
    """The namespace to use for these arrays: the traced one if any of them is traced, else their
    library's.

    Numbers and `None` are passed over.

    *Raises* `LibraryError` if plain arrays come from different libraries, or there is no array at
    all.

    >>> import numpy as np
    >>> array_namespace(np.ones(2), 3.0).__name__
    'array_api_compat.numpy'
    """
    found = None
    for x in arrays:
        if type(x) is Array:
            return x.__array_namespace__()
        if x is None or type(x) in SCALARS:
            continue
        if found is None:
            ready()
        xp = plain_namespace(x)
        if found is None:
            found = xp
        elif xp is not found and xp.__name__ == found.__name__:
            found = min(xp, found, key=_is_module)  # a recording of the same library
        elif xp is not found:
            from bpgpu.autodiff.rule import library_name

            raise LibraryError(
                f"array_namespace: arrays of {library_name(found)} and of {library_name(xp)} "
                "were given; convert them "
                "to one library first"
            )
    if found is None:
        raise LibraryError("array_namespace: no array was given; pass at least one array")
    return found


def _is_module(xp: Any) -> bool:
    return isinstance(xp, ModuleType)


# ---- the kinds of functions


def wrapped(y: Any) -> Any:
    """Plain arrays in a result become constants of the traced namespace."""
    if hasattr(y, "shape") and hasattr(y, "dtype"):
        return y if type(y) is Array else Array(y)
    if isinstance(y, tuple):
        return rebuilt(y, [wrapped(v) for v in y])
    if isinstance(y, list):
        return [wrapped(v) for v in y]
    return y


def unwrapped(x: Any) -> Any:
    """Traced arrays in an argument become the plain arrays under them."""
    if type(x) is Array:
        return raw(x)
    if isinstance(x, tuple):
        return rebuilt(x, [unwrapped(v) for v in x])
    if isinstance(x, list):
        return [unwrapped(v) for v in x]
    return x


def setting(x: Any) -> Any:
    """An argument that is no operand: it must not carry a gradient, since it would be lost."""
    if type(x) is Array:
        refuse_conversion(x, "a setting of a function")
        return raw(x)
    return unwrapped(x)


def on_tape(args: Any) -> bool:
    """True if any of the arguments is on a tape."""
    for x in args:
        if type(x) is Array:
            if x.tape is not None:
                return True
        elif isinstance(x, (list, tuple)) and on_tape(x):
            return True
    return False


def constant(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose results carry no gradient: on plain values, arrays wrapped as constants."""

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        return wrapped(
            f(*[unwrapped(x) for x in args], **{k: unwrapped(v) for k, v in kwargs.items()})
        )

    return call


def inspected(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function about dtypes and devices: its answers are no arrays."""

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        return f(*[unwrapped(x) for x in args], **{k: unwrapped(v) for k, v in kwargs.items()})

    return call


def ruled(rule: Rule, f: Callable[..., Any]) -> Callable[..., Any]:
    """A function with a rule; the plain one serves where no operand is on a tape."""
    plain = constant(f)
    if isinstance(rule, Elementwise):

        @functools.wraps(f)
        def unary(x: Any, /) -> Any:
            if type(x) is Array and x.tape is not None:
                return rule.record(x)
            return plain(x)

        return unary

    n = rule.arrays

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        operands = args[:n]
        rest = [setting(x) for x in args[len(operands) :]]
        options = {k: setting(v) for k, v in kwargs.items()}
        if not on_tape(operands):
            return plain(*operands, *rest, **options)
        return apply(rule, operands, rest, options)

    return call


def _operated(op: Callable[[Any, Any], Any], f: Callable[..., Any]) -> Callable[..., Any]:
    """A function that has an operator: `multiply` is `*`."""
    plain = constant(f)

    @functools.wraps(f)
    def call(x1: Any, x2: Any, /) -> Any:
        if (type(x1) is Array and x1.tape is not None) or (
            type(x2) is Array and x2.tape is not None
        ):
            y = op(x1, x2)
            if y is NotImplemented:
                raise TypeError(
                    f"{f.__name__}: expected arrays or numbers, got {type(x1).__name__} and "
                    f"{type(x2).__name__}"
                )
            return y
        return plain(x1, x2)

    return call


def _listed(rule: Rule, f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a list of arrays: `concat`, `stack`."""
    plain = constant(f)

    @functools.wraps(f)
    def call(arrays: Any, /, axis: Any = 0, **kwargs: Any) -> Any:
        arrays = tuple(arrays)
        if not on_tape(arrays):
            return plain(list(arrays), axis=axis, **kwargs)
        return apply(rule, arrays, (), {"axis": axis, **kwargs})

    return call


def composed(
    ns: Namespace, f: Callable[..., Any], g: Callable[..., Any], *, always: bool
) -> Callable[..., Any]:
    """A function written in terms of others, `g(xp, ...)`; the plain one serves where nothing is on
    a tape."""
    plain = constant(f)

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        if always or on_tape(args) or on_tape(kwargs.values()):
            return g(ns, *args, **kwargs)
        return plain(*args, **kwargs)

    return call


def unruled(f: Callable[..., Any], path: str, why: str) -> Callable[..., Any]:
    """A function without a derivative: the value flows on, only a gradient that comes back raises."""
    plain = constant(f)

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        y = plain(*args, **kwargs)
        operands = traced_in([args, kwargs])
        several = isinstance(y, (tuple, list))
        if not operands or not any(is_floating(v) for v in (y if several else (y,))):
            return y
        if isinstance(y, list):
            return list(apply(_cut(path, why, tuple(y)), operands))
        return apply(_cut(path, why, y), operands)

    return call


def beyond(f: Callable[..., Any], path: str) -> Callable[..., Any]:
    """A function that the standard does not know: on plain values, unless a gradient would be lost."""
    plain = constant(f)

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        if any(carries_gradient(x) for x in traced_in([args, kwargs])):
            raise NotDifferentiableError(
                f"{path} of a traced array has no derivative here: it is no function of the Array API standard. "
                "Use those that are; where no gradient is wanted, pass bpgpu.stop_gradient(x)"
            )
        return plain(*args, **kwargs)

    return call


def _cut(path: str, why: str, y: Any) -> Rule:
    """A rule whose value is known, and whose pulls raise; of every trace among its operands."""

    def forward(xp: Any, *values: Any) -> Any:
        outer, nested = traced_in(values), any(type(v) is Array for v in values)
        result = apply(rule, outer) if outer else (y if nested else unwrapped(y))
        return result, *[undefined(path, why) for _ in values]

    rule = Rule(forward, arrays=None, conjugate=False)
    rule.name = path
    return rule


def traced_in(args: Any) -> list[Array]:
    """The arrays on tapes among arguments, in lists and dicts too."""
    if type(args) is Array:
        return [args] if args.tape is not None else []
    if isinstance(args, dict):
        args = args.values()
    elif not isinstance(args, (list, tuple)):
        return []
    return [x for part in args for x in traced_in(part)]
