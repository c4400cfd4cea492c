"""RMSprop: gradients over the root of their mean square."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bpgpu.optim.arrays import Array, scalar
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.optim.optimizer import Optimizer


class RMSprop(Optimizer):
    """The gradient over the root of a moving average of its square.

    For each step, with the gradient g (its negative if `maximize`)::

        g <- g + weight_decay p
        v <- alpha v + (1 - alpha) g^2
        a <- alpha a + (1 - alpha) g               (only if centered)
        d = sqrt(v - a^2) + eps if centered, else sqrt(v) + eps
        b <- momentum b + g / d                    (only if momentum > 0; else b = g / d)
        p <- p - lr b

    `eps` is added after the root.

    *Parameters*
    `params`, `groups`: what to train; see `Optimizer`.
    `lr`: learning rate, >= 0; a number or a 0-d array.
    `alpha`: the weight of the old mean square, >= 0.
    `eps`: keeps the quotient finite, >= 0.
    `weight_decay`: added to the gradient as `weight_decay p`, >= 0.
    `momentum`: the weight of the old direction b, >= 0.
    `centered`: divide by an estimate of the standard deviation instead of the root mean square.
    `maximize`: climb instead of descending.

    *References* G. Hinton, Neural networks for machine learning, lecture 6e (2012); A. Graves, Generating sequences
    with recurrent neural networks (2013), equations 38-45, for the centered form.

    >>> import numpy as np
    >>> RMSprop([np.asarray([1.0, 2.0])], lr=0.1).step([np.asarray([10.0, -1.0])])[0].round(4)
    array([0., 3.])
    """

    def __init__(
        self,
        params: Any,
        lr: float | Array = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
        groups: Iterable[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            params,
            groups,
            lr=lr,
            momentum=momentum,
            alpha=alpha,
            eps=eps,
            centered=centered,
            weight_decay=weight_decay,
            maximize=maximize,
        )

    def check_options(self, check: Options) -> None:
        check("eps", low=0)
        check("momentum", low=0)
        check("weight_decay", low=0)
        check("alpha", low=0)

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        s = {"step": scalar(xp, p, 0), "square_avg": xp.zeros_like(p)}
        if h["momentum"] > 0:
            s["momentum_buffer"] = xp.zeros_like(p)
        if h["centered"]:
            s["grad_avg"] = xp.zeros_like(p)
        return s

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        alpha, v = h["alpha"], s["square_avg"]
        if h["weight_decay"] != 0:
            g = g + h["weight_decay"] * p
        v *= alpha
        v += (1 - alpha) * g * g
        new = {**s, "step": s["step"] + 1, "square_avg": v}
        if h["centered"]:
            a = s["grad_avg"]
            a *= alpha
            a += (1 - alpha) * g
            new["grad_avg"] = a
            v = v - a * a
        b = g / (xp.sqrt(v) + h["eps"])
        if h["momentum"] > 0:
            old = s["momentum_buffer"] if "momentum_buffer" in s else xp.zeros_like(p)
            old *= h["momentum"]
            old += b
            b = new["momentum_buffer"] = old
        p -= h["lr"] * b
        return p, new
