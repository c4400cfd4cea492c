"""LAMB: Adam with a step in proportion to the weights of each layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bpgpu.optim.arrays import Array, bias_correction, norm, scalar
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.optim.optimizer import Optimizer


class LAMB(Optimizer):
    """Layer-wise adaptive moments, for large batches: each parameter array moves by lr times its own length.

    For step t = 1, 2, ..., with the gradient g (its negative if `maximize`) and the Euclidean norm |x| of an array::

        m <- beta1 m + (1 - beta1) g
        v <- beta2 v + (1 - beta2) g^2
        r = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p
        p <- p - lr |p| / |r| r                    (the quotient is 1 where |p| or |r| is 0)

    `eps` is added after the root and after the correction for the start at zero; the decay is part of the direction r.

    *Parameters*
    `params`, `groups`: what to train; see `Optimizer`.
    `lr`: learning rate, >= 0; a number or a 0-d array.
    `betas`: the weights of the old m and the old v, in [0, 1).
    `eps`: keeps the quotient finite, >= 0.
    `weight_decay`: >= 0.
    `maximize`: climb instead of descending.

    *Notes* Biases are often left out of the decay: `groups=[{"params": "*.bias", "weight_decay": 0}]`.

    *References* Y. You et al., Large batch optimization for deep learning: training BERT in 76 minutes (2020),
    algorithm 2, with phi(x) = x.

    >>> import numpy as np
    >>> LAMB([np.asarray([3.0, 4.0])], lr=0.1, weight_decay=0).step([np.asarray([1.0, -1.0])])[0].round(4)
    array([2.6464, 4.3536])
    """

    elementwise = False

    def __init__(
        self,
        params: Any,
        lr: float | Array = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        *,
        maximize: bool = False,
        groups: Iterable[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            params,
            groups,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            maximize=maximize,
        )

    def check_options(self, check: Options) -> None:
        check("eps", low=0)
        check.pair("betas", low=0, below=1)
        check("weight_decay", low=0)

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        return {
            "step": scalar(xp, p, 0),
            "exp_avg": xp.zeros_like(p),
            "exp_avg_sq": xp.zeros_like(p),
        }

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        beta1, beta2 = h["betas"]
        t, m, v = s["step"] + 1, s["exp_avg"], s["exp_avg_sq"]
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g * g
        c1, c2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
        r = m / c1 / (xp.sqrt(v / c2) + h["eps"]) + h["weight_decay"] * p
        p -= h["lr"] * _trust(xp, norm(xp, p), norm(xp, r)) * r
        return p, {"step": t, "exp_avg": m, "exp_avg_sq": v}


def _trust(xp: Any, length: Array, step: Array) -> Array:
    """The length of the weights over that of the step; 1 if either is 0."""
    fits = (length > 0) & (step > 0)
    one = xp.ones_like(length)
    return xp.where(fits, length / xp.where(fits, step, one), one)
