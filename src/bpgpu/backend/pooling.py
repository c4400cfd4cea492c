"""What pooling does along one axis, on plain arrays: the largest of each window and its place, and
sums of windows; and the transposes, which bring gradients back.

Pooling over several axes is done axis by axis: each pass shrinks the data for the next. For the
place of the largest, the last axis comes first: then of equal numbers the first in reading order
wins.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from bpgpu.backend import backend_of
from bpgpu.backend.padding import surrounded
from bpgpu.backend.places import add_at, put_at
from bpgpu.backend.select import choose, keep


class Line(NamedTuple):
    """How a window moves along one axis."""

    size: int
    """Of the axis, without padding."""
    kernel: int
    stride: int
    dilation: int
    pads: tuple[int, int]
    """Before and after."""
    number: int
    """How many windows there are."""

    @property
    def reach(self) -> int:
        """From the first entry of a window to its last, and one more."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def is_whole(self) -> bool:
        """True for one window that is the whole axis."""
        return self.number == 1 and self.reach == self.kernel == self.size and self.pads == (0, 0)

    @property
    def covers(self) -> bool:
        """True if each entry of the axis is in exactly one window."""
        return (
            self.dilation == 1
            and self.kernel == self.stride
            and self.kernel * self.number == self.size + sum(self.pads)
        )

    @property
    def may_miss(self) -> bool:
        """True if a window may have no entry inside, all of them falling on the padding around it."""
        return self.dilation > self.size

    @property
    def overlaps(self) -> bool:
        """True if an entry of the axis may be in several windows."""
        return self.stride < self.reach

    @property
    def inverted(self) -> Line:
        """The line whose padding crops what this one adds."""
        return self._replace(pads=(-self.pads[0], -self.pads[1]))

    def at(self, axis: int, k: int) -> tuple[Any, ...]:
        """The index of entry `k` of all windows, in the padded array."""
        start = k * self.dilation
        stop = start + self.stride * (self.number - 1) + 1
        return (*(slice(None),) * axis, slice(start, stop, self.stride), ...)

    def around(self, axis: int, ndim: int) -> tuple[tuple[int, int], ...]:
        """The padding as that of the last axes, this one being the first of them."""
        return (self.pads, *((0, 0),) * (ndim - axis - 1))


# ---- the largest


def maxima(xp: Any, x: Any, lines: tuple[Line, ...]) -> Any:
    """The largest entry of each window over the last axes; NaN if there is one."""
    first = x.ndim - len(lines)
    x = surrounded(xp, x, tuple(line.pads for line in lines), lowest(xp, x))
    for axis, line in enumerate(lines, first):
        y = entries(x, axis, line, 0)
        for k in range(1, line.kernel):
            y = larger(xp, y, entries(x, axis, line, k), k > 1)
        x = y
    return x


def entries(x: Any, axis: int, line: Line, k: int) -> Any:
    """Entry `k` of all windows along an axis. NumPy computes slowly with steps along the last axis,
    so there it is a copy."""
    part = x[line.at(axis, k)]
    if line.stride > 1 and axis == x.ndim - 1 and isinstance(x, np.ndarray):
        return np.ascontiguousarray(part)
    return part


def larger(xp: Any, x: Any, y: Any, owned: bool) -> Any:
    """The larger of two, or NaN; over `x` if it is `owned` and the library can."""
    if owned and isinstance(x, np.ndarray):
        return np.maximum(x, y, out=x)
    return xp.maximum(x, y)


def lowest(xp: Any, x: Any) -> Any:
    """What no entry of `x` is below."""
    return -float("inf") if xp.isdtype(x.dtype, "real floating") else xp.iinfo(x.dtype).min


def choices(xp: Any, x: Any, lines: tuple[Line, ...]) -> list[Any]:
    """For each axis, which entry of its window is the largest, once the axes behind are pooled.

    Of equal ones it is the first; NaN counts as the largest, and of several the last, as in torch.
    """
    first = x.ndim - len(lines)
    found: list[Any] = []
    for axis, line in reversed(list(enumerate(lines, first))):
        x, choice = _choice(xp, x, axis, line)
        found.insert(0, choice)
    return found


