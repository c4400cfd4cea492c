"""Derivatives of determinants, which exist where the inverse does not.

The gradient of det is the matrix of cofactors, det(x) inv(x)^T; that of the cofactors is made of
the minors that lack two rows and two columns. Both are polynomials of the entries of x, finite and
smooth at singular matrices too. So they are rules of their own, with values from the singular values
s of x = u diag(s) vh: in that basis a minor is the product of the other s, and nothing is divided.
"""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.array import Array
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.rule import rule
from bpgpu.autodiff.rules.matrices import adjoint, columns, inverse, on_diagonal, rows


@rule
def det(xp: Any, x: Any, /) -> Any:
    """First and second derivatives are finite and exact at singular matrices too."""
    return xp.linalg.det(x), lambda g: _scalar(xp, g) * _cofactors(x)


@rule
def _cofactors(xp: Any, x: Any) -> Any:
    """d det(x), as a matrix. A rule's value is one call, so that it nests: under a trace it is itself."""
    y = _cofactors(x) if type(x) is Array else _cofactors_by_svd(xp, x)
    return y, lambda g: _second(x, g)


def _cofactors_by_svd(xp: Any, x: Any) -> Any:
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    before, after = _before(xp, s), _after(xp, s)
    return _turn(xp, u, vh) * (xp.conj(u) * columns(xp, before * after)) @ xp.conj(vh)


@rule(arrays=2)
def _second(xp: Any, x: Any, h: Any) -> Any:
    """d2 det(x)[h, .], as a matrix: det(x) (<b, h> b - b h^T b) where b = inv(x)^T exists."""
    y = _second(x, h) if type(x) is Array or type(h) is Array else _second_by_svd(xp, x, h)
    return y, lambda g: _third(xp, x, h, g), lambda g: _second(x, g)


def _second_by_svd(xp: Any, x: Any, h: Any) -> Any:
    """In the basis of singular vectors, with z = u^H h v and m_ij the product of all s but s_i and
    s_j: entry ii is the sum of m_ij z_jj over j, entry ij is -m_ij z_ji.
    """
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    z = adjoint(xp, u) @ h @ adjoint(xp, vh)
    n = s.shape[-1]
    above = rows(xp, s) * 0 + columns(xp, s)  # s_j in column j
    between = _before(xp, xp.triu(above, k=1) + xp.tril(xp.ones_like(above)))
    minors = xp.triu(rows(xp, _before(xp, s)) * between * columns(xp, _after(xp, s)), k=1)
    minors = xp.astype(minors + xp.matrix_transpose(minors), z.dtype)
    own = minors @ rows(xp, xp.linalg.diagonal(z))
    inner = on_diagonal(xp, own[..., 0], (n, n)) - minors * xp.matrix_transpose(z)
    return _turn(xp, u, vh) * xp.conj(u) @ inner @ xp.conj(vh)


def _third(xp: Any, x: Any, h: Any, g: Any) -> Any:
    """d3 det(x)[h, g, .]. Here the inverse is used: third order needs a regular matrix."""
    b = xp.matrix_transpose(
        inverse(xp, x, "linalg.det", "the third derivative at a singular matrix is not implemented")
    )
    bh, bg = b @ xp.matrix_transpose(h), b @ xp.matrix_transpose(g)
    h1, g1 = (_scalar(xp, xp.linalg.trace(m)) for m in (bh, bg))
    both = _scalar(xp, xp.linalg.trace(bh @ bg))
    inner = (h1 * g1 - both) * b - h1 * (bg @ b) - g1 * (bh @ b) + bh @ bg @ b + bg @ bh @ b
    return _scalar(xp, xp.linalg.det(x)) * inner


@rule(conjugate=False)
def slogdet(xp: Any, x: Any, /) -> Any:
    """At a singular matrix, where log|det| is -inf, a gradient raises; the sign of a real determinant has gradient 0.

    d log|det x| = Re tr(inv(x) dx), d sign = i sign Im tr(inv(x) dx).
    """
    out = xp.linalg.slogdet(x)
    sign = out[0]

    def pull(gs: Any) -> Any:
        g_sign, g = gs
        if kind(x.dtype) == "complex":
            turn = 0 if g_sign is None else 1j * xp.astype(xp.imag(xp.conj(sign) * g_sign), x.dtype)
            g = turn if g is None else g + turn
        elif g is None:
            return xp.zeros_like(x)
        why = "the matrix is singular, where log|det| is -inf. Use linalg.det, or add a multiple of the identity"
        return _scalar(xp, g) * adjoint(xp, inverse(xp, x, "linalg.slogdet", why))

    return out, pull


def _scalar(xp: Any, c: Any) -> Any:
    """One number for each matrix of a stack, to multiply it with."""
    return xp.reshape(c, (*c.shape, 1, 1))


def _turn(xp: Any, u: Any, vh: Any) -> Any:
    """det(x) / prod(s), of absolute value 1."""
    return _scalar(xp, xp.linalg.det(u) * xp.linalg.det(vh))


def _before(xp: Any, s: Any) -> Any:
    """For each entry the product of those before it, along the last axis."""
    return xp.cumulative_prod(s, axis=-1, include_initial=True)[..., :-1]


def _after(xp: Any, s: Any) -> Any:
    return xp.flip(_before(xp, xp.flip(s, axis=-1)), axis=-1)
