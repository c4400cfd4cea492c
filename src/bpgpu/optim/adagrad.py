"""Adagrad: gradients over the root of the sum of their squares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bpgpu.optim.arrays import Array, scalar
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.optim.optimizer import Optimizer


class Adagrad(Optimizer):
    """Steps that shrink with all the gradients that an entry has had: rare features keep large steps.

    For step t = 1, 2, ..., with the gradient g (its negative if `maximize`)::

        g <- g + weight_decay p
        v <- v + g^2                               (initial_accumulator_value before the first step)
        p <- p - lr / (1 + (t - 1) lr_decay) * g / (sqrt(v) + eps)

    `eps` is added after the root.

    *Parameters*
    `params`, `groups`: what to train; see `Optimizer`.
    `lr`: learning rate, >= 0; a number or a 0-d array.
    `lr_decay`: lets the learning rate fall with the number of steps, >= 0.
    `weight_decay`: added to the gradient as `weight_decay p`, >= 0.
    `initial_accumulator_value`: what v starts from, >= 0.
    `eps`: keeps the quotient finite, >= 0.
    `maximize`: climb instead of descending.

    *References* J. Duchi, E. Hazan, Y. Singer, Adaptive subgradient methods for online learning and stochastic
    optimization (2011), section 1.1, diagonal form.

    >>> import numpy as np
    >>> Adagrad([np.asarray([1.0, 2.0])], lr=0.1).step([np.asarray([10.0, -1.0])])[0].round(4)
    array([0.9, 2.1])
    """

    def __init__(
        self,
        params: Any,
        lr: float | Array = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        groups: Iterable[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            params,
            groups,
            lr=lr,
            lr_decay=lr_decay,
            eps=eps,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            maximize=maximize,
        )

    def check_options(self, check: Options) -> None:
        check("lr_decay", low=0)
        check("weight_decay", low=0)
        check("initial_accumulator_value", low=0)
        check("eps", low=0)

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        start = float(h["initial_accumulator_value"])
        return {"step": scalar(xp, p, 0), "sum": xp.full_like(p, start)}

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        t, v = s["step"] + 1, s["sum"]
        if h["weight_decay"] != 0:
            g = g + h["weight_decay"] * p
        v += g * g
        p -= h["lr"] / (1 + (t - 1) * h["lr_decay"]) * g / (xp.sqrt(v) + h["eps"])
        return p, {"step": t, "sum": v}
