"""Smooth activations: the sigmoid and what is made of it, exponential units, gelu.

All but `glu` are elementwise and keep shape and dtype. No exponential overflows: each is of a
number that is bounded above. `inplace` stands in torch's place; the input is never changed.
"""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import elementwise, rule
from bpgpu.backend.select import clip
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional import arguments
from bpgpu.functional.arguments import Array
from bpgpu.functional.select import choose, keep
from bpgpu.functional.special import erf_rule
from bpgpu.kernels import find

# ---- the sigmoid, its logarithm and its integral


@elementwise
def _sigmoid(xp: Any, x: Any) -> Any:
    if type(x) is Traced:
        y = _sigmoid(x)
    else:  # beyond these bounds it rounds to 1
        e = xp.exp(clip(xp, x, high=80 if x.dtype in (xp.float32, xp.float64) else 11))
        y = e / (1 + e)
    return y, lambda g: g * (y * (1 - y))


def sigmoid(input: Array) -> Array:
    """The logistic function, `1 / (1 + exp(-x))`.

    `sigmoid' = sigmoid (1 - sigmoid)`

    *Raises* `DtypeError` unless the input is of real floating numbers.

    *Notes* Exact to a few units in the last place at both ends; 0 and 1 at the infinities.

    >>> import numpy as np
    >>> sigmoid(np.asarray([-1000.0, 0.0, 2.0]))
    array([0.        , 0.5       , 0.88079708])
    """
    arguments.real("sigmoid", input=input)
    return _sigmoid(input)


@elementwise
def _logsigmoid(xp: Any, x: Any) -> Any:
    nested = type(x) is Traced
    y = _logsigmoid(x) if nested else clip(xp, x, high=0) - xp.log1p(xp.exp(-xp.abs(x)))
    return y, lambda g: g * _sigmoid(-x)


def logsigmoid(input: Array) -> Array:
    """The logarithm of the sigmoid, `-log(1 + exp(-x))`.

    `logsigmoid'(x) = sigmoid(-x)`

    *Raises* `DtypeError` unless the input is of real floating numbers.

    *Notes* Computed as `min(x, 0) - log1p(exp(-|x|))`, which keeps all digits at both ends.

    >>> import numpy as np
    >>> logsigmoid(np.asarray([-100.0, 0.0]))
    array([-100.        ,   -0.69314718])
    """
    arguments.real("logsigmoid", input=input)
    return _logsigmoid(input)


@rule
def _softplus(xp: Any, x: Any, /, beta: float, threshold: float) -> Any:
    u = beta * x
    straight = u > threshold
    if type(x) is Traced:
        y = _softplus(x, beta, threshold)
        u = choose(raw(u), u, raw(u) == threshold)  # there the second derivative is that of a line
    else:
        y = choose(x, (clip(xp, u, 0) + xp.log1p(xp.exp(-xp.abs(u)))) / beta, straight)
    return y, lambda g: g * choose(1, _sigmoid(u), straight)


def softplus(input: Array, beta: float = 1, threshold: float = 20) -> Array:
    """A smooth rectifier, `log(1 + exp(beta x)) / beta`.

    `softplus'(x) = sigmoid(beta x)`

    *Parameters* `beta`: how sharply it bends. `threshold`: where `beta x` is larger, the result is
    `x` itself.

    *Raises* `DtypeError` unless the input is of real floating numbers.

    *Notes* Computed as `max(u, 0) + log1p(exp(-|u|))`, `u = beta x`: nothing overflows whatever the
    threshold is. At the threshold itself the second derivative is 0, as in torch.

    >>> import numpy as np
    >>> softplus(np.asarray([-1.0, 0.0, 30.0]))
    array([ 0.31326169,  0.69314718, 30.        ])
    """
    arguments.real("softplus", input=input)
    return _softplus(input, beta, threshold)


@elementwise
def _silu(xp: Any, x: Any) -> Any:
    s = _sigmoid(x)
    return x * s, lambda g: g * (s * (1 + x * (1 - s)))


def silu(input: Array, inplace: bool = False) -> Array:
    """The sigmoid linear unit or swish, `x sigmoid(x)`.

    `silu' = s (1 + x (1 - s))`, `s = sigmoid(x)`

    *Raises* `DtypeError` unless the input is of real floating numbers.

    *Notes* NaN at minus infinity, as in torch.

    *References* S. Elfwing, E. Uchibe, K. Doya (2018), "Sigmoid-weighted linear units for neural
    network function approximation in reinforcement learning".

    >>> import numpy as np
    >>> silu(np.asarray([-1.0, 0.0, 2.0]))
    array([-0.26894142,  0.        ,  1.76159416])
    """
    arguments.real("silu", input=input)
    return _silu(input)


