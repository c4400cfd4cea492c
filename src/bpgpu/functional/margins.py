"""Losses that ask for a margin: nothing is lost where the right answer is ahead by enough.

At the edge of the margin, `margin_ranking_loss`, `hinge_embedding_loss` and those of distances have
the gradient of the inside, `multi_margin_loss` and `multilabel_margin_loss` none, as in torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from bpgpu.autodiff.array import device_of, raw
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.backend.classes import places
from bpgpu.backend.libraries import namespace_of
from bpgpu.backend.look import at_hand
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional import arguments
from bpgpu.functional.arguments import Array
from bpgpu.functional.bounds import positive_part
from bpgpu.functional.distances import pairwise_distance
from bpgpu.functional.labels import checked_labels
from bpgpu.functional.reduction import (
    as_floating,
    broadcast,
    check_reduction,
    reduced,
    together,
)
from bpgpu.functional.select import keep


def hinge_embedding_loss(
    input: Array, target: Array, margin: float = 1.0, reduction: str = "mean"
) -> Array:
    """For distances `x` of pairs that are alike (`t = 1`) or not (`t = -1`): terms `x` and `max(0,
    margin - x)`.

    *Shape* input and target `(*)`, or shapes that broadcast.

    *Parameters* `margin`: how far apart what is not alike should be. `reduction`: `"mean"`, `"sum"`
    or `"none"`.

    *Raises* `ShapeError` for shapes that do not broadcast; `DtypeError` unless the input is of real
    floating numbers; `ValueError` for an unknown reduction.

    *Notes* A target that is neither 1 nor -1 counts as both, as in torch.

    >>> import numpy as np
    >>> hinge_embedding_loss(np.asarray([0.25, 0.25]), np.asarray([1, -1]), reduction="none")
    array([0.25, 0.75])
    """
    name = "hinge_embedding_loss"
    check_reduction(name, reduction)
    x, t = broadcast(name, input=input, target=as_floating(name, input, target))
    t = raw(t)
    return reduced(keep(positive_part(margin - x), t != 1) + keep(x, t != -1), reduction)


def margin_ranking_loss(
    input1: Array, input2: Array, target: Array, margin: float = 0, reduction: str = "mean"
) -> Array:
    """For scores that should be ordered, the first above the second (`t = 1`) or below (`t = -1`):
    terms `max(0, margin - t (x1 - x2))`.

    *Shape* all `(*)`, or shapes of as many axes that broadcast.

    *Parameters* `margin`: by how much. `reduction`: `"mean"`, `"sum"` or `"none"`.

    *Raises* `ShapeError` for shapes that do not belong together; `DtypeError` unless the inputs are
    of real floating numbers; `ValueError` for an unknown reduction.

    >>> import numpy as np
    >>> x = np.asarray([1.0, 1.0])
    >>> margin_ranking_loss(x, np.zeros(2), np.asarray([1, -1]), margin=0.5, reduction="none")
    array([0. , 1.5])
    """
    name = "margin_ranking_loss"
    check_reduction(name, reduction)
    arguments.real(name, input1=input1, input2=input2)
    target = as_floating(name, input1, target)
    _check_axes(name, input1=input1, input2=input2, target=target)
    _, x1, x2, t = together(input1, input2, target)
    return reduced(positive_part(margin - t * (x1 - x2)), reduction)


def _check_axes(function: str, **arrays: Array) -> None:
    """Raise unless all arrays have as many axes as each other, and broadcast."""
    if len({x.ndim for x in arrays.values()}) > 1:
        given = ", ".join(f"{name} {tuple(x.shape)}" for name, x in arrays.items())
        raise ShapeError(f"{function}: expected arrays of as many axes as each other, got {given}")
    broadcast(function, **arrays)


def cosine_embedding_loss(
    input1: Array, input2: Array, target: Array, margin: float = 0, reduction: str = "mean"
) -> Array:
    """For vectors that should point the same way (`t = 1`) or not (`t = -1`): terms `1 - cos` and
    `max(0, cos - margin)`, with `cos` the cosine of their angle.

    *Shape* inputs `(N, D)` and target `(N)`, or `(D)` and `()`.

    *Parameters* `margin`: the cosine up to which nothing is lost, -1 to 1. `reduction`: `"mean"`,
    `"sum"` or `"none"`.

    *Raises* `ShapeError` for shapes that do not belong together; `DtypeError` unless the inputs are
    of real floating numbers; `ValueError` for an unknown reduction.

    *Notes* The squared lengths get 1e-12 added. A target that is neither 1 nor -1 gives 0.

    >>> import numpy as np
    >>> x, y = np.asarray([[1.0, 0.0]]), np.asarray([[0.0, 2.0]])
    >>> cosine_embedding_loss(x, y, np.asarray([1]))
    np.float64(1.0)
    """
    name = "cosine_embedding_loss"
    check_reduction(name, reduction)
    arguments.real(name, input1=input1, input2=input2)
    target = as_floating(name, input1, target)
    axes = target.ndim + 1
    if axes > 2 or input1.ndim != axes or input2.ndim != axes:
        raise ShapeError(
            f"{name}: expected inputs (N, D) and target (N), or (D) and (), got "
            f"{tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}"
        )
    xp, x1, x2 = together(input1, input2)
    broadcast(name, input1=x1, input2=x2)
    dot = xp.sum(x1 * x2, axis=-1)
    cos = dot / xp.sqrt((xp.sum(x1 * x1, axis=-1) + 1e-12) * (xp.sum(x2 * x2, axis=-1) + 1e-12))
    cos, t = broadcast(name, cosine=cos, target=raw(target))
    return reduced(keep(1 - cos, t == 1) + keep(positive_part(cos - margin), t == -1), reduction)


# ---- classes


def multi_margin_loss(
    input: Array,
    target: Array,
    p: int = 1,
    margin: float = 1.0,
    weight: Array | None = None,
    reduction: str = "mean",
) -> Array:
    """The hinge loss of several classes: `w_t / C` times the sum over all others of `max(0, margin -
    x_t + x_c)^p`.

    *Shape* input `(N, C)` and target `(N)`, or `(C)` and `()`; the result is a scalar, or of the shape
    of the target with `reduction="none"`.

    *Parameters* `p`: 1 or 2. `margin`: how far ahead the score of the right class should be.
    `weight`: a factor for each class, `(C)`. `reduction`: `"mean"`, `"sum"` or `"none"`; the mean is
    over the number of labels.

    *Raises* `ShapeError` for shapes that do not belong together; `DtypeError` unless the input is of
    real floating numbers and the target of integers; `ValueError` for a label outside of `[0, C)`,
    another `p` or an unknown reduction.

    *Notes* Where labels may not be read, on a GPU or in a compiled step, a wrong label makes the loss
    NaN.

    *References* K. Crammer, Y. Singer (2001), "On the algorithmic implementation of multiclass
    kernel-based vector machines".

    >>> import numpy as np
    >>> multi_margin_loss(np.asarray([[0.1, 0.2, 0.4, 0.8]]), np.asarray([3]))
    np.float64(0.32499999999999996)
    """
    name = "multi_margin_loss"
    check_reduction(name, reduction)
    if p not in (1, 2):
        raise ArgumentError(f"{name}: expected p as 1 or 2, got {p!r}")
    arguments.real(name, input=input, weight=weight)
    shape, t = tuple(input.shape), raw(target)
    if len(shape) > 2 or (t.shape != shape[:-1] and not (len(shape) < 2 and t.shape == (1,))):
        raise ShapeError(
            f"{name}: expected input (N, C) and target (N), or (C) and (), got {shape} and "
            f"{tuple(t.shape)}"
        )
    xp, x, w = together(input, weight)
    n, c = (shape if len(shape) == 2 else (1, *shape, 1))[:2]
    if c == 0:
        raise ShapeError(f"{name}: expected at least one class, got input {shape}")
    x = xp.reshape(x, (n, c))
    index, _, wrong = checked_labels(name, namespace_of(t).reshape(t, (n,)), c)
    if w is not None and w.shape != (c,):
        raise ShapeError(f"{name}: expected weight ({c},), got {tuple(w.shape)}")
    z = x - xp.expand_dims(x[places(x, index)], axis=1) + margin  # (N, C)
    others = _classes(index, c) != index[:, None]
    m = keep(z, (raw(z) > 0) & others)
    loss = xp.sum(m if p == 1 else m * m, axis=1) / c
    return _finished(loss if w is None else loss * w[(index,)], wrong, target.shape, reduction)


def _classes(like: Any, count: int) -> Any:
    """`0, 1, ..., count - 1` beside an array of labels."""
    return namespace_of(like).arange(count, dtype=like.dtype, device=device_of(like))


def _finished(loss: Array, wrong: Any, shape: tuple[int, ...], reduction: str) -> Array:
    xp = array_namespace(loss)
    if wrong is not None:
        loss = xp.where(wrong, math.nan, loss)
    return xp.reshape(loss, shape) if reduction == "none" else reduced(loss, reduction)


def multilabel_margin_loss(input: Array, target: Array, reduction: str = "mean") -> Array:
    """The hinge loss where several classes are right: the sum over right classes `j` and others `i`
    of `max(0, 1 - x_j + x_i) / C`.

    *Shape* input `(N, C)` or `(C)`; target the same: the right classes, then -1; what follows counts
    for nothing. The result is a scalar, or `(N)` or `()` with `reduction="none"`.

    *Parameters* `reduction`: `"mean"`, `"sum"` or `"none"`.

    *Raises* `ShapeError` for shapes that do not belong together; `DtypeError` unless the input is of
    real floating numbers and the target of integers; `ValueError` for a label outside of `[-1, C)`
    or an unknown reduction.

    *Notes* It takes memory for all pairs, up to `N C^2`. Where labels may not be read, on a GPU or in
    a compiled step, a wrong label makes the loss NaN.

    >>> import numpy as np
    >>> multilabel_margin_loss(np.asarray([0.1, 0.2, 0.4, 0.8]), np.asarray([3, 0, -1, 1]))
    np.float64(0.8500000000000001)
    """
    name = "multilabel_margin_loss"
    check_reduction(name, reduction)
    arguments.real(name, input=input)
    arguments.integers(name, target=target)
    shape, t = tuple(input.shape), raw(target)
    if t.shape != shape or len(shape) > 2:
        raise ShapeError(
            f"{name}: expected input and target both (N, C) or both (C), got {shape} and "
            f"{tuple(t.shape)}"
        )
    n, c = shape if len(shape) == 2 else (1, *shape, 1)[:2]
    if c == 0:
        raise ShapeError(f"{name}: expected at least one class, got input {shape}")
    lib, xp = namespace_of(t), array_namespace(input)
    labels, valid, wrong = _right_classes(name, lib.reshape(t, (n, c)), c)
    is_right = lib.any((labels[:, :, None] == _classes(labels, c)) & valid[:, :, None], axis=1)
    x = xp.reshape(input, (n, c))
    rows = lib.arange(n, device=device_of(t))
    z = 1 - xp.expand_dims(x[rows[:, None], labels], axis=2) + xp.expand_dims(x, axis=1)
    mask = (raw(z) > 0) & valid[:, :, None] & ~is_right[:, None, :]  # (N, right classes, C)
    return _finished(xp.sum(keep(z, mask), axis=(1, 2)) / c, wrong, shape[:-1], reduction)


def _right_classes(function: str, t: Any, c: int) -> tuple[Any, Any, Any]:
    """The right classes, 0 behind the last of them, a mask that tells which are meant, and one of the
    rows that name no class.

    Where the labels may be looked at, columns that no row uses are left out.
    """
    xp = namespace_of(t)
    t = xp.astype(t, xp.int64)
    outside = (t < -1) | (t >= c)
    valid = (xp.cumulative_sum(xp.astype(t < 0, xp.int64), axis=1) == 0) & ~outside
    if not at_hand(t):
        return xp.where(valid, t, 0), valid, xp.any(outside, axis=1)
    if bool(xp.any(outside)):
        found = int(xp.max(xp.where(outside, t, xp.min(t) - 1)))
        raise ArgumentError(f"{function}: expected target in [-1, {c}), got {found}")
    width = int(xp.max(xp.sum(xp.astype(valid, xp.int64), axis=1))) if t.shape[0] else c
    return xp.where(valid, t, 0)[:, :width], valid[:, :width], None


# ---- triplets


def triplet_margin_loss(
    anchor: Array,
    positive: Array,
    negative: Array,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Array:
    """What is like the anchor should be nearer than what is not: terms `max(0, margin + d(a, p) - d(a,
    n))`.

    *Shape* all `(*, D)`, or shapes of as many axes that broadcast; the result is a scalar, or `(*)`
    with `reduction="none"`.

    *Parameters* `margin`: by how much, above 0. `p`, `eps`: of the distance, as in
    `pairwise_distance`. `swap`: take `d(p, n)` where it is smaller than `d(a, n)`. `reduction`:
    `"mean"`, `"sum"` or `"none"`.

    *Raises* `ShapeError` for shapes that do not belong together; `DtypeError` unless all are of real
    floating numbers; `ValueError` for a margin of 0 or less, or an unknown reduction.

    *References* V. Balntas et al. (2016), "Learning local feature descriptors with triplets and
    shallow convolutional neural networks", section 3.

    >>> import numpy as np
    >>> a, b, c = (np.asarray([[v, 0.0]]) for v in (0.0, 1.0, 1.5))
    >>> round(float(triplet_margin_loss(a, b, c)), 6)
    0.5
    """

    def distance(x: Array, y: Array) -> Array:
        return pairwise_distance(x, y, p, eps)

    name = "triplet_margin_loss"
    return _triplet(name, anchor, positive, negative, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: Array,
    positive: Array,
    negative: Array,
    *,
    distance_function: Callable[[Array, Array], Array] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Array:
    """As `triplet_margin_loss`, with a distance of one's own.

    *Parameters* `distance_function`: takes two arrays; `pairwise_distance` without one. Others as for
    `triplet_margin_loss`.

    >>> import numpy as np
    >>> a, b, c = (np.asarray([[v, 0.0]]) for v in (0.0, 1.0, 1.5))
    >>> def city_block(x, y):
    ...     return abs(x - y).sum(-1)
    >>> triplet_margin_with_distance_loss(a, b, c, distance_function=city_block)
    np.float64(0.5)
    """
    name = "triplet_margin_with_distance_loss"
    distance = pairwise_distance if distance_function is None else distance_function
    return _triplet(name, anchor, positive, negative, distance, margin, swap, reduction)


def _triplet(
    function: str,
    anchor: Array,
    positive: Array,
    negative: Array,
    distance: Callable[[Array, Array], Array],
    margin: float,
    swap: bool,
    reduction: str,
) -> Array:
    check_reduction(function, reduction)
    if not margin > 0:
        raise ArgumentError(f"{function}: expected margin above 0, got {margin}")
    arguments.real(function, anchor=anchor, positive=positive, negative=negative)
    _check_axes(function, anchor=anchor, positive=positive, negative=negative)
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        other = distance(positive, negative)
        far = array_namespace(far, other).minimum(far, other)
    xp = array_namespace(near, far)
    return reduced(positive_part(xp.subtract(near, far) + margin), reduction)
