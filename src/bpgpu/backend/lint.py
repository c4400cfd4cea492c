"""An array library that refuses what a CUDA graph cannot hold, on the CPU.

Its arrays behave as CuPy's do while a stream captures: a launch is allowed, and all that needs the host is not. They
hold NumPy arrays and compute with them at once. `bpgpu.testing.capture_lint` puts them in the place of a step's arrays.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import array_api_compat.numpy as plain_xp
import numpy as np

from bpgpu.backend import joining, libraries
from bpgpu.backend.joining import MOST
from bpgpu.errors import CaptureError

VARYING = frozenset(
    (
        *("nonzero", "unique", "unique_all", "unique_counts", "unique_inverse", "unique_values"),
        *("argwhere", "flatnonzero", "extract", "compress", "bincount", "histogram", "repeat"),
    )
)
"""Functions whose result has a shape that depends on values."""

UPLOADS = frozenset(("asarray", "array", "ascontiguousarray", "isin"))
"""Functions that make arrays out of what the host has."""

HOST = (np.ndarray, list, tuple)


class Library:
    """What arrays of one kind share: how a call is run, and what happens where one cannot be captured."""

    array: ClassVar[Any]

    def refuse(self, what: str) -> NoReturn:
        raise CaptureError(
            f"{what}. A CUDA graph holds launches only: the host is not asked while it is replayed"
        )

    def run(self, name: str, function: Callable[..., Any], args: Any, options: Any) -> Any:
        """Compute, and wrap what comes out."""
        self.check(name, args, options)
        result = function(*plain(args), **plain(options))
        return self.wrapped(result, (args, options))

    def write(self, function: Callable[..., Any], target: Any, *args: Any) -> Any:
        """A call that changes `target`, which is its first operand."""
        self.check(function.__name__, args, {})
        function(target.values, *plain(args))
        return target

    def check(self, name: str, args: Any, options: Any) -> None:
        if name in VARYING or (name == "where" and len(args) == 1):
            self.refuse(f"{name}: the shape of its result depends on values")
        if name in ("concat", "concatenate", "stack", "vstack", "hstack") and len(args[0]) > MOST:
            self.refuse(
                f"{name} of {len(args[0])} arrays: more than {MOST} need a table of the host"
            )
        if name in UPLOADS and not isinstance(args[0], CheckedArray):
            self.refuse(f"{name} of {described(args[0])}: a new constant is copied from the host")
        for x in (*args, *options.values()):
            if isinstance(x, np.ndarray):
                raise TypeError(f"{name}: an array of the host among arrays of the device")

    def wrapped(self, result: Any, operands: Any) -> Any:
        if isinstance(result, (np.ndarray, np.generic)):
            values = np.asarray(result)
            return self.array(values, owner_among(values, operands))
        if isinstance(result, tuple) and hasattr(result, "_fields"):
            return type(result)(*[self.wrapped(x, operands) for x in result])
        if isinstance(result, (list, tuple)):
            return type(result)([self.wrapped(x, operands) for x in result])
        return result

    def reads(self, x: Any, how: str) -> Any:
        """A conversion that waits for the device; the values, where that is allowed."""
        self.refuse(f"{how}: the host waits for the value of an array")


def plain(x: Any) -> Any:
    """The NumPy arrays behind arrays of this kind, anywhere in an argument."""
    if isinstance(x, CheckedArray):
        return x.values
    cls = type(x)
    if cls is slice:
        return slice(plain(x.start), plain(x.stop), plain(x.step))
    if cls in (list, tuple):
        return cls([plain(v) for v in x])
    if cls is dict:
        return {k: plain(v) for k, v in x.items()}
    return x


def owner_among(values: Any, operands: Any) -> Any:
    """The array among the operands whose memory `values` looks at; `None` for an array of its own."""
    for x in arrays_in(operands):
        if values is x.values or np.may_share_memory(values, x.values):
            return x if x.owner is None else x.owner
    return None


def arrays_in(x: Any) -> Any:
    if isinstance(x, CheckedArray):
        yield x
    elif isinstance(x, (list, tuple)):
        for v in x:
            yield from arrays_in(v)
    elif isinstance(x, dict):
        yield from arrays_in(list(x.values()))


def described(x: Any) -> str:
    return "an array of NumPy" if isinstance(x, np.ndarray) else f"a {type(x).__name__}"


class Place:
    """The device of checked arrays. Only NumPy's device is a word."""

    def __str__(self) -> str:
        return "checked"


