"""Layers that relate numbers to their neighbours along an axis: softmax and its kin, and GLU."""

from __future__ import annotations

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.errors import ShapeError
from bpgpu.functional.arguments import Array
from bpgpu.nn.activation import Activation, Bare

_TO_CALLER = 5
"""So many calls lie between the one who forgot `dim` and the warning about it."""


class _AlongAxis(Activation):
    shown = ("dim",)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim


class Softmax(_AlongAxis):
    """Positive numbers that sum to 1 along an axis: `exp(x_i) / sum_j exp(x_j)`.

    *Shape* any; the result has the same.

    *Parameters* `dim`: the axis. Without it, a warning, and axis 0 for inputs of 0, 1 or 3 axes,
    else axis 1.

    *Notes* Before `CrossEntropyLoss` there is to be none: the loss takes the logarithm of the
    softmax itself.

    >>> import numpy as np
    >>> Softmax(dim=-1)(np.asarray([[0.0, np.log(3.0)]]))
    array([[0.25, 0.75]])
    """

    def forward(self, input: Array) -> Array:
        return F.softmax(input, self.dim, _stacklevel=_TO_CALLER)


class LogSoftmax(_AlongAxis):
    """The logarithm of the softmax, `x_i - log(sum_j exp(x_j))`, without loss of digits.

    *Shape*, *Parameters* as for `Softmax`.
    """

    def forward(self, input: Array) -> Array:
        return F.log_softmax(input, self.dim, _stacklevel=_TO_CALLER)


class Softmin(_AlongAxis):
    """The softmax of `-x`: the smallest number gets the most.

    *Shape*, *Parameters* as for `Softmax`.
    """

    def forward(self, input: Array) -> Array:
        return F.softmin(input, self.dim, _stacklevel=_TO_CALLER)


class Softmax2d(Bare):
    """The softmax over the channels at each place of an image.

    *Shape* `(N, C, H, W)` or `(C, H, W)`; the result has the same.

    *Raises* `ShapeError` for another number of axes.
    """

    def forward(self, input: Array) -> Array:
        if input.ndim not in (3, 4):
            raise ShapeError(
                f"expected input (N, C, H, W) or (C, H, W), got shape {tuple(input.shape)}"
            )
        return F.softmax(input, -3)


class GLU(Activation):
    """Gated linear unit: `a sigmoid(b)`, with `a` and `b` the two halves of `x` along an axis.

    *Shape* `(..., 2 n, ...) -> (..., n, ...)` along the axis `dim`.

    *Parameters* `dim`: the axis (-1).

    *References* Y. Dauphin et al. (2017), "Language modeling with gated convolutional networks".
    """

    shown = ("dim",)

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Array) -> Array:
        return F.glu(input, self.dim)
