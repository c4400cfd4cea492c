"""The traced array: a value, and its place on a tape.

It implements the array object of the Array API standard. Operators are attached in `operators.py`,
the protocols of NumPy in `numpy_protocol.py`; this file knows no derivative."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from bpgpu.autodiff.dtypes import is_floating
from bpgpu.autodiff.tape import Tape
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of as plain_namespace
from bpgpu.errors import ConversionError, ShapeError


class Array:
    """A value that may be on a tape. With `tape is None` it is a constant of the traced namespace.

    An array is a handle: operations never change a value, and assignment (`x[i] = v`, `x += y`)
    binds the handle to a new one. So what a pull has saved stays right, and the array that the
    caller passed in stays untouched.

    `value` is a plain array of some library, or, inside several gradients, an array of the next
    outer trace. The value of a constant is always plain."""

    __slots__ = ("index", "tape", "value")
    __hash__ = None  # type: ignore[assignment]
    __array_priority__ = 1000

    def __init__(self, value: Any, tape: Tape | None = None, index: int = -1) -> None:
        self.value = value
        self.tape = tape
        self.index = index

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return namespace_of(self)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    @property
    def ndim(self) -> int:
        return self.value.ndim  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        size = 1
        for n in self.value.shape:
            size *= n
        return size

    @property
    def device(self) -> Any:
        return device_of(self)

    @property
    def T(self) -> Array:  # noqa: N802 - the standard's name
        if self.ndim != 2:
            raise ShapeError(
                f"x.T needs a matrix, got {self.ndim} axes; use x.mT or permute_dims(x, axes)"
            )
        return namespace_of(self).matrix_transpose(self)  # type: ignore[no-any-return]

    @property
    def mT(self) -> Array:  # noqa: N802 - the standard's name
        return namespace_of(self).matrix_transpose(self)  # type: ignore[no-any-return]

    def to_device(self, device: Any, /, *, stream: Any = None) -> Array:
        return namespace_of(self).to_device(self, device, stream=stream)  # type: ignore[no-any-return]

    # ---- one number: comparisons and integers are allowed, floats would lose the gradient

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        value = self.value
        if not hasattr(value, "__index__") and "int" in str(value.dtype):  # CuPy's arrays have none
            return int(value)
        return value.__index__()  # type: ignore[no-any-return]

    def __float__(self) -> float:
        refuse_conversion(self, "a Python float")
        return float(self.value)

    def __complex__(self) -> complex:
        refuse_conversion(self, "a Python complex")
        return complex(self.value)

    # ---- other libraries' memory: the same

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        refuse_conversion(self, "a NumPy array")
        return namespace_of(self).backend.to_numpy(raw(self), dtype=dtype, copy=copy)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        refuse_conversion(self, "a DLPack capsule")
        asked = {
            "stream": stream,
            "max_version": max_version,
            "dl_device": dl_device,
            "copy": copy,
        }
        return raw(self).__dlpack__(**{k: v for k, v in asked.items() if v is not None})

    def __dlpack_device__(self) -> tuple[Any, int]:
        return raw(self).__dlpack_device__()  # type: ignore[no-any-return]

    # ---- a sequence of rows

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a 0-d array: it has no axis to count along")
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        if self.ndim == 0:
            raise TypeError("a 0-d array cannot be iterated over: it has no axis to walk along")
        return iter(namespace_of(self).unstack(self))  # one node for all rows

    def __repr__(self) -> str:
        return f"Array({raw(self)!r})"

    def __str__(self) -> str:
        return str(raw(self))

    def __format__(self, spec: str) -> str:
        return format(raw(self), spec)

    def __copy__(self) -> Array:
        return fresh(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Array:
        return fresh(self)  # values never change, so they can be shared

    def __reduce__(self) -> NoReturn:
        raise ConversionError(
            "a traced array cannot be pickled: it belongs to one gradient. Pickle "
            "bpgpu.to_numpy(bpgpu.stop_gradient(x))"
        )


def fresh(x: Array) -> Array:
    """A handle of its own on the same value: binding one of the two leaves the other as it is."""
    return Array(x.value, x.tape, x.index)


def raw(x: Any) -> Any:
    """The plain array under all traces."""
    while type(x) is Array:
        x = x.value
    return x


def device_of(x: Any) -> Any:
    """The device of any array; `None` for one that a compiler has yet to place."""
    x = raw(x)
    return backend_of(plain_namespace(x)).device_of(x)


def is_live(x: Any) -> bool:
    """True if `x` is on a tape that is still open: a gradient may come back to it."""
    while type(x) is Array:
        if x.tape is not None and x.tape.open:
            return True
        x = x.value
    return False


def carries_gradient(x: Any) -> bool:
    """True for a floating array on an open tape: if it became a plain array, its gradient would be lost in
    silence."""
    if not is_floating(x):
        return False
    while type(x) is Array:
        if x.tape is not None and x.tape.open and not x.tape.convertible:
            return True
        x = x.value
    return False


def refuse_conversion(x: Array, target: str) -> None:
    """Raise if `x` carries a gradient."""
    if carries_gradient(x):
        raise ConversionError(
            f"a traced array cannot become {target}: its gradient would be lost. Use functions of "
            "xp = bpgpu.array_namespace(x) in place of math, or of a library that converts its input; where no "
            "gradient is wanted, pass bpgpu.stop_gradient(x)"
        )


def namespace_of(x: Array) -> Any:
    """The traced namespace of a traced array."""
    tape = x.tape
    if tape is not None:
        return tape.namespace
    from bpgpu.autodiff.namespace import traced_namespace

    return traced_namespace(x.value)
