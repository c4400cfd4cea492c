"""Adafactor: second moments of a matrix kept as one row and one column."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bpgpu.optim.arrays import Array, scalar
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.optim.optimizer import Optimizer


class Adafactor(Optimizer):
    """Torch's Adafactor: Adam without momentum, whose second moments of an (M, N) matrix take M + N numbers.

    For step t = 1, 2, ..., with the gradient g (its negative if `maximize`), w = t^beta2_decay and
    rms(x) = sqrt(mean(x^2))::

        rho   = min(lr, 1 / sqrt(t))
        alpha = max(eps[1], rms(p)) rho
        p     <- p - lr weight_decay p
        for a matrix (or a stack of matrices):
            R <- (1 - w) R + w mean of g^2 along each row        (..., M, 1)
            C <- (1 - w) C + w mean of g^2 along each column     (..., 1, N)
            v = R C / max(mean(R), eps[0])
        for a vector or a number:
            v <- (1 - w) v + w g^2
        u     = g / sqrt(max(v, eps[0]^2))
        p     <- p - alpha u / max(1, rms(u) / d)

    *Parameters*
    `params`, `groups`: what to train, real; see `Optimizer`.
    `lr`: the largest relative step, >= 0, and the factor of the weight decay; a number or a 0-d array.
    `beta2_decay`: the power with which new squares lose weight, <= 0.
    `eps`: the floor of the root of v (`None`: the spacing of the parameter's dtype at 1), and that of rms(p).
    `d`: the root mean square at which an update is clipped, >= 1.
    `weight_decay`: of the weights themselves, times lr, >= 0.
    `maximize`: climb instead of descending.

    *Notes* As in torch, and unlike in the paper, lr bounds the step (the paper has 0.01), and eps[0] is a floor of the
    result rather than being added to the squares. The state is factored over the last two axes, whatever their size.

    *References* N. Shazeer, M. Stern, Adafactor: adaptive learning rates with sublinear memory cost (2018), algorithms
    4 and 5.

    >>> import numpy as np
    >>> Adafactor([np.asarray([[1.0, 1.0]])], lr=0.125).step([np.asarray([[1.0, -1.0]])])
    [array([[0.875, 1.125]])]
    """

    elementwise = False
    takes_complex = False

    def __init__(
        self,
        params: Any,
        lr: float | Array = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        groups: Iterable[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            params,
            groups,
            lr=lr,
            beta2_decay=beta2_decay,
            eps=eps,
            d=d,
            weight_decay=weight_decay,
            maximize=maximize,
        )

    def check_options(self, check: Options) -> None:
        eps = check.options["eps"]
        check.need(
            isinstance(eps, (tuple, list)) and len(eps) == 2,
            f"expected eps to be two numbers, or None and a number, got {eps!r}",
        )
        if eps[0] is not None:
            check.number("eps[0]", eps[0], low=0)
        check.number("eps[1]", eps[1], low=0)
        check("beta2_decay", high=0)
        check("d", low=1)
        check("weight_decay", low=0)

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        s = {"step": scalar(xp, p, 0)}
        if p.ndim < 2:
            return {**s, "variance": xp.zeros_like(p)}
        zeros = xp.zeros_like(p)
        return {
            **s,
            "row_var": xp.sum(zeros, axis=-1, keepdims=True),
            "col_var": xp.sum(zeros, axis=-2, keepdims=True),
        }

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        lr, floor = h["lr"], h["eps"][0]
        if floor is None:
            floor = xp.finfo(p.dtype).eps
        t = s["step"] + 1
        if 0 in p.shape:  # no entries, of which there is no mean
            return p, {**s, "step": t}
        alpha = xp.clip(_rms(xp, p), h["eps"][1], None) * _least(xp, lr, 1 / xp.sqrt(t))
        p *= 1 - lr * h["weight_decay"]
        new, v = self._second_moment(xp, g, s, t ** h["beta2_decay"], floor)
        u = g / xp.sqrt(xp.clip(v, floor * floor, None))
        p -= alpha / xp.clip(_rms(xp, u) / h["d"], 1.0, None) * u
        return p, {"step": t, **new}

    def _second_moment(
        self, xp: Any, g: Array, s: State, w: Array, floor: float
    ) -> tuple[State, Array]:
        if g.ndim < 2:
            v = s["variance"]
            v += w * (g * g - v)
            return {"variance": v}, v
        rows, columns = s["row_var"], s["col_var"]
        rows += w * (xp.mean(g * g, axis=-1, keepdims=True) - rows)
        columns += w * (xp.mean(g * g, axis=-2, keepdims=True) - columns)
        total = xp.clip(xp.mean(rows, axis=-2, keepdims=True), floor, None)
        return {"row_var": rows, "col_var": columns}, rows * columns / total


def _rms(xp: Any, x: Array) -> Array:
    """The root of the mean square of all entries."""
    return xp.sqrt(xp.mean(x * x))


def _least(xp: Any, lr: Any, x: Array) -> Array:
    return xp.minimum(lr + 0 * x, x)
