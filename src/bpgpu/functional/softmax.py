"""Softmax and its logarithm, the logarithm of a sum of exponentials, and samples from them.

Every exponential is of a number less the largest along the axis, so that none overflows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import device_of, raw
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import rule
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional import arguments, chance
from bpgpu.functional.arguments import Array
from bpgpu.kernels import compute


@rule
def _softmax(xp: Any, x: Any, /, axis: int) -> Any:
    nested = type(x) is Traced
    y = _softmax(x, axis) if nested else compute("softmax", _softmax_of, xp, x, axis)
    return y, lambda g: compute("softmax_gradient", _softmax_gradient, xp, y, g, axis)


def _softmax_of(xp: Any, x: Any, axis: int) -> Any:
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


def _softmax_gradient(xp: Any, y: Any, g: Any, axis: int) -> Any:
    return y * (g - xp.sum(g * y, axis=axis, keepdims=True))


@rule
def _log_softmax(xp: Any, x: Any, /, axis: int) -> Any:
    nested = type(x) is Traced
    y = _log_softmax(x, axis) if nested else compute("log_softmax", _log_softmax_of, xp, x, axis)
    return y, lambda g: compute("log_softmax_gradient", _log_softmax_gradient, xp, y, g, axis)


def _log_softmax_of(xp: Any, x: Any, axis: int) -> Any:
    z = x - xp.max(x, axis=axis, keepdims=True)
    return z - xp.log(xp.sum(xp.exp(z), axis=axis, keepdims=True))


def _log_softmax_gradient(xp: Any, y: Any, g: Any, axis: int) -> Any:
    return g - xp.exp(y) * xp.sum(g, axis=axis, keepdims=True)


def _along(
    function: str, f: Any, input: Array, dim: int | None, stacklevel: int, dtype: Any
) -> Array:
    """A rule along one axis, with torch's choice of the axis where none is named."""
    if dtype is not None:
        xp = array_namespace(input)
        input = xp.astype(input, arguments.named_dtype(function, xp, dtype))
    arguments.real(function, input=input)
    if dim is None:
        warnings.warn(
            f"{function}: the choice of an axis without dim is deprecated; name it, as in dim=-1",
            stacklevel=stacklevel,
        )
        dim = 0 if input.ndim in (0, 1, 3) else 1
    axis = arguments.axis_of(function, dim, input.ndim)
    if input.ndim == 0:
        xp = array_namespace(input)
        return xp.reshape(f(xp.reshape(input, (1,)), 0), ())
    return input if input.shape[axis] == 0 else f(input, axis)


