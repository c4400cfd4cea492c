"""RAdam: Adam that waits until it knows the spread of the gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from bpgpu.optim.arrays import Array, bias_correction, scalar
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.optim.optimizer import Optimizer


class RAdam(Optimizer):
    """Adam with its first steps rectified: plain momentum until v has seen enough gradients to be divided by.

    For step t = 1, 2, ..., with the gradient g (its negative if `maximize`)::

        g   <- g + weight_decay p                  (if decoupled_weight_decay: p <- p - lr weight_decay p)
        m   <- beta1 m + (1 - beta1) g
        v   <- beta2 v + (1 - beta2) g^2
        R   = 2 / (1 - beta2) - 1                  (how many gradients v averages in the long run)
        rho = R - 2 t beta2^t / (1 - beta2^t)      (how many it has seen)
        if rho > 5:
            r = sqrt((rho - 4) (rho - 2) R / ((R - 4) (R - 2) rho))
            p <- p - lr r * m / (1 - beta1^t) * sqrt(1 - beta2^t) / (sqrt(v) + eps)
        else:
            p <- p - lr * m / (1 - beta1^t)

    `eps` is added to the root before the correction for the start at zero, unlike in Adam.

    *Parameters*
    `params`, `groups`: what to train; see `Optimizer`.
    `lr`: learning rate, >= 0; a number or a 0-d array.
    `betas`: the weights of the old m and the old v, in [0, 1).
    `eps`: keeps the quotient finite, >= 0.
    `weight_decay`: >= 0; added to the gradient, or with `decoupled_weight_decay` taken from the weights.
    `maximize`: climb instead of descending.

    *References* L. Liu et al., On the variance of the adaptive learning rate and beyond (2020), algorithm 2; the
    threshold 5 is that of the authors' code and of torch, the paper has 4.

    >>> import numpy as np
    >>> RAdam([np.asarray([1.0, 2.0])], lr=0.1).step([np.asarray([1.0, -10.0])])[0].round(4)
    array([0.9, 3. ])
    """

    def __init__(
        self,
        params: Any,
        lr: float | Array = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
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
            decoupled_weight_decay=decoupled_weight_decay,
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
        (beta1, beta2), lr = h["betas"], h["lr"]
        t, m, v = s["step"] + 1, s["exp_avg"], s["exp_avg_sq"]
        if h["weight_decay"] != 0:
            if h["decoupled_weight_decay"]:
                p *= 1 - lr * h["weight_decay"]
            else:
                g = g + h["weight_decay"] * p
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g * g
        c1, c2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
        known, r = _rectification(xp, beta2, t, c2)
        scale = xp.where(known, r * c2**0.5 / (xp.sqrt(v) + h["eps"]), xp.ones_like(v))
        p -= lr / c1 * m * scale
        return p, {"step": t, "exp_avg": m, "exp_avg_sq": v}


def _rectification(xp: Any, beta2: float, t: Array, c2: Any) -> tuple[Array, Array]:
    """Whether v has seen enough gradients, and by how much its root is still to be trusted less."""
    limit = 2 / (1 - beta2) - 1
    beta2_t = xp.exp(t * math.log(beta2)) if beta2 > 0 else 0 * t
    rho = limit - 2 * t * beta2_t / c2
    known = rho > 5
    safe = xp.where(known, rho, 5 + 0 * rho)  # keeps the root real where it is not used
    return known, xp.sqrt((safe - 4) * (safe - 2) * limit / ((limit - 4) * (limit - 2) * safe))