PLACE = Place()


class CheckedArray:
    """An array of which the host may ask shape and dtype, and nothing else."""

    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]
    __array_ufunc__ = None
    library: ClassVar[Library]

    def __init__(self, values: Any, owner: Any = None) -> None:
        self.values, self.owner = values, owner

    shape = property(lambda x: x.values.shape)
    dtype = property(lambda x: x.values.dtype)
    ndim = property(lambda x: x.values.ndim)
    size = property(lambda x: x.values.size)
    strides = property(lambda x: x.values.strides)
    itemsize = property(lambda x: x.values.itemsize)
    nbytes = property(lambda x: x.values.nbytes)
    flags = property(lambda x: x.values.flags)
    base = property(lambda x: x.owner)
    T = property(lambda x: x._run("T", operator.attrgetter("T")))
    mT = property(lambda x: x._run("mT", operator.attrgetter("mT")))  # noqa: N815 - the standard's name
    real = property(lambda x: x._run("real", operator.attrgetter("real")))
    imag = property(lambda x: x._run("imag", operator.attrgetter("imag")))

    @property
    def device(self) -> Any:
        return PLACE

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return namespace

    def _run(self, name: str, function: Any, *args: Any, **options: Any) -> Any:
        return self.library.run(name, function, (self, *args), options)

    # ---- what waits for the device

    def __bool__(self) -> bool:
        return bool(self.library.reads(self, "bool(x), or `if` on an array"))

    def __float__(self) -> float:
        return float(self.library.reads(self, "float(x)"))

    def __int__(self) -> int:
        return int(self.library.reads(self, "int(x)"))

    def __complex__(self) -> complex:
        return complex(self.library.reads(self, "complex(x)"))

    def __repr__(self) -> str:
        return repr(self.library.reads(self, "the text of an array"))

    def __str__(self) -> str:
        return str(self.library.reads(self, "the text of an array"))

    def __format__(self, spec: str) -> str:
        return format(self.library.reads(self, "the text of an array"), spec)

    def item(self) -> Any:
        return self.library.reads(self, "x.item()").item()

    def tolist(self) -> Any:
        return self.library.reads(self, "x.tolist()").tolist()

    def tobytes(self) -> Any:
        return self.library.reads(self, "x.tobytes()").tobytes()

    def get(self) -> Any:
        return self.library.reads(self, "to_numpy(x)").copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("on the device")

    # ---- indexing

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Any:
        return iter([self[i] for i in range(len(self.values))])

    def __getitem__(self, key: Any) -> Any:
        self._check_key(key)
        return self._run("getitem", operator.getitem, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._check_key(key, number=not hasattr(value, "shape"))
        if isinstance(value, HOST):
            self.library.refuse(f"x[...] = {described(value)}: it is copied from the host")
        self.library.write(operator.setitem, self, key, value)

    def _check_key(self, key: Any, number: bool = False) -> None:
        for k in key if isinstance(key, tuple) else (key,):
            if isinstance(k, HOST):
                self.library.refuse(f"an index with {described(k)}: it is copied from the host")
            if isinstance(k, CheckedArray) and k.dtype == np.bool_ and not number:
                self.library.refuse("an index with a mask: the shape depends on values")

    # ---- methods

    def astype(self, dtype: Any, copy: bool = True, **options: Any) -> Any:
        if not copy and self.dtype == dtype:
            return self
        return self._run("astype", np.ndarray.astype, dtype, copy=copy)

    def copy(self, order: str = "C") -> Any:
        return self._run("copy", np.ndarray.copy)

    def fill(self, value: Any) -> None:
        self[...] = value


def _attach() -> None:
    def binary(symbol: Callable[..., Any], name: str) -> tuple[Any, Any]:
        def op(a: Any, b: Any) -> Any:
            if not is_operand(b):
                return NotImplemented
            return a.library.run(name, symbol, (a, b), {})

        def reflected(a: Any, b: Any) -> Any:
            if not is_operand(b):
                return NotImplemented
            return a.library.run(name, symbol, (b, a), {})

        return op, reflected

    def in_place(symbol: Callable[..., Any]) -> Any:
        def op(a: Any, b: Any) -> Any:
            if not is_operand(b):
                return NotImplemented
            return a.library.write(symbol, a, b)

        return op

    def unary(symbol: Callable[..., Any], name: str) -> Any:
        return lambda x: x.library.run(name, symbol, (x,), {})

    def method(name: str) -> Any:
        function = getattr(np.ndarray, name)
        return lambda x, *args, **options: x.library.run(name, function, (x, *args), options)

    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_"):
        _attach_pair(name, binary, in_place)
    for name in ("xor", "lshift", "rshift"):
        _attach_pair(name, binary, in_place)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        setattr(CheckedArray, f"__{name}__", binary(getattr(operator, name), name)[0])
    for name in ("neg", "pos", "abs", "invert"):
        setattr(CheckedArray, f"__{name}__", unary(getattr(operator, name), name))
    for name in (
        *("sum", "prod", "mean", "std", "var", "min", "max", "argmin", "argmax", "argsort", "any"),
        *("all", "reshape", "ravel", "transpose", "swapaxes", "squeeze", "take", "view", "clip"),
        *("cumsum", "cumprod", "dot", "conj", "conjugate", "round", "diagonal", "trace", "repeat"),
        *("nonzero", "flatten"),
    ):
        setattr(CheckedArray, name, method(name))


def _attach_pair(name: str, binary: Any, in_place: Any) -> None:
    symbol, bare = getattr(operator, name), name.rstrip("_")
    op, reflected = binary(symbol, bare)
    setattr(CheckedArray, f"__{bare}__", op)
    setattr(CheckedArray, f"__r{bare}__", reflected)
    setattr(CheckedArray, f"__i{bare}__", in_place(getattr(operator, f"i{bare}")))


def is_operand(x: Any) -> bool:
    return isinstance(x, (CheckedArray, bool, int, float, complex, np.generic, np.ndarray))


_attach()
CheckedArray.library = Library()
Library.array = CheckedArray


class Namespace:
    """The functions of the Array API on these arrays."""

    def __init__(self, base: Any, name: str) -> None:
        self._base = base
        self.__name__ = name

    def __repr__(self) -> str:
        return f"<{self.__name__}>"

    def __dir__(self) -> list[str]:
        return dir(self._base)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in (
            "__array_namespace_info__",
            "__array_api_version__",
        ):
            raise AttributeError(name)
        found = getattr(self._base, name)
        if name in ("linalg", "fft"):
            found = Namespace(found, f"{self.__name__}.{name}")
        elif name in ("stack", "concat"):
            found = functools.partial(getattr(joining, name), _Joins(self))
        elif name in ("add", "maximum"):
            found = _Ufunc(found, name)
        elif callable(found) and not isinstance(found, type):
            found = _checked(found, name)
        self.__dict__[name] = found
        return found


class _Joins:
    """The functions, but for two that are the library's own."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        base = namespace._base
        self.stack, self.concat = _checked(base.stack, "stack"), _checked(base.concat, "concat")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._namespace, name)


ABOUT = frozenset(
    ("result_type", "can_cast", "isdtype", "finfo", "iinfo", "broadcast_shapes", "__array_namespace_info__")
)  # fmt: skip
"""Questions about shapes and dtypes."""


def _checked(f: Callable[..., Any], name: str) -> Callable[..., Any]:
    library = CheckedArray.library

    def call(*args: Any, **options: Any) -> Any:
        if options.get("device") is PLACE:
            del options["device"]
        if name in ABOUT:
            return f(*plain(args), **plain(options))
        if name in ("asarray", "astype") and options.get("copy") is not True:
            made = f(*plain(args), **plain(options)) if isinstance(args[0], CheckedArray) else None
            if made is not None and made is args[0].values:
                return args[0]
        return library.run(name, f, args, options)

    return call


class _Ufunc:
    """A function that also adds at positions."""

    def __init__(self, function: Any, name: str) -> None:
        self._call, self._at = _checked(function, name), function.at

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._call(*args, **options)

    def at(self, x: Any, key: Any, values: Any) -> None:
        x.library.write(self._at, x, key, values)


namespace = Namespace(plain_xp, "bpgpu.capture_lint")
libraries._namespaces[CheckedArray] = namespace


def array_of(x: Any) -> Any:
    """A number, or an array, as an array of NumPy."""
    return np.asarray(x)
