"""Losses of regression: distances between an input and a target, term by term, and the negative
log-likelihoods of counts, of normal variables and of distributions.

`reduction="mean"` divides the sum of all terms by their number; the mean of no terms is NaN. Targets
may be integers; they get the dtype of the input.
"""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import elementwise
from bpgpu.backend.libraries import namespace_of
from bpgpu.backend.look import at_hand
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional import arguments
from bpgpu.functional.arguments import Array
from bpgpu.functional.bounds import at_least, limited
from bpgpu.functional.reduction import (
    REDUCTIONS,
    as_floating,
    broadcast,
    check_reduction,
    pairwise,
    reduced,
    same_shape,
    summed,
    together,
)
from bpgpu.functional.select import choose, keep

# ---- distances


@pairwise
def _squared(xp: Any, x: Any, t: Any) -> Any:
    d = x - t
    return d * d, lambda g: d * (2 * g), lambda g: d * (-2 * g)


def mse_loss(
    input: Array, target: Array, reduction: str = "mean", weight: Array | None = None
) -> Array:
    """The mean squared error: terms `(x - t)^2`.

    `d/dx = 2 (x - t)`

    *Shape* input and target `(*)`; the result is a scalar, or `(*)` with `reduction="none"`. Two
    shapes are broadcast, with a warning.

    *Parameters* `reduction`: `"mean"`, `"sum"` or `"none"`. `weight`: a factor for each term, of the
    shape of the input; the mean is then divided by the sum of the weights.

    *Raises* `ShapeError` for shapes that do not belong together; `DtypeError` unless the input is
    of real floating numbers; `ValueError` for an unknown reduction.

    >>> import numpy as np
    >>> mse_loss(np.asarray([1.0, 2.0]), np.asarray([0.0, 4.0]))
    np.float64(2.5)
    """
    check_reduction("mse_loss", reduction)
    target = as_floating("mse_loss", input, target)
    if weight is None:
        return _squared(*same_shape("mse_loss", input, target), reduction)
    _check_weight("mse_loss", weight, input)
    return _weighted_mean(
        _squared(*same_shape("mse_loss", input, target), "none"), weight, reduction
    )


@pairwise
def _absolute(xp: Any, x: Any, t: Any) -> Any:
    """The derivative at 0 is 0."""
    d = x - t
    return xp.abs(d), lambda g: xp.sign(d) * g, lambda g: xp.sign(d) * -g


def l1_loss(
    input: Array, target: Array, reduction: str = "mean", weight: Array | None = None
) -> Array:
    """The mean absolute error: terms `|x - t|`, of real or complex numbers.

    `d/dx = sign(x - t)`, 0 where they are equal.

    *Shape*, *Parameters*, *Raises* as for `mse_loss`.

    >>> import numpy as np
    >>> l1_loss(np.asarray([1.0, 2.0]), np.asarray([0.0, 4.0]))
    np.float64(1.5)
    """
    name = "l1_loss"
    check_reduction(name, reduction)
    kinds = (
        kind(arguments.dtype_of(name, "input", input)),
        kind(arguments.dtype_of(name, "target", target)),
    )
    if "complex" in kinds:
        arguments.floating(name, input=input, target=target)
        xp, x, t = together(*same_shape(name, input, target))
        terms = xp.abs(x - t)
    else:
        x, t = same_shape(name, input, as_floating(name, input, target))
        if weight is None:
            return _absolute(x, t, reduction)
        terms = _absolute(x, t, "none")
    if weight is None:
        return reduced(terms, reduction)
    _check_weight(name, weight, input)
    return _weighted_mean(terms, weight, reduction)


@pairwise
def _smooth(xp: Any, x: Any, t: Any, beta: float) -> Any:
    d = x - t
    b = limited(d, beta)  # b = d: d^2 / 2; beyond: beta |d| - beta^2 / 2
    return b * (d - b / 2) / beta, lambda g: b * (g / beta), lambda g: b * (-g / beta)


def smooth_l1_loss(
    input: Array, target: Array, reduction: str = "mean", beta: float = 1.0
) -> Array:
    """A parabola near 0, straight beyond: terms `d^2 / (2 beta)` where `|d| < beta`, else `|d| - beta
    / 2`, with `d = x - t`.

    `d/dx = d / beta` where `|d| < beta`, else `sign(d)`

    *Shape* as for `mse_loss`.

    *Parameters* `reduction` as for `mse_loss`. `beta`: half of the width of the parabola, 0 or more;
    0 makes it `l1_loss`.

    *Raises* as `mse_loss`; `ValueError` for a negative `beta`.

    *References* R. Girshick (2015), "Fast R-CNN", eq. 3.

    >>> import numpy as np
    >>> smooth_l1_loss(np.asarray([0.5, 3.0]), np.asarray([0.0, 0.0]), reduction="none")
    array([0.125, 2.5  ])
    """
    check_reduction("smooth_l1_loss", reduction)
    if not beta >= 0:
        raise ArgumentError(f"smooth_l1_loss: expected beta of at least 0, got {beta}")
    pair = same_shape("smooth_l1_loss", input, as_floating("smooth_l1_loss", input, target))
    return _smooth(*pair, reduction, beta) if beta > 0 else _absolute(*pair, reduction)


