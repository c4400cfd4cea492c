"""Muon: momentum, made orthogonal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from bpgpu.errors import ShapeError
from bpgpu.kernels import multiplication
from bpgpu.optim.arrays import Array, norm
from bpgpu.optim.checks import Options
from bpgpu.optim.groups import Group, State
from bpgpu.optim.optimizer import Optimizer


class Muon(Optimizer):
    """Momentum for matrices, orthogonalised: all directions of the update get about the same size.

    For each step, with the gradient g of shape (M, N)::

        b <- momentum b + (1 - momentum) g
        u = momentum b + (1 - momentum) g if nesterov, else b
        o = orthogonalise(u)                       (about U V^T, for the singular value decomposition u = U S V^T)
        p <- p - lr weight_decay p
        p <- p - lr a o

    with `a = sqrt(max(1, M / N))` for adjust_lr_fn "original" or None, and `a = 0.2 sqrt(max(M, N))` for
    "match_rms_adamw", which suits AdamW's lr and weight_decay.

    `orthogonalise` runs `ns_steps` Newton-Schulz steps on x = u / max(|u|, eps), lying if it stands::

        G = x x^T
        x <- a x + (b G + c G G) x                 (ns_coefficients = (a, b, c))

    *Parameters*
    `params`, `groups`: matrices to train, real; see `Optimizer`. Give vectors, embeddings and the last layer to AdamW.
    `lr`: learning rate, >= 0; a number or a 0-d array.
    `weight_decay`: of the weights themselves, times lr, >= 0.
    `momentum`: the weight of the old b, >= 0.
    `nesterov`: look ahead along the momentum.
    `ns_coefficients`, `ns_steps`, `eps`: of the Newton-Schulz iteration; fewer than 100 steps.
    `adjust_lr_fn`: `None`, `"original"` or `"match_rms_adamw"`.

    *Notes* Torch runs the iteration in bfloat16. Here its results are rounded to the 8 bits of bfloat16 wherever torch
    rounds, in float32 arithmetic, so that every library gives torch's iterates; where a sum of products falls on the
    border of two such numbers, libraries may differ by one unit in 256. The coefficients do not converge to an
    orthogonal matrix: singular values end between about 0.7 and 1.2, which the method does not mind.

    *References* K. Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024); J. Liu et al.,
    Muon is scalable for LLM training (2025), for "match_rms_adamw".

    >>> import numpy as np
    >>> w = Muon([np.zeros((2, 2))], lr=0.1).step([np.asarray([[3.0, 0.0], [0.0, -1.0]])])[0]
    >>> (np.sign(w) * (abs(w) > 0.05)).tolist()
    [[-1.0, 0.0], [0.0, 1.0]]
    """

    elementwise = False
    takes_complex = False

    def __init__(
        self,
        params: Any,
        lr: float | Array = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        *,
        groups: Iterable[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            params,
            groups,
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            nesterov=nesterov,
            ns_coefficients=ns_coefficients,
            eps=eps,
            ns_steps=ns_steps,
            adjust_lr_fn=adjust_lr_fn,
        )

    def check_array(self, path: str, p: Array) -> None:
        if len(p.shape) != 2:
            raise ShapeError(
                f"Muon: parameter '{path}' has shape {tuple(p.shape)}, and Muon trains matrices only; give it to "
                "another optimizer, such as AdamW"
            )

    def check_options(self, check: Options) -> None:
        check("momentum", low=0)
        check("weight_decay", low=0)
        check("eps", low=0)
        check.one_of("adjust_lr_fn", (None, "original", "match_rms_adamw"))
        check("ns_steps", low=0, below=100)
        check.need(
            len(check.options["ns_coefficients"]) == 3,
            f"expected three ns_coefficients, got {check.options['ns_coefficients']!r}",
        )

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        return {"momentum_buffer": xp.zeros_like(p)}

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        mu, lr, b = h["momentum"], h["lr"], s["momentum_buffer"]
        b *= mu
        b += (1 - mu) * g
        u = mu * b + (1 - mu) * g if h["nesterov"] else b
        if 0 not in p.shape:
            o = orthogonalised(xp, u, h["ns_coefficients"], h["ns_steps"], h["eps"])
            p *= 1 - lr * h["weight_decay"]
            p -= lr * _adjustment(h["adjust_lr_fn"], tuple(p.shape)) * xp.astype(o, p.dtype)
        return p, {"momentum_buffer": b}


def _adjustment(rule: str | None, shape: tuple[int, ...]) -> float:
    rows, columns = shape
    if rule == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))


def orthogonalised(
    xp: Any, u: Array, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Array:
    """About the orthogonal matrix nearest to `u`, in numbers of bfloat16 (as float32)."""
    a, b, c = coefficients
    x = to_bfloat16(xp, xp.astype(u, xp.float32))
    lying = x.shape[0] <= x.shape[1]
    if not lying:
        x = xp.matrix_transpose(x)
    length = to_bfloat16(xp, norm(xp, x))
    x = to_bfloat16(xp, x / xp.clip(length, bfloat16(eps), None))
    times = multiplication(xp)
    for _ in range(steps):
        gram = to_bfloat16(xp, times(x, xp.matrix_transpose(x)))
        polynomial = to_bfloat16(xp, _sum(xp, b, gram, c, times(gram, gram)))
        x = to_bfloat16(xp, _sum(xp, a, x, 1.0, times(polynomial, x)))
    return x if lying else xp.matrix_transpose(x)


def _sum(xp: Any, a: float, x: Array, b: float, product: Array) -> Array:
    """`a x + b product` in float32 with `a x` unrounded, as processors add to a product that they have at hand."""
    wide = xp.__array_namespace_info__().dtypes().get("float64", xp.float32)
    scaled = product if b == 1 else b * product
    return xp.astype(float32(a) * xp.astype(x, wide) + xp.astype(scaled, wide), xp.float32)


def to_bfloat16(xp: Any, x: Array) -> Array:
    """Float32 numbers rounded to the nearest number of 8 significant bits (Veltkamp's splitting, 1968)."""
    shifted = x * 65537.0  # 2**16 + 1
    return shifted - (shifted - x)


def bfloat16(x: float) -> float:
    """A Python number rounded to the 8 significant bits of bfloat16."""
    return _rounded(x, 8)


def float32(x: float) -> float:
    """A Python number rounded to the 24 significant bits of float32."""
    return _rounded(x, 24)


def _rounded(x: float, bits: int) -> float:
    fraction, exponent = math.frexp(x)
    return math.ldexp(round(math.ldexp(fraction, bits)), exponent - bits)
