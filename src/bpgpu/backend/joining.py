"""`concat` and `stack` of many arrays by launches alone.

CuPy joins up to 8 arrays so. For more it copies a table of their addresses from the host, which a CUDA graph refuses:
the steps of an LSTM, the places of a kernel. Here each array is written to its place in the result.
"""

from __future__ import annotations

from typing import Any

MOST = 8
"""So many arrays are left to the library."""


def stack(xp: Any, arrays: Any, axis: int = 0) -> Any:
    """`xp.stack`."""
    arrays = list(arrays)
    if len(arrays) <= MOST:
        return xp.stack(arrays, axis=axis)
    return concat(xp, [xp.expand_dims(x, axis=axis) for x in arrays], axis)


def concat(xp: Any, arrays: Any, axis: int | None = 0) -> Any:
    """`xp.concat`."""
    arrays = list(arrays)
    if len(arrays) <= MOST:
        return xp.concat(arrays, axis=axis)
    if axis is None:
        arrays, axis = [xp.reshape(x, (-1,)) for x in arrays], 0
    first = arrays[0]
    axis %= first.ndim
    before, behind = tuple(first.shape[:axis]), tuple(first.shape[axis + 1 :])
    for x in arrays:
        if x.ndim != first.ndim or x.shape[:axis] != before or x.shape[axis + 1 :] != behind:
            raise ValueError(
                f"concat: all but axis {axis} must agree, got the shapes {[tuple(x.shape) for x in arrays]}"
            )
    size = sum(x.shape[axis] for x in arrays)
    out = xp.empty((*before, size, *behind), dtype=xp.result_type(*arrays), device=first.device)
    end = 0
    for x in arrays:
        start, end = end, end + x.shape[axis]
        out[(slice(None),) * axis + (slice(start, end), ...)] = x
    return out