@pairwise
def _huber(xp: Any, x: Any, t: Any, delta: float) -> Any:
    d = x - t
    b = limited(d, delta)
    return b * (d - b / 2), lambda g: b * g, lambda g: b * -g


def huber_loss(
    input: Array,
    target: Array,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Array | None = None,
) -> Array:
    """A parabola near 0, straight beyond: terms `d^2 / 2` where `|d| < delta`, else `delta (|d| -
    delta / 2)`, with `d = x - t`.

    `d/dx = d` where `|d| < delta`, else `delta sign(d)`

    *Shape* as for `mse_loss`.

    *Parameters* `reduction` as for `mse_loss`. `delta`: half of the width of the parabola, above 0.
    `weight`: a factor for each term, of the shape of the input; as in torch, the mean is divided by
    the number of terms, not by the sum of the weights.

    *Raises* as `mse_loss`; `ValueError` for a `delta` of 0 or less.

    *References* P. Huber (1964), "Robust estimation of a location parameter".

    >>> import numpy as np
    >>> huber_loss(np.asarray([0.5, 3.0]), np.asarray([0.0, 0.0]), reduction="none", delta=2.0)
    array([0.125, 4.   ])
    """
    check_reduction("huber_loss", reduction)
    if not delta > 0:
        raise ArgumentError(f"huber_loss: expected delta above 0, got {delta}")
    target = as_floating("huber_loss", input, target)
    if weight is None:
        return _huber(*same_shape("huber_loss", input, target), reduction, delta)
    _check_weight("huber_loss", weight, input)
    terms = _huber(*same_shape("huber_loss", input, target), "none", delta)
    _, terms, weight = together(terms, weight)
    return reduced(terms * weight, reduction)


def _check_weight(function: str, weight: Array, input: Array) -> None:
    arguments.real(function, weight=weight)
    if weight.shape != input.shape:
        raise ShapeError(
            f"{function}: expected weight {tuple(input.shape)}, the shape of the input, got "
            f"{tuple(weight.shape)}"
        )


def _weighted_mean(terms: Array, weight: Array, reduction: str) -> Array:
    _, terms, weight = together(terms, weight)
    terms = terms * weight
    return summed(terms) / summed(weight) if reduction == "mean" else reduced(terms, reduction)


# ---- negative log-likelihoods


@pairwise
def _poisson(xp: Any, x: Any, t: Any, log_input: bool, full: bool, eps: float) -> Any:
    rate = xp.exp(x) if log_input else x
    logs = x if log_input else xp.log(x + eps)
    y = rate - t * logs
    many = t > 1
    safe = choose(t, 2, many)  # Stirling's formula is for counts above 1
    if full:
        y = y + keep(safe * xp.log(safe) - safe + 0.5 * xp.log(2 * math.pi * safe), many)

    def pull_t(g: Any) -> Any:
        slope = keep(xp.log(safe) + 0.5 / safe, many) - logs if full else -logs
        return slope * g

    return y, lambda g: (rate - t if log_input else 1 - t / (x + eps)) * g, pull_t


