"""Normalisation of each example by itself: layer, RMS, group norm, and response normalisation. Those
with running statistics are in `batchnorm.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional.arguments import Array, tupled
from bpgpu.nn import init
from bpgpu.nn.module import Module
from bpgpu.nn.parameter import Parameter


class LayerNorm(Module):
    """Normalise each example over its last axes, then scale and shift: `y = w (x - m) / sqrt(v +
    eps) + b`.

    *Shape* `(*, *normalized_shape)`; the result has the same.

    *Attributes* `weight`, all 1, and `bias`, all 0, of shape `normalized_shape`.

    *Parameters* `normalized_shape`: the sizes of these axes, or one integer for the last. `eps`:
    added to the variance (1e-5). `elementwise_affine`: whether there are `weight` and `bias`;
    `bias`: whether there is a `bias`, if so. `device`, `dtype`: of the weights (float32).

    *Raises* `ShapeError` for sizes that are no integers, or, in the call, an input of others.

    *References* J. Ba, J. Kiros, G. Hinton (2016), "Layer normalization".

    >>> import numpy as np
    >>> LayerNorm(2, eps=0.0, dtype="float64")(np.asarray([[1.0, 3.0]]))
    array([[-1.,  1.]])
    """

    weight: Array | None
    bias: Array | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _sizes("LayerNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        shape, affine = self.normalized_shape, elementwise_affine
        w = Parameter(init.new(shape, device, dtype)) if affine else None
        self.register_parameter("weight", w)
        b = Parameter(init.new(shape, device, dtype)) if affine and bias else None
        self.register_parameter("bias", b)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1, shift 0."""
        _reset(self)

    def forward(self, input: Array) -> Array:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Divide each example by its root mean square over the last axes: `y = w x / sqrt(mean(x^2) +
    eps)`.

    *Shape* `(*, *normalized_shape)`; the result has the same.

    *Attributes* `weight`, all 1, of shape `normalized_shape`.

    *Parameters* `normalized_shape`: the sizes of these axes, or one integer for the last. `eps`: by
    default the distance from 1 to the next number of the input's dtype. `elementwise_affine`:
    whether there is a `weight`. `device`, `dtype`: of the weight (float32).

    *Raises* as `LayerNorm`.

    *References* B. Zhang and R. Sennrich (2019), "Root mean square layer normalization".
    """

    weight: Array | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _sizes("RMSNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        w = init.new(self.normalized_shape, device, dtype) if elementwise_affine else None
        self.register_parameter("weight", None if w is None else Parameter(w))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1."""
        _reset(self)

    def forward(self, x: Array) -> Array:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """Normalise each example over the channels of a group and all places, then scale and shift each
    channel.

    *Shape* `(N, C, *)`, with `C = num_channels`; the result has the same.

    *Attributes* `weight`, all 1, and `bias`, all 0, of shape `(C,)`.

    *Parameters* `num_groups`: so many groups, each of `C / num_groups` channels. `eps`: added to the
    variance (1e-5). `affine`: whether there are `weight` and `bias`; `bias`: whether there is a
    `bias`, if so. `device`, `dtype`: of the weights (float32).

    *Raises* `ArgumentError` unless `num_groups` divides `num_channels`; in the call, `ShapeError` for
    other channels.

    *References* Y. Wu and K. He (2018), "Group normalization".
    """

    weight: Array | None
    bias: Array | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        (self.num_groups,) = tupled("GroupNorm", "num_groups", num_groups, 1, least=1)
        (self.num_channels,) = tupled("GroupNorm", "num_channels", num_channels, 1)
        if num_channels % num_groups:
            raise ArgumentError(
                f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}"
            )
        self.eps = eps
        self.affine = affine
        shape = (self.num_channels,)
        w = Parameter(init.new(shape, device, dtype)) if affine else None
        self.register_parameter("weight", w)
        b = Parameter(init.new(shape, device, dtype)) if affine and bias else None
        self.register_parameter("bias", b)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1, shift 0."""
        _reset(self)

    def forward(self, input: Array) -> Array:
        if input.ndim < 2 or input.shape[1] != self.num_channels:
            raise ShapeError(
                f"expected input (N, {self.num_channels}, ...), got {tuple(input.shape)}: "
                f"num_channels is {self.num_channels}"
            )
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    """Divide each channel by the power of its neighbours: `y = x / (k + alpha mean(x^2))^beta`.

    The mean runs over `size` channels around it; those beyond the edge count as 0.

    *Shape* `(N, C, *)`, at least three axes; the result has the same.

    *Parameters* `size`; `alpha` (1e-4), `beta` (0.75), `k` (1.0).

    *Raises* `ShapeError` for a size that is no integer of at least 1.

    *References* A. Krizhevsky, I. Sutskever, G. Hinton (2012), "ImageNet classification with deep
    convolutional neural networks", section 3.3.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        (self.size,) = tupled("LocalResponseNorm", "size", size, 1, least=1)
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Array) -> Array:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def _sizes(layer: str, shape: Any) -> tuple[int, ...]:
    """The sizes of the last axes, from one integer or a sequence."""
    n = len(shape) if isinstance(shape, Sequence) else 1
    return tupled(layer, "normalized_shape", shape, n)


def _reset(module: Any) -> None:
    if module.weight is not None:
        module.weight = init.ones_(module.weight)
    if getattr(module, "bias", None) is not None:
        module.bias = init.zeros_(module.bias)
