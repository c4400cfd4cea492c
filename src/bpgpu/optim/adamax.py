"""Adamax: Adam with a maximum in place of the root of a mean square."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bpgpu.optim.arrays import Array, bias_correction, scalar
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.optim.optimizer import Optimizer


class Adamax(Optimizer):
    """Adam in the infinity norm: the average gradient over the largest one of late.

    For step t = 1, 2, ..., with the gradient g (its negative if `maximize`)::

        g <- g + weight_decay p
        m <- beta1 m + (1 - beta1) g
        u <- max(beta2 u, |g| + eps)
        p <- p - lr / (1 - beta1^t) * m / u

    `eps` stands inside the maximum, as in torch; the paper has none.

    *Parameters*
    `params`, `groups`: what to train; see `Optimizer`.
    `lr`: learning rate, >= 0; a number or a 0-d array.
    `betas`: the weight of the old m, and how fast u fades, in [0, 1).
    `eps`: keeps the quotient finite, >= 0.
    `weight_decay`: added to the gradient as `weight_decay p`, >= 0.
    `maximize`: climb instead of descending.

    *References* D. Kingma, J. Ba, Adam: a method for stochastic optimization (2015), algorithm 2.

    >>> import numpy as np
    >>> Adamax([np.asarray([1.0, 2.0])], lr=0.1).step([np.asarray([10.0, -1.0])])[0].round(4)
    array([0.9, 2.1])
    """

    def __init__(
        self,
        params: Any,
        lr: float | Array = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
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
            "exp_inf": xp.zeros_like(p),
        }

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        beta1, beta2 = h["betas"]
        t, m, u = s["step"] + 1, s["exp_avg"], s["exp_inf"]
        if h["weight_decay"] != 0:
            g = g + h["weight_decay"] * p
        m *= beta1
        m += (1 - beta1) * g
        u = xp.maximum(beta2 * u, xp.abs(g) + h["eps"])
        p -= h["lr"] / bias_correction(xp, beta1, t) * m / u
        return p, {"step": t, "exp_avg": m, "exp_inf": u}
