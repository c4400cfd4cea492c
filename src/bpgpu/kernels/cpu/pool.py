"""Max-pooling in NumPy by windows that share out the input, as in most networks: each entry is in
one window.

An entry of all windows at once is a view with steps, in whatever order the channels are kept; the
result has the order of the input.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from bpgpu.kernels.cpu.conv import NUMPY
from bpgpu.kernels.registry import kernel


def accepts(x: Any, *rest: Any) -> bool:
    lines = rest[-1]
    return (
        type(x) is np.ndarray
        and x.dtype.char in "fd"
        and x.ndim > len(lines)
        and math.prod(x.shape) > 0
        and x.strides[-len(lines) - 1] == x.itemsize  # channels last
        and all(line.covers and line.pads == (0, 0) for line in lines)
        and any(line.kernel > 1 for line in lines)
    )


@kernel("maxima", NUMPY, accepts)
def maxima(x: Any, lines: Any) -> Any:
    """The largest entry of each window over the last axes; NaN if there is one."""
    first, second, *others = _entries(x, lines)
    y = np.maximum(first, second)
    for entry in others:
        np.maximum(y, entry, out=y)
    return y


@kernel("max_gradient", NUMPY, accepts)
def max_gradient(x: Any, y: Any, g: Any, lines: Any) -> Any:
    """The gradient `g` of the maxima `y`: each number to the first entry that is the largest.

    Numbers are multiplied by 0 or 1 as integers, which no infinity and no NaN disturbs."""
    word = np.dtype(f"i{g.itemsize}")
    bits = np.empty_like(y)  # the gradient in the order of the maxima
    bits[...] = g
    bits = bits.view(word)
    out = np.empty_like(x)
    free = np.ones_like(y, dtype=bool)
    entries, places = _entries(x, lines), _entries(out.view(word), lines)
    for entry, place in zip(entries, places, strict=True):
        chosen = entry == y
        chosen &= free
        free ^= chosen
        np.multiply(bits, chosen, out=place)
    if free.any():  # the largest is NaN: of several the last
        for entry, place in zip(reversed(entries), reversed(places), strict=True):
            chosen = np.isnan(entry) & free
            free ^= chosen
            place += bits * chosen
    return out


def _entries(x: Any, lines: Any) -> list[Any]:
    """For each place in the window, in reading order, the entries of all windows there: views."""
    steps = [[slice(k, None, line.kernel) for k in range(line.kernel)] for line in lines]
    return [x[(..., *at)] for at in itertools.product(*steps)]
