"""Smooth activation functions as layers. Those with a kink are in `rectifier.py`, those that relate
numbers to their neighbours in `softmax.py`.

`inplace` stands in torch's place: it is accepted and kept, and the input is never changed."""

from __future__ import annotations

from typing import Any

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.errors import ArgumentError
from bpgpu.functional.arguments import Array
from bpgpu.nn.module import Module


class Activation(Module):
    """Base of activations: `repr` shows the settings in `shown`, and `inplace` where it is set."""

    shown: tuple[str, ...] = ()
    inplace: bool = False

    def extra_repr(self) -> str:
        settings = [f"{name}={getattr(self, name)!r}" for name in self.shown]
        return ", ".join([*settings, "inplace=True"] if self.inplace else settings)


class InPlace(Activation):
    """Base of activations whose one setting is `inplace`."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class Bare(Activation):
    """Base of activations without a setting; as in torch, arguments are taken and not looked at."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()


class Sigmoid(Bare):
    """The logistic function, `1 / (1 + exp(-x))`, between 0 and 1.

    *Shape* any; the result has the same.

    >>> import numpy as np
    >>> Sigmoid()(np.asarray([0.0, 1.0]))
    array([0.5       , 0.73105858])
    """

    def forward(self, input: Array) -> Array:
        return F.sigmoid(input)


class LogSigmoid(Bare):
    """The logarithm of the sigmoid, `-log(1 + exp(-x))`, without loss of digits far from 0.

    *Shape* any; the result has the same.
    """

    def forward(self, input: Array) -> Array:
        return F.logsigmoid(input)


class Tanh(Bare):
    """The hyperbolic tangent, `(exp(x) - exp(-x)) / (exp(x) + exp(-x))`, between -1 and 1.

    *Shape* any; the result has the same.
    """

    def forward(self, input: Array) -> Array:
        return F.tanh(input)


class Tanhshrink(Bare):
    """`x - tanh(x)`: flat around 0, and a straight line far from it.

    *Shape* any; the result has the same.
    """

    def forward(self, input: Array) -> Array:
        return F.tanhshrink(input)


class Softsign(Bare):
    """`x / (1 + |x|)`, between -1 and 1: like tanh, but it nears its limits slowly.

    *Shape* any; the result has the same.

    *References* X. Glorot and Y. Bengio (2010), "Understanding the difficulty of training deep
    feedforward neural networks".
    """

    def forward(self, input: Array) -> Array:
        return F.softsign(input)


class Softplus(Activation):
    """A smooth `max(x, 0)`: `log(1 + exp(beta x)) / beta`.

    *Shape* any; the result has the same.

    *Parameters* `beta`: how sharp it bends (1.0). `threshold`: where `beta x` is above it, the
    result is `x` itself (20.0).

    *References* C. Dugas et al. (2001), "Incorporating second-order functional knowledge for better
    option pricing".
    """

    shown = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Array) -> Array:
        return F.softplus(input, self.beta, self.threshold)


class SiLU(InPlace):
    """`x sigmoid(x)`, also called swish.

    *Shape* any; the result has the same.

    *References* S. Elfwing, E. Uchibe, K. Doya (2018), "Sigmoid-weighted linear units for neural
    network function approximation in reinforcement learning".
    """

    def forward(self, input: Array) -> Array:
        return F.silu(input)


class Mish(InPlace):
    """`x tanh(softplus(x))`.

    *Shape* any; the result has the same.

    *References* D. Misra (2019), "Mish: a self regularized non-monotonic activation function".
    """

    def forward(self, input: Array) -> Array:
        return F.mish(input)


class GELU(Activation):
    """`x Phi(x)`, with `Phi` the distribution function of the standard normal distribution.

    *Shape* any; the result has the same.

    *Parameters* `approximate`: `"none"`, or `"tanh"` for `0.5 x (1 + tanh(sqrt(2 / pi) (x +
    0.044715 x^3)))`.

    *Raises* `ArgumentError` for another `approximate`.

    *References* D. Hendrycks and K. Gimpel (2016), "Gaussian error linear units".

    >>> import numpy as np
    >>> GELU()(np.asarray([-1.0, 0.0, 1.0]))
    array([-0.15865525,  0.        ,  0.84134475])
    """

    shown = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ArgumentError(
                f"GELU: expected approximate as 'none' or 'tanh', got {approximate!r}"
            )
        self.approximate = approximate

    def forward(self, input: Array) -> Array:
        return F.gelu(input, approximate=self.approximate)


class ELU(Activation):
    """`x` if `x > 0`, else `alpha (exp(x) - 1)`.

    *Shape* any; the result has the same.

    *Parameters* `alpha`: minus the limit to the left (1.0).

    *References* D. Clevert, T. Unterthiner, S. Hochreiter (2016), "Fast and accurate deep network
    learning by exponential linear units".
    """

    shown = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Array) -> Array:
        return F.elu(input, self.alpha)


class CELU(Activation):
    """`x` if `x > 0`, else `alpha (exp(x / alpha) - 1)`: an ELU without a kink for every `alpha`.

    *Shape* any; the result has the same.

    *Parameters* `alpha`: minus the limit to the left (1.0); not 0.

    *Raises* `ArgumentError` if `alpha` is 0.

    *References* J. Barron (2017), "Continuously differentiable exponential linear units".
    """

    shown = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        if alpha == 0:
            raise ArgumentError("CELU: expected alpha other than 0, by which x is divided")
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Array) -> Array:
        return F.celu(input, self.alpha)


class SELU(InPlace):
    """`s x` if `x > 0`, else `s a (exp(x) - 1)`, with `s = 1.0507...` and `a = 1.6732...`.

    These numbers draw mean 0 and variance 1 from layer to layer, if weights are normal with
    variance 1 / fan-in.

    *Shape* any; the result has the same.

    *References* G. Klambauer et al. (2017), "Self-normalizing neural networks".
    """

    def forward(self, input: Array) -> Array:
        return F.selu(input)
