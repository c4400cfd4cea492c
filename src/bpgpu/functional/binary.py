"""Losses of yes-or-no decisions: cross-entropies of probabilities and of logits, and their like for
targets of 1 and -1."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import raw
from bpgpu.autodiff.rule import rule
from bpgpu.autodiff.rules.manipulation import broadcast_shape
from bpgpu.backend.look import between
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional import arguments
from bpgpu.functional.activations import _sigmoid, logsigmoid
from bpgpu.functional.arguments import Array
from bpgpu.functional.bounds import at_least, positive_part
from bpgpu.functional.reduction import (
    as_floating,
    broadcast,
    check_reduction,
    check_same_shape,
    pairwise,
    reduced,
    together,
)
from bpgpu.functional.select import choose

LEAST_LOG = -100.0
"""The logarithm of a probability of 0, as torch has it."""


@pairwise
def _of_probabilities(xp: Any, x: Any, t: Any) -> Any:
    logs = _limited(xp, xp.log, x, raw(x) == 0)
    others = _limited(xp, xp.log1p, -x, raw(x) == 1)

    def pull_x(g: Any) -> Any:
        return (x - t) / at_least(x * (1 - x), 1e-12) * g

    return (t - 1) * others - t * logs, pull_x, lambda g: (others - logs) * g


def _limited(xp: Any, log: Any, p: Any, impossible: Any) -> Any:
    """The logarithm of a probability, not below -100."""
    y = at_least(log(choose(0.5, p, impossible)), LEAST_LOG)
    return choose(LEAST_LOG, y, impossible)


def binary_cross_entropy(
    input: Array, target: Array, weight: Array | None = None, reduction: str = "mean"
) -> Array:
    """The cross-entropy of probabilities of yes: terms `-w (t log(x) + (1 - t) log(1 - x))`.

    `d/dx = w (x - t) / (x (1 - x))`

    *Shape* input and target `(*)`; the result is a scalar, or `(*)` with `reduction="none"`.

    *Parameters* `weight`: factors that broadcast to the shape of the input. `reduction`: `"mean"`,
    `"sum"` or `"none"`; the mean is over the number of terms.

    *Raises* `ShapeError` for shapes that do not belong together; `DtypeError` unless all are of real
    floating numbers; `ValueError` for an input outside of `[0, 1]`, where it may be looked at (else
    the loss is NaN), or an unknown reduction.

    *Notes* Logarithms are limited to -100 and `x (1 - x)` to 1e-12, as in torch. With a sigmoid
    before it, `binary_cross_entropy_with_logits` is exact where this is not.

    >>> import numpy as np
    >>> binary_cross_entropy(np.asarray([0.5, 0.0]), np.asarray([1.0, 1.0]), reduction="none")
    array([  0.69314718, 100.        ])
    """
    name = "binary_cross_entropy"
    check_reduction(name, reduction)
    arguments.real(name, input=input, target=target, weight=weight)
    check_same_shape(name, input=input, target=target)
    _check_factors(name, input, weight=weight)
    if between(raw(input), 0, 1) is False:
        raise ArgumentError(
            f"{name}: expected probabilities in [0, 1] as input; apply a sigmoid first, or use "
            "binary_cross_entropy_with_logits"
        )
    if weight is None:
        return _of_probabilities(input, target, reduction)
    _, loss, weight = together(_of_probabilities(input, target, "none"), weight)
    return reduced(loss * weight, reduction)


@pairwise
def _of_logits(xp: Any, x: Any, t: Any) -> Any:
    """`log(1 + exp(x)) - t x`, with the exponential of a number that is not positive."""
    y = positive_part(x) - x * t + xp.log1p(xp.exp(-xp.abs(x)))
    return y, lambda g: (_sigmoid(x) - t) * g, lambda g: x * -g


def binary_cross_entropy_with_logits(
    input: Array,
    target: Array,
    weight: Array | None = None,
    reduction: str = "mean",
    pos_weight: Array | None = None,
) -> Array:
    """The cross-entropy of a sigmoid: terms `-w (p t log s(x) + (1 - t) log(1 - s(x)))`, with `s` the
    sigmoid.

    `d/dx = w (s(x) - t)`, for `p = 1`

    *Shape* input and target `(*)`; the result is a scalar, or `(*)` with `reduction="none"`.

    *Parameters* `weight`: factors `w` that broadcast to the shape of the input. `pos_weight`: factors
    `p` of the yes, likewise, most often one for each class; above 1 they raise recall. `reduction`:
    `"mean"`, `"sum"` or `"none"`.

    *Raises* as `binary_cross_entropy`, without a range of the input.

    *Notes* Nothing overflows, and small losses keep their digits: terms are `max(x, 0) - x t +
    log1p(exp(-|x|))`.

    >>> import numpy as np
    >>> x, t = np.asarray([0.0, 1000.0]), np.asarray([1.0, 0.0])
    >>> binary_cross_entropy_with_logits(x, t, reduction="none")
    array([6.93147181e-01, 1.00000000e+03])
    """
    name = "binary_cross_entropy_with_logits"
    check_reduction(name, reduction)
    arguments.real(name, input=input, target=target, weight=weight, pos_weight=pos_weight)
    check_same_shape(name, input=input, target=target)
    _check_factors(name, input, weight=weight, pos_weight=pos_weight)
    if weight is None and pos_weight is None:
        return _of_logits(input, target, reduction)
    _, x, t, weight, p = together(input, target, weight, pos_weight)
    loss = _of_logits(x, t, "none")
    if p is not None:
        loss = loss - (p - 1) * t * logsigmoid(x)
    return reduced(loss if weight is None else loss * weight, reduction)


def _check_factors(function: str, input: Array, **factors: Array | None) -> None:
    """Raise unless the factors broadcast to the shape of the input."""
    shape = tuple(input.shape)
    for name, w in factors.items():
        if w is None or w.shape == shape:
            continue
        try:
            fits = broadcast_shape(shape, w.shape) == shape
        except ShapeError:
            fits = False
        if not fits:
            raise ShapeError(
                f"{function}: expected {name} to broadcast to the shape of the input, {shape}, got "
                f"{tuple(w.shape)}"
            )


@pairwise
def _soft_margin(xp: Any, x: Any, t: Any) -> Any:
    """`log(1 + exp(-u))` with `u = t x`."""
    u = t * x
    y = positive_part(-u) + xp.log1p(xp.exp(-xp.abs(u)))
    return y, lambda g: _sigmoid(-u) * t * -g, lambda g: _sigmoid(-u) * x * -g


def soft_margin_loss(input: Array, target: Array, reduction: str = "mean") -> Array:
    """The logistic loss for targets of 1 and -1: terms `log(1 + exp(-t x))`.

    `d/dx = -t s(-t x)`, with `s` the sigmoid.

    *Shape* input and target `(*)`, or shapes that broadcast.

    *Parameters* `reduction`: `"mean"`, `"sum"` or `"none"`.

    *Raises* `ShapeError` for shapes that do not broadcast; `DtypeError` unless the input is of real
    floating numbers; `ValueError` for an unknown reduction.

    *Notes* Nothing overflows: the exponential is of a number that is not positive.

    >>> import numpy as np
    >>> soft_margin_loss(np.asarray([0.0, -1000.0]), np.asarray([1.0, 1.0]), reduction="none")
    array([6.93147181e-01, 1.00000000e+03])
    """
    check_reduction("soft_margin_loss", reduction)
    target = as_floating("soft_margin_loss", input, target)
    return _soft_margin(*broadcast("soft_margin_loss", input=input, target=target), reduction)


@rule
def _mean_of_last(xp: Any, x: Any, /) -> Any:
    shape, n = x.shape, x.shape[-1] or math.nan
    return xp.sum(x, axis=-1) / n, lambda g: xp.broadcast_to(xp.expand_dims(g / n, axis=-1), shape)


def multilabel_soft_margin_loss(
    input: Array, target: Array, weight: Array | None = None, reduction: str = "mean"
) -> Array:
    """Several yes-or-no decisions about one thing: the mean over classes of `-w_c (t_c log s(x_c) +
    (1 - t_c) log s(-x_c))`, with `s` the sigmoid.

    *Shape* input and target `(*, C)`; the result is a scalar, or `(*)` with `reduction="none"`.

    *Parameters* `weight`: factors that broadcast to the shape of the input, most often `(C)`.
    `reduction`: `"mean"`, `"sum"` or `"none"`.

    *Raises* as `soft_margin_loss`; `ShapeError` for an input without axes.

    >>> import numpy as np
    >>> x, t = np.asarray([[0.0, 2.0]]), np.asarray([[1.0, 0.0]])
    >>> multilabel_soft_margin_loss(x, t)
    np.float64(1.410037595801459)
    """
    name = "multilabel_soft_margin_loss"
    check_reduction(name, reduction)
    target = as_floating(name, input, target)
    arguments.real(name, weight=weight)
    if input.ndim == 0:
        raise ShapeError(f"{name}: expected input (..., C), got a number without axes")
    x, t = broadcast(name, input=input, target=target)
    _check_factors(name, x, weight=weight)
    _, terms, weight = together(_of_logits(x, t, "none"), weight)
    return reduced(_mean_of_last(terms if weight is None else terms * weight), reduction)
