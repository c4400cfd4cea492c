"""Padding: entries before and after along the last axes, made of a constant or of what is there."""

from __future__ import annotations

from collections.abc import Sequence

from bpgpu.autodiff.array import raw
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ShapeError
from bpgpu.functional.arguments import Array, tupled
from bpgpu.functional.windows import zero_pad

MODES = ("constant", "reflect", "replicate", "circular")


def pad(
    input: Array, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Array:
    """Entries before and after along the last axes.

    *Parameters* `pad`: pairs (before, after), the last axis first; negative numbers crop. `mode`:
    "constant" (`value`, 0 by default), "reflect" (mirrored at the edge entry, which is not
    repeated), "replicate" (the edge entry), "circular" (from the other end). The last three pad all
    axes but the first two, or but the first.

    *Shape* each padded axis grows by both numbers.

    *Raises* `ShapeError` for pairs that do not fit the axes, or padding larger than what there is
    to copy; `ValueError` for another mode, or a `value` that the mode does not use.

    >>> import numpy as np
    >>> pad(np.asarray([[1.0, 2.0, 3.0]]), (1, 2), "reflect")
    array([[2., 1., 2., 3., 2., 1.]])
    """
    name = "pad"
    if mode not in MODES:
        raise ValueError(f"{name}: mode must be one of {', '.join(MODES)}, got {mode!r}")
    pairs = _pairs(name, pad, input.ndim)
    for axis, (before, after) in pairs.items():
        if input.shape[axis] + before + after < 0 or (
            mode != "constant" and input.shape[axis] + before + after == 0
        ):
            raise ShapeError(
                f"{name}: axis {axis} of size {input.shape[axis]} cannot be padded by "
                f"{(before, after)}: nothing "
                "would be left"
            )
    if mode == "constant":
        return _constant(input, pairs, 0.0 if value is None else value)
    if value is not None and value != 0:
        raise ValueError(f"{name}: value={value} has a meaning for mode='constant' only")
    if len(pairs) not in (input.ndim - 1, input.ndim - 2):
        raise ShapeError(
            f"{name}: mode='{mode}' pads all axes but the first one or two; input "
            f"{tuple(input.shape)} needs "
            f"{input.ndim - 2} or {input.ndim - 1} pairs, got {len(pairs)}"
        )
    xp = array_namespace(input)
    for axis, (before, after) in pairs.items():
        if before or after:
            places = _places(name, mode, axis, input.shape[axis], before, after)
            plain = raw(input)
            home = backend_of(namespace_of(plain)).device_of(plain)
            input = xp.take(input, xp.asarray(places, device=home), axis=axis)
    return input


def _pairs(name: str, pad: Sequence[int], ndim: int) -> dict[int, tuple[int, int]]:
    """(before, after) for each padded axis."""
    found = tupled(name, "pad", pad, len(pad), least=-(2**62)) if len(pad) else ()
    if len(found) % 2 or len(found) > 2 * ndim:
        raise ShapeError(
            f"{name}: expected pairs (before, after) for at most {ndim} axes, got {tuple(pad)}"
        )
    return {ndim - 1 - i // 2: (found[i], found[i + 1]) for i in reversed(range(0, len(found), 2))}


def _constant(x: Array, pairs: dict[int, tuple[int, int]], value: float) -> Array:
    if not pairs:
        return x
    spans = tuple(pairs.values())  # the last axes, in order
    y = zero_pad(x, spans)
    if value == 0:
        return y
    xp = array_namespace(x)
    inside = zero_pad(xp.ones_like(x), spans)
    return xp.where(inside == 1, y, value)


def _places(name: str, mode: str, axis: int, size: int, before: int, after: int) -> list[int]:
    """Which entry stands at each place of the padded axis."""
    most = {"reflect": size - 1, "circular": size}.get(mode)
    if size == 0 or (most is not None and max(before, after) > most):
        raise ShapeError(
            f"{name}: mode='{mode}' can add at most {most if size else 0} entries on a side of "
            f"axis {axis}, which has "
            f"size {size}; got {(before, after)}"
        )
    wanted = range(-before, size + after)
    if mode == "circular":
        return [i % size for i in wanted]
    if mode == "replicate":
        return [min(max(i, 0), size - 1) for i in wanted]
    return [size - 1 - abs(size - 1 - abs(i)) for i in wanted]
