"""Derivatives of factorisations.

All follow one way: differentiate what defines the factors (x = l l^H, u^H u = 1, ...), solve for
their differentials, and read the gradient off.

Some factors are only defined up to a turn: the phase of a complex eigenvector or singular vector, a
basis of the space of equal eigenvalues or singular values, the extra columns of a full u, v or q.
These are taken to turn as little as they can. So functions that do not depend on the choice are
differentiated right, but for one case: what depends on the eigenvectors of equal eigenvalues by the
difference of these eigenvalues (v f(w) v^H at equal w) loses that part. It stays finite.

Matrices that are read as Hermitian (`cholesky`, `eigh`) get a Hermitian gradient, as in torch and
JAX.
"""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.rule import rule
from bpgpu.autodiff.rules.matrices import (
    adjoint,
    columns,
    gaps,
    hermitian,
    lower_half,
    on_diagonal,
    reciprocal,
    refuse_singular,
    rounding,
    rows,
    skew,
)


@rule(conjugate=False)
def cholesky(xp: Any, x: Any, /, *, upper: bool = False) -> Any:
    """The gradient is Hermitian, though only one triangle is read.

    x = l l^H, so inv(l) dx inv(l)^H = s + s^H with the triangular s = inv(l) dl (Murray 2016, eq. 9).
    """
    y = xp.linalg.cholesky(x, upper=upper)

    def pull(g: Any) -> Any:
        lh, gl = (y, adjoint(xp, g)) if upper else (adjoint(xp, y), g)
        inner = hermitian(xp, lower_half(xp, lh @ gl))
        return xp.linalg.solve(lh, adjoint(xp, xp.linalg.solve(lh, inner)))

    return y, pull


@rule(conjugate=False)
def qr(xp: Any, x: Any, /, *, mode: str = "reduced") -> Any:
    """Where the first min(n, m) columns of a matrix (n, m) depend on each other, a gradient raises.

    With c = q^H dx inv(r): its lower triangle tells how q turns, the rest how r changes.
    """
    out = xp.linalg.qr(x, mode=mode)
    q, r = out
    n, m = x.shape[-2:]
    k = min(n, m)

    def pull(gs: Any) -> Any:
        gq, gr = (xp.zeros_like(v) if g is None else g for g, v in zip(gs, out, strict=True))
        gq, q1 = _folded(xp, gq, q, k), q[..., :, :k]
        r1, gr1 = r[..., :k, :k], gr[..., :k, :k]
        if m > k:  # the columns beyond are q^H times those of x
            gr2 = gr[..., :, k:]
            gq = gq + q1 @ (r[..., :, k:] @ adjoint(xp, gr2))
        grr, gqq = gr1 @ adjoint(xp, r1), adjoint(xp, q1) @ gq
        inner = lower_half(xp, 2 * skew(xp, gqq - grr)) + grr - gqq
        g1 = _over_adjoint(xp, gq + q1 @ inner, r1)
        return xp.concat([g1, q1 @ gr2], axis=-1) if m > k else g1

    return out, pull


def _over_adjoint(xp: Any, y: Any, r: Any) -> Any:
    """y inv(r)^H, or our error if r is singular."""
    try:
        return adjoint(xp, xp.linalg.solve(r, adjoint(xp, y)))
    except (ValueError, RuntimeError) as error:
        refuse_singular(
            error,
            "linalg.qr",
            "the first columns of the matrix are not independent, so that r is singular and q is not unique there",
        )


def _folded(xp: Any, g: Any, q: Any, k: int) -> Any:
    """The gradient of all columns of q as one of the first k.

    The others span what the first leave: as the first move by d, they move by -q1 d^H q2.
    """
    if q.shape[-1] == k:
        return g
    q1, q2 = q[..., :, :k], q[..., :, k:]
    return g[..., :, :k] - q2 @ (adjoint(xp, g[..., :, k:]) @ q1)


@rule(conjugate=False)
def eigh(xp: Any, x: Any, /) -> Any:
    """The gradient is Hermitian. Eigenvectors of equal eigenvalues count as not turning into each other.

    With d = v^H dx v: the diagonal of d moves the eigenvalues, and v turns by d_ij / (w_j - w_i).
    """
    out = xp.linalg.eigh(x)
    w, v = out

    def pull(gs: Any) -> Any:
        gw, gv = gs
        vh = adjoint(xp, v)
        turned = 0 if gv is None else v @ (gaps(xp, w) * skew(xp, vh @ gv)) @ vh
        return turned if gw is None else turned + (v * columns(xp, gw)) @ vh

    return out, pull