def poisson_nll_loss(
    input: Array,
    target: Array,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Array:
    """The negative log-likelihood of counts: terms `exp(x) - t x`, without what depends on the
    target alone.

    *Shape* input and target `(*)`, or shapes that broadcast.

    *Parameters* `log_input`: the input is the logarithm of the rate; without, it is the rate, and
    the terms are `x - t log(x + eps)`. `full`: add Stirling's approximation of the rest, `t log t -
    t + log(2 pi t) / 2` where `t > 1`. `reduction` as for `mse_loss`.

    *Raises* as `mse_loss`.

    >>> import numpy as np
    >>> poisson_nll_loss(np.asarray([0.0, 1.0]), np.asarray([1.0, 2.0]), reduction="none")
    array([1.        , 0.71828183])
    """
    check_reduction("poisson_nll_loss", reduction)
    target = as_floating("poisson_nll_loss", input, target)
    pair = broadcast("poisson_nll_loss", input=input, target=target)
    return _poisson(*pair, reduction, log_input, full, eps)


def gaussian_nll_loss(
    input: Array,
    target: Array,
    var: Array | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Array:
    """The negative log-likelihood of normal variables: terms `(log v + (x - t)^2 / v) / 2`, with `v =
    max(var, eps)`.

    *Shape* input and target `(*)`, or shapes that broadcast. `var`: of the shape of the input; or
    without its last axis, or with one axis of size 1, for one variance along that axis; or a number.

    *Parameters* `full`: add `log(2 pi) / 2`. `eps`: the smallest variance. `reduction` as for
    `mse_loss`.

    *Raises* as `mse_loss`; `ShapeError` for another shape of `var`; `ValueError` for a negative
    variance, where it may be looked at, else the loss is NaN.

    *Notes* The limit `eps` does not stop the gradient, as in torch.

    *References* D. Nix, A. Weigend (1994), "Estimating the mean and variance of the target
    probability distribution".

    >>> import numpy as np
    >>> x, t = np.asarray([0.0, 1.0]), np.asarray([1.0, 1.0])
    >>> gaussian_nll_loss(x, t, np.asarray([1.0, 4.0]), reduction="none")
    array([0.5       , 0.69314718])
    """
    name = "gaussian_nll_loss"
    check_reduction(name, reduction)
    target = as_floating(name, input, target)
    broadcast(name, input=input, target=target)
    if isinstance(var, (int, float)):
        if var < 0:
            raise ArgumentError(f"{name}: expected var of at least 0, got {var}")
        var = array_namespace(input).full_like(input, max(var, eps))
    else:
        var = _variance(name, input, var, eps)
    xp, x, t, v = together(input, target, var)
    loss = 0.5 * (xp.log(v) + (x - t) ** 2 / v)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


def _variance(function: str, input: Array, var: Array, eps: float) -> Array:
    arguments.real(function, var=var)
    given, shape = tuple(var.shape), tuple(input.shape)
    xp, plain = array_namespace(var), raw(var)
    lib = namespace_of(plain)
    negative = plain < 0
    if at_hand(plain) and bool(lib.any(negative)):
        raise ArgumentError(f"{function}: expected var of at least 0, got {float(lib.min(plain))}")
    if given != shape:
        if given == shape[:-1] and shape:
            var, negative = xp.expand_dims(var, axis=-1), lib.expand_dims(negative, axis=-1)
        elif [m for n, m in zip(shape, given, strict=False) if n != m] != [1] or len(given) != len(
            shape
        ):
            raise ShapeError(
                f"{function}: expected var of the shape of the input, {shape}, without its last "
                f"axis, or with one axis of size 1, got {given}"
            )
    return xp.where(negative, math.nan, at_least(var, eps))


@pairwise
def _divergence(xp: Any, x: Any, t: Any, log_target: bool) -> Any:
    if log_target:
        weight, logs = xp.exp(t), t
        y = weight * (t - x)
    else:
        weight, logs = t, _log_of_positive(t)
        y = t * logs - t * x

    def pull_t(g: Any) -> Any:
        return (weight * (t - x + 1) if log_target else logs + 1 - x) * g

    return y, lambda g: weight * -g, pull_t


@elementwise
def _log_of_positive(xp: Any, t: Any) -> Any:
    """`log(t)`, 0 at 0, with the derivative `1 / t`, 0 at 0: `t log(t)` goes to 0 there."""
    zero = raw(t) == 0
    safe = choose(t, 1, ~zero)
    y = _log_of_positive(t) if type(t) is Traced else xp.log(safe)
    return y, lambda g: keep(g / safe, ~zero)


def kl_div(input: Array, target: Array, reduction: str = "mean", log_target: bool = False) -> Array:
    """The divergence of Kullback and Leibler of `exp(input)` from the target: terms `t (log t - x)`.

    *Shape* input and target `(*)`, or shapes that broadcast. The input holds logarithms of
    probabilities, as `log_softmax` gives them.

    *Parameters* `reduction`: `"batchmean"`, the sum divided by the size of the first axis, is the
    divergence of the definition, averaged over a batch; `"mean"` divides by the number of all terms;
    `"sum"`, `"none"`. `log_target`: the target holds logarithms too; terms `exp(t) (t - x)`.

    *Raises* as `mse_loss`.

    *Notes* A target of 0 adds 0. There the derivative with respect to the target, which is minus
    infinity, is given as `1 - x`.

    *References* S. Kullback, R. Leibler (1951), "On information and sufficiency".

    >>> import numpy as np
    >>> q = np.log(np.asarray([[0.5, 0.5]]))
    >>> kl_div(q, np.asarray([[1.0, 0.0]]), reduction="batchmean")
    np.float64(0.6931471805599453)
    """
    check_reduction("kl_div", reduction, (*REDUCTIONS, "batchmean"))
    target = as_floating("kl_div", input, target)
    pair = broadcast("kl_div", input=input, target=target)
    if reduction != "batchmean":
        return _divergence(*pair, reduction, log_target)
    loss = _divergence(*pair, "sum", log_target)
    return loss / (input.shape[0] or math.nan) if input.ndim else loss