def softmax(input: Array, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Array:
    """Positive numbers that sum to 1 along an axis: `exp(x_i) / sum_j exp(x_j)`.

    `d y_i / d x_j = y_i (1[i = j] - y_j)`

    *Shape* any, along the axis `dim`; the result has the same.

    *Parameters* `dim`: without it, a warning, and axis 0 for inputs of 0, 1 or 3 axes, else axis 1,
    as in torch; `_stacklevel` tells where the warning points. `dtype`: cast the input first, by
    name or as the library's object.

    *Raises* `ShapeError` if the axis does not exist; `DtypeError` unless the input is of real
    floating numbers.

    *Notes* A row of minus infinity only is NaN; where some are, they get 0.

    >>> import numpy as np
    >>> softmax(np.asarray([1000.0, 1000.0, -np.inf]), dim=0)
    array([0.5, 0.5, 0. ])
    """
    return _along("softmax", _softmax, input, dim, _stacklevel, dtype)


def log_softmax(
    input: Array, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Array:
    """The logarithm of the softmax, `x_i - log(sum_j exp(x_j))`, without loss of digits.

    `d y_i / d x_j = 1[i = j] - exp(y_j)`

    *Shape*, *Parameters*, *Raises* as for `softmax`.

    >>> import numpy as np
    >>> log_softmax(np.asarray([0.0, 1000.0]), dim=0)
    array([-1000.,     0.])
    """
    return _along("log_softmax", _log_softmax, input, dim, _stacklevel, dtype)


def softmin(input: Array, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Array:
    """The softmax of `-x`.

    *Shape*, *Parameters*, *Raises* as for `softmax`.

    >>> import numpy as np
    >>> softmin(np.asarray([0.0, np.log(3.0)]), dim=0)
    array([0.75, 0.25])
    """
    arguments.numbers("softmin", input=input)
    return _along("softmin", _softmax, -input, dim, _stacklevel, dtype)


@rule
def _logsumexp(xp: Any, x: Any, /, axes: tuple[int, ...]) -> Any:
    """With the axes kept."""
    if type(x) is Traced:
        y = _logsumexp(x, axes)
    else:
        top = xp.max(x, axis=axes, keepdims=True)
        top = xp.where(xp.isinf(top), 0, top)
        total = xp.sum(xp.exp(x - top), axis=axes, keepdims=True)
        none = total == 0
        y = xp.where(none, -math.inf, top + xp.log(xp.where(none, 1, total)))
    return y, lambda g: g * xp.exp(x - xp.where(y == -math.inf, 0, y))


def logsumexp(input: Array, dim: int | Sequence[int], keepdim: bool = False) -> Array:
    """`log(sum exp(x))` over one or more axes; as `torch.logsumexp`.

    Its gradient is the softmax.

    *Shape* the axes `dim` are left out, or kept with size 1 with `keepdim`. No axis, `dim=()`,
    means all.

    *Raises* `ShapeError` if an axis does not exist or is named twice; `DtypeError` unless the input
    is of real floating numbers.

    *Notes* The logarithm of no term, or of terms that are all minus infinity, is minus infinity,
    with gradient 0.

    >>> import numpy as np
    >>> logsumexp(np.asarray([1000.0, 1000.0]), dim=0)
    array(1000.69314718)
    """
    arguments.real("logsumexp", input=input)
    xp, n = array_namespace(input), input.ndim
    dims = tuple(dim) if isinstance(dim, Sequence) else (dim,)
    axes = tuple(arguments.axis_of("logsumexp", d, n) for d in dims) or tuple(range(n))
    if len(set(axes)) < len(axes):
        raise ShapeError(f"logsumexp: expected different axes as dim, got {dim}")
    if n == 0:
        return xp.reshape(_logsumexp(xp.reshape(input, (1,)), (0,)), ())
    kept = tuple(1 if i in axes else k for i, k in enumerate(input.shape))
    if any(input.shape[i] == 0 for i in axes):
        y = xp.sum(input, axis=axes, keepdims=True) - math.inf
    else:
        y = _logsumexp(input, axes)
    return y if keepdim else xp.reshape(y, tuple(k for i, k in enumerate(kept) if i not in axes))


def gumbel_softmax(
    logits: Array,
    tau: float = 1,
    hard: bool = False,
    eps: float = 1e-10,
    dim: int = -1,
    *,
    key: Any = None,
) -> Array:
    """A sample near a corner of the simplex: the softmax of `(logits + noise) / tau`, with Gumbel's
    noise.

    *Parameters* `tau`: the temperature; near 0 the result is nearly one-hot. `hard`: the result is
    one-hot, its gradient that of the soft sample. `eps` has no effect in torch either, and draws a
    warning. `key`: of `bpgpu.random`; without one, the next of this thread's stream.

    *Shape* any, along the axis `dim`; the result has the same.

    *Raises* `ShapeError` if the axis does not exist; `ValueError` if `tau` is not positive;
    `DtypeError` unless the logits are of real floating numbers.

    *References* E. Jang, S. Gu, B. Poole (2017), "Categorical reparameterization with
    Gumbel-softmax"; C. Maddison, A. Mnih, Y. Teh (2017), "The concrete distribution".

    >>> import numpy as np, bpgpu as bp
    >>> gumbel_softmax(np.zeros(3), hard=True, key=bp.random.key(0))
    array([0., 0., 1.])
    """
    arguments.real("gumbel_softmax", logits=logits)
    axis = arguments.axis_of("gumbel_softmax", dim, logits.ndim)
    if not tau > 0:
        raise ArgumentError(f"gumbel_softmax: expected tau above 0, got {tau}")
    if eps != 1e-10:
        warnings.warn("gumbel_softmax: eps has no effect, as in torch", stacklevel=2)
    soft = softmax((logits + chance.gumbel("gumbel_softmax", key, logits)) / tau, dim)
    if not hard or 0 in logits.shape:
        return soft
    values = raw(soft)
    return soft + (_one_hot_of_largest(namespace_of(values), values, axis) - values)


def _one_hot_of_largest(xp: Any, x: Array, axis: int) -> Array:
    if x.ndim == 0:
        return xp.ones_like(x)
    shape = tuple(-1 if i == axis else 1 for i in range(x.ndim))
    largest = xp.argmax(x, axis=axis, keepdims=True)
    places = xp.arange(x.shape[axis], dtype=largest.dtype, device=device_of(largest))
    return xp.astype(xp.reshape(places, shape) == largest, x.dtype)
