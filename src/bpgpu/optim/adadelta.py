"""Adadelta: steps in the units of the parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bpgpu.optim.arrays import Array, scalar
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.optim.optimizer import Optimizer


class Adadelta(Optimizer):
    """The gradient times the size of late steps over the size of late gradients, so that lr has no unit.

    For each step, with the gradient g (its negative if `maximize`)::

        g <- g + weight_decay p
        v <- rho v + (1 - rho) g^2
        d = sqrt(u + eps) / sqrt(v + eps) * g
        u <- rho u + (1 - rho) d^2
        p <- p - lr d

    `eps` stands inside both roots; without it the first step would be zero, and so would all others.

    *Parameters*
    `params`, `groups`: what to train; see `Optimizer`.
    `lr`: scales the step, >= 0; a number or a 0-d array. The paper's form is lr = 1.
    `rho`: the weight of the old mean squares, in [0, 1].
    `eps`: >= 0.
    `weight_decay`: added to the gradient as `weight_decay p`, >= 0.
    `maximize`: climb instead of descending.

    *References* M. Zeiler, ADADELTA: an adaptive learning rate method (2012), algorithm 1.

    >>> import numpy as np
    >>> Adadelta([np.asarray([1.0, 2.0])]).step([np.asarray([10.0, -1.0])])[0].round(4)
    array([0.9968, 2.0032])
    """

    def __init__(
        self,
        params: Any,
        lr: float | Array = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
        groups: Iterable[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            params, groups, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize
        )

    def check_options(self, check: Options) -> None:
        check("rho", low=0, high=1)
        check("eps", low=0)
        check("weight_decay", low=0)

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        return {
            "step": scalar(xp, p, 0),
            "square_avg": xp.zeros_like(p),
            "acc_delta": xp.zeros_like(p),
        }

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        rho, eps = h["rho"], h["eps"]
        v, u = s["square_avg"], s["acc_delta"]
        if h["weight_decay"] != 0:
            g = g + h["weight_decay"] * p
        v *= rho
        v += (1 - rho) * g * g
        d = xp.sqrt(u + eps) / xp.sqrt(v + eps) * g
        u *= rho
        u += (1 - rho) * d * d
        p -= h["lr"] * d
        return p, {"step": s["step"] + 1, "square_avg": v, "acc_delta": u}
