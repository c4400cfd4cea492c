"""NAdam: Adam with Nesterov's look ahead."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from bpgpu.optim.arrays import Array, bias_correction, scalar
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.optim.optimizer import Optimizer


class NAdam(Optimizer):
    """Adam that looks ahead along its momentum, which itself warms up.

    For step t = 1, 2, ..., with the gradient g (its negative if `maximize`)::

        g  <- g + weight_decay p                   (if decoupled_weight_decay: p <- p - lr weight_decay p)
        mu(t) = beta1 (1 - 0.5 * 0.96^(t momentum_decay))
        M  <- M mu(t)                              (the product of all mu so far; 1 before the first step)
        m  <- beta1 m + (1 - beta1) g
        v  <- beta2 v + (1 - beta2) g^2
        d  = sqrt(v / (1 - beta2^t)) + eps
        p  <- p - lr (1 - mu(t)) / (1 - M) * g / d - lr mu(t+1) / (1 - M mu(t+1)) * m / d

    *Parameters*
    `params`, `groups`: what to train; see `Optimizer`.
    `lr`: learning rate, >= 0; a number or a 0-d array.
    `betas`: the weights of the old m and the old v, in [0, 1).
    `eps`: added after the root, >= 0.
    `weight_decay`: >= 0; added to the gradient, or with `decoupled_weight_decay` taken from the weights.
    `momentum_decay`: how fast mu rises to beta1, >= 0.
    `maximize`: climb instead of descending.

    *Notes* The product M is kept in float32, as torch keeps it, so that the iterates are torch's.

    *References* T. Dozat, Incorporating Nesterov momentum into Adam (2016), algorithm 2.

    >>> import numpy as np
    >>> NAdam([np.asarray([1.0, 2.0])], lr=0.1).step([np.asarray([10.0, -1.0])])[0].round(2)
    array([0.89, 2.11])
    """

    def __init__(
        self,
        params: Any,
        lr: float | Array = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
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
            momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
        )

    def check_options(self, check: Options) -> None:
        check("eps", low=0)
        check.pair("betas", low=0, below=1)
        check("weight_decay", low=0)
        check("momentum_decay", low=0)

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        return {
            "step": scalar(xp, p, 0),
            "mu_product": scalar(xp, p, 1, xp.float32),
            "exp_avg": xp.zeros_like(p),
            "exp_avg_sq": xp.zeros_like(p),
        }

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        (beta1, beta2), lr = h["betas"], h["lr"]
        t, m, v = s["step"] + 1, s["exp_avg"], s["exp_avg_sq"]
        if h["weight_decay"] != 0:
            if h["decoupled_weight_decay"]:
                p *= 1 - lr * h["weight_decay"]
            else:
                g = g + h["weight_decay"] * p

        def mu(t: Array) -> Array:
            return beta1 * (1 - 0.5 * xp.exp(t * (h["momentum_decay"] * math.log(0.96))))

        here, ahead = mu(t), mu(t + 1)
        kept = s["mu_product"] * xp.astype(here, xp.float32)
        product = xp.astype(kept, p.dtype)
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g * g
        d = xp.sqrt(v / bias_correction(xp, beta2, t)) + h["eps"]
        p -= lr * (1 - here) / (1 - product) * g / d
        p -= lr * ahead / (1 - product * ahead) * m / d
        return p, {"step": t, "mu_product": kept, "exp_avg": m, "exp_avg_sq": v}
