"""NumPy's functions that move, join and split: by the names and arguments that its users write."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from bpgpu.autodiff.numpy_functions.table import Table, as_array
from bpgpu.autodiff.rules.manipulation import pieces
from bpgpu.errors import NotDifferentiableError

FUNCTIONS = table = Table()

# ---- order and shape


@table()
def transpose(xp: Any, a: Any, axes: Any = None) -> Any:
    return xp.permute_dims(a, tuple(range(a.ndim))[::-1] if axes is None else tuple(axes))


@table()
def swapaxes(xp: Any, a: Any, axis1: int, axis2: int) -> Any:
    order = list(range(a.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return xp.permute_dims(a, tuple(order))


@table()
def moveaxis(xp: Any, a: Any, source: Any, destination: Any) -> Any:
    return xp.moveaxis(a, source, destination)


@table()
def reshape(xp: Any, a: Any, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if order == "F":  # the first axis runs fastest: as usual between two transpositions
        return transpose(xp, xp.reshape(transpose(xp, a), shape[::-1]))
    return xp.reshape(a, shape, copy=copy)


@table("ravel")
def ravel(xp: Any, a: Any, order: str = "C") -> Any:
    return reshape(xp, a, (-1,), order)


@table()
def squeeze(xp: Any, a: Any, axis: Any = None) -> Any:
    if axis is None:
        axis = tuple(i for i, n in enumerate(a.shape) if n == 1)
    return xp.squeeze(a, axis=axis)


@table()
def expand_dims(xp: Any, a: Any, axis: Any) -> Any:
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    ndim = a.ndim + len(axes)
    for i in sorted(i % ndim for i in axes):
        a = xp.expand_dims(a, axis=i)
    return a


@table()
def flip(xp: Any, m: Any, axis: Any = None) -> Any:
    return xp.flip(m, axis=axis)


@table()
def roll(xp: Any, a: Any, shift: Any, axis: Any = None) -> Any:
    return xp.roll(a, shift, axis=axis)


@table()
def repeat(xp: Any, a: Any, repeats: Any, axis: int | None = None) -> Any:
    return xp.repeat(a, xp.asarray(repeats) if isinstance(repeats, list) else repeats, axis=axis)


@table()
def tile(xp: Any, a: Any, reps: Any) -> Any:
    return xp.tile(a, (reps,) if isinstance(reps, int) else tuple(reps))


@table("broadcast_to")
def broadcast_to(xp: Any, array: Any, shape: Any) -> Any:
    return xp.broadcast_to(array, (shape,) if isinstance(shape, int) else tuple(shape))


@table("broadcast_arrays", arrays=())
def broadcast_arrays(xp: Any, *args: Any) -> Any:
    return xp.broadcast_arrays(*args)


@table("meshgrid", arrays=())
def meshgrid(xp: Any, *xi: Any, **options: Any) -> Any:
    return xp.meshgrid(*[xp.asarray(x) for x in xi], **options)


@table()
def tril(xp: Any, m: Any, k: int = 0) -> Any:
    return xp.tril(m, k=k)


@table()
def triu(xp: Any, m: Any, k: int = 0) -> Any:
    return xp.triu(m, k=k)


@table()
def copy(xp: Any, a: Any) -> Any:
    return xp.asarray(a, copy=True)


@table("astype")
def astype(xp: Any, x: Any, dtype: Any, *, copy: bool = True, device: Any = None) -> Any:
    return xp.astype(x, dtype, copy=copy)


# ---- reading at positions


@table(arrays=("a", "indices"))
def take(xp: Any, a: Any, indices: Any, axis: int | None = None) -> Any:
    if axis is None:
        a, axis = xp.reshape(a, (-1,)), 0
    indices = xp.asarray(indices)
    y = xp.take(a, xp.reshape(indices, (-1,)), axis=axis)
    axis %= a.ndim
    return xp.reshape(y, (*a.shape[:axis], *indices.shape, *a.shape[axis + 1 :]))


@table(arrays=("arr", "indices"))
def take_along_axis(xp: Any, arr: Any, indices: Any, axis: int | None = -1) -> Any:
    if axis is None:
        arr, indices, axis = xp.reshape(arr, (-1,)), xp.reshape(indices, (-1,)), 0
    return xp.take_along_axis(arr, indices, axis=axis)


# ---- joining


def _listed(xp: Any, arrays: Any) -> list[Any]:
    """The parts of a sequence, or the rows of an array, as traced arrays."""
    return [xp.asarray(a) for a in arrays]


@table("concatenate", "concat", arrays=())
def concatenate(xp: Any, arrays: Any, axis: int | None = 0, *, dtype: Any = None) -> Any:
    y = xp.concat(_listed(xp, arrays), axis=axis)
    return y if dtype is None else xp.astype(y, dtype)


@table(arrays=())
def stack(xp: Any, arrays: Any, axis: int = 0, *, dtype: Any = None) -> Any:
    y = xp.stack(_listed(xp, arrays), axis=axis)
    return y if dtype is None else xp.astype(y, dtype)


@table(arrays=())
def vstack(xp: Any, tup: Any) -> Any:
    return xp.concat([at_least(xp, a, 2) for a in _listed(xp, tup)], axis=0)


@table(arrays=())
def hstack(xp: Any, tup: Any) -> Any:
    parts = [at_least(xp, a, 1) for a in _listed(xp, tup)]
    return xp.concat(parts, axis=0 if parts[0].ndim == 1 else 1)


@table(arrays=())
def dstack(xp: Any, tup: Any) -> Any:
    return xp.concat([at_least(xp, a, 3) for a in _listed(xp, tup)], axis=2)


@table(arrays=())
def column_stack(xp: Any, tup: Any) -> Any:
    parts = _listed(xp, tup)
    return xp.concat([xp.reshape(a, (-1, 1)) if a.ndim < 2 else a for a in parts], axis=1)


@table(arrays=())
def block(xp: Any, arrays: Any) -> Any:
    """Nested lists, the innermost joined along the last axis, the outermost along the first."""
    depth = _depth(arrays)

    def join(part: Any, level: int) -> Any:
        if not isinstance(part, list):
            return xp.asarray(part)
        parts = [join(p, level + 1) for p in part]
        ndim = max(depth, *(p.ndim for p in parts))
        return xp.concat([at_least(xp, p, ndim, front=True) for p in parts], axis=level - depth)

    return join(arrays, 0)


def _depth(part: Any) -> int:
    return 1 + max(map(_depth, part)) if isinstance(part, list) else 0


@table(arrays=("arr", "values"))
def append(xp: Any, arr: Any, values: Any, axis: int | None = None) -> Any:
    return xp.concat([arr, as_array(xp, values, arr)], axis=axis)


def at_least(xp: Any, a: Any, ndim: int, *, front: bool = False) -> Any:
    """The array with new axes until it has `ndim`, where NumPy puts them: in front, but the third behind."""
    while a.ndim < ndim:
        a = xp.expand_dims(a, axis=-1 if a.ndim == 2 and not front else 0)
    return a


@table(arrays=())
def atleast_1d(xp: Any, *arys: Any) -> Any:
    return _each(xp, arys, 1)


@table(arrays=())
def atleast_2d(xp: Any, *arys: Any) -> Any:
    return _each(xp, arys, 2)


@table(arrays=())
def atleast_3d(xp: Any, *arys: Any) -> Any:
    return _each(xp, arys, 3)


def _each(xp: Any, arrays: Any, ndim: int) -> Any:
    ys = tuple(at_least(xp, xp.asarray(a), ndim) for a in arrays)
    return ys[0] if len(ys) == 1 else ys


# ---- splitting


@table()
def array_split(xp: Any, ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    n = ary.shape[axis]
    if isinstance(indices_or_sections, int):
        small, larger = divmod(n, indices_or_sections)
        sizes = [small + 1] * larger + [small] * (indices_or_sections - larger)
        return list(pieces(ary, tuple(sizes), axis))
    cuts = [slice(int(i)).indices(n)[1] for i in indices_or_sections]
    before = (slice(None),) * (axis % ary.ndim)
    ends = zip([0, *cuts], [*cuts, n], strict=True)
    return [ary[(*before, slice(start, stop), ...)] for start, stop in ends]


@table()
def split(xp: Any, ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    if isinstance(indices_or_sections, int) and ary.shape[axis] % indices_or_sections:
        raise ValueError("array split does not result in an equal division")
    return array_split(xp, ary, indices_or_sections, axis)


@table()
def vsplit(xp: Any, ary: Any, indices_or_sections: Any) -> list[Any]:
    return split(xp, ary, indices_or_sections, 0)


@table()
def hsplit(xp: Any, ary: Any, indices_or_sections: Any) -> list[Any]:
    return split(xp, ary, indices_or_sections, 0 if ary.ndim == 1 else 1)


@table()
def dsplit(xp: Any, ary: Any, indices_or_sections: Any) -> list[Any]:
    return split(xp, ary, indices_or_sections, 2)


@table()
def unstack(xp: Any, x: Any, /, *, axis: int = 0) -> Any:
    return xp.unstack(x, axis=axis)


# ---- new arrays


@table("zeros_like", "empty_like")
def zeros_like(xp: Any, a: Any, dtype: Any = None, *, shape: Any = None, device: Any = None) -> Any:
    y = xp.zeros_like(a, dtype=dtype)
    return y if shape is None else xp.zeros(shape, dtype=y.dtype, device=y.device)


@table("ones_like")
def ones_like(xp: Any, a: Any, dtype: Any = None, *, shape: Any = None, device: Any = None) -> Any:
    y = xp.ones_like(a, dtype=dtype)
    return y if shape is None else xp.ones(shape, dtype=y.dtype, device=y.device)


@table(arrays=("a", "fill_value"))
def full_like(
    xp: Any, a: Any, fill_value: Any, dtype: Any = None, *, shape: Any = None, device: Any = None
) -> Any:
    a = xp.asarray(a)
    if shape is None:
        return xp.full_like(a, fill_value, dtype=dtype)
    return xp.full(shape, fill_value, dtype=a.dtype if dtype is None else dtype, device=a.device)


@table()
def shape(xp: Any, a: Any) -> tuple[int, ...]:
    return tuple(a.shape)


@table()
def ndim(xp: Any, a: Any) -> int:
    return int(a.ndim)


@table()
def size(xp: Any, a: Any, axis: int | None = None) -> int:
    return math.prod(a.shape) if axis is None else int(a.shape[axis])


# ---- borders


@table()
def pad(xp: Any, array: Any, pad_width: Any, mode: str = "constant", **options: Any) -> Any:
    """A border of a constant, or of copied entries, whose gradients are added to those of the originals."""
    if mode not in ("constant", *SOURCES) or set(options) - {"constant_values"}:
        raise NotDifferentiableError(
            f"numpy.pad of a traced array with mode {mode!r} and the options {sorted(options)} has no derivative here; "
            f"the modes are constant, {', '.join(SOURCES)}"
        )
    widths = _pairs(pad_width, array.ndim)
    if mode == "constant":
        values = _pairs(options.get("constant_values", 0), array.ndim)
        for axis, (width, value) in enumerate(zip(widths, values, strict=True)):
            shape = array.shape
            ends = [
                xp.full((*shape[:axis], w, *shape[axis + 1 :]), v, dtype=array.dtype)
                for w, v in zip(width, value, strict=True)
            ]
            array = xp.concat([ends[0], array, ends[1]], axis=axis)
        return array
    for axis, (before, after) in enumerate(widths):
        n = array.shape[axis]
        source = [SOURCES[mode](i, n) for i in range(-before, n + after)]
        array = xp.take(array, xp.asarray(source, dtype=xp.int64), axis=axis)
    return array


def _mirrored(i: int, n: int, period: int) -> int:
    i %= period
    return i if i < n else period - i - (period == 2 * n)


SOURCES: dict[str, Callable[[int, int], int]] = {
    "edge": lambda i, n: min(max(i, 0), n - 1),
    "reflect": lambda i, n: _mirrored(i, n, 2 * n - 2) if n > 1 else 0,
    "symmetric": lambda i, n: _mirrored(i, n, 2 * n),
    "wrap": lambda i, n: i % n,
}
"""From a place, counted from the first entry and beyond both ends, to the entry that is copied there."""


def _pairs(widths: Any, ndim: int) -> list[tuple[Any, Any]]:
    """One pair for each axis, from a number, a pair, or such pairs."""
    if not isinstance(widths, (list, tuple)):
        return [(widths, widths)] * ndim
    if not isinstance(widths[0], (list, tuple)):  # one pair, or one number, for all axes
        return [(widths[0], widths[-1])] * ndim
    pairs = [(w[0], w[-1]) for w in widths]
    return pairs * ndim if len(pairs) == 1 else pairs
