"""The losses of classifiers: the negative logarithm of the probability that the right class got."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import rule
from bpgpu.autodiff.rules.indexing import scatter_add
from bpgpu.autodiff.transform import vjp
from bpgpu.backend.classes import exponentials, places, subtract_at
from bpgpu.backend.libraries import namespace_of
from bpgpu.backend.sums import total
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional import arguments
from bpgpu.functional.arguments import Array
from bpgpu.functional.labels import Labels, checked_labels
from bpgpu.functional.reduction import (
    REDUCTIONS,
    check_reduction,
    divisor,
    reduced,
    summed,
    together,
)
from bpgpu.functional.select import keep
from bpgpu.functional.softmax import _log_softmax, _softmax
from bpgpu.kernels import find


@rule
def _of_logits(xp: Any, x: Any, /, t: Any, n: float | None) -> Any:
    """`log(sum_c exp(x_c)) - x_t` for each position, or, with `n`, their sum divided by `n`.

    The gradient is the softmax, less 1 at the label: `exp(z) / s - 1[c = t]`.
    """
    key = places(x, t)
    if type(x) is Traced:

        def nested(g: Any) -> Any:
            g = g if n is None else xp.broadcast_to(g / n, t.shape)
            return _softmax(x, 1) * xp.expand_dims(g, axis=1) - scatter_add(g, x.shape, key)

        return _of_logits(x, t, n), nested
    z, e, s = exponentials(xp, x, key)  # (N, ...), (N, C, ...), (N, 1, ...)
    y = xp.log(s[:, 0, ...]) - z

    def pull(g: Any) -> Any:
        g, column = (g, g[:, None, ...]) if n is None else (g / n, g / n)
        return subtract_at(xp, e * (column / s), key, g)

    return y if n is None else total(xp, y, n), pull


@rule(arrays=2)
def _of_probabilities(xp: Any, x: Any, q: Any, /, axis: int) -> Any:
    """`-sum_c q_c log softmax(x)_c`, with the gradient `softmax(x) sum(q) - q` of the logits."""
    logs = _log_softmax(x, axis)

    def pull_x(g: Any) -> Any:
        sums = xp.sum(q, axis=axis, keepdims=True)
        return xp.expand_dims(g, axis=axis) * (xp.exp(logs) * sums - q)

    return -xp.sum(q * logs, axis=axis), pull_x, lambda g: -xp.expand_dims(g, axis=axis) * logs


def cross_entropy(
    input: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """The cross-entropy of a softmax with classes or probabilities.

    With class indices, `loss_n = -w[t_n] log softmax(x_n)[t_n]`; with probabilities `q`, `loss_n =
    -sum_c w_c q_nc log softmax(x_n)_c`. The gradient is the softmax less the target.

    *Shape* input `(C)`, `(N, C)` or `(N, C, d1, ..., dk)`: one score for each class. Target: class
    indices of shape `()`, `(N)` or `(N, d1, ..., dk)`, or probabilities of the shape of the input.
    The result is a scalar; with `reduction="none"`, `(N)` or `(N, d1, ..., dk)`.

    *Parameters*
    `weight`: one factor for each class, `(C)`.
    `ignore_index`: positions with this label add nothing, and do not count in the mean.
    `reduction`: `"mean"`, `"sum"` or `"none"`. The mean over indices is weighted: the sum divided by
    the sum of the weights `w[t_n]`; over probabilities it is divided by the number of positions.
    `label_smoothing` in `[0, 1]`: this much of the target goes to all classes in equal parts.

    *Raises* `ShapeError` for shapes that do not belong together; `DtypeError` unless the input is
    of real floating numbers; `ValueError` for a label outside of `[0, C)`, an unknown reduction, a
    smoothing outside of `[0, 1]`, or an `ignore_index` of 0 or more beside probabilities.

    *Notes* Computed from the logits less their maximum: nothing overflows, and a loss near 0 keeps
    its digits. Where labels may not be read, on a GPU or in a compiled step, a wrong label makes the
    loss NaN. The mean over no position is NaN.

    *References* C. Szegedy et al. (2016), "Rethinking the Inception architecture", section 7, for
    the smoothing.

    >>> import numpy as np
    >>> logits = np.asarray([[2.0, 0.0, 0.0], [0.0, 1000.0, 0.0]])
    >>> cross_entropy(logits, np.asarray([0, 1]), reduction="none")
    array([0.23954477, 0.        ])
    """
    name = "cross_entropy"
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"{name}: expected label_smoothing in [0, 1], got {label_smoothing}")
    if kind(arguments.dtype_of(name, "target", target)) != "other":
        check_reduction(name, reduction)
        if ignore_index >= 0:
            raise ArgumentError(
                f"{name}: ignore_index is for class indices, the target has probabilities; leave "
                f"positions out by a target of zeros, got ignore_index={ignore_index}"
            )
        return _soft(input, target, weight, reduction, label_smoothing)
    x, t = _shaped(name, input, target, weight, ignore_index, reduction)
    shape = target.shape if input.ndim > 1 else ()
    settings = (t, weight, ignore_index, reduction, label_smoothing, shape)
    plain = raw(x)
    if find("cross_entropy", namespace_of(plain), plain, *settings) is not None:
        return _at_once(x, *settings)
    return _step_by_step(x, *settings)


@rule
def _at_once(xp: Any, x: Any, /, *settings: Any) -> Any:
    """The loss by one kernel, and its gradient by another."""

    def steps(x: Any) -> Any:
        return _step_by_step(x, *settings)

    run = find("cross_entropy", xp, x, *settings)
    if run is None:  # within another gradient
        y, pull = vjp(steps, x)
        return y, lambda g: pull(g)[0]
    y, fast_pull = run(x, *settings)
    return y, lambda g: vjp(steps, x)[1](g)[0] if type(g) is Traced else fast_pull(g)


def _step_by_step(
    x: Array,
    t: Any,
    weight: Array | None,
    ignore_index: int,
    reduction: str,
    smoothing: float,
    shape: tuple[int, ...],
) -> Array:
    """The loss of labels `t`, which are `(N)` or `(N, D)`, and of `shape` for the caller."""
    labels = checked_labels("cross_entropy", t, x.shape[1], ignore_index)
    if x.shape[1] == 0:
        xp = array_namespace(x)
        return _finished(xp.sum(x, axis=1), labels, None, reduction, shape)
    if smoothing > 0:
        logs = _log_softmax(x, 1)
        loss = _smoothed(logs, _at_label(logs, labels, weight), weight, smoothing)
    elif weight is None and labels.all_count and reduction != "none":
        return _of_logits(x, labels.index, divisor(labels.index, reduction))
    else:
        loss = _times(_of_logits(x, labels.index, None), weight, labels)
    return _finished(loss, labels, weight, reduction, shape)


def _smoothed(logs: Array, loss: Array, weight: Array | None, smoothing: float) -> Array:
    """The part `1 - smoothing` of the loss, and the rest of its mean over all classes."""
    xp, logs, loss, weight = together(logs, loss, weight)
    uniform = logs if weight is None else logs * _along_classes(xp, weight, logs.ndim)
    share = smoothing / logs.shape[1]
    return (1 - smoothing) * loss - share * xp.sum(uniform, axis=1)


def _along_classes(xp: Any, weight: Array, ndim: int) -> Array:
    """One number for each class, to be broadcast against `(C)` or `(N, C, ...)`."""
    return xp.reshape(weight, (-1, *(1,) * max(ndim - 2, 0)))


def _soft(
    input: Array, target: Array, weight: Array | None, reduction: str, smoothing: float
) -> Array:
    """The cross-entropy with a probability for each class."""
    name = "cross_entropy"
    arguments.real(name, input=input, target=target, weight=weight)
    if input.shape != target.shape or input.ndim == 0:
        raise ShapeError(
            f"{name}: expected a target of probabilities, (N, C, ...) like the input, which has "
            f"shape {tuple(input.shape)}, got {tuple(target.shape)}; class indices are integers"
        )
    axis = min(input.ndim - 1, 1)
    _check_weight(name, weight, input.shape[axis])
    xp, x, q, weight = together(input, target, weight)
    if smoothing > 0 and input.shape[axis]:
        q = (1 - smoothing) * q + smoothing / input.shape[axis]
    if weight is not None:
        q = q * _along_classes(xp, weight, input.ndim)
    if 0 in input.shape:
        loss = xp.sum(x * q, axis=axis)
        return loss if reduction == "none" else summed(loss, divisor(input, reduction))
    return reduced(_of_probabilities(x, q, axis), reduction)


def nll_loss(
    input: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Array:
    """The negative logarithm of a probability: `loss_n = -w[t_n] x_n[t_n]` for logarithms `x`.

    *Shape* input `(C)`, `(N, C)` or `(N, C, d1, ..., dk)`: logarithms of probabilities, as
    `log_softmax` gives them. Target: class indices, `()`, `(N)` or `(N, d1, ..., dk)`.

    *Parameters*, *Raises* as for `cross_entropy` with class indices.

    >>> import numpy as np
    >>> nll_loss(np.log(np.asarray([[0.5, 0.5], [0.1, 0.9]])), np.asarray([0, 1]), reduction="none")
    array([0.69314718, 0.10536052])
    """
    x, t = _shaped("nll_loss", input, target, weight, ignore_index, reduction)
    labels = checked_labels("nll_loss", t, x.shape[1], ignore_index)
    shape = target.shape if input.ndim > 1 else ()
    if x.shape[1] == 0:
        xp = array_namespace(x)
        return _finished(xp.sum(x, axis=1), labels, None, reduction, shape)
    loss = _at_label(x, labels, weight)
    return _finished(loss, labels, weight, reduction, shape)


def _at_label(x: Array, labels: Labels, weight: Array | None) -> Array:
    """`-w[t] x[t]`."""
    return _times(-x[places(x, labels.index)], weight, labels)


def _times(loss: Array, weight: Array | None, labels: Labels) -> Array:
    if weight is None:
        return loss
    _, loss, factors = together(loss, weight[(labels.index,)])
    return loss * factors


def _finished(
    loss: Array,
    labels: Labels,
    weight: Array | None,
    reduction: str,
    shape: tuple[int, ...],
) -> Array:
    """The loss of each position without those that are ignored, NaN where a label is wrong, then
    reduced."""
    xp = array_namespace(loss, weight)
    index, ignored, wrong = labels
    if wrong is not None:
        loss = xp.where(wrong, math.nan, loss)
    if ignored is not None:
        loss = keep(loss, ~ignored)
    if reduction == "none":
        return xp.reshape(loss, shape)
    if reduction == "sum" or (weight is None and ignored is None):
        return reduced(loss, reduction)
    dtype = loss.dtype
    wide = (
        xp.float32 if xp.finfo(dtype).bits < 32 else dtype
    )  # neither sum nor count need fit 16 bits
    if weight is None:
        count = xp.astype(xp.sum(xp.astype(~ignored, xp.int32)), wide)
    else:
        factors = xp.astype(weight[(index,)], wide, copy=False)
        count = summed(factors if ignored is None else keep(factors, ~ignored))
    mean = summed(xp.astype(loss, wide, copy=False)) / xp.where(count == 0, math.nan, count)
    return xp.astype(mean, dtype, copy=False)


def _shaped(
    function: str,
    input: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    reduction: str,
) -> tuple[Array, Array]:
    """The input as `(N, C)` or `(N, C, D)`, and plain labels `(N)` or `(N, D)`."""
    if reduction not in REDUCTIONS:
        check_reduction(function, reduction)
    if weight is not None or kind(arguments.dtype_of(function, "input", input)) != "real":
        arguments.real(function, input=input, weight=weight)
    shape = input.shape
    expected = shape[:1] + shape[2:] if len(shape) > 1 else ()
    if target.shape != expected and not (len(shape) == 1 and target.shape == (1,)):
        raise ShapeError(
            _wrong_target(function, tuple(shape), tuple(expected), tuple(target.shape))
        )
    if not shape:
        raise ShapeError(
            f"{function}: expected input (C) or (N, C, ...), got a number without axes"
        )
    x, t = input, raw(target)
    if len(shape) != 2:
        d = (math.prod(shape[2:]),) if len(shape) > 2 else ()
        n = shape[0] if len(shape) > 1 else 1
        x = array_namespace(x).reshape(x, (n, shape[min(len(shape) - 1, 1)], *d))
        t = namespace_of(t).reshape(t, (n, *d))
    _check_weight(function, weight, x.shape[1])
    return x, t


def _check_weight(function: str, weight: Array | None, classes: int) -> None:
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(
            f"{function}: expected a weight for each of {classes} classes, ({classes},), got "
            f"{tuple(weight.shape)}"
        )


def _wrong_target(
    function: str, shape: tuple[int, ...], expected: tuple[int, ...], found: tuple[int, ...]
) -> str:
    hint = ""
    if found == shape:
        hint = "; probabilities must be floating: xp.astype(target, input.dtype)"
    elif found == (*expected, 1):
        hint = "; take the last axis away: target[..., 0]"
    return (
        f"{function}: expected class indices of shape {expected} for an input of shape {shape}, "
        f"(N, C, ...) with the classes along axis 1, got {found}{hint}"
    )
