"""Rprop: only the signs of the gradient count."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bpgpu.optim.arrays import Array, scalar
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.optim.optimizer import Optimizer


class Rprop(Optimizer):
    """Resilient backpropagation: each entry has a step of its own, which grows until its gradient turns.

    For each step, with the gradient g (its negative if `maximize`) and the one before, h (0 at first)::

        e <- e etas[1] where g h > 0,  e etas[0] where g h < 0,  e elsewhere   (e = lr before the first step)
        e <- min(max(e, step_sizes[0]), step_sizes[1])
        g <- 0 where g h < 0
        p <- p - e sign(g)
        h <- g

    So where the sign has turned, the entry waits for one step.

    *Parameters*
    `params`, `groups`: what to train; see `Optimizer`.
    `lr`: the first step length, >= 0; a number or a 0-d array. Later changes have no effect.
    `etas`: the factors by which a step shrinks and grows, `0 < etas[0] < 1 < etas[1]`.
    `step_sizes`: the shortest and the longest step.
    `maximize`: climb instead of descending.

    *Notes* Meant for full batches: the sign of a small batch's gradient turns by chance.

    *References* M. Riedmiller, H. Braun, A direct adaptive method for faster backpropagation learning: the RPROP
    algorithm (1993); C. Igel, M. Hüsken, Improving the Rprop learning algorithm (2000), the variant iRprop-.

    >>> import numpy as np
    >>> Rprop([np.asarray([1.0, 2.0])], lr=0.125).step([np.asarray([10.0, -0.001])])
    [array([0.875, 2.125])]
    """

    def __init__(
        self,
        params: Any,
        lr: float | Array = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        maximize: bool = False,
        groups: Iterable[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(params, groups, lr=lr, etas=etas, step_sizes=step_sizes, maximize=maximize)

    def check_options(self, check: Options) -> None:
        etas = check.options["etas"]
        check.need(
            len(etas) == 2 and 0 < etas[0] < 1 < etas[1],
            f"expected etas with 0 < etas[0] < 1 < etas[1], got {etas!r}",
        )
        sizes = check.options["step_sizes"]
        check.need(
            len(sizes) == 2 and sizes[0] <= sizes[1],
            f"expected step_sizes as (shortest, longest), got {sizes!r}",
        )

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        return {
            "step": scalar(xp, p, 0),
            "prev": xp.zeros_like(p),
            "step_size": xp.zeros_like(p) + scalar(xp, p, h["lr"]),
        }

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        (shrink, grow), (low, high) = h["etas"], h["step_sizes"]
        one = xp.ones_like(p)
        agrees = g * s["prev"]
        e = s["step_size"] * xp.where(
            agrees > 0, grow * one, xp.where(agrees < 0, shrink * one, one)
        )
        e = xp.clip(e, low, high)
        g = xp.where(agrees < 0, 0 * one, g)
        p -= e * xp.sign(g)
        return p, {"step": s["step"] + 1, "prev": g, "step_size": e}
