"""Distances and angles between vectors."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import device_of, raw
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import rule
from bpgpu.autodiff.rules.elementwise import quotient
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional import arguments
from bpgpu.functional.arguments import Array
from bpgpu.functional.bounds import at_least
from bpgpu.functional.reduction import broadcast
from bpgpu.functional.select import keep


@rule(arrays=2)
def _cosine(xp: Any, x1: Any, x2: Any, /, axis: int, eps: float) -> Any:
    n1 = xp.linalg.vector_norm(x1, axis=axis, keepdims=True)
    n2 = xp.linalg.vector_norm(x2, axis=axis, keepdims=True)
    long1, long2 = at_least(n1, eps), at_least(n2, eps)
    u1, u2 = x1 / long1, x2 / long2
    y = xp.sum(u1 * u2, axis=axis)

    def pull(g: Any, x: Any, n: Any, long: Any, other: Any) -> Any:
        """Of the other direction, what is not along `x`: only turning changes the angle."""
        g, cosine = xp.expand_dims(g, axis=axis), xp.expand_dims(y, axis=axis)
        return g * ((other - cosine * quotient(xp, x, n)) / long)

    return y, lambda g: pull(g, x1, n1, long1, u2), lambda g: pull(g, x2, n2, long2, u1)


def cosine_similarity(x1: Array, x2: Array, dim: int = 1, eps: float = 1e-8) -> Array:
    """The cosine of the angle between vectors, `x1 . x2 / (max(|x1|, eps) max(|x2|, eps))`.

    `d/dx1 = (u2 - y u1) / |x1|` for the directions `u` and the cosine `y`.

    *Shape* both `(*)`, or shapes that broadcast; the result has no axis `dim` any more.

    *Parameters* `dim`: the axis along which the vectors lie. `eps`: the smallest length.

    *Raises* `ShapeError` for shapes that do not broadcast or an axis that does not exist;
    `DtypeError` unless both are of real floating numbers.

    *Notes* A vector of zeros gives 0. The limit `eps` does not stop the gradient, as in torch.

    >>> import numpy as np
    >>> cosine_similarity(np.asarray([[1.0, 0.0]]), np.asarray([[1.0, 1.0]]))
    array([0.70710678])
    """
    name = "cosine_similarity"
    arguments.real(name, x1=x1, x2=x2)
    x1, x2 = broadcast(name, x1=x1, x2=x2)
    axis = arguments.axis_of(name, dim, x1.ndim)
    if x1.ndim == 0:
        xp = array_namespace(x1, x2)
        return _cosine(xp.reshape(x1, (1,)), xp.reshape(x2, (1,)), 0, eps)
    return _cosine(x1, x2, axis, eps)


def pairwise_distance(
    x1: Array, x2: Array, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Array:
    """The distance between vectors, `(sum_i |x1_i - x2_i + eps|^p)^(1/p)`, along the last axis.

    *Shape* `(*, D)` both, or shapes that broadcast; the result is `(*)`, with `keepdim` `(*, 1)`.

    *Parameters* `p`: the order of the norm, any number; infinity for the largest difference. `eps`:
    added to each difference.

    *Raises* `ShapeError` for shapes that do not broadcast; `DtypeError` unless both are of real
    floating numbers.

    *Notes* The gradient of a distance of 0 is 0, as it is of a difference of 0 for `p <= 1`. Largest
    differences that tie share the gradient.

    >>> import numpy as np
    >>> pairwise_distance(np.asarray([[0.0, 0.0]]), np.asarray([[3.0, 4.0]]), eps=0.0)
    array([5.])
    """
    arguments.real("pairwise_distance", x1=x1, x2=x2)
    x1, x2 = broadcast("pairwise_distance", x1=x1, x2=x2)
    xp = array_namespace(x1, x2)
    d = xp.subtract(x1, x2) + eps
    if d.ndim == 0:
        d = xp.reshape(d, (1,))
    return _norm(xp, d, p, keepdim)


def _norm(xp: Any, d: Array, p: float, keepdims: bool) -> Array:
    if d.shape[-1] == 0 and math.isinf(p):
        raise ShapeError(f"pairwise_distance: expected vectors of at least one number for p={p}")
    return xp.linalg.vector_norm(d, axis=-1, keepdims=keepdims, ord=p)


@rule
def _largest(xp: Any, d: Any, /) -> Any:
    """The largest absolute value along axis 1. Entries that tie get the whole gradient each, as in
    torch's `pdist`."""
    size = xp.abs(d)
    y = _largest(d) if type(d) is Traced else xp.max(size, axis=1)
    reached = raw(size) == raw(xp.expand_dims(y, axis=1))
    return y, lambda g: keep(xp.sign(d) * xp.expand_dims(g, axis=1), reached)


def pdist(input: Array, p: float = 2) -> Array:
    """The distance of every row from each that follows: `(|x_0 - x_1|, |x_0 - x_2|, ..., |x_1 - x_2|,
    ...)`.

    *Shape* `(N, D) -> (N (N - 1) / 2)`

    *Parameters* `p`: the order of the norm, 0 or more; infinity for the largest difference.

    *Raises* `ShapeError` unless the input has two axes; `ValueError` for a negative `p`;
    `DtypeError` unless it is of real floating numbers.

    *Notes* The gradient of a distance of 0 is 0. For `p` infinite, each of the largest differences
    gets the whole gradient, as in torch.

    >>> import numpy as np
    >>> pdist(np.asarray([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    array([5.        , 1.        , 4.24264069])
    """
    arguments.real("pdist", input=input)
    if input.ndim != 2:
        raise ShapeError(f"pdist: expected input (N, D), got {tuple(input.shape)}")
    if not p >= 0:
        raise ArgumentError(f"pdist: expected p of at least 0, got {p}")
    xp = array_namespace(input)
    first, second = _pairs(input)
    d = xp.take(input, first, axis=0) - xp.take(input, second, axis=0)
    if 0 in d.shape:
        return xp.sum(d, axis=1)
    return _largest(d) if math.isinf(p) else xp.linalg.vector_norm(d, axis=1, ord=p)


def _pairs(x: Array) -> tuple[Any, Any]:
    """All `i < j < N` in order. Row `i` has `N - 1 - i` pairs: counted from the end, the rows make up
    a triangle of `1, 2, 3, ...` pairs, and a square root tells in which of its lines a pair stands."""
    xp, n, device = namespace_of(raw(x)), x.shape[0], device_of(x)
    count = n * (n - 1) // 2
    place = xp.arange(count, device=device)
    rest = count - 1 - place
    root = xp.sqrt(xp.astype(8 * rest + 1, xp.float32))
    line = xp.astype(xp.floor((root - 1) / 2), place.dtype)
    line = xp.where(line * (line + 1) // 2 > rest, line - 1, line)  # rounding, off by one at most
    line = xp.where((line + 1) * (line + 2) // 2 <= rest, line + 1, line)
    first = n - 2 - line
    return first, place - first * (2 * n - first - 1) // 2 + first + 1
