"""An array with a border of one value around it, made in one pass over the data."""

from __future__ import annotations

from typing import Any

from bpgpu.backend import backend_of
from bpgpu.backend.places import add_at, put_at

Pads = tuple[tuple[int, int], ...]
"""How much before and after, along each of the last axes; a negative number crops."""


def surrounded(xp: Any, x: Any, pads: Pads, value: Any = 0) -> Any:
    """`x` with `value` before and after along its last axes; `x` itself if there is nothing to do."""
    first = x.ndim - len(pads)
    if any(n < 0 for pair in pads for n in pair):
        kept = [
            slice(max(-b, 0), s - max(-a, 0))
            for s, (b, a) in zip(x.shape[first:], pads, strict=True)
        ]
        x = x[(..., *kept)]
    around = tuple((max(before, 0), max(after, 0)) for before, after in pads)
    if not any(map(any, around)):
        return x
    sizes = x.shape[first:]
    shape = (
        *x.shape[:first],
        *(b + s + a for s, (b, a) in zip(sizes, around, strict=True)),
    )
    options = {"dtype": x.dtype, "device": backend_of(xp).device_of(x)}
    out = xp.full(shape, value, **options) if value else xp.zeros(shape, **options)
    inside = [slice(b, b + s) for s, (b, _) in zip(sizes, around, strict=True)]
    return put_at(out, (..., *inside), x)


def extended(xp: Any, x: Any, pads: Pads, mode: str) -> Any:
    """`x` with its own entries before and after along its last axes, as `mode` says. No number is
    negative."""
    first = x.ndim - len(pads)
    sizes = x.shape[first:]
    y = surrounded(xp, x, pads)
    y = xp.asarray(x, copy=True) if y is x else y
    for axis, size, pair in _sides(first, sizes, pads):
        for border, source, mirrored in _borders(mode, size, *pair):
            part = y[_along(axis, source)]
            part = xp.flip(part, axis=axis) if mirrored else part
            part = xp.broadcast_to(part, y[_along(axis, border)].shape)
            y = put_at(y, _along(axis, border), part)
    return y


def retracted(xp: Any, g: Any, pads: Pads, mode: str) -> Any:
    """The transpose of `extended`: what the border got is added to the entries that it copies."""
    first = g.ndim - len(pads)
    sizes = tuple(
        s - before - after for s, (before, after) in zip(g.shape[first:], pads, strict=True)
    )
    g = xp.asarray(g, copy=True)
    for axis, size, pair in reversed(_sides(first, sizes, pads)):
        for border, source, mirrored in _borders(mode, size, *pair):
            part = g[_along(axis, border)]
            part = xp.flip(part, axis=axis) if mirrored else part
            if mode == "replicate":
                part = xp.sum(part, axis=axis, keepdims=True)
            g = add_at(g, _along(axis, source), part)
    return surrounded(xp, g, tuple((-before, -after) for before, after in pads))


def _sides(first: int, sizes: Any, pads: Pads) -> list[tuple[int, int, tuple[int, int]]]:
    """For each axis that grows: its number, its size without the borders, and theirs."""
    return [
        (axis, size, pair)
        for axis, (size, pair) in enumerate(zip(sizes, pads, strict=True), first)
        if any(pair)
    ]


def _borders(mode: str, size: int, before: int, after: int) -> list[tuple[slice, slice, bool]]:
    """The two borders of an axis: where each is, what it copies, and whether in reverse."""
    end = before + size  # of what was there, whose entries are `before` to `end - 1`
    if mode == "reflect":  # about the outermost entry, which is not copied
        left, right = slice(before + 1, 2 * before + 1), slice(end - 1 - after, end - 1)
    elif mode == "replicate":
        left, right = slice(before, before + 1), slice(end - 1, end)
    else:  # circular
        left, right = slice(size, end), slice(before, before + after)
    found = [(slice(0, before), left), (slice(end, end + after), right)]
    return [(*pair, mode == "reflect") for pair in found if pair[0].stop > pair[0].start]


def _along(axis: int, part: slice) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, part, ...)
