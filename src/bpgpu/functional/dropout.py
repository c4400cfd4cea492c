"""Dropout: numbers, or whole channels, left out at random.

The masks come from a key alone (`bpgpu.random.mask`), so that they are the same in every library
and on every device. What stays is divided by the probability of staying that the mask really has,
so that the mean is kept exactly.

With `key=None` the next key of this thread's stream is taken. A step that is compiled by other
tools (`jax.jit`) must give a key as data, or the mask is a constant of the compiled step. `inplace`
stands in torch's place; the input is never changed.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.rule import rule
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional import arguments, chance
from bpgpu.functional.activations import SELU_ALPHA, SELU_SCALE, _gelu, _gelu_tanh
from bpgpu.functional.arguments import Array
from bpgpu.functional.rectifiers import _relu
from bpgpu.functional.select import choose, keep
from bpgpu.kernels import LISTED, compute, find
from bpgpu.random import draws

ACTIVATIONS = {"relu": _relu, "gelu": _gelu, "gelu_tanh": _gelu_tanh}
"""Those that have a kernel together with the dropout after them."""


@rule
def _drop(xp: Any, x: Any, /, mask: Any, scale: float) -> Any:
    """Linear in `x`, so that the way back is the way forward."""
    return keep(x, mask) * scale, lambda g: keep(g, mask) * scale


@rule
def _drop_of_key(xp: Any, x: Any, /, key: Any, width: int, kept: float) -> Any:
    """The same with a mask that is made of its key, by a kernel, on both ways."""
    if type(x) is Traced:
        y = _drop_of_key(x, key, width, kept)
    else:
        y = compute("dropped", _dropped_by_mask, xp, x, key, width, kept)
    return y, lambda g: _drop_of_key(g, key, width, kept)


def _own(key: Any) -> Any:
    """A copy of a key, for the way back: by then, its layer may have written the next one over it."""
    return namespace_of(key).asarray(key, copy=True)


def _dropped_by_mask(xp: Any, x: Any, key: Any, width: int, kept: float) -> Any:
    return keep(x, draws.mask_of_bits(key, x.shape, width, kept)) * (1 / kept)


@rule
def _activate_and_drop(xp: Any, x: Any, /, name: str, key: Any, width: int, kept: float) -> Any:
    """The same of `f(x)`, by one kernel each way."""
    if (run := find(f"{name}_dropped", xp, x, key, width, kept)) is not None:
        return run(x, key, width, kept)
    y, back = ACTIVATIONS[name].function(xp, x)
    key = _own(key)
    dropped = _drop_of_key(y, key, width, kept)
    return dropped, lambda g: back(_drop_of_key(g, key, width, kept))


@rule
def _alpha_drop(xp: Any, x: Any, /, mask: Any, dropped: float, scale: float, shift: float) -> Any:
    return choose(x, dropped, mask) * scale + shift, lambda g: keep(g, mask) * scale


def dropout(
    input: Array, p: float = 0.5, training: bool = True, inplace: bool = False, *, key: Any = None
) -> Array:
    """Each number becomes 0 with probability `p`, and `x / (1 - p)` otherwise; without `training`,
    the input as it is.

    *Shape* any; the result has the same.

    *Parameters* `p` in [0, 1]; with 1 all numbers are multiplied by 0. `key`: of `bpgpu.random`;
    without one, the next of this thread's stream.

    *Raises* `ValueError` unless `p` is a probability; `DtypeError` unless the input is floating.

    *Notes* What is dropped is 0 even if it was infinite or NaN.

    *References* N. Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from
    overfitting".

    >>> import numpy as np, bpgpu as bp
    >>> dropout(np.ones(6), 0.5, key=bp.random.key(0))
    array([0., 0., 0., 0., 2., 2.])
    """
    if not _active("dropout", input, p, training):
        return input
    return _dropped("dropout", input, p, input.shape, key)


def is_one_kernel(name: str, input: Array, p: float, key: Any) -> bool:
    """Whether there is a kernel for `activation_dropout` of this."""
    plain = raw(input)
    xp = namespace_of(plain)
    if xp.__name__ not in LISTED or not 0 < p < 1:
        return False
    width, kept = draws.mask_probability(1 - p)
    return bool(width) and find(f"{name}_dropped", xp, plain, raw(key), width, kept) is not None


def activation_dropout(name: str, input: Array, p: float, key: Any) -> Array:
    """`dropout(f(x))`, `name` being one of `ACTIVATIONS`; by one kernel where there is one."""
    if is_one_kernel(name, input, p, key):
        return _activate_and_drop(input, name, raw(key), *draws.mask_probability(1 - p))
    return dropout(ACTIVATIONS[name](input), p, key=key)


def dropout1d(
    input: Array, p: float = 0.5, training: bool = True, inplace: bool = False, *, key: Any = None
) -> Array:
    """`dropout` of whole channels: all of `input[n, c]` stays or goes.

    *Shape* `(N, C, L)` or `(C, L)`; the result has the same.

    *Parameters* as for `dropout`.

    *Raises* `ShapeError` for another number of axes; `ValueError` unless `p` is a probability;
    `DtypeError` unless the input is floating.

    >>> import numpy as np, bpgpu as bp
    >>> dropout1d(np.ones((3, 2)), 0.5, key=bp.random.key(0))
    array([[0., 0.],
           [0., 0.],
           [2., 2.]])
    """
    if input.ndim not in (2, 3):
        raise ShapeError(
            f"dropout1d: expected an input (N, C, L) or (C, L), got shape {tuple(input.shape)}"
        )
    if not _active("dropout1d", input, p, training):
        return input
    return _dropped("dropout1d", input, p, _channels(input, batched=input.ndim == 3), key)


def dropout2d(
    input: Array, p: float = 0.5, training: bool = True, inplace: bool = False, *, key: Any = None
) -> Array:
    """`dropout` of whole channels: all of `input[n, c]` stays or goes.

    *Shape* `(N, C, H, W)`; the result has the same. As in torch, three axes draw a warning and are
    read as `(N, C, L)`.

    *Parameters* as for `dropout`.

    *Raises* `ShapeError` for less than two axes; `ValueError` unless `p` is a probability;
    `DtypeError` unless the input is floating.

    *References* J. Tompson, R. Goroshin, A. Jain, Y. LeCun, C. Bregler (2015), "Efficient object
    localization using convolutional networks".
    """
    if input.ndim == 3:
        _warn("dropout2d: an input of 3 axes is read as (N, C, L); use dropout1d for it")
    elif input.ndim != 4:
        _warn(f"dropout2d: expected an input (N, C, H, W), got {input.ndim} axes; use dropout")
    if not _active("dropout2d", input, p, training):
        return input
    return _dropped("dropout2d", input, p, _channels(input, name="dropout2d"), key)


def dropout3d(
    input: Array, p: float = 0.5, training: bool = True, inplace: bool = False, *, key: Any = None
) -> Array:
    """`dropout` of whole channels: all of `input[n, c]` stays or goes.

    *Shape* `(N, C, D, H, W)` or `(C, D, H, W)`; the result has the same. As in torch, other inputs
    draw a warning.

    *Parameters* as for `dropout`.

    *Raises* `ShapeError` for no axis; `ValueError` unless `p` is a probability; `DtypeError` unless
    the input is floating.
    """
    if input.ndim not in (4, 5):
        _warn(
            f"dropout3d: expected an input (N, C, D, H, W) or (C, D, H, W), got {input.ndim} axes; use dropout"
        )
    if not _active("dropout3d", input, p, training):
        return input
    batched = input.ndim == 5
    return _dropped("dropout3d", input, p, _channels(input, batched=batched, name="dropout3d"), key)


def alpha_dropout(
    input: Array, p: float = 0.5, training: bool = False, inplace: bool = False, *, key: Any = None
) -> Array:
    """Dropout after `selu`: what is dropped takes selu's lowest value, and mean 0 and variance 1
    are kept.

    `a (x or -s) + b` with `s = 1.7580...`, `a = ((1 - p) (1 + p s²))^(-1/2)`, `b = a p s`.

    *Shape* any; the result has the same.

    *Parameters* as for `dropout`, but `training` is False by default, as in torch.

    *Raises* `ValueError` unless `p` is a probability; `DtypeError` unless the input is floating.

    *References* G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter (2017), "Self-normalizing
    neural networks".

    >>> import numpy as np, bpgpu as bp
    >>> alpha_dropout(np.ones(3), 0.5, training=True, key=bp.random.key(0))
    array([-0.77919393, -0.77919393,  1.66559883])
    """
    if not _active("alpha_dropout", input, p, training):
        return input
    return _alpha_dropped("alpha_dropout", input, p, input.shape, key)


def feature_alpha_dropout(
    input: Array, p: float = 0.5, training: bool = False, inplace: bool = False, *, key: Any = None
) -> Array:
    """`alpha_dropout` of whole channels: all of `input[n, c]` stays or goes.

    *Shape* `(N, C, ...)`; the result has the same.

    *Parameters*, *Raises* as for `alpha_dropout`; and `ShapeError` for less than two axes.
    """
    if not _active("feature_alpha_dropout", input, p, training):
        return input
    shape = _channels(input, name="feature_alpha_dropout")
    return _alpha_dropped("feature_alpha_dropout", input, p, shape, key)


# ---- what they share


def _active(function: str, input: Array, p: float, training: bool) -> bool:
    """False if nothing is to be done."""
    arguments.floating(function, input=input)
    if not 0 <= p <= 1:
        raise ArgumentError(f"{function}: expected p in [0, 1], got {p}")
    return training and p > 0 and 0 not in input.shape


def _channels(input: Array, *, batched: bool = True, name: str = "") -> tuple[int, ...]:
    """The shape of a mask that is the same all over a channel."""
    axes = 2 if batched else 1
    if input.ndim < axes:
        raise ShapeError(
            f"{name}: expected an input (N, C, ...) of at least two axes, got shape {tuple(input.shape)}"
        )
    return (*input.shape[:axes], *(1,) * (input.ndim - axes))


def _dropped(function: str, input: Array, p: float, shape: tuple[int, ...], key: Any) -> Array:
    if p == 1:
        return input * 0
    key = chance.key_for(function, key, input)
    if shape == input.shape:
        width, kept = draws.mask_probability(1 - p)
        plain = raw(input)
        if width and find("dropped", namespace_of(plain), plain, key, width, kept) is not None:
            return _drop_of_key(input, _own(key), width, kept)
    mask, kept = draws.mask(key, shape, 1 - p)
    return _drop(input, mask, 1 / kept)


def _alpha_dropped(
    function: str, input: Array, p: float, shape: tuple[int, ...], key: Any
) -> Array:
    if p == 1:
        return input * 0
    mask, kept = chance.mask(function, key, input, shape, p)
    low = SELU_ALPHA * SELU_SCALE
    scale = 1 / math.sqrt(kept * (1 + (1 - kept) * low * low))
    return _alpha_drop(input, mask, -low, scale, scale * (1 - kept) * low)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)
