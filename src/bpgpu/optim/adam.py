"""Adam and its two variants of weight decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bpgpu.backend.libraries import namespace_of
from bpgpu.kernels import find
from bpgpu.optim.arrays import Array, bias_correction, scalar
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.optim.optimizer import Optimizer


class Adam(Optimizer):
    """Steps of about `lr` in each entry: a moving average of gradients over the root of one of their squares.

    For step t = 1, 2, ..., with the gradient g (its negative if `maximize`)::

        g <- g + weight_decay p                    (if decoupled_weight_decay: p <- p - lr weight_decay p)
        m <- beta1 m + (1 - beta1) g
        v <- beta2 v + (1 - beta2) g^2
        w <- max(w, v) if amsgrad, else v
        p <- p - lr / (1 - beta1^t) * m / (sqrt(w) / sqrt(1 - beta2^t) + eps)

    `eps` is added after the root and after the correction for the start at zero.

    *Parameters*
    `params`, `groups`: what to train; see `Optimizer`.
    `lr`: learning rate, >= 0; a number or a 0-d array.
    `betas`: the weights of the old m and the old v, in [0, 1).
    `eps`: keeps the quotient finite, >= 0.
    `weight_decay`: >= 0; added to the gradient, so it is divided by the root too. For the other kind see `AdamW`.
    `amsgrad`: divide by the largest v so far.
    `maximize`: climb instead of descending.
    `decoupled_weight_decay`: shrink the weights directly, as `AdamW` does.

    *Notes* With `eps=0`, an entry whose gradient was always 0 becomes NaN, as in torch. With `amsgrad`, the maximum is
    taken of v before its correction, as in torch and unlike the paper's variant of Keras.

    *References* D. Kingma, J. Ba, Adam: a method for stochastic optimization (2015), algorithm 1; S. Reddi, S. Kale,
    S. Kumar, On the convergence of Adam and beyond (2018), for amsgrad.

    >>> import numpy as np
    >>> Adam([np.asarray([1.0, 2.0])], lr=0.1).step([np.asarray([10.0, -0.001])])[0].round(4)
    array([0.9, 2.1])
    """

    def __init__(
        self,
        params: Any,
        lr: float | Array = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        groups: Iterable[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            params,
            groups,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            decoupled_weight_decay=decoupled_weight_decay,
        )

    def check_options(self, check: Options) -> None:
        check("eps", low=0)
        check.pair("betas", low=0, below=1)
        check("weight_decay", low=0)

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        s = {
            "step": scalar(xp, p, 0),
            "exp_avg": xp.zeros_like(p),
            "exp_avg_sq": xp.zeros_like(p),
        }
        if h["amsgrad"]:
            s["max_exp_avg_sq"] = xp.zeros_like(p)
        return s

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        (beta1, beta2), lr = h["betas"], h["lr"]
        t, m, v = s["step"] + 1, s["exp_avg"], s["exp_avg_sq"]
        if h["weight_decay"] != 0:
            if h["decoupled_weight_decay"]:
                p *= 1 - lr * h["weight_decay"]
            else:
                g = g + h["weight_decay"] * p
        c1, c2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
        if not h["amsgrad"]:
            operands = (p, g, m, v, lr / c1, c2**0.5, h["eps"], beta1, beta2)
            if (run := find("adam", xp, *operands)) is not None:
                p, m, v = run(*operands)
                return p, {"step": t, "exp_avg": m, "exp_avg_sq": v}
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g * g
        new = {"step": t, "exp_avg": m, "exp_avg_sq": v}
        if h["amsgrad"]:
            v = new["max_exp_avg_sq"] = xp.maximum(s["max_exp_avg_sq"], v)
        p -= lr / c1 * m / (xp.sqrt(v) / c2**0.5 + h["eps"])
        return p, new

    def update_many(
        self, ps: list[Array], gs: list[Array], s: State, h: Group, only_if: Array | None
    ) -> bool:
        states = (s["exp_avg"], s["exp_avg_sq"], s["max_exp_avg_sq"] if h["amsgrad"] else None)
        settings = ("lr", "betas", "eps", "weight_decay", "decoupled_weight_decay", "maximize")
        operands = (ps, gs, states, s["step"], *(h[name] for name in settings), only_if)
        if (run := find("adam_of_many", namespace_of(ps[0]), *operands)) is None:
            return False
        run(*operands)
        return True


class AdamW(Adam):
    """Adam with decoupled weight decay: the weights shrink by `lr weight_decay` of themselves, whatever the gradient.

    For step t = 1, 2, ..., with the gradient g (its negative if `maximize`)::

        p <- p - lr weight_decay p
        m <- beta1 m + (1 - beta1) g
        v <- beta2 v + (1 - beta2) g^2
        w <- max(w, v) if amsgrad, else v
        p <- p - lr / (1 - beta1^t) * m / (sqrt(w) / sqrt(1 - beta2^t) + eps)

    *Parameters* are those of `Adam`, with `weight_decay` 0.01 by default.

    *Notes* A parameter without a gradient is left alone altogether: it is not decayed either, as in torch.

    *References* I. Loshchilov, F. Hutter, Decoupled weight decay regularization (2019), algorithm 2, with the schedule
    multiplier put into lr.

    >>> import numpy as np
    >>> AdamW([np.asarray([1.0])], lr=0.1, weight_decay=0.5).step([np.asarray([0.0])])
    [array([0.95])]
    """

    def __init__(
        self,
        params: Any,
        lr: float | Array = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        groups: Iterable[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
            groups=groups,
        )
