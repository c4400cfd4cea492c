"""ASGD: gradient descent with a fading step, and the average of its iterates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bpgpu.optim.arrays import Array, scalar
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.optim.optimizer import Optimizer


class ASGD(Optimizer):
    """Averaged stochastic gradient descent: the iterates go on, their average is in the state as `"ax"`.

    For step t = 1, 2, ..., with the gradient g (its negative if `maximize`), eta = lr and mu = 1 at first::

        g   <- g + weight_decay p
        p   <- p - lambd eta p
        p   <- p - eta g
        ax  <- ax + mu (p - ax)
        eta <- lr / (1 + lambd lr t)^alpha
        mu  <- 1 / max(1, t - t0)

    Up to step t0 the average is the iterate itself.

    *Parameters*
    `params`, `groups`: what to train; see `Optimizer`.
    `lr`: learning rate, >= 0; a number or a 0-d array.
    `lambd`: decay of the weights, and of the step with it.
    `alpha`: the power with which the step falls.
    `t0`: from which step on to average.
    `weight_decay`: added to the gradient as `weight_decay p`, >= 0.
    `maximize`: climb instead of descending.

    *Notes* eta and mu are kept in float32, as torch keeps them, so that the iterates are torch's.

    *References* B. Polyak, A. Juditsky, Acceleration of stochastic approximation by averaging (1992); L. Bottou,
    Stochastic gradient descent tricks (2012), section 5, for the schedule.

    >>> import numpy as np
    >>> ASGD([np.asarray([1.0, 2.0])], lr=0.125, lambd=0).step([np.asarray([8.0, 0.0])])
    [array([0., 2.])]
    """

    def __init__(
        self,
        params: Any,
        lr: float | Array = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
        groups: Iterable[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            params,
            groups,
            lr=lr,
            lambd=lambd,
            alpha=alpha,
            t0=t0,
            weight_decay=weight_decay,
            maximize=maximize,
        )

    def check_options(self, check: Options) -> None:
        check("weight_decay", low=0)
        for name in ("lambd", "alpha", "t0"):
            check(name)

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        return {
            "step": scalar(xp, p, 0),
            "eta": scalar(xp, p, h["lr"], xp.float32),
            "mu": scalar(xp, p, 1, xp.float32),
            "ax": xp.zeros_like(p),
        }

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        lr, lambd = h["lr"], h["lambd"]
        t, ax = s["step"] + 1, s["ax"]
        eta, mu = xp.astype(s["eta"], p.dtype), xp.astype(s["mu"], p.dtype)
        if h["weight_decay"] != 0:
            g = g + h["weight_decay"] * p
        p *= 1 - lambd * eta
        p -= eta * g
        ax += mu * (p - ax)
        eta = lr / (1 + lambd * lr * t) ** h["alpha"]
        mu = 1 / xp.maximum(t - h["t0"], xp.ones_like(t))
        new = {"eta": xp.astype(eta, xp.float32), "mu": xp.astype(mu, xp.float32)}
        return p, {"step": t, **new, "ax": ax}
