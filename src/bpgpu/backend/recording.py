"""Arrays that write down what is done with them: one more array library, below the traced namespace.

A handle stands for a NumPy array. What is called on it is computed at once, on the array itself, and noted as a line of
a program. NumPy's own protocols bring its functions here (`__array_ufunc__`, `__array_function__`); the functions of
the namespace come by `RecordingNamespace`. So a recorded run gives what any other run gives.

What cannot be repeated is never guessed: a conversion to a number or to a NumPy array, a function whose result has a
shape that depends on values, or one that is not known here, gives its true result too, and marks the recording as
failed, with the reason.
"""

from __future__ import annotations

import functools
import operator
import random
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import array_api_compat.numpy as plain
import numpy as np

from bpgpu.backend import backend_of, libraries


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


def random_states() -> tuple[Any, ...]:
    """The states of the generators that Python and NumPy keep for everybody."""
    state: Any = np.random.get_state()
    name, words, *rest = state
    return random.getstate(), name, words.tobytes(), *rest


class _Active(threading.local):
    recorder: Recorder | None = None


_active = _Active()


def now() -> Recorder | None:
    """The recorder of this thread."""
    return _active.recorder


class Recorder:
    """The lines of one run. As a context manager, it is the recorder of this thread."""

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
        self.before, _active.recorder = _active.recorder, self
        self.random = random_states()
        self.open = True
        return self

    def __exit__(self, *error: object) -> None:
        _active.recorder, self.open = self.before, False
        if self.random != random_states():
            self.fail_late("it draws random numbers of the host; draw them from a key")

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
        cls: Any = RecordedScalar if isinstance(value, np.generic) else Number
        cls = Recorded if isinstance(value, np.ndarray) else cls
        made = cls(value, self, number)
        self.handles.append(made)
        if cls is not Number:  # equal numbers may be one object
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
            elif not self.owns(v) and _looks_at(v, args):
                self.fail(f"{_name(function)} gives a view of a constant")
        if out is None and not single and not _is_tuple_of_arrays(result):
            if result is not NotImplemented:
                self.fail(f"{_name(function)} gives no array but {type(result).__name__}")
            return result
        noted = tuple([self.noted(x) for x in args]), {k: self.noted(v) for k, v in options.items()}
        if out is not None:
            changed = (self.roots[out.number],) if type(out) is Recorded else ()
            if not changed:
                self.fail(f"{_name(function)} writes to an array that the recording does not know")
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
                self.fail(f"{_name(function)} gives a number")
            made = Thing(value, self, len(self.handles))
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


def owner_of(x: Any) -> Any:
    """What holds the memory that an array looks at."""
    base = getattr(x, "base", None)
    while base is not None:
        x, base = base, getattr(base, "base", None)
    return x


def _looks_at(x: Any, args: Any) -> bool:
    """True if an array is one of the plain arguments, or a view of one."""
    owner = owner_of(x)
    for v in args:
        if type(v) in (list, tuple):
            if _looks_at(x, v):
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


def _is_tuple_of_arrays(x: Any) -> bool:
    return (
        isinstance(x, (tuple, list))
        and bool(x)
        and all(isinstance(v, (np.ndarray, np.generic)) for v in x)
    )


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", function))


# ---- what may be called

_VARYING = frozenset(
    (
        *("nonzero", "unique", "unique_all", "unique_counts", "unique_inverse", "unique_values"),
        *("argwhere", "flatnonzero", "extract", "compress", "trim_zeros", "bincount", "setdiff1d"),
        *("union1d", "intersect1d", "setxor1d", "histogram", "place", "delete", "insert", "repeat"),
        *("from_dlpack", "frompyfunc", "vectorize", "apply_along_axis", "piecewise", "save"),
        *("put", "putmask", "put_along_axis", "fill_diagonal", "array_equal", "allclose"),
        *("shares_memory", "may_share_memory", "array2string", "array_repr", "array_str", "load"),
        *("lstsq", "roots", "polyfit", "apply_over_axes", "einsum_path", "resize", "copyto"),
        *("histogram_bin_edges", "histogram2d", "histogramdd", "select", "linspace", "arange"),
    )
)
"""Functions whose result has a shape, or an effect, that the recording could not tell; see `_created`."""

