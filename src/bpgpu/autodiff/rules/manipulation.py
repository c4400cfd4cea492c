"""Derivatives of functions that move entries and leave values alone: each pull moves them back.

Where an entry is copied to several places, its gradient is the sum over them.
"""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import Array, device_of, raw
from bpgpu.autodiff.rule import joint, rule, unbroadcast
from bpgpu.autodiff.rules.indexing import scatter_add
from bpgpu.backend import backend_of
from bpgpu.errors import ShapeError

Axes = int | tuple[int, ...]

# ---- the same entries under another shape


@rule
def reshape(xp: Any, x: Any, /, shape: Axes, *, copy: bool | None = None) -> Any:
    old = x.shape
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    y = xp.reshape(x, shape) if copy is None else xp.reshape(x, shape, copy=copy)
    return y, lambda g: xp.reshape(g, old)


@rule
def expand_dims(xp: Any, x: Any, /, axis: Axes = 0) -> Any:
    old = x.shape
    return xp.expand_dims(x, axis=axis), lambda g: xp.reshape(g, old)


@rule
def squeeze(xp: Any, x: Any, /, axis: Axes) -> Any:
    old = x.shape
    return xp.squeeze(x, axis=axis), lambda g: xp.reshape(g, old)


# ---- the same entries in another order


@rule
def permute_dims(xp: Any, x: Any, /, axes: tuple[int, ...]) -> Any:
    y = xp.permute_dims(x, axes)
    n = x.ndim
    places = [a % n for a in axes]
    inverse = tuple(places.index(i) for i in range(n))
    return y, lambda g: xp.permute_dims(g, inverse)


@rule
def moveaxis(xp: Any, x: Any, source: Axes, destination: Axes, /) -> Any:
    return xp.moveaxis(x, source, destination), lambda g: xp.moveaxis(g, destination, source)


@rule
def flip(xp: Any, x: Any, /, axis: Axes | None = None) -> Any:
    return xp.flip(x, axis=axis), lambda g: xp.flip(g, axis=axis)


@rule
def roll(xp: Any, x: Any, /, shift: Axes, axis: Axes | None = None) -> Any:
    back = tuple(-s for s in shift) if isinstance(shift, (tuple, list)) else -shift
    return xp.roll(x, shift, axis=axis), lambda g: xp.roll(g, back, axis=axis)


# ---- entries copied: their gradients are summed


@rule
def broadcast_to(xp: Any, x: Any, /, shape: tuple[int, ...]) -> Any:
    old = x.shape
    return xp.broadcast_to(x, shape), lambda g: unbroadcast(xp, g, old)


@rule
def repeat(xp: Any, x: Any, repeats: Any, /, axis: int | None = None) -> Any:
    y = xp.repeat(x, repeats, axis=axis)
    old = x.shape
    lined = (math.prod(old),) if axis is None else old
    i = 0 if axis is None else axis % len(old)

    def pull(g: Any) -> Any:
        if isinstance(repeats, int):  # the copies of an entry as an axis of their own
            g = xp.reshape(g, (*lined[: i + 1], repeats, *lined[i + 1 :]))
            return xp.reshape(xp.sum(g, axis=i + 1), old)
        origin = raw(xp.repeat(xp.arange(lined[i], device=device_of(g)), repeats))
        return xp.reshape(scatter_add(g, lined, (*[slice(None)] * i, origin, ...)), old)

    return y, pull


@rule
def tile(xp: Any, x: Any, repetitions: Axes, /) -> Any:
    old = x.shape
    times = (repetitions,) if isinstance(repetitions, int) else tuple(repetitions)
    n = max(len(times), len(old))
    times = (1,) * (n - len(times)) + times
    shape = (1,) * (n - len(old)) + tuple(old)

    def pull(g: Any) -> Any:
        copies = xp.reshape(g, tuple(m for pair in zip(times, shape, strict=True) for m in pair))
        return xp.reshape(xp.sum(copies, axis=tuple(range(0, 2 * n, 2))), old)

    return xp.tile(x, times), pull


# ---- joining and taking apart, the transposes of each other


@rule(arrays=None)
def stack(xp: Any, *xs: Any, axis: int = 0) -> Any:
    return xp.stack(list(xs), axis=axis), joint(lambda g, wanted: xp.unstack(g, axis=axis))


