"""Padding layers: more numbers around an input, or, by a negative amount of zeros or constants, fewer.

Amounts are one integer for all sides, or one for each: before and after the last axis, then the axis
before it, and so on (left, right, top, bottom, front, back)."""

from __future__ import annotations

import operator
from typing import Any, ClassVar

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional.arguments import Array
from bpgpu.nn.module import Module

Ints = int | tuple[int, ...]


class _Pad(Module):
    """Base of paddings: how many axes, in which mode, and how much."""

    n: ClassVar[int]
    mode: ClassVar[str] = "constant"

    def __init__(self, padding: Ints) -> None:
        super().__init__()
        self.padding = _amounts(type(self).__name__, padding, 2 * self.n)

    def forward(self, input: Array) -> Array:
        n = self.n
        if self.mode != "constant" and input.ndim not in (n + 1, n + 2):
            letters = {1: "L", 2: "H, W", 3: "D, H, W"}[n]
            raise ShapeError(
                f"expected input (N, C, {letters}) or (C, {letters}), got shape "
                f"{tuple(input.shape)}"
            )
        return F.pad(input, self.padding, mode=self.mode)

    def extra_repr(self) -> str:
        return str(self.padding)


def _amounts(layer: str, padding: Any, count: int) -> tuple[int, ...]:
    try:
        return (operator.index(padding),) * count
    except TypeError:
        pass
    try:
        found = tuple(operator.index(p) for p in padding)
    except TypeError:
        found = ()
    if len(found) != count:
        raise ArgumentError(
            f"{layer}: expected padding as an integer or a tuple of {count} integers, got {padding!r}"
        )
    return found


class ConstantPad1d(_Pad):
    """A constant before and after the last axis.

    *Shape* `(N, C, L) -> (N, C, L + left + right)`, with or without leading axes.

    *Parameters* `padding`: one amount, or (left, right); negative ones cut off. `value`: the constant.

    *Raises* `ArgumentError` for amounts that are no integers.

    >>> import numpy as np
    >>> ConstantPad1d((2, 1), 7.0)(np.ones((1, 1, 2)))
    array([[[7., 7., 1., 1., 7.]]])
    """

    n = 1

    def __init__(self, padding: Ints, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Array) -> Array:
        return F.pad(input, self.padding, mode="constant", value=self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(ConstantPad1d):
    """A constant around the last two axes.

    *Shape* `(N, C, H, W) -> (N, C, H + top + bottom, W + left + right)`, with or without leading axes.

    *Parameters* `padding`: one amount, or (left, right, top, bottom); negative ones cut off. `value`:
    the constant.

    *Raises* `ArgumentError` for amounts that are no integers.
    """

    n = 2


class ConstantPad3d(ConstantPad1d):
    """A constant around the last three axes.

    *Shape* `(N, C, D, H, W)`, with or without leading axes; each of the last three grows.

    *Parameters* `padding`: one amount, or (left, right, top, bottom, front, back); negative ones cut
    off. `value`: the constant.

    *Raises* `ArgumentError` for amounts that are no integers.
    """

    n = 3


class ZeroPad1d(ConstantPad1d):
    """Zeros before and after the last axis: `ConstantPad1d` with the value 0."""

    def __init__(self, padding: Ints) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return str(self.padding)


class ZeroPad2d(ZeroPad1d):
    """Zeros around the last two axes: `ConstantPad2d` with the value 0."""

    n = 2


class ZeroPad3d(ZeroPad1d):
    """Zeros around the last three axes: `ConstantPad3d` with the value 0."""

    n = 3


class ReflectionPad1d(_Pad):
    """What is inside, mirrored at the outermost numbers, which are not repeated: `c b | a b c | b a`.

    *Shape* `(N, C, L)` or `(C, L)`; the result is `L + left + right` long.

    *Parameters* `padding`: one amount, or (left, right), each less than `L`.

    *Raises* `ArgumentError` for amounts that are no integers; in the call, `ShapeError` for other
    numbers of axes.

    >>> import numpy as np
    >>> ReflectionPad1d((2, 1))(np.asarray([[1.0, 2.0, 3.0]]))
    array([[3., 2., 1., 2., 3., 2.]])
    """

    n = 1
    mode = "reflect"


class ReflectionPad2d(_Pad):
    """`ReflectionPad1d` along both axes of images, `(N, C, H, W)` or `(C, H, W)`.

    *Parameters* `padding`: one amount, or (left, right, top, bottom).
    """

    n = 2
    mode = "reflect"


class ReflectionPad3d(_Pad):
    """`ReflectionPad1d` along the three axes of volumes, `(N, C, D, H, W)` or `(C, D, H, W)`.

    *Parameters* `padding`: one amount, or (left, right, top, bottom, front, back).
    """

    n = 3
    mode = "reflect"


class ReplicationPad1d(_Pad):
    """The outermost numbers repeated: `a a | a b c | c`.

    *Shape* `(N, C, L)` or `(C, L)`; the result is `L + left + right` long.

    *Parameters* `padding`: one amount, or (left, right).

    *Raises* as `ReflectionPad1d`.

    >>> import numpy as np
    >>> ReplicationPad1d((2, 1))(np.asarray([[1.0, 2.0, 3.0]]))
    array([[1., 1., 1., 2., 3., 3.]])
    """

    n = 1
    mode = "replicate"


class ReplicationPad2d(_Pad):
    """`ReplicationPad1d` along both axes of images, `(N, C, H, W)` or `(C, H, W)`.

    *Parameters* `padding`: one amount, or (left, right, top, bottom).
    """

    n = 2
    mode = "replicate"


class ReplicationPad3d(_Pad):
    """`ReplicationPad1d` along the three axes of volumes, `(N, C, D, H, W)` or `(C, D, H, W)`.

    *Parameters* `padding`: one amount, or (left, right, top, bottom, front, back).
    """

    n = 3
    mode = "replicate"


class CircularPad1d(_Pad):
    """The input goes on from its other end: `b c | a b c | a`.

    *Shape* `(N, C, L)` or `(C, L)`; the result is `L + left + right` long.

    *Parameters* `padding`: one amount, or (left, right), each at most `L`.

    *Raises* as `ReflectionPad1d`.

    >>> import numpy as np
    >>> CircularPad1d((2, 1))(np.asarray([[1.0, 2.0, 3.0]]))
    array([[2., 3., 1., 2., 3., 1.]])
    """

    n = 1
    mode = "circular"


class CircularPad2d(_Pad):
    """`CircularPad1d` along both axes of images, `(N, C, H, W)` or `(C, H, W)`.

    *Parameters* `padding`: one amount, or (left, right, top, bottom).
    """

    n = 2
    mode = "circular"


class CircularPad3d(_Pad):
    """`CircularPad1d` along the three axes of volumes, `(N, C, D, H, W)` or `(C, D, H, W)`.

    *Parameters* `padding`: one amount, or (left, right, top, bottom, front, back).
    """

    n = 3
    mode = "circular"
