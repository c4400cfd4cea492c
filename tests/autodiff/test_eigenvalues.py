"""Eigenvalues and eigenvectors: gradients against JAX, torch and central differences.

Eigenvectors have no fixed sign or phase, so functions that do not depend on it are compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from gradients import central_differences, check, close, numpy_of, to
from linear_algebra import (
    adjoint,
    array,
    gradient,
    harness,
    ns_of,
    raw_of,
    scaled,
    symmetric,
    torch_linalg,
)
from torch_compare import compare

BOTH = pytest.mark.parametrize("complex", [False, True])


# ---- Hermitian eigenvalues


@BOTH
def test_eigenvalues_and_eigenvectors_of_hermitian_matrices(xp: Any, complex: bool) -> None:
    def f(xp: Any, x: Any) -> Any:
        w, v = xp.linalg.eigh(symmetric(xp, x))
        return w, xp.abs(v) ** 2, scaled(xp, v, xp.exp(w / 3)) @ adjoint(xp, v)

    check(xp, f, array(2, 3, 3, complex=complex))
    check(xp, lambda xp, x: xp.linalg.eigvalsh(symmetric(xp, x)), array(2, 3, 3, complex=complex))


@BOTH
def test_gradient_of_eigh_is_hermitian_as_in_torch(xp: Any, complex: bool) -> None:
    x = array(3, 3, complex=complex)
    x = x + x.conj().T

    def f(linalg: Any, x: Any) -> Any:
        w, v = linalg.eigh(x)
        return w, abs(v) ** 2

    compare(xp, lambda x: f(ns_of(x).linalg, x), lambda x: f(torch_linalg(), x), x, order=1)
    compare(
        xp, lambda x: ns_of(x).linalg.eigvalsh(x), lambda x: torch_linalg().eigvalsh(x), x, order=1
    )


Q = np.linalg.qr(array(4, 4, salt=3))[0]
TIES = {
    "identity": np.eye(4),
    "zero": np.zeros((4, 4)),
    "equal to rounding": Q @ np.diag([1.0, 1.0, 1.0, 2.0]) @ Q.T,
    "two pairs": Q @ np.diag([-1.0, -1.0, 3.0, 3.0]) @ Q.T,
}


@pytest.mark.parametrize("x", TIES.values(), ids=TIES)
def test_functions_of_equal_eigenvalues(xp: Any, x: np.ndarray) -> None:
    """What depends on eigenvalues alone is exact: the gradient of tr f(x) is f'(x)."""
    cube = 3 * x @ x
    for f in (
        lambda xp, x: xp.linalg.eigvalsh(x) ** 3,
        lambda xp, x: xp.linalg.eigh(x)[0] ** 3,
    ):
        close([gradient(xp, f, x)], [cube], 1e-12, "first order")

        def second(xp: Any, x: Any, f: Any = f) -> Any:
            return bp.grad(lambda x: xp.sum(f(xp, x)))(x) ** 2 / 2

        # of |3 x^2|^2 / 2
        close([gradient(xp, second, x)], [18 * x @ x @ x], 1e-11, "second order")


@pytest.mark.parametrize("x", TIES.values(), ids=TIES)
def test_functions_of_eigenvectors_of_equal_eigenvalues_are_finite(xp: Any, x: np.ndarray) -> None:
    """Differences of equal eigenvalues count as no difference: no nan, and nothing of the size of 1 / rounding."""
    c = array(4, 4, salt=1)

    def f(xp: Any, x: Any) -> Any:
        w, v = xp.linalg.eigh(x)
        return scaled(xp, v, xp.exp(w)) @ xp.matrix_transpose(v) * xp.asarray(to(raw_of(xp), c))

    def second(xp: Any, x: Any) -> Any:
        return bp.grad(lambda x: xp.sum(f(xp, x)))(x) ** 2

    assert np.max(np.abs(gradient(xp, f, x))) < 100
    assert np.max(np.abs(gradient(xp, second, x))) < 1e4


def test_projector_on_a_space_of_equal_eigenvalues(xp: Any) -> None:
    """The space as a whole turns with x; how its basis turns within it does not matter."""
    x = TIES["equal to rounding"]
    c = array(4, 4, salt=2)

    def projector(xp: Any, x: Any) -> Any:
        v = xp.linalg.eigh((x + xp.matrix_transpose(x)) / 2)[1][..., :, :3]
        return v @ xp.matrix_transpose(v) * xp.asarray(to(raw_of(xp), c))

    (expected,) = central_differences(xp, projector, (x,), (0,))
    g = bp.grad(lambda x: harness(x, projector(ns_of(x), x)))(to(xp, x))
    close([numpy_of(g)], [expected], 1e-6, "projector")


# ---- general eigenvalues


@BOTH
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4)])
def test_eigenvalues_of_general_matrices(xp: Any, shape: tuple[int, ...], complex: bool) -> None:
    """Real matrices have complex eigenvalues, and real gradients."""
    x = array(*shape, complex=complex)
    compare(
        xp,
        lambda x: ns_of(x).sum(ns_of(x).linalg.eigvals(x) ** 3, axis=-1),
        lambda x: (torch_linalg().eigvals(x) ** 3).sum(-1),
        x,
    )
    exact = 3 * np.conj(np.swapaxes(x @ x, -1, -2))  # of tr x^3
    g = gradient(xp, lambda xp, x: xp.real(xp.linalg.eigvals(x) ** 3), x)
    close([g], [exact], 1e-10, "trace of the cube")


@BOTH
def test_eigenvectors_of_general_matrices(xp: Any, complex: bool) -> None:
    x = array(3, 3, complex=complex) + np.diag([0, 3, 7])

    def f(linalg: Any, x: Any) -> Any:
        w, v = linalg.eig(x)
        return w, abs(v) ** 2

    compare(xp, lambda x: f(ns_of(x).linalg, x), lambda x: f(torch_linalg(), x), x)
    values = central_differences(xp, lambda xp, x: f(xp.linalg, x), (x,), (0,))
    ours = bp.grad(lambda x: harness(x, f(ns_of(x).linalg, x)))(to(xp, x))
    close([numpy_of(ours)], values, 1e-6, "differences")


def test_symmetric_matrix_with_equal_eigenvalues_as_a_general_one(xp: Any) -> None:
    g = gradient(xp, lambda xp, x: xp.real(xp.linalg.eigvals(x) ** 2), np.eye(3))
    close([g], [2 * np.eye(3)], 1e-12, "eigvals")
    g = gradient(xp, lambda xp, x: xp.abs(xp.linalg.eig(x)[1]) ** 2, np.eye(3))
    assert np.all(np.isfinite(g))


def test_trace_of_a_defective_matrix(xp: Any) -> None:
    """Its eigenvalues have no derivative, their sum has."""
    x = np.asarray([[1.0, 1.0], [0.0, 1.0]])
    g = gradient(xp, lambda xp, x: xp.real(xp.linalg.eigvals(x)), x)
    close([g], [np.eye(2)], 1e-12, "trace")