@rule
def unstack(xp: Any, x: Any, /, axis: int = 0) -> Any:
    ys = tuple(xp.unstack(x, axis=axis))
    shapes = [y.shape for y in ys]
    return ys, lambda gs: xp.stack(filled(xp, gs, shapes), axis=axis)


@rule(arrays=None)
def concat(xp: Any, *xs: Any, axis: int | None = 0) -> Any:
    y = xp.concat(list(xs), axis=axis)
    shapes = [x.shape for x in xs]
    sizes = tuple(math.prod(s) if axis is None else s[axis] for s in shapes)

    def pull(g: Any, wanted: tuple[bool, ...]) -> Any:
        parts = pieces(g, sizes, axis or 0)
        return [xp.reshape(p, s) if axis is None else p for p, s in zip(parts, shapes, strict=True)]

    return y, joint(pull)


@rule
def pieces(xp: Any, x: Any, sizes: tuple[int, ...], axis: int) -> Any:
    """Consecutive parts of `x` along an axis: what `concat` puts together again."""
    before = (slice(None),) * (axis % x.ndim)
    ys, end = [], 0
    for size in sizes:
        start, end = end, end + size
        ys.append(x[(*before, slice(start, end), ...)])
    shapes = [y.shape for y in ys]
    return tuple(ys), lambda gs: xp.concat(filled(xp, gs, shapes), axis=axis)


def filled(xp: Any, gs: tuple[Any, ...], shapes: list[tuple[int, ...]]) -> list[Any]:
    """The gradients of several results, with zeros for those that were not used."""
    like = next(g for g in gs if g is not None)
    return [
        xp.zeros(shape, dtype=like.dtype, device=device_of(like)) if g is None else g
        for g, shape in zip(gs, shapes, strict=True)
    ]


# ---- to another device


@rule
def to_device(xp: Any, x: Any, /, device: Any, *, stream: Any = None) -> Any:
    if type(x) is Array:
        home = x.device
        return x.to_device(device, stream=stream), lambda g: g.to_device(home)
    backend = backend_of(xp)
    home = backend.device_of(x)
    return backend.to_device(x, device, stream), lambda g: backend.to_device(g, home)


# ---- composed of the above


def broadcast_arrays(xp: Any, /, *arrays: Any) -> Any:
    arrays = tuple(xp.asarray(x) for x in arrays)
    shape = broadcast_shape(*[x.shape for x in arrays])
    return like_plain(xp, "broadcast_arrays", [xp.broadcast_to(x, shape) for x in arrays])


def meshgrid(
    xp: Any, /, *arrays: Any, indexing: str = "xy", sparse: bool = False, copy: bool = True
) -> Any:
    """Each vector along an axis of its own, spread over all others; `sparse` and `copy` are NumPy's."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    n = len(arrays)
    order = list(range(n))
    if indexing == "xy" and n > 1:  # the first vector runs along the columns
        order[0], order[1] = 1, 0
    arrays = tuple(xp.asarray(x) for x in arrays)
    grids = [
        xp.reshape(x, tuple(x.size if j == i else 1 for j in range(n)))
        for i, x in zip(order, arrays, strict=True)
    ]
    if not sparse:
        shape = broadcast_shape(*[x.shape for x in grids])
        grids = [xp.broadcast_to(x, shape) for x in grids]
    return like_plain(xp, "meshgrid", grids)


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to which all of these broadcast.

    *Raises* `ShapeError` if there is none.
    """
    n = max([0, *[len(shape) for shape in shapes]])
    padded = [(1,) * (n - len(s)) + tuple(s) for s in shapes]
    out = []
    for sizes in zip(*padded, strict=True):
        longer = {m for m in sizes if m != 1}
        if len(longer) > 1:
            given = ", ".join(map(str, shapes))
            raise ShapeError(f"the shapes {given} do not broadcast: sizes must be equal or 1")
        out.append(longer.pop() if longer else 1)
    return tuple(out)


def like_plain(xp: Any, name: str, values: list[Any]) -> Any:
    """The values in a list or a tuple, as the plain library returns them."""
    plain = xp.xp
    return type(getattr(plain, name)(plain.zeros((1,))))(values)


COMPOSED = {"broadcast_arrays": broadcast_arrays, "meshgrid": meshgrid}
