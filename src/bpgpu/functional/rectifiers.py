"""Activations made of straight pieces (and one parabola): relu and its relatives, hard forms,
shrinkage.

All are elementwise and keep shape and dtype. At a kink they take the slope of one side, which the
note of each tells: it is torch's choice. `inplace` stands in torch's place; the input is never
changed.
"""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import broadcasting, elementwise, rule
from bpgpu.backend.select import clip, positive
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional import arguments, chance
from bpgpu.functional.arguments import Array
from bpgpu.functional.select import choose, keep
from bpgpu.kernels import find

# ---- relu and leaky forms


@elementwise
def _relu(xp: Any, x: Any) -> Any:
    if (run := find("relu", xp, x)) is not None:
        return run(x)
    y = _relu(x) if type(x) is Traced else positive(xp, x)
    return y, lambda g: keep(g, y != 0)


def relu(input: Array, inplace: bool = False) -> Array:
    """The rectifier, `max(0, x)`.

    *Raises* `DtypeError` for truth values and complex numbers; integers are taken.

    *Notes* `relu'(0) = 0`. NaN stays NaN.

    >>> import numpy as np
    >>> relu(np.asarray([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    arguments.numbers("relu", input=input)
    return _relu(input)


@rule
def _leaky_relu(xp: Any, x: Any, /, slope: float) -> Any:
    right = x > 0
    return choose(x, slope * x, right), lambda g: choose(g, slope * g, right)


def leaky_relu(input: Array, negative_slope: float = 0.01, inplace: bool = False) -> Array:
    """The rectifier with a slope to the left: `x` if `x > 0`, else `negative_slope x`.

    *Raises* `DtypeError` unless the input is of real floating numbers.

    *Notes* The derivative at 0 is `negative_slope`.

    *References* A. Maas, A. Hannun, A. Ng (2013), "Rectifier nonlinearities improve neural network
    acoustic models".

    >>> import numpy as np
    >>> leaky_relu(np.asarray([-1.0, 0.0, 2.0]), 0.1)
    array([-0.1,  0. ,  2. ])
    """
    arguments.real("leaky_relu", input=input)
    return _leaky_relu(input, negative_slope)


@broadcasting
def _prelu(xp: Any, x: Any, w: Any) -> Any:
    y = choose(x, w * x, x > 0)
    return y, lambda g: _sloped(g, w, raw(x)), lambda g: keep(g * x, ~(x >= 0))


@broadcasting
def _sloped(xp: Any, g: Any, w: Any, /, x: Any) -> Any:
    """What comes back to `x`. At 0 it is `w g`, but does not change with `w`, as in torch."""
    return choose(g, w * g, x > 0), lambda h: _sloped(h, w, x), lambda h: keep(h * g, ~(x >= 0))


def prelu(input: Array, weight: Array) -> Array:
    """The leaky rectifier with learned slopes: `x` if `x > 0`, else `weight x`.

    *Shape* input `(N, C, ...)`, weight `(C,)`, a slope for each channel; or weight `(1,)` or `()`,
    one slope for all, and an input of any shape. The result has the shape of the input.

    *Raises* `ShapeError` if the weight fits neither way, `DtypeError` unless both are real and of
    one dtype.

    *Notes* At 0 the derivative is `weight` with respect to the input, and 0 with respect to the
    weight; the mixed second derivative is 0 there.

    *References* K. He, X. Zhang, S. Ren, J. Sun (2015), "Delving deep into rectifiers".

    >>> import numpy as np
    >>> prelu(np.asarray([[-1.0, -1.0], [2.0, -3.0]]), np.asarray([0.5, 0.1]))
    array([[-0.5, -0.1],
           [ 2. , -0.3]])
    """
    arguments.real("prelu", input=input, weight=weight)
    arguments.same_dtype("prelu", input=input, weight=weight)
    if weight.ndim > 1:
        raise ShapeError(
            f"prelu: expected weight with at most one axis, got shape {tuple(weight.shape)}"
        )
    if weight.shape in ((), (1,)):
        channels = (1,) * input.ndim
    else:
        found = input.shape[1] if input.ndim > 1 else 1
        if weight.shape != (found,):
            raise ShapeError(
                f"prelu: expected weight ({found},), one slope for each channel of an input of shape "
                f"{tuple(input.shape)}, or (1,), got {tuple(weight.shape)}"
            )
        channels = (1, -1, *(1,) * (input.ndim - 2))
    return _prelu(input, array_namespace(weight).reshape(weight, channels))


def rrelu(
    input: Array,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
    *,
    key: Any = None,
) -> Array:
    """The leaky rectifier with random slopes: `x` if `x > 0`, else `a x`, `a` uniform in `[lower,
    upper)`.

    Each element draws its own slope in training; else all take the mean, `(lower + upper) / 2`.

    *Parameters* `key`: of `bpgpu.random`, for the slopes; without one, the next of this thread's
    stream.

    *Raises* `ValueError` if `lower > upper`; `DtypeError` unless the input is of real floating
    numbers.

    *Notes* The derivative at 0 is the slope to the left.

    *References* B. Xu, N. Wang, T. Chen, M. Li (2015), "Empirical evaluation of rectified
    activations in convolutional network".

    >>> import numpy as np
    >>> rrelu(np.asarray([-3.0, 2.0]), 0.25, 0.75)
    array([-1.5,  2. ])
    """
    arguments.real("rrelu", input=input)
    if not lower <= upper:
        raise ArgumentError(f"rrelu: expected lower <= upper, got {lower} and {upper}")
    if not training or lower == upper:
        return _leaky_relu(input, (lower + upper) / 2)
    slopes = chance.uniform("rrelu", key, input, lower, upper)
    return _random_relu(input, array_namespace(slopes).astype(slopes, input.dtype, copy=False))


@rule
def _random_relu(xp: Any, x: Any, /, slopes: Any) -> Any:
    right = x > 0
    return choose(x, slopes * x, right), lambda g: choose(g, slopes * g, right)


@rule
def _threshold(xp: Any, x: Any, /, threshold: float, value: float) -> Any:
    kept = ~(x <= threshold)
    return choose(x, value, kept), lambda g: keep(g, kept)


def threshold(input: Array, threshold: float, value: float, inplace: bool = False) -> Array:
    """`x` if `x > threshold`, else `value`.

    *Raises* `DtypeError` for truth values and complex numbers; integers are taken.

    *Notes* The derivative at the threshold is 0. NaN stays NaN.

    >>> import numpy as np
    >>> threshold(np.asarray([0.0, 1.0, 2.0]), 1.0, -5.0)
    array([-5., -5.,  2.])
    """
    arguments.numbers("threshold", input=input)
    if kind(input.dtype) == "other":
        threshold, value = math.floor(threshold), int(value)
    return _threshold(input, threshold, value)


# ---- hard forms: clipped straight lines


@rule
def _hardtanh(xp: Any, x: Any, /, low: float, high: float) -> Any:
    y = _hardtanh(x, low, high) if type(x) is Traced else clip(xp, x, low, high)
    return y, lambda g: keep(g, (x > low) & (x < high))


def hardtanh(
    input: Array, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Array:
    """`x` between `min_val` and `max_val`, and these two outside.

    *Raises* `ValueError` if `min_val > max_val`; `DtypeError` for truth values and complex numbers.
    Integers are taken.

    *Notes* The derivative at both ends is 0. NaN stays NaN.

    >>> import numpy as np
    >>> hardtanh(np.asarray([-2.0, 0.5, 2.0]))
    array([-1. ,  0.5,  1. ])
    """
    arguments.numbers("hardtanh", input=input)
    if not min_val <= max_val:
        raise ArgumentError(f"hardtanh: expected min_val <= max_val, got {min_val} and {max_val}")
    if kind(input.dtype) == "other":
        min_val, max_val = int(min_val), int(max_val)
    return _hardtanh(input, min_val, max_val)


def relu6(input: Array, inplace: bool = False) -> Array:
    """The rectifier with a ceiling, `min(max(0, x), 6)`.

    *Raises* `DtypeError` for truth values and complex numbers; integers are taken.

    *Notes* The derivative at 0 and at 6 is 0. NaN stays NaN.

    >>> import numpy as np
    >>> relu6(np.asarray([-1.0, 3.0, 9.0]))
    array([0., 3., 6.])
    """
    arguments.numbers("relu6", input=input)
    return _hardtanh(input, 0, 6)


@elementwise
def _hardsigmoid(xp: Any, x: Any) -> Any:
    y = _hardsigmoid(x) if type(x) is Traced else clip(xp, x + 3, 0, 6) / 6
    return y, lambda g: keep(g / 6, (x > -3) & (x < 3))


def hardsigmoid(input: Array, inplace: bool = False) -> Array:
    """A sigmoid of straight pieces, `relu6(x + 3) / 6`.

    *Raises* `DtypeError` unless the input is of real floating numbers.

    *Notes* The derivative at -3 and 3 is 0. NaN stays NaN.

    >>> import numpy as np
    >>> hardsigmoid(np.asarray([-4.0, 0.0, 1.5, 4.0]))
    array([0.  , 0.5 , 0.75, 1.  ])
    """
    arguments.real("hardsigmoid", input=input)
    return _hardsigmoid(input)


@elementwise
def _hardswish(xp: Any, x: Any) -> Any:
    def pull(g: Any) -> Any:
        middle = keep(x / 3 + 0.5, ~(x <= -3))
        return g * choose(middle, 1, ~(x >= 3))

    return x * _hardsigmoid(x), pull


def hardswish(input: Array, inplace: bool = False) -> Array:
    """The swish with a sigmoid of straight pieces, `x relu6(x + 3) / 6`: 0, a parabola, `x`.

    *Raises* `DtypeError` unless the input is of real floating numbers.

    *Notes* The derivative is 0 at -3 and 1 at 3, from outside.

    *References* A. Howard et al. (2019), "Searching for MobileNetV3", equation in section 5.2.

    >>> import numpy as np
    >>> hardswish(np.asarray([-4.0, -1.5, 0.0, 3.0]))
    array([-0.   , -0.375,  0.   ,  3.   ])
    """
    arguments.real("hardswish", input=input)
    return _hardswish(input)


# ---- shrinkage: nothing near zero


@rule
def _softshrink(xp: Any, x: Any, /, lambd: float) -> Any:
    nested = type(x) is Traced
    y = _softshrink(x, lambd) if nested else x - clip(xp, x, -lambd, lambd)
    return y, lambda g: keep(g, (x < -lambd) | (x > lambd))


def softshrink(input: Array, lambd: float = 0.5) -> Array:
    """All numbers moved towards zero by `lambd`: `x - lambd` if `x > lambd`, `x + lambd` if `x <
    -lambd`, else 0.

    *Raises* `ValueError` if `lambd` is negative; `DtypeError` unless the input is of real floating
    numbers.

    *Notes* The derivative at both ends of the flat piece is 0.

    >>> import numpy as np
    >>> softshrink(np.asarray([-2.0, 0.25, 2.0]))
    array([-1.5,  0. ,  1.5])
    """
    arguments.real("softshrink", input=input)
    if not lambd >= 0:
        raise ArgumentError(f"softshrink: expected lambd of at least 0, got {lambd}")
    return _softshrink(input, lambd)


@rule
def _hardshrink(xp: Any, x: Any, /, lambd: float) -> Any:
    y = keep(x, ~((x >= -lambd) & (x <= lambd)))
    return y, lambda g: keep(g, (x < -lambd) | (x > lambd))


def hardshrink(input: Array, lambd: float = 0.5) -> Array:
    """`x` if `x > lambd` or `x < -lambd`, else 0.

    *Raises* `DtypeError` unless the input is of real floating numbers.

    *Notes* The derivative at the two jumps is 0.

    >>> import numpy as np
    >>> hardshrink(np.asarray([-2.0, 0.25, 2.0]))
    array([-2.,  0.,  2.])
    """
    arguments.real("hardshrink", input=input)
    return _hardshrink(input, lambd)
