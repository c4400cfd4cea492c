"""Lion: the sign of an interpolated momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bpgpu.optim.arrays import Array
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.optim.optimizer import Optimizer


class Lion(Optimizer):
    """Evolved sign momentum: every entry moves by exactly lr, and one moment is all the state.

    For each step, with the gradient g (its negative if `maximize`)::

        p <- p - lr weight_decay p
        p <- p - lr sign(beta1 m + (1 - beta1) g)
        m <- beta2 m + (1 - beta2) g

    *Parameters*
    `params`, `groups`: what to train; see `Optimizer`.
    `lr`: learning rate, >= 0; a number or a 0-d array. About a third to a tenth of AdamW's.
    `betas`: the weight of m in the direction, and of the old m in the new one, in [0, 1).
    `weight_decay`: of the weights themselves, times lr, >= 0. About three to ten times AdamW's.
    `maximize`: climb instead of descending.

    *Notes* sign(0) = 0: an entry whose direction is exactly 0 stays.

    *References* X. Chen et al., Symbolic discovery of optimization algorithms (2023), program 1.

    >>> import numpy as np
    >>> Lion([np.asarray([1.0, 2.0, 3.0])], lr=0.125).step([np.asarray([10.0, -0.001, 0.0])])
    [array([0.875, 2.125, 3.   ])]
    """

    def __init__(
        self,
        params: Any,
        lr: float | Array = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        groups: Iterable[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            params, groups, lr=lr, betas=betas, weight_decay=weight_decay, maximize=maximize
        )

    def check_options(self, check: Options) -> None:
        check.pair("betas", low=0, below=1)
        check("weight_decay", low=0)

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        return {"exp_avg": xp.zeros_like(p)}

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        (beta1, beta2), lr, m = h["betas"], h["lr"], s["exp_avg"]
        p *= 1 - lr * h["weight_decay"]
        p -= lr * xp.sign(beta1 * m + (1 - beta1) * g)
        m *= beta2
        m += (1 - beta2) * g
        return p, {"exp_avg": m}
