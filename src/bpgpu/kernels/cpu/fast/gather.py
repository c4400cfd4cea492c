"""From where a convolution reads, as tables of offsets: one for its results, one for its windows.

The result at a place `l` is the sum over the taps of the kernel of `source[l + tap] w[tap]`, and in
memory `l + tap` lies at `rows[l] + runs[tap]`. Taps whose numbers stand side by side are one run.
The gradient of the input is the same with the kernel turned around; for a stride of s the inputs
fall into s x s classes, each of which is reached by some of the taps only, and is a convolution.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from bpgpu.kernels.cpu.fast.tile import ROWS

Sizes = tuple[int, ...]


class Axis(NamedTuple):
    """Along one axis: which results there are, and what each reads."""

    first: int
    """Where the first result is, and"""
    apart: int
    """how far the next one."""
    many: int
    begin: int
    """Where the window of the first result begins in the source, and"""
    stride: int
    """how far the next one."""
    taps: Sizes
    """Places in the kernel, and"""
    offsets: Sizes
    """where in the window they read, in increasing order."""

    def results(self) -> Any:
        return self.first + self.apart * np.arange(self.many)

    def windows(self) -> Any:
        return self.begin + self.stride * np.arange(self.many)


class Gathering(NamedTuple):
    """How the results are read from one example of the source, `(*S, C)` with zeros around."""

    pads: tuple[tuple[int, int], ...]
    """The zeros."""
    rows: Any
    """Offset in the source of the window of each result."""
    places: Any
    """Which result it is."""
    runs: Any
    """Offset in a window of each run of numbers that stand side by side."""
    taps: Any
    """The places in the kernel, in the order in which the runs meet them."""
    parts: Any
    """Results with windows of one shape: where their rows, runs and taps begin and end, and the
    length of their runs, all channels counted."""
    whole: bool
    """Whether each result is in a part. The others are reached by nothing."""


@functools.lru_cache(maxsize=64)
def forward(geometry: Any, channels: int) -> Gathering:
    """For `convolve`."""
    moves = zip(geometry.counts, geometry.stride, geometry.kernel, geometry.dilation, strict=True)
    axes = [
        [Axis(0, 1, count, 0, s, tuple(range(k)), tuple(d * i for i in range(k)))]
        for count, s, k, d in moves
    ]
    around = geometry.padded_sizes
    return _gathering(geometry.pads, axes, geometry.kernel, geometry.counts, around, channels)


@functools.lru_cache(maxsize=64)
def backward(geometry: Any, channels: int) -> Gathering:
    """For `spread`, where the source is the gradient of the results."""
    moves = zip(
        geometry.sizes,
        geometry.counts,
        geometry.kernel,
        geometry.stride,
        geometry.dilation,
        (before for before, _ in geometry.pads),
        strict=True,
    )
    found = [_classes(*line) for line in moves]
    axes, pads = [axis for axis, _ in found], tuple(pad for _, pad in found)
    around = tuple(n + a + b for n, (a, b) in zip(geometry.counts, pads, strict=True))
    return _gathering(pads, axes, geometry.kernel, geometry.sizes, around, channels)


class Lines(NamedTuple):
    """How the weights are read: each is a sum over the results, line by line."""

    rows: Any
    """Offset of what each tap and channel reads for the first result."""
    places: Any
    runs: Any
    """Offset of each line of results in the source."""


@functools.lru_cache(maxsize=64)
def lines(geometry: Any, channels: int, results: int) -> Lines:
    """For `correlate`."""
    steps = _steps(geometry.padded_sizes, channels)
    moves = zip(steps, geometry.dilation, geometry.kernel, strict=True)
    rows = _sums([*(s * d * np.arange(k) for s, d, k in moves), np.arange(channels)])
    moves = zip(steps, geometry.stride, geometry.counts, strict=True)
    starts = [s * t * np.arange(n) for s, t, n in moves]
    runs = _sums([*starts[:-1], np.zeros(1)])
    return Lines(_even(rows), _even(results * np.arange(len(rows))), runs)


def _classes(
    size: int, count: int, kernel: int, stride: int, dilation: int, before: int
) -> tuple[list[Axis], tuple[int, int]]:
    """The inputs `i = first + stride j`, and the results `(i + before - dilation k) / stride` that
    each has reached; with the zeros needed around the results."""
    classes, low, high = [], 0, 0
    for first in range(min(stride, size)):
        at = [(first + before - dilation * k, k) for k in reversed(range(kernel))]
        reached = [(q // stride, k) for q, k in at if q % stride == 0]
        if not reached:
            continue
        many = (size - 1 - first) // stride + 1
        begin = reached[0][0]
        low, high = max(low, -begin), max(high, reached[-1][0] + many - count)
        offsets, taps = tuple(q - begin for q, _ in reached), tuple(k for _, k in reached)
        classes.append(Axis(first, stride, many, begin, 1, taps, offsets))
    return [axis._replace(begin=axis.begin + low) for axis in classes], (low, high)


def _gathering(
    pads: tuple[tuple[int, int], ...],
    axes: list[list[Axis]],
    kernel: Sizes,
    sizes: Sizes,
    around: Sizes,
    channels: int,
) -> Gathering:
    steps, places, taps = _steps(around, channels), _steps(sizes, 1), _steps(kernel, 1)
    tables: list[list[Any]] = [[], [], [], []]
    parts: list[Sizes] = []
    ends: Sizes = (0, 0, 0)
    for combined in itertools.product(*axes):
        last = combined[-1].offsets
        joined = len(last) if last == tuple(range(len(last))) else 1
        windows = [s * np.asarray(x.offsets) for x, s in zip(combined, steps, strict=True)]
        found = (
            _sums([s * x.windows() for x, s in zip(combined, steps, strict=True)]),
            _sums([s * x.results() for x, s in zip(combined, places, strict=True)]),
            _sums([*windows[:-1], windows[-1][::joined]]),
            _sums([s * np.asarray(x.taps) for x, s in zip(combined, taps, strict=True)]),
        )
        for table, more in zip(tables, found, strict=True):
            table.append(more)
        begins = ends
        ends = tuple(n + len(found[i]) for n, i in zip(begins, (0, 2, 3), strict=True))
        parts.append((begins[0], ends[0], begins[1], ends[1], begins[2], joined * channels))
    joint = [np.concatenate([_sums([np.empty(0)]), *table]) for table in tables]
    whole = len(joint[1]) == math.prod(sizes)
    arrays = (_even(joint[0]), _even(joint[1]), joint[2], joint[3])
    return Gathering(pads, *arrays, np.asarray(parts, np.int64).reshape(-1, 6), whole)


def _even(table: Any) -> Any:
    """The table with more entries at its end, so that the last tile is a whole one."""
    return np.concatenate([table, np.repeat(table[-1:], ROWS - 1)])


def _steps(sizes: Sizes, unit: int) -> Sizes:
    """How far apart in memory neighbours along each axis are."""
    return tuple(unit * math.prod(sizes[i + 1 :]) for i in range(len(sizes)))


def _sums(terms: list[Any]) -> Any:
    """All sums of one term of each list, the last list fastest."""
    total = functools.reduce(np.add.outer, terms)
    return np.ascontiguousarray(total.reshape(-1), dtype=np.int64)
