"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bpgpu.backend.libraries import namespace_of
from bpgpu.kernels import find
from bpgpu.optim.arrays import Array, scalar
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.optim.optimizer import Optimizer


class SGD(Optimizer):
    """Gradient descent, with momentum if asked for.

    For each step, with the gradient g (its negative if `maximize`)::

        g <- g + weight_decay p
        b <- momentum b + (1 - dampening) g        (b <- g at the first step)
        g <- g + momentum b if nesterov, else b    (these two lines only if momentum > 0)
        p <- p - lr g

    *Parameters*
    `params`, `groups`: what to train; see `Optimizer`.
    `lr`: learning rate, >= 0; a number or a 0-d array.
    `momentum`: weight of the old direction b, >= 0.
    `dampening`: how much of a new gradient is held back from b.
    `weight_decay`: added to the gradient as `weight_decay p`, >= 0.
    `nesterov`: look ahead along the new direction; needs momentum > 0 and no dampening.
    `maximize`: climb instead of descending.

    *References* I. Sutskever, J. Martens, G. Dahl, G. Hinton, On the importance of initialization and momentum in deep
    learning (2013); here lr multiplies b when it is applied, as in torch, and not when it is gathered.

    >>> import numpy as np
    >>> SGD([np.asarray([1.0, 2.0])], lr=0.1).step([np.asarray([10.0, 0.0])])
    [array([0., 2.])]
    """

    def __init__(
        self,
        params: Any,
        lr: float | Array = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        groups: Iterable[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            params,
            groups,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
        )

    def check_options(self, check: Options) -> None:
        check("momentum", low=0)
        check("dampening")
        check("weight_decay", low=0)
        h = check.options
        check.need(
            not h["nesterov"] or (h["momentum"] > 0 and h["dampening"] == 0),
            "nesterov needs momentum > 0 and dampening = 0, got "
            f"momentum={h['momentum']!r}, dampening={h['dampening']!r}",
        )

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        if h["momentum"] == 0:
            return {}
        return {"step": scalar(xp, p, 0), "momentum_buffer": xp.zeros_like(p)}

    def completed(self, given: State, fresh: State) -> State:
        """Torch keeps no step, and no buffer before the first one: with a buffer, at least one step was made."""
        if "step" in fresh and "momentum_buffer" in given:
            return {"step": fresh["step"] + 1, **given}
        return given

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        mu, dampening = h["momentum"], h["dampening"]
        if h["weight_decay"] != 0:
            g = g + h["weight_decay"] * p
        if mu != 0:
            if not s:  # a schedule has turned the momentum on
                s = self.new_state(xp, p, h)
            t, b = s["step"], s["momentum_buffer"]
            usual = dampening == 0 and not h["nesterov"]
            run = find("momentum", xp, p, g, b, h["lr"], mu) if usual else None
            if run is not None:
                p, b = run(p, g, b, h["lr"], mu)
                return p, {"step": t + 1, "momentum_buffer": b}
            b *= mu
            b += g if dampening == 0 else xp.where(t == 0, 1.0 + 0 * t, 1.0 - dampening + 0 * t) * g
            s = {"step": t + 1, "momentum_buffer": b}
            g = g + mu * b if h["nesterov"] else b
        p -= h["lr"] * g
        return p, s

    def update_many(
        self, ps: list[Array], gs: list[Array], s: State, h: Group, only_if: Array | None
    ) -> bool:
        if bool(s) != (h["momentum"] != 0):  # a schedule has turned the momentum on or off
            return False
        settings = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")
        operands = (
            ps,
            gs,
            (s.get("momentum_buffer"),),
            s.get("step"),
            *(h[k] for k in settings),
            only_if,
        )
        if (run := find("sgd_of_many", namespace_of(ps[0]), *operands)) is None:
            return False
        run(*operands)
        return True
