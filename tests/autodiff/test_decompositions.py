"""Cholesky, QR and singular values: gradients against JAX, torch and central differences.

Singular vectors have no fixed sign or phase, so functions that do not depend on it are compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import NotDifferentiableError
from gradients import central_differences, check, close, numpy_of, to
from linear_algebra import (
    adjoint,
    array,
    gradient,
    harness,
    ns_of,
    positive,
    raw_of,
    scaled,
    symmetric,
    torch_linalg,
)
from torch_compare import compare

BOTH = pytest.mark.parametrize("complex", [False, True])


# ---- Cholesky


@BOTH
@pytest.mark.parametrize("upper", [False, True])
def test_cholesky(xp: Any, upper: bool, complex: bool) -> None:
    check(
        xp,
        lambda xp, x: xp.linalg.cholesky(positive(xp, x), upper=upper),
        array(2, 3, 3, complex=complex),
        differences=not upper,
    )


@BOTH
def test_gradient_of_cholesky_is_hermitian_as_in_torch(xp: Any, complex: bool) -> None:
    x = array(3, 3, complex=complex)
    x = x @ x.conj().T + np.eye(3)
    for upper in (False, True):
        compare(
            xp,
            lambda x, u=upper: abs(ns_of(x).linalg.cholesky(x, upper=u)) ** 2,
            lambda x, u=upper: abs(torch_linalg().cholesky(x, upper=u)) ** 2,
            x,
            order=1,
        )


# ---- QR


@BOTH
@pytest.mark.parametrize("mode", ["reduced", "complete"])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3), (3, 5), (1, 1)])
def test_qr(xp: Any, shape: tuple[int, ...], mode: str, complex: bool) -> None:
    if mode == "complete" and shape[-2] > shape[-1]:
        pytest.skip("the extra columns have a test of their own")
    check(
        xp,
        lambda xp, x: tuple(xp.linalg.qr(x, mode=mode)),
        array(*shape, complex=complex),
        order=2 if mode == "reduced" else 1,
        differences=mode == "reduced" and len(shape) == 2,
    )


@BOTH
def test_qr_with_all_columns(xp: Any, complex: bool) -> None:
    """q2 q2^H is what q1 q1^H leaves of the identity, so both have opposite gradients."""

    def by_q2(xp: Any, x: Any) -> Any:
        q, r = xp.linalg.qr(x, mode="complete")
        q2 = q[..., :, x.shape[-1] :]
        return (q2 @ adjoint(xp, q2)) ** 2, r[..., : x.shape[-1], :]

    def by_q1(xp: Any, x: Any) -> Any:
        q, r = xp.linalg.qr(x)
        rest = xp.eye(x.shape[-2], dtype=x.dtype) - q @ adjoint(xp, q)
        return rest**2, r

    check(xp, by_q2, array(4, 2, complex=complex), reference=by_q1)
    check(xp, by_q2, array(2, 3, 1, complex=complex), reference=by_q1)


def test_qr_where_the_first_columns_depend_on_each_other(xp: Any) -> None:
    with pytest.raises(NotDifferentiableError, match=r"linalg\.qr .* first columns of the matrix"):
        gradient(xp, lambda xp, x: xp.linalg.qr(x)[0] ** 3, np.zeros((3, 2)))


# ---- singular values


def of_svd(xp: Any, x: Any, full: bool = False) -> Any:
    u, s, vh = xp.linalg.svd(x, full_matrices=full)
    k = s.shape[-1]
    u, vh = u[..., :, :k], vh[..., :k, :]
    return s, xp.abs(u) ** 2, xp.abs(vh) ** 2, scaled(xp, u, xp.exp(s / 3)) @ vh


@BOTH
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3), (2, 3), (1, 1)])
def test_singular_values_and_vectors(xp: Any, shape: tuple[int, ...], complex: bool) -> None:
    x = array(*shape, complex=complex)
    check(xp, of_svd, x, differences=len(shape) == 2)
    check(xp, lambda xp, x: xp.linalg.svdvals(x), x, differences=False)
    reduced, full = (
        bp.grad(lambda x, full=full: harness(x, of_svd(ns_of(x), x, full)))(to(xp, x))
        for full in (False, True)
    )
    close([numpy_of(full)], [numpy_of(reduced)], 1e-10, "full matrices")


@BOTH
@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (2, 3, 2)])
def test_extra_singular_vectors(xp: Any, shape: tuple[int, ...], complex: bool) -> None:
    """They span what the others leave, and functions of that space are differentiated."""
    k = min(shape[-2:])

    def by_extra(xp: Any, x: Any) -> Any:
        u, s, vh = xp.linalg.svd(x)
        u2, v2h = u[..., :, k:], vh[..., k:, :]
        p = u2 @ adjoint(xp, u2) if shape[-2] > k else adjoint(xp, v2h) @ v2h
        return p * p, s

    def by_others(xp: Any, x: Any) -> Any:
        u, s, vh = xp.linalg.svd(x, full_matrices=False)
        p = u @ adjoint(xp, u) if shape[-2] > k else adjoint(xp, vh) @ vh
        p = xp.eye(p.shape[-1], dtype=p.dtype) - p
        return p * p, s

    check(xp, by_extra, array(*shape, complex=complex), reference=by_others, differences=False)


LEFT, RIGHT = (np.linalg.qr(array(3, 3, salt=k))[0] for k in (0, 1))
EQUAL = {"identity": np.eye(3), "equal to rounding": LEFT @ np.diag([2.0, 2.0, 1.0]) @ RIGHT}


@pytest.mark.parametrize("x", EQUAL.values(), ids=EQUAL)
def test_equal_singular_values(xp: Any, x: np.ndarray) -> None:
    """Functions of the singular values alone, and the nearest orthogonal matrix u v^H, are exact there."""
    g = gradient(xp, lambda xp, x: xp.linalg.svdvals(x) ** 2, x)
    close([g], [2 * x], 1e-12, "svdvals")
    c = array(3, 3, salt=4)

    def nearest(xp: Any, x: Any) -> Any:
        u, _, vh = xp.linalg.svd(x, full_matrices=False)
        return xp.sum(u @ vh * xp.asarray(to(raw_of(xp), c)))

    def newton(xp: Any, x: Any) -> Any:
        y = x / 2.5
        for _ in range(40):
            y = 1.5 * y - 0.5 * y @ xp.matrix_transpose(y) @ y
        return xp.sum(y * xp.asarray(to(raw_of(xp), c)))

    close([gradient(xp, nearest, x)], [gradient(xp, newton, x)], 1e-10, "u v^H")


def test_zero_singular_values(xp: Any) -> None:
    """s_i has a kink where it is zero, as |x| has; its derivative there is 0. The others are exact."""
    zero = np.zeros((3, 2))
    assert np.array_equal(gradient(xp, lambda xp, x: xp.linalg.svdvals(x), zero), zero)
    x = np.outer([3.0, 4.0, 0.0], [0.6, 0.8])
    for f in (
        lambda xp, x: xp.linalg.svdvals(x),
        lambda xp, x: xp.linalg.svd(x)[1],
        lambda xp, x: xp.linalg.svd(x, full_matrices=False)[1],
    ):
        close([gradient(xp, f, x)], [x / 5], 1e-12, "svdvals")


@pytest.mark.parametrize("x", [np.zeros((3, 2)), np.outer([3.0, 4.0, 0.0], [0.6, 0.8]), np.eye(3)])
def test_singular_vectors_of_zero_and_equal_singular_values_are_finite(
    xp: Any, x: np.ndarray
) -> None:
    def f(xp: Any, x: Any) -> Any:
        return sum(xp.sum(y) for y in of_svd(xp, x))

    def second(xp: Any, x: Any) -> Any:
        return bp.grad(lambda x: f(xp, x))(x) ** 2

    assert np.max(np.abs(gradient(xp, f, x))) < 100
    assert np.max(np.abs(gradient(xp, second, x))) < 1e4


# ---- what all have in common

FACTORS = {
    "cholesky": lambda xp, x: xp.linalg.cholesky(positive(xp, x)),
    "qr": lambda xp, x: xp.linalg.qr(x)[1] + 0 * xp.linalg.qr(x)[0],
    "eigh": lambda xp, x: xp.abs(xp.linalg.eigh(symmetric(xp, x))[1]) ** 2,
    "eigvalsh": lambda xp, x: xp.linalg.eigvalsh(symmetric(xp, x)),
    "eig": lambda xp, x: xp.abs(xp.linalg.eig(x)[1]) ** 2,
    "eigvals": lambda xp, x: xp.linalg.eigvals(x),
    "svd": lambda xp, x: xp.abs(xp.linalg.svd(x)[0]) ** 2,
    "svdvals": lambda xp, x: xp.linalg.svdvals(x),
}


@pytest.mark.parametrize("shape", [(0, 0), (0, 2, 2), (2, 0, 0)])
@pytest.mark.parametrize("f", FACTORS.values(), ids=FACTORS)
def test_empty_matrices_and_stacks(xp: Any, f: Any, shape: tuple[int, ...]) -> None:
    assert gradient(xp, lambda xp, x: xp.abs(f(xp, x)), np.zeros(shape)).shape == shape


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 3)])
def test_factors_of_matrices_without_rows_or_columns(xp: Any, shape: tuple[int, ...]) -> None:
    def f(xp: Any, x: Any) -> Any:
        q, r = xp.linalg.qr(x)
        u, s, vh = xp.linalg.svd(x, full_matrices=False)
        return sum(xp.sum(y) for y in (q, r, u, s, vh))

    assert gradient(xp, f, np.zeros(shape)).shape == shape


@pytest.mark.parametrize("f", FACTORS.values(), ids=FACTORS)
def test_single_precision_stays_single(xp: Any, f: Any) -> None:
    for complex, dtype in ((False, "float32"), (True, "complex64")):
        x = array(3, 3, complex=complex) + np.diag([0, 2, 5])
        g = gradient(xp, lambda xp, x: xp.real(f(xp, x)) ** 2, x.astype(dtype))
        assert str(g.dtype) == dtype
        close([g], [gradient(xp, lambda xp, x: xp.real(f(xp, x)) ** 2, x)], 1e-3, dtype)


@pytest.mark.parametrize("name", ["eigh", "eig", "qr", "svd", "slogdet"])
def test_named_results_keep_their_names(xp: Any, name: str) -> None:
    x = to(xp, array(3, 3))
    plain = getattr(xp.linalg, name)(x)

    def f(x: Any) -> Any:
        traced = getattr(ns_of(x).linalg, name)(x)
        assert type(traced) is type(plain)
        for field in ("eigenvalues", "eigenvectors", "Q", "R", "U", "S", "Vh", "sign", "logabsdet"):
            if hasattr(plain, field):
                assert getattr(traced, field).shape == getattr(plain, field).shape
        return ns_of(x).sum(ns_of(x).abs(traced[1]))

    bp.grad(f)(x)
    bp.grad(lambda x: ns_of(x).sum(bp.grad(f)(x)))(x)


def test_one_of_several_results_may_be_used(xp: Any) -> None:
    """The gradient of a result that is not used is no array of zeros, but absent."""
    x = array(3, 3)
    for f in (
        lambda xp, x: xp.linalg.qr(x)[0] ** 3,
        lambda xp, x: xp.linalg.qr(x)[1],
        lambda xp, x: xp.linalg.eigh(symmetric(xp, x))[0],
        lambda xp, x: xp.linalg.eigh(symmetric(xp, x))[1] ** 2 * xp.linalg.trace(x),
        lambda xp, x: xp.abs(xp.linalg.eig(x)[0]),
        lambda xp, x: xp.abs(xp.linalg.eig(x)[1]) ** 2 * xp.linalg.trace(x),
        lambda xp, x: xp.linalg.svd(x)[0] ** 2 * xp.linalg.trace(x),
        lambda xp, x: xp.linalg.svd(x)[1],
        lambda xp, x: xp.linalg.svd(x)[2] ** 2 * xp.linalg.trace(x),
    ):
        (expected,) = central_differences(xp, f, (x,), (0,))
        g = bp.grad(lambda x, f=f: harness(x, f(ns_of(x), x)))(to(xp, x))
        close([numpy_of(g)], [expected], 1e-5, "differences")