def _choice(xp: Any, x: Any, axis: int, line: Line) -> tuple[Any, Any]:
    """The largest entries along one axis, and which of its window each is."""
    dtype = xp.uint8 if line.kernel < 256 else xp.int32
    x = surrounded(xp, x, line.around(axis, x.ndim), lowest(xp, x))
    floating = xp.isdtype(x.dtype, "real floating")
    best = entries(x, axis, line, 0)
    choice = _first_inside(xp, best, axis, line, dtype) if line.pads[0] else None
    for k in range(1, line.kernel):
        new = entries(x, axis, line, k)
        better = new > best
        better = xp.astype(better | xp.isnan(new) if floating else better, dtype)
        best = larger(xp, best, new, k > 1)
        better = better * k if k > 1 else better
        choice = better if choice is None else xp.maximum(choice, better)
    return best, xp.zeros_like(best, dtype=dtype) if choice is None else choice


def _first_inside(xp: Any, like: Any, axis: int, line: Line, dtype: Any) -> Any:
    """The first entry of each window that is not padding."""
    starts = xp.arange(line.number, device=backend_of(xp).device_of(like)) * line.stride
    outside = xp.maximum(line.pads[0] - starts, xp.zeros_like(starts))
    first = xp.astype((outside + line.dilation - 1) // line.dilation, dtype)
    return xp.reshape(first, (-1, *(1,) * (like.ndim - axis - 1)))


# ---- reading the largest, and its transpose


def pick(xp: Any, x: Any, found: list[Any], lines: tuple[Line, ...]) -> Any:
    """Of each window, the entry that was found to be the largest. `found` is what `choices` gives."""
    if isinstance(x, np.ndarray) and not any(line.may_miss for line in lines):
        shape = (*x.shape[: -len(lines)], *(line.number for line in lines))
        return np.take(x.reshape(-1), _places(xp, found, lines)).reshape(shape)
    first = x.ndim - len(lines)
    for axis, line in reversed(list(enumerate(lines, first))):
        x = _pick(xp, x, found[axis - first], axis, line)
    return x


def unpick(xp: Any, g: Any, found: list[Any], lines: tuple[Line, ...]) -> Any:
    """The transpose of `pick`: each number goes to the entry that its window chose."""
    if isinstance(g, np.ndarray) and not any(line.may_miss for line in lines):
        shape = (*g.shape[: -len(lines)], *(line.size for line in lines))
        out = np.zeros(math.prod(shape), dtype=g.dtype)
        np.add.at(out, _places(xp, found, lines), g.reshape(-1))
        return out.reshape(shape)
    first = g.ndim - len(lines)
    for axis, line in enumerate(lines, first):
        choice = found[axis - first]
        write = add_at if line.overlaps else put_at
        out = _blank(xp, g, axis, line)
        for k in range(line.kernel):
            out = write(out, line.at(axis, k), keep(xp, g, choice == k))
        g = surrounded(xp, out, line.inverted.around(axis, g.ndim))
    return g


def _pick(xp: Any, x: Any, choice: Any, axis: int, line: Line) -> Any:
    """`pick` along one axis."""
    x = surrounded(xp, x, line.around(axis, x.ndim))
    y = x[line.at(axis, 0)]
    for k in range(1, line.kernel):
        y = choose(xp, choice == k, x[line.at(axis, k)], y)
    return y


def _blank(xp: Any, g: Any, axis: int, line: Line) -> Any:
    """Zeros of the padded size, or just memory where all of it will be written."""
    shape = (*g.shape[:axis], line.size + sum(line.pads), *g.shape[axis + 1 :])
    make = xp.empty if line.covers else xp.zeros
    return make(shape, dtype=g.dtype, device=backend_of(xp).device_of(g))


def _at_ends(xp: Any, found: list[Any], lines: tuple[Line, ...]) -> list[Any]:
    """For each axis, the choice that led to the largest entry of each window over all axes."""
    first = found[0].ndim - len(lines)
    ends = []
    for i, choice in enumerate(found):
        for j in reversed(range(i)):
            choice = _pick(xp, choice, found[j], first + j, lines[j])
        ends.append(choice)
    return ends


def positions(xp: Any, found: list[Any], lines: tuple[Line, ...]) -> Any:
    """Where the largest entry of each window stands, counted through all pooled axes of the input."""
    device = backend_of(xp).device_of(found[0])
    y: Any = 0
    for i, (line, choice) in enumerate(zip(lines, _at_ends(xp, found, lines), strict=True)):
        starts = xp.arange(line.number, dtype=xp.int64, device=device) * line.stride - line.pads[0]
        starts = xp.reshape(starts, (-1, *(1,) * (len(lines) - i - 1)))
        y = y * line.size + (xp.astype(choice, xp.int64) * line.dilation + starts)
    return y


def adaptive_positions(xp: Any, x: Any, sizes: tuple[int, ...]) -> Any:
    """Where the largest entry of each window stands, if windows share out the last axes unevenly."""
    places: Any = None
    span = 1
    for axis in reversed(range(x.ndim - len(sizes), x.ndim)):
        given = x.shape[axis]
        x, places = _adaptive_choice(xp, x, places, axis, sizes[axis - x.ndim], span)
        span *= given
    return places


def _adaptive_choice(xp: Any, x: Any, places: Any, axis: int, count: int, span: int) -> Any:
    """The largest entries along one axis, and where they stand; `places` tells it of the axes behind,
    through which `span` entries are counted."""
    given = x.shape[axis]
    numbers = xp.arange(count, dtype=xp.int64, device=backend_of(xp).device_of(x))
    starts = numbers * given // count
    ends = ((numbers + 1) * given + count - 1) // count
    longest = max(-(-(i + 1) * given // count) - i * given // count for i in range(count))
    floating = xp.isdtype(x.dtype, "real floating")
    best = found = None
    for k in range(longest):
        at = xp.minimum(starts + k, ends - 1)  # in shorter windows the last one again
        new = xp.take(x, at, axis=axis)
        behind = xp.take(places, at, axis=axis) if places is not None else 0
        place = xp.reshape(at, (-1, *(1,) * (x.ndim - axis - 1))) * span + behind
        if best is None:
            best, found = new, xp.broadcast_to(place, new.shape)
            continue
        better = (new > best) | xp.isnan(new) if floating else new > best
        best, found = xp.maximum(best, new), xp.where(better, place, found)
    return best, found


def _places(xp: Any, found: list[Any], lines: tuple[Line, ...]) -> Any:
    """For NumPy: where the largest entries stand in the memory of the input, in as few passes over
    them as can be. Choices are numbered as a kernel has entries, and looked up in a table."""
    lead = found[0].shape[: -len(lines)]
    kernel = math.prod(line.kernel for line in lines)
    choice: Any = 0
    table, starts = np.zeros((), np.intp), np.zeros((), np.intp)
    for line, end in zip(lines, _at_ends(xp, found, lines), strict=True):
        end = end.astype(np.min_scalar_type(kernel), copy=False)
        choice = choice * line.kernel + end if line is not lines[0] else end
        table = table[..., None] * line.size + np.arange(line.kernel) * line.dilation
        steps = np.arange(line.number) * line.stride - line.pads[0]
        starts = starts[..., None] * line.size + steps
    places = np.take(table.reshape(-1), choice)
    size = math.prod(line.size for line in lines)
    places += starts
    places += (np.arange(math.prod(lead)) * size).reshape(*lead, *(1,) * len(lines))
    return places.reshape(-1)


# ---- sums


def sums(xp: Any, x: Any, lines: tuple[Line, ...]) -> Any:
    """The sum of each window over the last axes."""
    first = x.ndim - len(lines)
    whole = tuple(i for i, line in enumerate(lines, first) if line.is_whole)
    x = xp.sum(x, axis=whole, keepdims=True) if whole else x
    x = surrounded(xp, x, tuple(line.pads for line in lines))
    for axis, line in enumerate(lines, first):
        if axis in whole or line.kernel == line.stride == 1:
            continue
        y = entries(x, axis, line, 0)
        for k in range(1, line.kernel):
            part = entries(x, axis, line, k)
            if k == 1:
                y = y + part
            else:
                y += part
        x = y
    return x


def unsums(xp: Any, g: Any, lines: tuple[Line, ...]) -> Any:
    """The transpose of `sums`: each number goes to all entries of its window."""
    first = g.ndim - len(lines)
    for axis, line in reversed(list(enumerate(lines, first))):
        if line.is_whole:
            g = xp.broadcast_to(g, (*g.shape[:axis], line.size, *g.shape[axis + 1 :]))
        elif line.kernel > 1 or line.stride > 1:
            write = add_at if line.overlaps else put_at
            out = _blank(xp, g, axis, line)
            for k in range(line.kernel):
                out = write(out, line.at(axis, k), g)
            g = out
    return surrounded(
        xp, g, tuple((0, 0) if e.is_whole else (-e.pads[0], -e.pads[1]) for e in lines)
    )