_ABOUT = frozenset(
    (
        *("result_type", "can_cast", "isdtype", "finfo", "iinfo", "broadcast_shapes", "ndim"),
        *("shape", "size", "iscomplexobj", "isrealobj", "min_scalar_type", "promote_types"),
        *("common_type", "__array_namespace_info__", "isscalar", "issubdtype"),
    )
)
"""Questions about shapes and dtypes."""

_CREATED = frozenset(
    (
        *("zeros", "ones", "empty", "full", "eye", "arange", "linspace", "asarray"),
        *("zeros_like", "ones_like", "empty_like", "full_like", "tri"),
    )
)
"""Functions that make arrays, which may be written to afterwards."""


class Handle:
    """What stands for a value while it is recorded."""

    __slots__ = ("number", "recorder", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Any, recorder: Recorder, number: int) -> None:
        self.value, self.recorder, self.number = value, recorder, number

    def _escapes(self, into: str) -> Any:
        self.recorder.fail(f"it turns an array into {into}")
        return self.value

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **options: Any) -> Any:
        recorder = self._recorder_of(args)
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        outs = options.get("out", ())
        if method == "at" or len(outs) > 1:
            target = args[0] if method == "at" else None
            if method == "at" and type(target) is Recorded:
                recorder.call(function, args, options, out=target)
                return None
            recorder.fail(f"{ufunc.__name__}.{method} is used in a way that is not recorded")
        elif outs and outs[0] is not None:
            options = {**options, "out": outs[0]}
            return recorder.call(function, args, options, out=outs[0])
        return recorder.call(function, args, options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return called(self._recorder_of(args), function, function.__name__, args, options)

    def _recorder_of(self, args: Any) -> Recorder:
        """The open recorder among the operands: handles of older recordings are plain arrays."""
        for x in args:
            if isinstance(x, Handle) and x.recorder.open:
                return x.recorder
        return self.recorder

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._escapes("a pickle").__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> Any:
        import copy

        return copy.deepcopy(self._escapes("a copy outside of NumPy"), memo)

    def __copy__(self) -> Any:
        return self._escapes("a copy outside of NumPy").__copy__()

    def __bool__(self) -> bool:
        found = bool(self.value)
        self.recorder.check(self, found)
        return found

    def __float__(self) -> float:
        return float(self._escapes("a Python number"))

    def __int__(self) -> int:
        return int(self._escapes("a Python number"))

    def __complex__(self) -> complex:
        return complex(self._escapes("a Python number"))

    def __index__(self) -> int:
        return self._escapes("a Python number").__index__()  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return repr(self._escapes("text"))

    def __str__(self) -> str:
        return str(self._escapes("text"))

    def __format__(self, spec: str) -> str:
        return format(self._escapes("text"), spec)


def called(recorder: Recorder, function: Any, name: str, args: Any, options: Any) -> Any:
    """A function of NumPy or of the namespace on handles."""
    if name in _ABOUT:
        return function(*plain_of(args), **plain_of(options))
    if name in _VARYING or (name == "where" and len(args) == 1):
        recorder.fail(f"it calls {name}, whose result cannot be foreseen")
    if options.get("out") is not None:
        return recorder.call(function, args, options, out=options["out"])
    return recorder.call(function, args, options)


class Thing(Handle):
    """What a call gave that is no array: the pull of a kernel, a tuple."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        recorder = self.recorder
        if not recorder.open:
            return self.value(*plain_of(args))
        return recorder.whole(_call, (self, *args))


def _call(f: Any, *args: Any) -> Any:
    """What a line calls to call what an earlier line gave."""
    return f(*args)


class Number(Handle):
    """A Python number that may change from call to call: a learning rate."""

    __slots__ = ()


class RecordedScalar(Handle):
    """What stands for a scalar of NumPy, which never changes."""

    __slots__ = ()

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # so that isinstance says what it says of the array itself
        return type(self.value)

    shape = property(lambda x: x.value.shape)
    dtype = property(lambda x: x.value.dtype)
    ndim = property(lambda x: x.value.ndim)
    size = property(lambda x: x.value.size)
    itemsize = property(lambda x: x.value.itemsize)
    nbytes = property(lambda x: x.value.nbytes)
    strides = property(lambda x: x.value.strides)
    flags = property(lambda x: x.value.flags)
    device = property(lambda x: x.value.device)

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self._escapes("a key"))

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return namespace

    @property
    def base(self) -> Any:
        if self.value.base is None:
            return None
        owner = owner_of(self.value)
        known = self.recorder.known(owner)
        return owner if known is None else known

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self._escapes("a NumPy array"), dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        return self._escapes("a DLPack capsule").__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.value.__dlpack_device__()

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Any:
        return iter([self[i] for i in range(len(self.value))])

    def __getitem__(self, key: Any) -> Any:
        if _selects(key):
            self.recorder.fail("an array is read at a mask, so that its shape depends on values")
        return self.recorder.call(operator.getitem, (self, key), {})

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.value, name)
        if name in METHODS:
            return functools.partial(_method, self, name)
        if callable(found):
            self.recorder.fail(f"it calls the method {name} of an array")
        elif name in ("T", "mT", "real", "imag"):
            return self.recorder.call(operator.attrgetter(name), (self,), {})
        else:
            self._escapes(f"its {name}")
        return found

    def in_one_call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Note the call of a function of `backend` as one line, whatever it does inside."""
        return self._recorder_of(args).whole(function, args)


class Recorded(RecordedScalar):
    """What stands for an array."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        self.recorder.call(operator.setitem, (self, key, value), {}, out=self)


METHODS = frozenset(
    (
        *("view", "reshape", "ravel", "flatten", "astype", "copy", "transpose", "swapaxes"),
        *("sum", "prod", "mean", "std", "var", "min", "max", "argmin", "argmax", "argsort"),
        *("cumsum", "cumprod", "clip", "round", "conj", "conjugate", "dot", "squeeze", "take"),
        *("trace", "diagonal", "any", "all", "to_device"),
    )
)
"""Methods that are recorded as calls: those whose result has a shape that follows from shapes."""


def _method(x: RecordedScalar, name: str, *args: Any, **options: Any) -> Any:
    recorder = x.recorder
    out = options.get("out")
    function = getattr(np.ndarray if isinstance(x.value, np.ndarray) else np.generic, name)
    return recorder.call(function, (x, *args), options, out=out)


def _selects(key: Any) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return any(str(getattr(k, "dtype", "")) == "bool" for k in parts)


def _attach() -> None:
    """The operators of Python."""

    def binary(symbol: Callable[..., Any]) -> tuple[Any, Any]:
        def op(a: Any, b: Any) -> Any:
            return _operated(a, symbol, (a, b), b)

        def reflected(a: Any, b: Any) -> Any:
            return _operated(a, symbol, (b, a), b)

        return op, reflected

    def unary(symbol: Callable[..., Any]) -> Any:
        def op(x: Any) -> Any:
            if type(x) is Number:
                return _computed(x, symbol, (x,))
            return x.recorder.call(symbol, (x,), {})

        return op

    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
        symbol = getattr(operator, name)
        for cls in (RecordedScalar, Number):
            op, reflected = binary(symbol)
            setattr(cls, f"__{name}__", op)
            setattr(cls, f"__r{name}__", reflected)
        _attach_in_place(name)
    for name in ("and_", "or_", "xor", "lshift", "rshift"):
        op, reflected = binary(getattr(operator, name))
        setattr(RecordedScalar, f"__{name.rstrip('_')}__", op)
        setattr(RecordedScalar, f"__r{name.rstrip('_')}__", reflected)
        _attach_in_place(name.rstrip("_"))
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        op, _ = binary(getattr(operator, name))
        setattr(RecordedScalar, f"__{name}__", op)
        setattr(Number, f"__{name}__", op)
    for name in ("neg", "pos", "abs", "invert"):
        setattr(RecordedScalar, f"__{name}__", unary(getattr(operator, name)))
    for name in ("neg", "pos", "abs"):
        setattr(Number, f"__{name}__", unary(getattr(operator, name)))


def _attach_in_place(name: str) -> None:
    symbol = getattr(operator, f"i{name}")

    def in_place(x: Any, y: Any) -> Any:
        return x.recorder.call(symbol, (x, y), {}, out=x)

    setattr(Recorded, f"__i{name}__", in_place)


def _operated(a: Any, symbol: Any, pair: Any, b: Any) -> Any:
    if type(a) is Number:
        if isinstance(b, (int, float, complex, Number)):
            return _computed(a, symbol, pair)
        return NotImplemented if isinstance(b, Handle) else a.recorder.call(symbol, pair, {})
    if type(b).__module__.startswith("bpgpu.autodiff"):
        return NotImplemented  # a traced array knows better
    recorder = a._recorder_of(pair)
    return recorder.call(symbol, pair, {})


def _computed(x: Number, symbol: Any, operands: Any) -> Any:
    """Arithmetic of Python's numbers, as lines of the program."""
    recorder = x.recorder
    result = symbol(*plain_of(operands))
    if not recorder.open or recorder.failure is not None:
        return result
    if isinstance(result, bool) or symbol in (operator.lt, operator.eq):
        recorder.fail("it compares a learning rate")
        return result
    made = recorder.handle(result)
    noted = tuple([recorder.noted(v) for v in operands])
    recorder.lines.append(Line(symbol, noted, {}, (made.number,), [((), type(result))]))
    return made


_attach()


# ---- the namespace


class RecordingNamespace:
    """`array_api_compat.numpy` on handles. It bears that name, since it computes the same."""

    _dunders: ClassVar[tuple[str, ...]] = ("__array_namespace_info__", "__array_api_version__")

    def __init__(self, base: Any) -> None:
        self._base = base
        self.__name__ = base.__name__

    def __repr__(self) -> str:
        return f"<recording namespace over {self._base.__name__}>"

    def __dir__(self) -> list[str]:
        return dir(self._base)

    def plain_of(self, args: Any) -> Any:
        """The arguments with arrays in place of handles."""
        return plain_of(args)

    def in_one_call(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """A function of plain arrays that is noted as one line."""

        def call(*args: Any) -> Any:
            recorder = _recorder_among(args)
            return run(*plain_of(args)) if recorder is None else recorder.whole(run, args)

        return call

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in self._dunders:
            raise AttributeError(f"{self!r} has no attribute {name!r}")
        found = getattr(self._base, name)
        if name in ("linalg", "fft"):
            found = RecordingNamespace(found)
        elif callable(found) and not isinstance(found, (type, np.ufunc)):
            found = _recording(found, name)
        self.__dict__[name] = found
        return found


def _recording(f: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(f)
    def call(*args: Any, **options: Any) -> Any:
        recorder = _recorder_among((*args, *options.values()))
        if recorder is None:
            recorder = _active.recorder if name in _CREATED else None
            if recorder is None:
                return f(*plain_of(args), **plain_of(options))
        elif name in _CREATED and name in _VARYING:
            recorder.fail(f"it calls {name} with an array, whose shape cannot be foreseen")
        if name == "asarray" and isinstance(args[0], (RecordedScalar, np.ndarray, np.generic)):
            if f(plain_of(args[0]), **plain_of(options)) is plain_of(args[0]):
                return args[0]
            if isinstance(args[0], RecordedScalar):
                return recorder.call(f, args, options)
            return f(*args, **plain_of(options))
        if name in _CREATED:
            return recorder.call(f, args, options)
        return called(recorder, f, name, args, options)

    return call


def _recorder_among(args: Any) -> Recorder | None:
    for x in args:
        if isinstance(x, Handle):
            if x.recorder.open:
                return x.recorder
        elif type(x) in (list, tuple):
            found = _recorder_among(x)
            if found is not None:
                return found
    return None


backend_of(plain)  # the services of NumPy, before a recording asks for its own under the same name
namespace = RecordingNamespace(plain)
for _cls in (Recorded, RecordedScalar):
    libraries._namespaces[_cls] = namespace
