"""Dropout layers: numbers, or whole channels, left out at random while a model learns."""

from __future__ import annotations

import numbers
from typing import Any

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.errors import ArgumentError
from bpgpu.functional.arguments import Array
from bpgpu.functional.dropout import activation_dropout, is_one_kernel
from bpgpu.nn.chance import Random
from bpgpu.nn.module import Module


class _Dropout(Random):
    """Base of the family: the probability, and what `repr` shows of it."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        given: Any = p
        if not isinstance(given, numbers.Real) or not 0 <= p <= 1:
            raise ArgumentError(f"{type(self).__name__}: expected p in [0, 1], got {p!r}")
        self.p: float = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training, each number becomes 0 with probability `p`, and `x / (1 - p)` otherwise.

    Dividing keeps the mean, so that evaluation (`model.eval()`) needs no factor: it does nothing.

    *Shape* any; the result has the same.

    *Attributes* `key`: the layer's own random key, advanced at each call in training, and not
    saved with the weights. The same `bp.seed` gives the same masks in every array library.

    *Parameters* `p`: the probability of 0, in [0, 1] (0.5). `inplace`: stands in torch's place, the
    input is never changed.

    *Raises* `ArgumentError` unless `p` is a probability.

    *References* N. Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from
    overfitting".

    >>> import numpy as np, bpgpu as bp
    >>> _ = bp.seed(0)
    >>> layer = Dropout()
    >>> layer(np.ones(6))
    array([2., 0., 2., 2., 0., 0.])
    >>> layer.eval()(np.ones(3))
    array([1., 1., 1.])
    """

    def forward(self, input: Array) -> Array:
        if not self.training:
            return F.dropout(input, self.p, False)
        return F.dropout(input, self.p, key=self.next_key())


def at_once(activation: str | None, dropout: Module, x: Array) -> Array | None:
    """`dropout(activation(x))` by one kernel; `None` where there is none, or where the layer is no plain `Dropout`."""
    if activation is None or type(dropout) is not Dropout or "forward" in dropout.__dict__:
        return None
    if not dropout.training or not is_one_kernel(activation, x, dropout.p, dropout.key):
        return None
    return activation_dropout(activation, x, dropout.p, dropout.next_key())


class Dropout1d(_Dropout):
    """`Dropout` of whole channels: all of `x[n, c]` stays or goes.

    Neighbours along a signal resemble each other, so that single numbers left out would hardly be
    missed.

    *Shape* `(N, C, L)` or `(C, L)`; the result has the same.

    *Attributes*, *Parameters* as for `Dropout`.

    *References* J. Tompson et al. (2015), "Efficient object localization using convolutional
    networks".
    """

    def forward(self, input: Array) -> Array:
        if not self.training:
            return F.dropout1d(input, self.p, False)
        return F.dropout1d(input, self.p, key=self.next_key())


class Dropout2d(_Dropout):
    """`Dropout` of whole channels of images: all of `x[n, c]` stays or goes.

    *Shape* `(N, C, H, W)`; the result has the same. As in torch, three axes draw a warning and are
    read as `(N, C, L)`.

    *Attributes*, *Parameters* as for `Dropout`.

    *References* J. Tompson et al. (2015), "Efficient object localization using convolutional
    networks".
    """

    def forward(self, input: Array) -> Array:
        if not self.training:
            return F.dropout2d(input, self.p, False)
        return F.dropout2d(input, self.p, key=self.next_key())


class Dropout3d(_Dropout):
    """`Dropout` of whole channels of volumes: all of `x[n, c]` stays or goes.

    *Shape* `(N, C, D, H, W)` or `(C, D, H, W)`; the result has the same.

    *Attributes*, *Parameters* as for `Dropout`.

    *References* J. Tompson et al. (2015), "Efficient object localization using convolutional
    networks".
    """

    def forward(self, input: Array) -> Array:
        if not self.training:
            return F.dropout3d(input, self.p, False)
        return F.dropout3d(input, self.p, key=self.next_key())


class AlphaDropout(_Dropout):
    """Dropout to stand after `SELU`: what is dropped takes SELU's lowest value, `-1.7580...`.

    Then all is scaled and shifted so that inputs of mean 0 and variance 1 keep them:
    `a (x or -s) + b`, `s = 1.7580...`, `a = ((1 - p) (1 + p s^2))^(-1/2)`, `b = a p s`.

    *Shape* any; the result has the same.

    *Attributes*, *Parameters* as for `Dropout`.

    *References* G. Klambauer et al. (2017), "Self-normalizing neural networks".
    """

    def forward(self, input: Array) -> Array:
        if not self.training:
            return F.alpha_dropout(input, self.p, False)
        return F.alpha_dropout(input, self.p, True, key=self.next_key())


class FeatureAlphaDropout(_Dropout):
    """`AlphaDropout` of whole channels: all of `x[n, c]` stays or takes SELU's lowest value.

    *Shape* `(N, C, ...)`; the result has the same.

    *Attributes*, *Parameters* as for `Dropout`.

    *References* G. Klambauer et al. (2017), "Self-normalizing neural networks".
    """

    def forward(self, input: Array) -> Array:
        if not self.training:
            return F.feature_alpha_dropout(input, self.p, False)
        return F.feature_alpha_dropout(input, self.p, True, key=self.next_key())
