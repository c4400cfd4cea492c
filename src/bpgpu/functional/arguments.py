"""Arguments of functions: what they may be, how they are unified, and what is said about those that
are wrong.

Each helper is told the name of the function first, for the error: "conv2d: expected stride ...".
"""

from __future__ import annotations

import operator
from typing import Any

from bpgpu.autodiff.array import raw
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.backend.compiling import answered_once
from bpgpu.backend.libraries import namespace_of
from bpgpu.backend.look import at_hand
from bpgpu.errors import ArgumentError, DtypeError, ShapeError

Array = Any
"""An array of any library of the Array API standard, or a traced one."""


def floating(function: str, **arrays: Array) -> None:
    """Raise unless each array, given under the name of its argument, is floating. `None` is passed
    over.

    >>> import numpy as np
    >>> floating("softplus", input=np.asarray([1, 2]))
    Traceback (most recent call last):
    bpgpu.errors.DtypeError: softplus: expected a floating array as input, got dtype int64; cast it, \
xp.astype(input, xp.float32)
    """
    for name, x in arrays.items():
        if x is not None and kind(dtype_of(function, name, x)) == "other":
            raise DtypeError(
                f"{function}: expected a floating array as {name}, got dtype {x.dtype}; cast it, "
                f"xp.astype({name}, xp.float32)"
            )


def real(function: str, **arrays: Array) -> None:
    """Raise unless each array is of real floating numbers. `None` is passed over."""
    floating(function, **arrays)
    for name, x in arrays.items():
        if x is not None and kind(x.dtype) == "complex":
            raise DtypeError(
                f"{function}: expected real numbers as {name}, got dtype {x.dtype}; take xp.real({name}) or "
                f"xp.abs({name})"
            )


def numbers(function: str, **arrays: Array) -> None:
    """Raise unless each array is of real numbers, floating or integer."""
    for name, x in arrays.items():
        if kind(dtype_of(function, name, x)) != "real" and not _is_integer(x.dtype):
            raise DtypeError(f"{function}: expected real numbers as {name}, got dtype {x.dtype}")


def integers(function: str, **arrays: Array) -> None:
    """Raise unless each array is of integers."""
    for name, x in arrays.items():
        if not _is_integer(dtype_of(function, name, x)):
            raise DtypeError(
                f"{function}: expected integers as {name}, got dtype {x.dtype}; cast them, "
                f"xp.astype({name}, xp.int64)"
            )


@answered_once
def _is_integer(dtype: Any) -> bool:
    try:
        return _integers_seen[type(dtype)][dtype]
    except KeyError:
        name = str(getattr(dtype, "name", None) or dtype).rpartition(".")[2]
        found = name.lower().startswith(("int", "uint"))
        _integers_seen.setdefault(type(dtype), {})[dtype] = found
        return found


_integers_seen: dict[type, dict[Any, bool]] = {}


def same_dtype(function: str, **arrays: Array) -> None:
    """Raise unless all arrays have the dtype of the last one. `None` is passed over."""
    given = {name: x for name, x in arrays.items() if x is not None}
    model, last = given.popitem()
    for name, x in given.items():
        if x.dtype != last.dtype:
            array_namespace(x, last)  # of other libraries: that is what is told
            raise DtypeError(
                f"{function}: expected {name} of dtype {last.dtype}, which {model} has, got {x.dtype}; cast one of "
                f"them, xp.astype({name}, {model}.dtype)"
            )


def dtype_of(function: str, name: str, x: Any) -> Any:
    """The dtype of an array, or an error if it is none."""
    try:
        return x.dtype
    except AttributeError:
        raise DtypeError(
            f"{function}: expected an array as {name}, got {type(x).__name__}; make one with "
            "bpgpu.device().asarray(x)"
        ) from None


def in_range(function: str, name: str, x: Array, count: int) -> bool:
    """True if all integers were found in `[0, count)`; False if they were not looked at.

    That is so where looking would wait for a device or break a compiled step. There the caller
    turns what comes of a wrong index into NaN.

    *Raises* `ValueError` for an integer out of range.
    """
    x = raw(x)
    if not at_hand(x):
        return False
    if 0 in x.shape:
        return True
    xp = namespace_of(x)
    least, most = int(xp.min(x)), int(xp.max(x))
    if least < 0 or most >= count:
        raise ArgumentError(
            f"{function}: expected {name} in [0, {count}), got {least if least < 0 else most}"
        )
    return True


def tupled(function: str, name: str, value: Any, n: int, *, least: int = 0) -> tuple[int, ...]:
    """`n` integers from one integer for all, or from a sequence of `n` (or of one, as torch
    allows).

    >>> tupled("conv2d", "stride", 2, 2), tupled("conv2d", "stride", (1, 2), 2)
    ((2, 2), (1, 2))
    >>> tupled("conv2d", "stride", (1, 2, 3), 2)
    Traceback (most recent call last):
    bpgpu.errors.ShapeError: conv2d: expected stride as an integer or a tuple of 2 integers, got (1, 2, 3)
    """
    try:
        found: tuple[int, ...] = (operator.index(value),) * n
    except TypeError:
        found = _integers(value)
        if len(found) == 1:
            found *= n
    if len(found) != n or isinstance(value, bool):
        raise ShapeError(
            f"{function}: expected {name} as an integer"
            f"{f' or a tuple of {n} integers' if n > 1 else ''}, got {value!r}"
        )
    if any(k < least for k in found):
        raise ShapeError(f"{function}: expected {name} of at least {least}, got {value!r}")
    return found


def _integers(value: Any) -> tuple[int, ...]:
    """A sequence of integers as a tuple; empty for anything else."""
    try:
        return tuple(operator.index(k) for k in value)
    except TypeError:
        return ()


def axis_of(function: str, dim: int, ndim: int, *, name: str = "dim") -> int:
    """The axis that `dim` names, counted from 0. An array without axes takes 0 and -1, as in torch.

    >>> axis_of("softmax", -1, 3)
    2
    """
    try:
        axis = operator.index(dim)
    except TypeError:
        raise ShapeError(f"{function}: expected {name} as an integer, got {dim!r}") from None
    axes = max(ndim, 1)
    if not -axes <= axis < axes:
        raise ShapeError(
            f"{function}: expected {name} in [{-axes}, {axes - 1}] for an input of {ndim} axes, got {dim}"
        )
    return axis % axes


def named_dtype(function: str, xp: Any, dtype: Any) -> Any:
    """The dtype object of a library for a name (`"float64"`), or for a dtype object of any library.

    >>> import numpy as np
    >>> named_dtype("softmax", np, "float64")
    <class 'numpy.float64'>
    """
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", None)
    name = str(name or getattr(dtype, "name", dtype)).rpartition(".")[2]
    found = getattr(xp, name, None)
    if found is None or not name.startswith(("float", "bfloat", "int", "uint", "complex", "bool")):
        raise DtypeError(
            f"{function}: expected dtype as a name such as 'float32' or 'float64', or a dtype object, got {dtype!r}"
        )
    return found
