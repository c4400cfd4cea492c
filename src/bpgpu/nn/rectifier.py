"""Activation functions of straight pieces as layers. At a kink, each function states its derivative
in `functional`.

`inplace` stands in torch's place: it is accepted and kept, and the input is never changed."""

from __future__ import annotations

import warnings
from typing import Any

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.errors import ArgumentError
from bpgpu.functional.arguments import Array, tupled
from bpgpu.nn import init
from bpgpu.nn.activation import Activation, InPlace
from bpgpu.nn.chance import Random
from bpgpu.nn.parameter import Parameter


class ReLU(InPlace):
    """`max(x, 0)`; the derivative at 0 is 0.

    *Shape* any; the result has the same.

    >>> import numpy as np
    >>> ReLU()(np.asarray([-1.0, 2.0]))
    array([0., 2.])
    """

    def forward(self, input: Array) -> Array:
        return F.relu(input)


class LeakyReLU(Activation):
    """`x` if `x > 0`, else `negative_slope x`.

    *Shape* any; the result has the same.

    *Parameters* `negative_slope` (0.01).

    *References* A. Maas, A. Hannun, A. Ng (2013), "Rectifier nonlinearities improve neural network
    acoustic models".
    """

    shown = ("negative_slope",)

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Array) -> Array:
        return F.leaky_relu(input, self.negative_slope)


class PReLU(Activation):
    """`x` if `x > 0`, else `weight x`, with learned slopes.

    *Shape* `(N, C, ...)`, or any for a single slope; the result has the same.

    *Attributes* `weight` of shape `(num_parameters,)`, all `init` at first. Weight decay would draw
    it to 0, that is, to a ReLU.

    *Parameters* `num_parameters`: 1 for a slope that all share (the default), or `C` for one to each
    channel. `init`: the first slope (0.25). `device`, `dtype`: of the slopes (float32).

    *Raises* `ShapeError` for a number of slopes that is no integer of at least 1, or, in the call,
    not that of the channels.

    *References* K. He et al. (2015), "Delving deep into rectifiers".
    """

    shown = ("num_parameters",)
    weight: Array

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        (self.num_parameters,) = tupled("PReLU", "num_parameters", num_parameters, 1, least=1)
        self.init = init
        self.weight = Parameter(_constant((self.num_parameters,), init, device, dtype))

    def reset_parameters(self) -> None:
        """Set the slopes to what they were at first."""
        self.weight = init.constant_(self.weight, self.init)

    def forward(self, input: Array) -> Array:
        return F.prelu(input, self.weight)


def _constant(shape: tuple[int, ...], value: float, device: Any, dtype: Any) -> Array:
    return init.constant_(init.new(shape, device, dtype), value)


class RReLU(Random, Activation):
    """`x` if `x > 0`, else `a x`: in training each number draws its own `a`, uniform in `[lower,
    upper)`.

    In evaluation `a` is the mean, `(lower + upper) / 2`.

    *Shape* any; the result has the same.

    *Attributes* `key`: the layer's own random key, as in `Dropout`.

    *Parameters* `lower` (1/8), `upper` (1/3).

    *Raises* `ArgumentError` if `lower > upper`.

    *References* B. Xu et al. (2015), "Empirical evaluation of rectified activations in
    convolutional network".
    """

    shown = ("lower", "upper")

    def __init__(
        self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False
    ) -> None:
        super().__init__()
        if not lower <= upper:
            raise ArgumentError(f"RReLU: expected lower <= upper, got {lower} and {upper}")
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def forward(self, input: Array) -> Array:
        if not self.training:
            return F.rrelu(input, self.lower, self.upper, False)
        return F.rrelu(input, self.lower, self.upper, True, key=self.next_key())


class Hardtanh(Activation):
    """`x`, cut off at `min_val` and `max_val`.

    *Shape* any; the result has the same.

    *Parameters* `min_val` (-1.0), `max_val` (1.0). `min_value`, `max_value`: their old names, which
    draw a warning.

    *Raises* `ArgumentError` unless `min_val < max_val`.
    """

    shown: tuple[str, ...] = ("min_val", "max_val")

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:
        super().__init__()
        for old, new, value in (
            ("min_value", "min_val", min_value),
            ("max_value", "max_val", max_value),
        ):
            if value is not None:
                warnings.warn(f"Hardtanh: {old} is called {new} now", FutureWarning, stacklevel=2)
        self.min_val = min_val if min_value is None else min_value
        self.max_val = max_val if max_value is None else max_value
        self.inplace = inplace
        if not self.min_val < self.max_val:
            raise ArgumentError(
                f"Hardtanh: expected min_val < max_val, got {self.min_val} and {self.max_val}"
            )

    def forward(self, input: Array) -> Array:
        return F.hardtanh(input, self.min_val, self.max_val)


class ReLU6(Hardtanh):
    """`min(max(x, 0), 6)`.

    *Shape* any; the result has the same.

    *References* A. Krizhevsky (2010), "Convolutional deep belief networks on CIFAR-10".
    """

    shown = ()

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def forward(self, input: Array) -> Array:
        return F.relu6(input)


class Hardsigmoid(InPlace):
    """The sigmoid in three straight pieces: `x / 6 + 1/2`, cut off at 0 and 1.

    *Shape* any; the result has the same.
    """

    def extra_repr(self) -> str:
        return ""

    def forward(self, input: Array) -> Array:
        return F.hardsigmoid(input)


class Hardswish(InPlace):
    """`x hardsigmoid(x)`: 0 below -3, `x` above 3, and `x (x + 3) / 6` between.

    *Shape* any; the result has the same.

    *References* A. Howard et al. (2019), "Searching for MobileNetV3".
    """

    def extra_repr(self) -> str:
        return ""

    def forward(self, input: Array) -> Array:
        return F.hardswish(input)


class Threshold(Activation):
    """`x` if `x > threshold`, else `value`.

    *Shape* any; the result has the same.

    *Parameters* `threshold`, `value`: both are needed.
    """

    shown = ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input: Array) -> Array:
        return F.threshold(input, self.threshold, self.value)


class Softshrink(Activation):
    """`x` drawn towards 0 by `lambd`, and 0 where it would cross: `sign(x) max(|x| - lambd, 0)`.

    *Shape* any; the result has the same.

    *Parameters* `lambd`: at least 0 (0.5).

    *Raises* `ArgumentError` for a `lambd` below 0.
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        if lambd < 0:
            raise ArgumentError(f"Softshrink: expected lambd of at least 0, got {lambd}")
        self.lambd = lambd

    def forward(self, input: Array) -> Array:
        return F.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Hardshrink(Activation):
    """`x` where `|x| > lambd`, else 0.

    *Shape* any; the result has the same.

    *Parameters* `lambd` (0.5).
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Array) -> Array:
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)