@elementwise
def _mish(xp: Any, x: Any) -> Any:
    t = xp.tanh(_softplus(x, 1, 20))
    return x * t, lambda g: g * (t + x * ((1 - t * t) * _sigmoid(x)))


def mish(input: Array, inplace: bool = False) -> Array:
    """`x tanh(softplus(x))`.

    `mish' = t + x (1 - t²) sigmoid(x)`, `t = tanh(softplus(x))`

    *Raises* `DtypeError` unless the input is of real floating numbers.

    *Notes* NaN at minus infinity, as in torch.

    *References* D. Misra (2019), "Mish: a self regularized non-monotonic activation function".

    >>> import numpy as np
    >>> mish(np.asarray([-1.0, 0.0, 2.0]))
    array([-0.30340146,  0.        ,  1.94395896])
    """
    arguments.real("mish", input=input)
    return _mish(input)


@rule
def _glu(xp: Any, x: Any, /, axis: int) -> Any:
    half = x.shape[axis] // 2
    before = (slice(None),) * axis
    a, b = x[(*before, slice(half), ...)], x[(*before, slice(half, None), ...)]
    s = _sigmoid(b)

    def pull(g: Any) -> Any:
        ga = g * s
        return xp.concat([ga, ga * (a * (1 - s))], axis=axis)

    return a * s, pull


def glu(input: Array, dim: int = -1) -> Array:
    """The gated linear unit: the first half of an axis times the sigmoid of the second, `a
    sigmoid(b)`.

    *Shape* `(..., 2 n, ...) -> (..., n, ...)` along the axis `dim`.

    *Raises* `ShapeError` if this axis does not exist or is of odd size; `DtypeError` unless the
    input is of real floating numbers.

    *References* Y. Dauphin, A. Fan, M. Auli, D. Grangier (2017), "Language modeling with gated
    convolutional networks".

    >>> import numpy as np
    >>> glu(np.asarray([1.0, 2.0, 0.0, 0.0]))
    array([0.5, 1. ])
    """
    arguments.real("glu", input=input)
    if input.ndim == 0:
        raise ShapeError("glu: expected an input with at least one axis, got shape ()")
    axis = arguments.axis_of("glu", dim, input.ndim)
    if input.shape[axis] % 2:
        raise ShapeError(
            f"glu: expected an even size along dim {dim}, to be halved, got shape {tuple(input.shape)}"
        )
    return _glu(input, axis)


# ---- the hyperbolic tangent, and the sign made smooth


def tanh(input: Array) -> Array:
    """The hyperbolic tangent.

    `tanh' = 1 - tanh²`

    *Raises* `DtypeError` unless the input is floating; complex numbers are taken.

    >>> import numpy as np
    >>> tanh(np.asarray([0.0, 1.0]))
    array([0.        , 0.76159416])
    """
    arguments.floating("tanh", input=input)
    return array_namespace(input).tanh(input)


@elementwise
def _tanhshrink(xp: Any, x: Any) -> Any:
    t = xp.tanh(x)
    return x - t, lambda g: g * (t * t)


def tanhshrink(input: Array) -> Array:
    """`x - tanh(x)`.

    `tanhshrink' = tanh²`

    *Raises* `DtypeError` unless the input is of real floating numbers.

    >>> import numpy as np
    >>> tanhshrink(np.asarray([0.0, 1.0]))
    array([0.        , 0.23840584])
    """
    arguments.real("tanhshrink", input=input)
    return _tanhshrink(input)


@elementwise
def _softsign(xp: Any, x: Any) -> Any:
    d = 1 + xp.abs(x)
    return x / d, lambda g: g / (d * d)


def softsign(input: Array) -> Array:
    """`x / (1 + |x|)`.

    `softsign' = 1 / (1 + |x|)²`

    *Raises* `DtypeError` unless the input is of real floating numbers.

    *Notes* NaN at the infinities, as in torch.

    >>> import numpy as np
    >>> softsign(np.asarray([-1.0, 0.0, 3.0]))
    array([-0.5 ,  0.  ,  0.75])
    """
    arguments.real("softsign", input=input)
    return _softsign(input)


# ---- exponential units


@rule
def _elu(xp: Any, x: Any, /, alpha: float, scale: float, inner: float) -> Any:
    right = x > 0
    left = keep(x, ~(x >= 0)) * inner  # x to the left of 0: its exponential never overflows
    y = choose(scale * x, (alpha * scale) * xp.expm1(left), right)

    def pull(g: Any) -> Any:
        slope = (alpha * scale * inner) * xp.exp(left)
        return g * choose(scale, slope, right)

    return y, pull


