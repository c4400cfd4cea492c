"""Derivatives of products of matrices and vectors, and of the parts of a matrix: all of them linear in each operand."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.rule import rule, unbroadcast
from bpgpu.autodiff.rules.matrices import on_diagonal
from bpgpu.errors import ShapeError
from bpgpu.kernels import contraction, multiplication


@rule(arrays=2)
def matmul(xp: Any, x: Any, y: Any) -> Any:
    """Last two axes are matrices, the axes before them broadcast; an operand of one axis is a vector."""
    if x.dtype != y.dtype:
        x, y = promoted(xp, x, y)
    times = multiplication(xp)
    out = times(x, y)
    nx, ny = x.ndim, y.ndim
    if nx == 2 and ny == 2:
        return out, lambda g: times(g, y.T), lambda g: times(x.T, g)
    if nx == 1 and ny == 1:
        return out, lambda g: g * y, lambda g: g * x
    shape_x, shape_y = x.shape, y.shape

    def pull_x(g: Any) -> Any:
        if ny == 1:
            return unbroadcast(xp, xp.expand_dims(g, axis=-1) * y, shape_x)
        if nx == 1:
            return unbroadcast(
                xp, xp.squeeze(times(y, xp.expand_dims(g, axis=-1)), axis=-1), shape_x
            )
        return unbroadcast(xp, times(g, xp.matrix_transpose(y)), shape_x)

    def pull_y(g: Any) -> Any:
        if ny <= 2 <= nx:  # one matrix for a whole stack: the stack is one tall matrix
            tall_x = xp.reshape(x, (math.prod(shape_x[:-1]), shape_x[-1]))
            tall_g = xp.reshape(g, (tall_x.shape[0], *shape_y[1:]))
            return times(tall_x.T, tall_g)
        if nx == 1:
            return unbroadcast(xp, xp.expand_dims(x, axis=-1) * xp.expand_dims(g, axis=-2), shape_y)
        return unbroadcast(xp, times(xp.matrix_transpose(x), g), shape_y)

    return out, pull_x, pull_y


def promoted(xp: Any, x: Any, y: Any) -> Any:
    """Both in the dtype of their product: not every library multiplies matrices of two dtypes."""
    dtype = xp.result_type(x, y)
    return [v if v.dtype == dtype else xp.astype(v, dtype) for v in (x, y)]


@rule
def matrix_transpose(xp: Any, x: Any, /) -> Any:
    return xp.matrix_transpose(x), xp.matrix_transpose


@rule(arrays=2, conjugate=False)
def vecdot(xp: Any, x: Any, y: Any, /, *, axis: int = -1) -> Any:
    """Conjugates the first operand. The axis is counted in each of them before they broadcast."""
    out = xp.vecdot(x, y, axis=axis)
    x, y = xp.moveaxis(x, axis, -1), xp.moveaxis(y, axis, -1)
    shape_x, shape_y = x.shape, y.shape

    def pull(g: Any, other: Any, shape: tuple[int, ...]) -> Any:
        g = unbroadcast(xp, xp.expand_dims(g, axis=-1) * other, shape)
        return xp.moveaxis(g, -1, axis)

    return out, lambda g: pull(xp.conj(g), y, shape_x), lambda g: pull(g, x, shape_y)


@rule(arrays=2)
def tensordot(xp: Any, x: Any, y: Any, /, *, axes: Any = 2) -> Any:
    contract = contraction(xp)
    out = contract(x, y, axes=axes)
    of_x, of_y = _contracted(x, y, axes)
    free_x, free_y = _others(of_x, x.ndim), _others(of_y, y.ndim)
    front = tuple(range(len(free_x)))
    back = tuple(range(len(free_x), len(free_x) + len(free_y)))

    def pull_x(g: Any) -> Any:
        gx = contract(g, y, axes=(back, free_y))  # free axes of x, then sorted(of_y)
        return _arranged(xp, gx, free_x + tuple(of_x[of_y.index(a)] for a in sorted(of_y)))

    def pull_y(g: Any) -> Any:
        gy = contract(x, g, axes=(free_x, front))  # sorted(of_x), then free axes of y
        return _arranged(xp, gy, tuple(of_y[of_x.index(a)] for a in sorted(of_x)) + free_y)

    return out, pull_x, pull_y


def _contracted(x: Any, y: Any, axes: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of each operand that a tensordot sums over, pair by pair."""
    if isinstance(axes, int):
        axes = range(x.ndim - axes, x.ndim), range(axes)
    of_x, of_y = ((a,) if isinstance(a, int) else a for a in axes)
    pairs = [(a % x.ndim, b % y.ndim) for a, b in zip(of_x, of_y, strict=True)]
    for a, b in pairs:
        if x.shape[a] != y.shape[b]:
            raise ShapeError(
                f"tensordot: axis {a} of the first array has {x.shape[a]} entries, axis {b} of the second has "
                f"{y.shape[b]}; they are summed together, so they must be equal"
            )
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def _others(axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    return tuple(a for a in range(ndim) if a not in axes)


def _arranged(xp: Any, g: Any, places: tuple[int, ...]) -> Any:
    """Move axis i to `places[i]`."""
    return xp.permute_dims(g, tuple(places.index(a) for a in range(len(places))))


@rule(arrays=2)
def outer(xp: Any, x: Any, y: Any, /) -> Any:
    x, y = promoted(xp, x, y)
    return xp.linalg.outer(x, y), lambda g: g @ y, lambda g: x @ g


@rule(arrays=2)
def cross(xp: Any, x: Any, y: Any, /, *, axis: int = -1) -> Any:
    """g . (dx x y) = dx . (y x g), and in the same way for y."""
    out = xp.linalg.cross(x, y, axis=axis)
    shape_x, shape_y = x.shape, y.shape
    return (
        out,
        lambda g: unbroadcast(xp, xp.linalg.cross(y, g, axis=axis), shape_x),
        lambda g: unbroadcast(xp, xp.linalg.cross(g, x, axis=axis), shape_y),
    )


@rule
def diagonal(xp: Any, x: Any, /, *, offset: int = 0) -> Any:
    shape = x.shape[-2:]
    return (
        xp.linalg.diagonal(x, offset=offset),
        lambda g: on_diagonal(xp, g, shape, offset),
    )


@rule
def trace(xp: Any, x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    n, m = shape = x.shape[-2:]
    y = xp.linalg.trace(x, offset=offset, dtype=dtype)
    length = max(0, min(n + min(offset, 0), m - max(offset, 0)))

    def pull(g: Any) -> Any:
        d = xp.broadcast_to(xp.expand_dims(g, axis=-1), (*g.shape, length))
        return on_diagonal(xp, d, shape, offset)

    return y, pull
