"""Losses of regression as layers, and what all losses have in common.

Each compares what a model gave with a target, term by term, and makes of the terms what `reduction`
says: `"none"` leaves them, `"mean"` and `"sum"` give one number. Numerics and derivatives are told
where the functions are, in `functional`."""

from __future__ import annotations

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.errors import ArgumentError
from bpgpu.functional.arguments import Array
from bpgpu.functional.reduction import REDUCTIONS, check_reduction
from bpgpu.nn.module import Module


class Loss(Module):
    """Base of losses: how their terms are reduced."""

    reductions: tuple[str, ...] = REDUCTIONS

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(type(self).__name__, reduction, self.reductions)
        self.reduction = reduction


class WeightedLoss(Loss):
    """Base of losses with given weights, which are constants: a buffer that is saved and moves with
    the model."""

    weight: Array | None

    def __init__(self, weight: Array | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)


class MSELoss(Loss):
    """The mean squared error: terms `(x - t)^2`.

    *Shape* input and target `(*)`, the same; the result is `()`, or `(*)` for `"none"`.

    *Parameters* `reduction`: `"none"`, `"mean"` (the default) or `"sum"`.

    *Raises* `ValueError` for another reduction; in the call, `ShapeError` for shapes that do not
    belong together.

    >>> import numpy as np
    >>> float(MSELoss()(np.asarray([1.0, 4.0]), np.asarray([1.0, 2.0])))
    2.0
    """

    def forward(self, input: Array, target: Array) -> Array:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(Loss):
    """The mean absolute error: terms `|x - t|`.

    *Shape*, *Parameters*, *Raises* as for `MSELoss`.
    """

    def forward(self, input: Array, target: Array) -> Array:
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(Loss):
    """Squared near 0, absolute far from it: terms `(x - t)^2 / (2 beta)` if `|x - t| < beta`, else
    `|x - t| - beta / 2`.

    *Shape*, *Raises* as for `MSELoss`.

    *Parameters* `reduction`. `beta`: where one goes over into the other, at least 0 (1.0).

    *References* R. Girshick (2015), "Fast R-CNN", equation 3.
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        if beta < 0:
            raise ArgumentError(f"SmoothL1Loss: expected beta of at least 0, got {beta}")
        self.beta = beta

    def forward(self, input: Array, target: Array) -> Array:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(Loss):
    """`SmoothL1Loss` times `delta`: terms `(x - t)^2 / 2` if `|x - t| < delta`, else `delta (|x - t| -
    delta / 2)`.

    *Shape*, *Raises* as for `MSELoss`.

    *Parameters* `reduction`. `delta`: where one goes over into the other, above 0 (1.0).

    *References* P. Huber (1964), "Robust estimation of a location parameter".
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not delta > 0:
            raise ArgumentError(f"HuberLoss: expected delta above 0, got {delta}")
        self.delta = delta

    def forward(self, input: Array, target: Array) -> Array:
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class PoissonNLLLoss(Loss):
    """Minus the log likelihood of counts `t` that are Poisson distributed.

    Terms `exp(x) - t x`, where the model gives the logarithm `x` of the expected count, or `x - t
    log(x + eps)`, where it gives the count itself.

    *Shape*, *Raises* as for `MSELoss`.

    *Parameters* `log_input`: whether the model gives the logarithm (True). `full`: add Stirling's
    approximation of `log(t!)` where `t > 1` (False). `eps`: keeps the logarithm finite (1e-8).
    `reduction`.
    """

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        eps: float = 1e-8,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input: Array, target: Array) -> Array:
        settings = (self.log_input, self.full, self.eps, self.reduction)
        return F.poisson_nll_loss(log_input, target, *settings)


class GaussianNLLLoss(Loss):
    """Minus the log likelihood of targets that are normal with mean `x` and variance `v`, both given
    by the model.

    Terms `(log(v) + (x - t)^2 / v) / 2`, with `v` at least `eps`.

    *Shape* input and target `(*)`; var of the same shape, or with 1 as its last size, or without
    its last axis, or a number.

    *Parameters* `full`: add `log(2 pi) / 2` (False). `eps`: the least variance (1e-6); below it, the
    variance gets no share of it. `reduction`. All by name.

    *Raises* as `MSELoss`, and `ValueError` for a negative variance, where it can be looked at.

    *References* D. Nix and A. Weigend (1994), "Estimating the mean and variance of the target
    probability distribution".
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: Array, target: Array, var: Array | float) -> Array:
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class KLDivLoss(Loss):
    """The Kullback-Leibler divergence from target to input, terms `t (log(t) - x)`.

    The model gives logarithms of probabilities (`LogSoftmax`), the target is probabilities.

    *Shape* as for `MSELoss`.

    *Parameters* `reduction`: as for `MSELoss`, or `"batchmean"`: the sum over all divided by the
    number of examples, which is the divergence itself. `log_target`: the target is logarithms too
    (False).

    *References* S. Kullback and R. Leibler (1951), "On information and sufficiency".
    """

    reductions = ("none", "batchmean", "sum", "mean")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: Array, target: Array) -> Array:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)
