"""Handles: what stands for arrays, scalars and numbers while they are recorded."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from bpgpu.backend.recording.lines import Handle, Line, owner_of, plain_of
from bpgpu.backend.recording.recorder import Kinds, Recorder

# ---- what may be called

VARYING = frozenset(
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

CREATED = frozenset(
    (
        *("zeros", "ones", "empty", "full", "eye", "arange", "linspace", "asarray"),
        *("zeros_like", "ones_like", "empty_like", "full_like", "tri"),
    )
)
"""Functions that make arrays, which may be written to afterwards."""


class Value(Handle):
    """What all handles can do."""

    __slots__ = ()

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
        mine: Recorder = self.recorder
        for x in args:
            if isinstance(x, Handle) and x.recorder.open:
                mine = x.recorder
                break
        return mine

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
    if name in VARYING or (name == "where" and len(args) == 1):
        recorder.fail(f"it calls {name}, whose result cannot be foreseen")
    if options.get("out") is not None:
        return recorder.call(function, args, options, out=options["out"])
    return recorder.call(function, args, options)


class Thing(Value):
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


class Number(Value):
    """A Python number that may change from call to call: a learning rate."""

    __slots__ = ()


class RecordedScalar(Value):
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
        from bpgpu.backend.recording.namespace import namespace

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
Recorder.kinds = Kinds(Recorded, RecordedScalar, Number, Thing)
