"""Normalisation with running statistics: batch norm and instance norm."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.device import device as find_device
from bpgpu.errors import ShapeError
from bpgpu.functional.arguments import Array, tupled
from bpgpu.nn import init
from bpgpu.nn.module import Module
from bpgpu.nn.parameter import Parameter


class ChannelNorm(Module):
    """Base of batch and instance norm: a scale and a shift for each channel, and what was seen of it
    so far.

    *Attributes* `weight`, all 1, and `bias`, all 0, of shape `(num_features,)`; `None` without
    `affine`. Buffers `running_mean`, all 0, `running_var`, all 1, of the same shape, and
    `num_batches_tracked`, a count; `None` without `track_running_stats`.
    """

    weight: Array | None
    bias: Array | None
    running_mean: Array | None
    running_var: Array | None
    num_batches_tracked: Array | None
    may_lack: ClassVar[tuple[str, ...]] = ("num_batches_tracked",)
    inputs: dict[int, str] = {}  # noqa: RUF012 - read only
    """Numbers of axes that the input may have, and how they are called."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        (self.num_features,) = tupled(type(self).__name__, "num_features", num_features, 1)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        shape = (self.num_features,)
        w = Parameter(init.new(shape, device, dtype)) if affine else None
        self.register_parameter("weight", w)
        b = Parameter(init.new(shape, device, dtype)) if affine and bias else None
        self.register_parameter("bias", b)
        kept = track_running_stats
        self.register_buffer("running_mean", init.new(shape, device, dtype) if kept else None)
        self.register_buffer("running_var", init.new(shape, device, dtype) if kept else None)
        count = find_device(device).asarray(0) if kept else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget what was seen: mean 0, variance 1, no batch."""
        for name, value in (("running_mean", 0), ("running_var", 1), ("num_batches_tracked", 0)):
            if getattr(self, name) is not None:
                setattr(self, name, init.constant_(getattr(self, name), value))

    def reset_parameters(self) -> None:
        """Scale 1, shift 0, nothing seen."""
        self.reset_running_stats()
        if self.weight is not None:
            self.weight = init.ones_(self.weight)
        if self.bias is not None:
            self.bias = init.zeros_(self.bias)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def _check_axes(self, input: Array) -> None:
        if input.ndim not in self.inputs:
            names = " or ".join(self.inputs.values())
            raise ShapeError(f"expected input {names}, got shape {tuple(input.shape)}")


class _BatchNorm(ChannelNorm):
    def forward(self, input: Array) -> Array:
        self._check_axes(input)
        if input.shape[1] != self.num_features:
            raise ShapeError(
                f"expected input of {self.num_features} channels, got {tuple(input.shape)}: "
                f"num_features is {self.num_features}"
            )
        mean, variance = self.running_mean, self.running_var
        learns = self.training and self.track_running_stats and mean is not None
        by_batch = self.training or mean is None or variance is None
        if by_batch and not learns:
            mean = variance = None
        count, share = self._counted() if learns else (None, 0.0)
        settings = (self.weight, self.bias, by_batch, share, self.eps)
        y, mean, variance = F.batch_norm_with_statistics(input, mean, variance, *settings)
        if learns:
            self.running_mean, self.running_var = mean, variance
            if count is not None:
                self.num_batches_tracked = count
        return y

    def _counted(self) -> tuple[Array | None, Any]:
        """How many batches there are with this one, and the weight of its statistics in the running
        ones."""
        count, share = self.num_batches_tracked, self.momentum
        if count is not None:
            xp = array_namespace(count)
            count = xp.asarray(count + 1)
            if share is None:  # 1, 1/2, 1/3, ...: the mean of all batches
                share = 1 / xp.astype(count, self.running_mean.dtype)  # type: ignore[union-attr]
        return count, 0.0 if share is None else share


class BatchNorm1d(_BatchNorm):
    """Normalise each channel over a batch, then scale and shift it: `y = w (x - m) / sqrt(v + eps) +
    b`.

    In training `m` and `v` are mean and variance (dividing by `n`) of the channel in this batch,
    and the running statistics move towards them: `running = (1 - momentum) running + momentum
    batch`, the variance here dividing by `n - 1`. In evaluation they are the running ones.

    *Shape* `(N, C)` or `(N, C, L)`, with `C = num_features`; the result has the same.

    *Attributes* `weight`, all 1, and `bias`, all 0, of shape `(C,)`. Buffers, all saved:
    `running_mean`, all 0, `running_var`, all 1, and `num_batches_tracked`, a count.

    *Parameters* `eps`: added to the variance (1e-5). `momentum`: the weight of the new batch (0.1);
    `None` for the mean over all batches. `affine`: whether there are `weight` and `bias`.
    `track_running_stats`: without it, evaluation uses the batch as well. `device`, `dtype`: of the
    weights (float32). `bias`: whether `bias` is there.

    *Raises* `ShapeError` for other channels, or a single value to a channel in training.

    *References* S. Ioffe and C. Szegedy (2015), "Batch normalization: accelerating deep network
    training by reducing internal covariate shift".

    >>> import numpy as np
    >>> BatchNorm1d(1, eps=0.0, dtype="float64")(np.asarray([[1.0], [3.0]]))
    array([[-1.],
           [ 1.]])
    """

    inputs = {2: "(N, C)", 3: "(N, C, L)"}  # noqa: RUF012


class BatchNorm2d(_BatchNorm):
    """Normalise each channel over a batch of images and all places.

    *Shape* `(N, C, H, W)`, with `C = num_features`; the result has the same.

    *Attributes*, *Parameters*, *Raises* as for `BatchNorm1d`.

    *References* S. Ioffe and C. Szegedy (2015), section 3.2.
    """

    inputs = {4: "(N, C, H, W)"}  # noqa: RUF012


class BatchNorm3d(_BatchNorm):
    """Normalise each channel over a batch of volumes and all places.

    *Shape* `(N, C, D, H, W)`, with `C = num_features`; the result has the same.

    *Attributes*, *Parameters*, *Raises* as for `BatchNorm1d`.
    """

    inputs = {5: "(N, C, D, H, W)"}  # noqa: RUF012


class _InstanceNorm(ChannelNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        settings = (num_features, eps, momentum, affine, track_running_stats, device, dtype)
        super().__init__(*settings, bias=bias)

    def forward(self, input: Array) -> Array:
        self._check_axes(input)
        batched = input.ndim == max(self.inputs)
        self._check_channels(input, 1 if batched else 0)
        x = input if batched else array_namespace(input).expand_dims(input, axis=0)
        by_instance = self.training or not self.track_running_stats
        y, mean, variance = F.instance_norm_with_statistics(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            by_instance,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        if by_instance and self.running_mean is not None:
            self.running_mean, self.running_var = mean, variance
        return y if batched else array_namespace(y).squeeze(y, axis=0)

    def _check_channels(self, input: Array, axis: int) -> None:
        if input.shape[axis] == self.num_features:
            return
        text = (
            f"expected input of {self.num_features} channels, got {tuple(input.shape)}: "
            f"num_features is {self.num_features}"
        )
        if self.affine or self.track_running_stats:
            raise ShapeError(text)
        warnings.warn(f"{type(self).__name__}: {text}", stacklevel=4)


class InstanceNorm1d(_InstanceNorm):
    """Normalise each channel of each example over its places: `y = w (x - m) / sqrt(v + eps) + b`.

    *Shape* `(N, C, L)` or `(C, L)`, with `C = num_features`; the result has the same.

    *Attributes* with `affine`: `weight`, all 1, and `bias`, all 0, of shape `(C,)`. With
    `track_running_stats`: buffers `running_mean`, all 0, and `running_var`, all 1.

    *Parameters* `eps`: added to the variance (1e-5). `momentum`: the weight of a new batch in the
    running statistics (0.1). `affine` (False). `track_running_stats` (False): keep the mean over
    examples of the statistics, and use them in evaluation. `device`, `dtype`: of the weights
    (float32). `bias`: whether `bias` is there, if `affine`.

    *Raises* `ShapeError` for other channels (a warning, where no number belongs to one), or a single
    value to a channel.

    *References* D. Ulyanov, A. Vedaldi, V. Lempitsky (2016), "Instance normalization: the missing
    ingredient for fast stylization".

    >>> import numpy as np
    >>> InstanceNorm1d(1, eps=0.0)(np.asarray([[[1.0, 3.0]]]))
    array([[[-1.,  1.]]])
    """

    inputs = {2: "(C, L)", 3: "(N, C, L)"}  # noqa: RUF012


class InstanceNorm2d(_InstanceNorm):
    """Normalise each channel of each image over its places.

    *Shape* `(N, C, H, W)` or `(C, H, W)`, with `C = num_features`; the result has the same.

    *Attributes*, *Parameters*, *Raises*, *References* as for `InstanceNorm1d`.
    """

    inputs = {3: "(C, H, W)", 4: "(N, C, H, W)"}  # noqa: RUF012


class InstanceNorm3d(_InstanceNorm):
    """Normalise each channel of each volume over its places.

    *Shape* `(N, C, D, H, W)` or `(C, D, H, W)`, with `C = num_features`; the result has the same.

    *Attributes*, *Parameters*, *Raises*, *References* as for `InstanceNorm1d`.
    """

    inputs = {4: "(C, D, H, W)", 5: "(N, C, D, H, W)"}  # noqa: RUF012
