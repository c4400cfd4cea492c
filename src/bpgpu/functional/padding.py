"""Padding: a border of one value, or of the entries of the array itself."""

from __future__ import annotations

import operator
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.rule import rule
from bpgpu.backend import padding as plain
from bpgpu.errors import ArgumentError, DtypeError, ShapeError
from bpgpu.functional.arguments import Array, dtype_of

Pads = plain.Pads
MODES = ("constant", "reflect", "replicate", "circular")


@rule
def surround(xp: Any, x: Any, /, pads: Pads, value: Any = 0) -> Any:
    """A border of `value` along the last axes; a negative number crops. The gradient is cropped where
    the array was padded, and padded with zeros where it was cropped."""
    y = surround(x, pads, value) if type(x) is Traced else plain.surrounded(xp, x, pads, value)
    back = inverted(pads)
    return y, lambda g: surround(g, back)


@rule
def extend(xp: Any, x: Any, /, pads: Pads, mode: str) -> Any:
    """A border of the array's own entries along the last axes."""
    y = extend(x, pads, mode) if type(x) is Traced else plain.extended(xp, x, pads, mode)
    return y, lambda g: retract(g, pads, mode)


@rule
def retract(xp: Any, g: Any, /, pads: Pads, mode: str) -> Any:
    """The transpose of `extend`: the gradient of a copy is added to that of the original."""
    x = retract(g, pads, mode) if type(g) is Traced else plain.retracted(xp, g, pads, mode)
    return x, lambda h: extend(h, pads, mode)


def inverted(pads: Pads) -> Pads:
    """Pads that crop what these add, and the other way round."""
    return tuple((-before, -after) for before, after in pads)


def pad(
    input: Array, pad: tuple[int, ...], mode: str = "constant", value: float | None = None
) -> Array:
    """The input with a border along its last axes.

    `mode` tells what stands there: `"constant"`, one `value`; `"reflect"`, the entries mirrored at
    the outermost one; `"replicate"`, the outermost one again and again; `"circular"`, the entries
    from the other end.

    *Shape* each padded axis grows by the two numbers for it: `(..., L) -> (..., before + L +
    after)`.

    *Parameters* `pad`: pairs `(before, after)` in one row, the last axis first. A negative number
    crops: `"circular"` crops before it pads, the others after. `value`: 0 by default, for
    `"constant"` only. All axes can be padded with a constant; else the last one of an input of 2 or
    3 axes, two of 3 or 4, three of 4 or 5.

    *Raises* `ShapeError` for pads that do not fit the axes or the sizes: `"reflect"` adds less than
    the size of an axis, `"circular"` no more than it; `ValueError` for another mode, or a value
    without use; `DtypeError` for a value that the dtype of the input cannot hold.

    >>> import numpy as np
    >>> pad(np.asarray([1.0, 2.0, 3.0]), (2, 1), value=9.0)
    array([9., 9., 1., 2., 3., 9.])
    >>> pad(np.asarray([[1.0, 2.0, 3.0]]), (2, -1), mode="reflect")
    array([[3., 2., 1., 2.]])
    """
    name = "pad"
    dtype = dtype_of(name, "input", input)
    if mode not in MODES:
        raise ArgumentError(
            f"{name}: expected mode as one of {', '.join(map(repr, MODES))}, got {mode!r}"
        )
    pads = _pairs(name, pad, input)
    if mode == "constant":
        _check_room(name, input, pads)
        fill = _filling(name, dtype, value)
        return surround(input, pads, fill)
    if value:
        raise ArgumentError(
            f"{name}: value is for mode='constant', got value={value}, mode={mode!r}"
        )
    _check_axes(name, mode, input, pads)
    _check_sizes(name, mode, input, pads)
    grow = tuple((max(before, 0), max(after, 0)) for before, after in pads)
    crop = tuple((min(before, 0), min(after, 0)) for before, after in pads)
    if mode == "circular":
        return extend(surround(input, crop), grow, mode)
    return surround(extend(input, grow, mode), crop)


def _pairs(name: str, pad: Any, input: Array) -> Pads:
    """The pads of each of the last axes, in the order of the axes."""
    try:
        flat = tuple(operator.index(p) for p in pad)
    except TypeError:
        flat = (0,)
    if len(flat) % 2 or len(flat) > 2 * input.ndim:
        raise ShapeError(
            f"{name}: expected pad as integers in pairs (before, after), at most one pair for each of the "
            f"{input.ndim} axes of the input {tuple(input.shape)}, got {pad!r}"
        )
    return tuple(zip(flat[::2], flat[1::2], strict=True))[::-1]


def _check_room(name: str, input: Array, pads: Pads) -> None:
    """Raise if more is cropped than there is."""
    for size, pair in zip(input.shape[input.ndim - len(pads) :], pads, strict=True):
        if size + sum(min(p, 0) for p in pair) < 0:
            raise ShapeError(
                f"{name}: cannot crop {pair} from an axis of size {size} of the input "
                f"{tuple(input.shape)}"
            )


def _check_axes(name: str, mode: str, input: Array, pads: Pads) -> None:
    n = len(pads)
    if n not in (1, 2, 3) or input.ndim not in (n + 1, n + 2):
        raise ShapeError(
            f"{name}: mode={mode!r} pads one axis of an input of 2 or 3 axes, two of 3 or 4, three "
            f"of 4 or 5; got {n} pairs and an input {tuple(input.shape)}"
        )


def _check_sizes(name: str, mode: str, input: Array, pads: Pads) -> None:
    for size, pair in zip(input.shape[-len(pads) :], pads, strict=True):
        left = size + sum(min(p, 0) for p in pair)
        most = {"reflect": size - 1, "circular": left}.get(mode)
        if most is not None and max(pair) > most:
            limit = "less than the size" if mode == "reflect" else "at most the size"
            raise ShapeError(
                f"{name}: mode={mode!r} can add {limit} of an axis, got {pair} for one of size "
                f"{left if mode == 'circular' else size}"
            )
        if size + sum(pair) < 1 or (size < 1 and mode == "replicate"):
            raise ShapeError(f"{name}: pad {pair} would leave nothing of an axis of size {size}")


def _filling(name: str, dtype: Any, value: Any) -> Any:
    """The value as the dtype can hold it."""
    if value is None:
        return 0
    if kind(dtype) != "other":
        return value
    if "bool" in str(dtype):
        return bool(value)
    if value != int(value):
        raise DtypeError(f"{name}: expected an integer as value for dtype {dtype}, got {value}")
    return int(value)