def elu(input: Array, alpha: float = 1.0, inplace: bool = False) -> Array:
    """The exponential linear unit: `x` if `x > 0`, else `alpha (exp(x) - 1)`.

    *Raises* `DtypeError` unless the input is of real floating numbers.

    *Notes* The derivative at 0 is `alpha`.

    *References* D. Clevert, T. Unterthiner, S. Hochreiter (2016), "Fast and accurate deep network
    learning by exponential linear units".

    >>> import numpy as np
    >>> elu(np.asarray([-1.0, 0.0, 2.0]))
    array([-0.63212056,  0.        ,  2.        ])
    """
    arguments.real("elu", input=input)
    return _elu(input, alpha, 1, 1)


SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946
"""The numbers for which activations of mean 0 and variance 1 keep them from layer to layer."""


def selu(input: Array, inplace: bool = False) -> Array:
    """The self-normalising unit: `scale x` if `x > 0`, else `scale alpha (exp(x) - 1)`.

    `alpha = 1.67326...`, `scale = 1.05070...`

    *Raises* `DtypeError` unless the input is of real floating numbers.

    *Notes* The derivative at 0 is `scale alpha`.

    *References* G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter (2017), "Self-normalizing
    neural networks".

    >>> import numpy as np
    >>> selu(np.asarray([-1.0, 0.0, 1.0]))
    array([-1.11133074,  0.        ,  1.05070099])
    """
    arguments.real("selu", input=input)
    return _elu(input, SELU_ALPHA, SELU_SCALE, 1)


def celu(input: Array, alpha: float = 1.0, inplace: bool = False) -> Array:
    """The exponential unit with a continuous derivative: `x` if `x > 0`, else `alpha (exp(x /
    alpha) - 1)`.

    *Raises* `ValueError` if `alpha` is 0; `DtypeError` unless the input is of real floating
    numbers.

    *Notes* The derivative at 0 is 1. It is exact, while torch's takes `1 / alpha` in single
    precision: they differ by up to 4e-8 if that is no short binary fraction.

    *References* J. Barron (2017), "Continuously differentiable exponential linear units".

    >>> import numpy as np
    >>> celu(np.asarray([-1.0, 0.0, 2.0]), 0.5)
    array([-0.43233236,  0.        ,  2.        ])
    """
    arguments.real("celu", input=input)
    if alpha == 0:
        raise ArgumentError("celu: expected alpha other than 0, by which the input is divided")
    return _elu(input, alpha, 1, 1 / alpha)


# ---- gelu


@elementwise
def _gelu(xp: Any, x: Any) -> Any:
    if (run := find("gelu", xp, x)) is not None:
        return run(x)
    below = 0.5 * (1 + erf_rule(math.sqrt(0.5) * x))  # the normal distribution

    def pull(g: Any) -> Any:
        density = (1 / math.sqrt(2 * math.pi)) * xp.exp(-0.5 * (x * x))
        return g * (below + x * density)

    return x * below, pull


@elementwise
def _gelu_tanh(xp: Any, x: Any) -> Any:
    if (run := find("gelu_tanh", xp, x)) is not None:
        return run(x)
    k, c = math.sqrt(2 / math.pi), 0.044715
    square = x * x
    t = xp.tanh(k * (x * (1 + c * square)))

    def pull(g: Any) -> Any:
        slope = (1 - t * t) * (k * (1 + 3 * c * square))
        return g * (0.5 * (1 + t + x * slope))

    return x * (0.5 * (1 + t)), pull


def gelu(input: Array, approximate: str = "none") -> Array:
    """The Gaussian error linear unit, `x P(x)` with the normal distribution `P(x) = (1 + erf(x /
    sqrt(2))) / 2`.

    `gelu'(x) = P(x) + x p(x)`, `p` the density.

    *Parameters* `approximate`: "none", or "tanh" for `x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³))) /
    2`.

    *Raises* `ValueError` for another approximation; `DtypeError` unless the input is of real
    floating numbers.

    *Notes* NaN at minus infinity, as in torch.

    *References* D. Hendrycks, K. Gimpel (2016), "Gaussian error linear units".

    >>> import numpy as np
    >>> gelu(np.asarray([-1.0, 0.0, 2.0]))
    array([-0.15865525,  0.        ,  1.95449974])
    >>> gelu(np.asarray([2.0]), "tanh")
    array([1.95459769])
    """
    arguments.real("gelu", input=input)
    if approximate not in ("none", "tanh"):
        raise ArgumentError(f"gelu: expected approximate 'none' or 'tanh', got {approximate!r}")
    return _gelu(input) if approximate == "none" else _gelu_tanh(input)