@rule(conjugate=False)
def eigvalsh(xp: Any, x: Any, /) -> Any:
    """As `eigh`; exact for functions that treat equal eigenvalues alike."""
    w, v = xp.linalg.eigh(x)
    return w, lambda g: (v * columns(xp, g)) @ adjoint(xp, v)


@rule(conjugate=False)
def eig(xp: Any, x: Any, /) -> Any:
    """A defective matrix, whose eigenvectors depend on each other, has no derivative: the gradient grows without bound.

    As `eigh` with inv(v) in place of v^H, and with eigenvectors that keep their length 1.
    """
    out = xp.linalg.eig(x)
    w, v = out
    real = kind(x.dtype) == "real"

    def pull(gs: Any) -> Any:
        gw, gv = gs
        vh = adjoint(xp, v)
        inner = 0
        if gv is not None:
            gv = vh @ gv
            along = xp.astype(xp.real(xp.linalg.diagonal(gv)), gv.dtype)
            inner = xp.conj(gaps(xp, w)) * (gv - (vh @ v) * columns(xp, along))
        if gw is not None:
            inner = inner + on_diagonal(xp, gw, v.shape[-2:])
        return _from_eigenvectors(xp, real, vh, inner @ vh)

    return out, pull


@rule(conjugate=False)
def eigvals(xp: Any, x: Any, /) -> Any:
    """As `eig`."""
    w, v = xp.linalg.eig(x)
    real = kind(x.dtype) == "real"

    def pull(g: Any) -> Any:
        vh = adjoint(xp, v)
        return _from_eigenvectors(xp, real, vh, rows(xp, g) * vh)

    return w, pull


def _from_eigenvectors(xp: Any, real: bool, vh: Any, g: Any) -> Any:
    """inv(vh) g, its real part for a real matrix."""
    g = xp.linalg.solve(vh, g)
    return xp.real(g) if real else g


@rule(conjugate=False)
def svd(xp: Any, x: Any, /, *, full_matrices: bool = True) -> Any:
    """Singular vectors of equal singular values count as not turning into each other. Extra columns of a full u or v
    are taken as what they span.

    x = u s v^H. With d = u^H dx v, h = d + d^H and k = d - d^H: u and v turn together by
    h_ij / (s_j - s_i) and against each other by k_ij / (s_j + s_i), half of each.
    """
    out = xp.linalg.svd(x, full_matrices=full_matrices)
    u, s, vh = out
    n, m = x.shape[-2:]
    k = min(n, m)

    def pull(gs: Any) -> Any:
        gu, g, gvh = gs
        u1, v1h = u[..., :, :k], vh[..., :k, :]
        if gu is None and gvh is None:
            return _from_singular_values(xp, u1, s, v1h, g)
        p: Any = 0
        q: Any = 0
        outside: Any = 0  # what turns u and v out of the space of their first k columns
        shrink = reciprocal(xp, s, rounding(xp, s))
        if gu is not None:
            gu = _folded(xp, gu, u, k)
            p = adjoint(xp, u1) @ gu
            if n > k:
                outside = ((gu - u1 @ p) * columns(xp, shrink)) @ v1h
            p = skew(xp, p)
        if gvh is not None:
            gv = _folded(xp, adjoint(xp, gvh), adjoint(xp, vh), k)
            q = v1h @ gv
            if m > k:
                outside = outside + u1 @ (rows(xp, shrink) * adjoint(xp, gv - adjoint(xp, v1h) @ q))
            q = skew(xp, q)
        sums = reciprocal(xp, columns(xp, s) + rows(xp, s), rows(xp, rounding(xp, s)))
        inner = gaps(xp, s) * (p + q) + sums * (p - q)
        if g is not None:
            inner = inner + on_diagonal(xp, g, (k, k))
        return u1 @ inner @ v1h + outside

    return out, pull


@rule(conjugate=False)
def svdvals(xp: Any, x: Any, /) -> Any:
    """A singular value has a kink at 0, as |x| has; its derivative there is 0.

    d s_i = Re(u_i^H dx v_i).
    """
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    return s, lambda g: _from_singular_values(xp, u, s, vh, g)


def _from_singular_values(xp: Any, u: Any, s: Any, vh: Any, g: Any) -> Any:
    g = xp.where(s <= rounding(xp, s), 0, g)
    return (u * columns(xp, g)) @ vh
