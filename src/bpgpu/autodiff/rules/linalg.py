"""Derivatives of inverses, powers and norms of matrices.

Products are in `products.py`, factorisations in `decompositions.py`, determinants in `determinants.py`.
"""

from __future__ import annotations

import math
import operator
from typing import Any

from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.rule import ZERO, joint, rule, unbroadcast
from bpgpu.autodiff.rules.elementwise import quotient
from bpgpu.autodiff.rules.matrices import adjoint, on_diagonal
from bpgpu.autodiff.rules.reductions import restored
from bpgpu.errors import ShapeError


@rule
def inv(xp: Any, x: Any, /) -> Any:
    """From d(x y) = 0 with y = inv(x): dy = -y dx y."""
    y = xp.linalg.inv(x)
    yt = xp.matrix_transpose(y)
    return y, lambda g: -(yt @ g @ yt)


@rule(arrays=2)
def solve(xp: Any, a: Any, b: Any, /) -> Any:
    """y = inv(a) b: the gradient of b solves the transposed system, and that of a follows from it."""
    y = xp.linalg.solve(a, b)
    shape_b, vectors = b.shape, b.ndim == 1

    def pull(g: Any, wanted: tuple[bool, ...]) -> Any:
        column = xp.expand_dims(g, axis=-1) if vectors else g
        gb = xp.linalg.solve(xp.matrix_transpose(a), column)
        ga = None
        if wanted[0]:
            row = xp.expand_dims(y, axis=-2) if vectors else xp.matrix_transpose(y)
            ga = unbroadcast(xp, -(gb @ row), a.shape)
        return ga, unbroadcast(xp, gb[..., 0] if vectors else gb, shape_b)

    return y, joint(pull)


@rule(conjugate=False)
def pinv(xp: Any, x: Any, /, *, rtol: Any = None) -> Any:
    """Among matrices of the same rank: where the rank changes, it jumps.

    dy = -y dx y + y y^H dx^H (1 - x y) + (1 - y x) dx^H y^H y (Golub and Pereyra 1973, eq. 4.12).
    """
    y = xp.linalg.pinv(x, rtol=rtol)

    def pull(g: Any) -> Any:
        yh, gh = adjoint(xp, y), adjoint(xp, g)
        left, right = gh @ y @ yh, yh @ y @ gh
        return -(yh @ g @ yh) + left - x @ (y @ left) + right - (right @ y) @ x

    return y, pull


@rule
def _identity(xp: Any, x: Any) -> Any:
    """The identity for each matrix of a stack."""
    return on_diagonal(xp, xp.ones_like(xp.linalg.diagonal(x)), x.shape[-2:]), ZERO


def matrix_power(xp: Any, x: Any, n: int, /) -> Any:
    """By repeated squaring, of the inverse if n is negative. Power 0 has gradient 0."""
    n = operator.index(n)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"matrix_power: expected square matrices (..., n, n), got shape {x.shape}")
    if n == 0:
        return _identity(x)
    square = xp.linalg.inv(x) if n < 0 else +x
    n, power = abs(n), None
    while n:
        if n % 2:
            power = square if power is None else power @ square
        n //= 2
        square = square @ square if n else None
    return power


@rule(conjugate=False)
def vector_norm(
    xp: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: float = 2
) -> Any:
    """At kinks, above all at a vector of zeros, the derivative is 0; entries that tie for the largest (`ord=inf`) or
    smallest (`-inf`) share the gradient.

    For y = (sum |x|^p)^(1/p), dy = sum (|x| / y)^(p - 1) d|x|.
    """
    y = xp.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)
    if ord == 0:  # a count
        return y, ZERO

    def pull(g: Any) -> Any:
        g, norm = (restored(xp, v, axis, keepdims, x.shape) for v in (g, y))
        if ord == 2:
            return g * quotient(xp, x, norm)
        size = xp.abs(x)
        g = g * (quotient(xp, x, size) if kind(x.dtype) == "complex" else xp.sign(x))
        if ord == 1:
            return g
        if math.isinf(ord):
            reached = xp.astype(size == norm, norm.dtype)
            return g * (reached / xp.sum(reached, axis=axis, keepdims=True))
        share = quotient(xp, size, norm) if ord > 1 else quotient(xp, norm, size)
        return g * xp.where(size == 0, 1, share) ** abs(ord - 1)

    return y, pull


def matrix_norm(xp: Any, x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """Columns, rows or singular values that tie share the gradient; singular values of 0 have derivative 0."""
    if ord is None or ord == "fro":
        return xp.linalg.vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord not in _NORMS:
        raise ValueError(
            f"matrix_norm: ord must be 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}"
        )
    axis, extreme = _NORMS[ord]
    parts = xp.linalg.svdvals(x) if axis is None else xp.sum(xp.abs(x), axis=axis)
    y = getattr(xp, extreme)(parts, axis=-1)
    return xp.reshape(y, (*y.shape, 1, 1)) if keepdims else y


_NORMS: dict[Any, tuple[int | None, str]] = {
    "nuc": (None, "sum"),
    2: (None, "max"),
    -2: (None, "min"),
    1: (-2, "max"),
    -1: (-2, "min"),
    math.inf: (-1, "max"),
    -math.inf: (-1, "min"),
}
"""For each norm the axis that is summed over first, `None` for singular values, and what is taken of the sums."""

COMPOSED = {"linalg.matrix_norm": matrix_norm, "linalg.matrix_power": matrix_power}
