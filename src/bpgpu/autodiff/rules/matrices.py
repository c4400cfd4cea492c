"""What the derivatives of linear algebra have in common: small functions of stacks of matrices."""

from __future__ import annotations

from typing import Any, NoReturn

from bpgpu.autodiff.dtypes import kind
from bpgpu.errors import NotDifferentiableError


def adjoint(xp: Any, x: Any) -> Any:
    """The conjugate transpose."""
    t = xp.matrix_transpose(x)
    return xp.conj(t) if kind(x.dtype) == "complex" else t


def hermitian(xp: Any, x: Any) -> Any:
    """The Hermitian (for real numbers: symmetric) part."""
    return (x + adjoint(xp, x)) / 2


def skew(xp: Any, x: Any) -> Any:
    """The skew-Hermitian part."""
    return (x - adjoint(xp, x)) / 2


def lower_half(xp: Any, x: Any) -> Any:
    """The lower triangle with half of the diagonal, so that `lower_half(x) + upper half = x`."""
    return (xp.tril(x) + xp.tril(x, k=-1)) / 2


def columns(xp: Any, d: Any) -> Any:
    """`d[..., None, :]`: what scales the columns of a matrix."""
    return xp.expand_dims(d, axis=-2)


def rows(xp: Any, d: Any) -> Any:
    """`d[..., :, None]`: what scales the rows of a matrix."""
    return xp.expand_dims(d, axis=-1)


def on_diagonal(xp: Any, d: Any, shape: tuple[int, int], offset: int = 0) -> Any:
    """Matrices of this shape with `d` on a diagonal and zeros elsewhere."""
    n, m = shape
    rest = n - d.shape[-1]
    before = min(max(0, -offset), rest)
    after = rest - before
    if before or after:
        zero = xp.zeros_like(xp.sum(d, axis=-1, keepdims=True))
        pads = [xp.broadcast_to(zero, (*d.shape[:-1], k)) for k in (before, after)]
        d = xp.concat([pads[0], d, pads[1]], axis=-1)
    full = xp.broadcast_to(rows(xp, d), (*d.shape, m))
    return xp.triu(xp.tril(full, k=offset), k=offset)


def rounding(xp: Any, w: Any) -> Any:
    """How far apart equal eigenvalues or singular values are computed at most: 32 eps max |w|."""
    size = xp.abs(w)
    size = (xp.max if w.shape[-1] else xp.sum)(size, axis=-1, keepdims=True)
    return size * (32 * float(xp.finfo(w.dtype).eps))


def reciprocal(xp: Any, x: Any, floor: Any) -> Any:
    """1 / x, but 0 where `|x| <= floor`."""
    small = xp.abs(x) <= floor
    return xp.where(small, 0, 1 / xp.where(small, 1, x))


def gaps(xp: Any, w: Any) -> Any:
    """1 / (w_j - w_i), which rotates eigenvector i towards eigenvector j.

    0 where the two are equal to rounding: in their common space any basis is as good as another,
    and the one that does not turn is taken.
    """
    return reciprocal(xp, columns(xp, w) - rows(xp, w), rows(xp, rounding(xp, w)))


def inverse(xp: Any, x: Any, name: str, reason: str) -> Any:
    """The inverse that a derivative needs; our error, not the library's, if there is none."""
    try:
        return xp.linalg.inv(x)
    except (ValueError, RuntimeError) as error:
        refuse_singular(error, name, reason)


def refuse_singular(error: Exception, name: str, reason: str) -> NoReturn:
    """Raise our error if a library found a matrix singular, else the given one."""
    if "LinAlgError" not in type(error).__name__:
        raise error
    raise NotDifferentiableError(
        f"a gradient reached {name} where it has no derivative: {reason}"
    ) from error
