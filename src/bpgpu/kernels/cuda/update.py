"""Steps of optimizers on CUDA, of many parameters in one launch; and the norm of many gradients.

Parameters and their state are written to: these kernels are the exception to the rule that operands
stay as they are. The step and the learning rate are read from the device's memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import cupy
import numpy as np

from bpgpu.kernels.cuda.launching import (
    CUPY,
    LARGEST,
    THREADS,
    TYPES,
    is_here,
    is_ours,
    name_of,
    runner,
    wide_of,
)
from bpgpu.kernels.registry import kernel

run = runner("update.cu")

MOST, CHUNK, TOGETHER = 64, 4096, 4
"""As in `update.cu`."""
PARTS = np.dtype(
    [
        ("values", "u8", MOST),
        ("gradients", "u8", MOST),
        ("start", "i8", MOST),
        ("size", "i4", MOST),
        ("block", "i4", MOST + 1),
        ("packed", "i4", MOST),
    ],
    align=True,
)
JOINING = 512
"""The threads that join the sums of all blocks."""

Arrays = list[Any]


def accepts_gradients(gradients: Arrays, *more: Any) -> bool:
    """True for arrays without gaps, of one real dtype."""
    return all(
        is_ours(g) and g.dtype == gradients[0].dtype and g.flags.c_contiguous and g.size < LARGEST
        for g in gradients
    )


def accepts(
    values: Arrays, gradients: Arrays, states: Any, step: Any, rate: Any, *settings: Any
) -> bool:
    """Also with their state in vectors, as wide as it is computed with; the last setting is the condition."""
    wide = wide_of(values[0])
    return (
        accepts_gradients(values)
        and accepts_gradients(gradients)
        and values[0].dtype == gradients[0].dtype
        and all(
            s is None or (is_ours(s) and s.dtype == wide and s.flags.c_contiguous)
            for s in (*states, step)
        )
        and _is_condition(settings[-1])
        and (isinstance(rate, (float, int)) or (_is_number(rate) and rate.dtype.char in "fd"))
    )


def _is_number(x: Any) -> bool:
    return is_ours(x) and x.ndim == 0


def _is_condition(x: Any) -> bool:
    return x is None or (is_here(x) and x.ndim == 0 and x.dtype.char == "?")


@kernel("adam_of_many", CUPY, accepts, changes=True)
def adam_of_many(
    values: Arrays,
    gradients: Arrays,
    states: tuple[Any, Any, Any],
    step: Any,
    rate: Any,
    betas: tuple[float, float],
    eps: float,
    decay: float,
    decoupled: bool,
    maximize: bool,
    only_if: Any,
) -> None:
    """One step of Adam; `states` are the vectors of m, v and, for amsgrad, the largest v.

    Where `only_if` is there and false, there is no step.
    """
    wide, name = wide_of(values[0]), name_of(values[0])
    logs = [math.log(beta) if beta > 0 else 0.0 for beta in betas]
    fields = ("beta1", "beta2", "new1", "new2", "log1", "log2", "eps", "decay")
    settings = _settings(
        wide,
        fields,
        (*betas, *(1 - beta for beta in betas), *logs, eps, decay),
        decoupled,
        maximize,
    )
    numbers = cupy.empty(3, wide)
    pointer, given, kind = _rate(rate, wide)
    begin = f"adam_begin<{TYPES[wide.char]}, {kind}>"
    run(begin, 1, 1, step, pointer, given, numbers, only_if, settings)
    for parts, count in _parts(values, gradients, states):
        run(f"adam<{name}>", count, THREADS, parts, *states, numbers, only_if, settings)


@kernel("sgd_of_many", CUPY, accepts, changes=True)
def sgd_of_many(
    values: Arrays,
    gradients: Arrays,
    states: tuple[Any],
    step: Any,
    rate: Any,
    momentum: float,
    dampening: float,
    decay: float,
    nesterov: bool,
    maximize: bool,
    only_if: Any,
) -> None:
    """One step of gradient descent; `states` is the vector of directions, if there is a momentum."""
    wide, name = wide_of(values[0]), name_of(values[0])
    fields = ("momentum", "fresh", "decay")
    settings = _settings(wide, fields, (momentum, 1 - dampening, decay), nesterov, maximize)
    pointer, given, kind = _rate(rate, wide)
    for parts, count in _parts(values, gradients, states):
        expression = f"sgd<{name}, {kind}>"
        run(expression, count, THREADS, parts, *states, step, pointer, given, only_if, settings)
    if step is not None:
        run(f"counted_on<{TYPES[wide.char]}>", 1, 1, step, only_if)


@kernel("norm_of_many", CUPY, accepts_gradients)
def norm_of_many(gradients: Arrays) -> Any:
    """The root of the sum of all squares."""
    wide, name = wide_of(gradients[0]), name_of(gradients[0])
    portions = list(_parts(gradients, gradients, ()))
    sums = cupy.empty(sum(count for _, count in portions), wide)
    end = 0
    for parts, count in portions:
        start, end = end, end + count
        run(f"squares<{name}>", count, THREADS, parts, sums[start:end])
    norm = cupy.empty((), wide)
    run(f"root_of_sum<{TYPES[wide.char]}>", 1, JOINING, sums, norm, sums.size)
    return norm


def accepts_clipped(gradients: Arrays, norm: Any, most: float) -> bool:
    return accepts_gradients(gradients) and _is_number(norm) and norm.dtype == wide_of(gradients[0])


@kernel("clipped_many", CUPY, accepts_clipped)
def clipped_many(gradients: Arrays, norm: Any, most: float) -> Arrays:
    """Each times `min(1, most / (norm + 1e-6))`."""
    made = [cupy.empty(g.shape, g.dtype) for g in gradients]
    for parts, count in _parts(made, gradients, ()):
        expression = f"clipped<{name_of(gradients[0])}>"
        run(expression, count, THREADS, parts, norm, norm.dtype.type(most))
    return made


def accepts_scaled(gradients: Arrays, scale: Any) -> bool:
    """As wide as they are divided; others change their dtype, which this kernel does not."""
    wide = gradients[0].dtype == wide_of(gradients[0])
    return accepts_gradients(gradients) and wide and _is_number(scale) and scale.dtype.char == "f"


@kernel("unscaled_many", CUPY, accepts_scaled)
def unscaled_many(gradients: Arrays, scale: Any) -> tuple[Arrays, Any]:
    """Each divided by the scale, and whether all are finite."""
    made = [cupy.empty(g.shape, g.dtype) for g in gradients]
    finite = cupy.ones((), np.bool_)
    for parts, count in _parts(made, gradients, ()):
        run(f"unscaled<{name_of(gradients[0])}>", count, THREADS, parts, scale, finite)
    return made, finite


# ---- what the kernels are given


def _parts(values: Arrays, gradients: Arrays, states: Any) -> Iterator[tuple[Any, int]]:
    """Where the arrays are, for some of them at a time, and the blocks that walk through these."""
    aligned = all(s is None or s.data.ptr % 32 == 0 for s in states)
    sizes = np.asarray([p.size for p in values])
    places = np.asarray(
        [[x.data.ptr for x in arrays] for arrays in (values, gradients)], dtype=np.uint64
    )
    starts = np.cumsum(sizes) - sizes
    unit = np.uint64(TOGETHER * values[0].itemsize)
    packed = (places % unit == 0).all(axis=0) & ((sizes | starts) % TOGETHER == 0) & aligned
    full = np.flatnonzero(sizes)
    for first in range(0, len(full), MOST):
        some = full[first : first + MOST]
        ends = np.cumsum(-(-sizes[some] // CHUNK))
        parts = np.zeros(1, PARTS)
        one, n = parts[0], len(some)
        one["values"][:n], one["gradients"][:n] = places[:, some]
        one["start"][:n], one["size"][:n] = starts[some], sizes[some]
        one["packed"][:n] = packed[some]
        one["block"][1 : n + 1] = ends
        yield parts, int(ends[-1])


def _rate(rate: Any, wide: Any) -> tuple[Any, Any, str]:
    """Where the learning rate is, or its value, and what C++ calls its dtype."""
    if type(rate) is cupy.ndarray:
        return rate, wide.type(0), name_of(rate)
    return None, wide.type(rate), TYPES[wide.char]


def _settings(wide: Any, fields: Any, values: Any, *flags: bool) -> Any:
    """A record of numbers, and then of truth values."""
    names = [(field, wide) for field in fields] + [(f"flag{i}", "i4") for i in range(len(flags))]
    made = np.zeros(1, np.dtype(names, align=True))
    made[0] = (*values, *flags)
    return made
