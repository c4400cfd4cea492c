"""Inverses, systems and powers: gradients against JAX, central differences and formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import ShapeError
from gradients import check, close, numpy_of, to
from linear_algebra import array, gradient, ns_of


@pytest.mark.parametrize("complex", [False, True])
def test_inverse(xp: Any, complex: bool) -> None:
    check(xp, lambda xp, x: xp.linalg.inv(x), array(2, 3, 3, complex=complex))


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 3), (3,)),
        ((3, 3), (3, 2)),
        ((2, 3, 3), (3,)),
        ((2, 3, 3), (3, 1)),
        ((3, 3), (2, 3, 2)),
        ((2, 1, 2, 2), (3, 2, 2)),
        ((2, 2, 2), (2, 2)),
    ],
)
def test_solution_of_a_system(xp: Any, a: Any, b: Any, complex: bool) -> None:
    check(
        xp,
        lambda xp, a, b: xp.linalg.solve(a, b),
        array(*a, complex=complex),
        array(*b, salt=1),  # real, also beside a complex matrix
        order=1 if complex else 2,
        differences=not complex,
        # JAX takes a stack (2, 2, 2) and (2, 2) for a stack of vectors in some versions
        reference=lambda xp, a, b: xp.linalg.inv(a) @ b,
    )


def test_gradient_of_the_right_side_alone(xp: Any) -> None:
    a, b = array(3, 3), array(3, 2, salt=1)
    g = bp.grad(lambda b: ns_of(b).sum(ns_of(b).linalg.solve(ns_of(b).asarray(to(xp, a)), b)))(
        to(xp, b)
    )
    close([numpy_of(g)], [np.linalg.solve(a.T, np.ones((3, 2)))], 1e-12, "solve")


@pytest.mark.parametrize("shape", [(0, 0), (0, 2, 2), (2, 0, 0)])
@pytest.mark.parametrize(
    "f",
    [
        lambda xp, x: xp.linalg.inv(x),
        lambda xp, x: xp.linalg.det(x),
        lambda xp, x: xp.linalg.slogdet(x)[1],
        lambda xp, x: xp.linalg.solve(x, x),
        lambda xp, x: xp.linalg.pinv(x),
        lambda xp, x: xp.linalg.matrix_power(x, 3),
        lambda xp, x: xp.linalg.matrix_power(x, 0),
        lambda xp, x: xp.linalg.matrix_norm(x),
        lambda xp, x: xp.linalg.matrix_norm(x, ord="nuc"),
        lambda xp, x: xp.linalg.vector_norm(x),
    ],
    ids=["inv", "det", "slogdet", "solve", "pinv", "power", "identity", "fro", "nuc", "norm"],
)
def test_empty_matrices_and_stacks(xp: Any, f: Any, shape: tuple[int, ...]) -> None:
    assert gradient(xp, f, np.zeros(shape)).shape == shape


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("n", [-3, -1, 1, 2, 5])
def test_power_of_a_matrix(xp: Any, n: int, complex: bool) -> None:
    x = array(2, 3, 3, complex=complex)
    check(xp, lambda xp, x: xp.linalg.matrix_power(x, n) + x * x, x, differences=not complex)


def test_power_zero_is_the_identity(xp: Any) -> None:
    x = array(2, 3, 3)
    y, pull = bp.vjp(lambda x: ns_of(x).linalg.matrix_power(x, 0), to(xp, x))
    close([numpy_of(y)], [np.broadcast_to(np.eye(3), (2, 3, 3))], 0, "value")
    close([numpy_of(pull(y)[0])], [0 * x], 0, "gradient")
    zeros = np.zeros((2, 2))  # has a power 0 too
    assert np.array_equal(gradient(xp, lambda xp, x: xp.linalg.matrix_power(x, 0), zeros), zeros)


def test_power_one_is_a_new_array(xp: Any) -> None:
    """Assignment to the power must not change the matrix."""

    def f(x: Any) -> Any:
        y = ns_of(x).linalg.matrix_power(x, 1)
        y[0, 0] = 0.0
        return ns_of(x).sum(x * x)

    x = array(2, 2)
    close([numpy_of(bp.grad(f)(to(xp, x)))], [2 * x], 1e-15, "power")


def test_power_of_what_is_not_square_is_refused(xp: Any) -> None:
    for n in (0, 1, 2):
        with pytest.raises(ShapeError, match=r"expected square matrices \(\.\.\., n, n\), got"):
            gradient(xp, lambda xp, x, n=n: xp.linalg.matrix_power(x, n), array(2, 3))
    with pytest.raises(TypeError):
        gradient(xp, lambda xp, x: xp.linalg.matrix_power(x, 1.5), array(2, 2))


# ---- pseudo-inverse


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3), (2, 3)])
def test_pseudo_inverse(xp: Any, shape: tuple[int, ...], complex: bool) -> None:
    x = array(*shape, complex=complex)
    check(xp, lambda xp, x: xp.linalg.pinv(x), x, differences=not complex)


def test_pseudo_inverse_of_constant_rank(xp: Any) -> None:
    """pinv(a b) has a derivative with respect to a and b, since the rank stays that of a and b."""
    a, b = array(4, 2), array(2, 3, salt=1)

    def full_rank(xp: Any, a: Any, b: Any) -> Any:
        at, bt = a.T, b.T
        return bt @ xp.linalg.inv(b @ bt) @ xp.linalg.inv(at @ a) @ at

    check(xp, lambda xp, a, b: xp.linalg.pinv(a @ b, rtol=1e-10), a, b, reference=full_rank)


def test_pseudo_inverse_drops_what_is_below_rtol(xp: Any) -> None:
    x = np.diag([2.0, 1.0, 1e-3])
    g = gradient(xp, lambda xp, x: xp.linalg.pinv(x, rtol=1e-2), x)
    kept = gradient(xp, lambda xp, x: xp.linalg.pinv(x), np.diag([2.0, 1.0]))
    close([g[:2, :2]], [kept], 1e-12, "pinv")
    assert np.max(np.abs(g)) < 2
    zero = np.zeros((2, 3))
    assert np.array_equal(gradient(xp, lambda xp, x: xp.linalg.pinv(x), zero), zero)


def test_pseudo_inverse_with_one_rtol_for_each_matrix(xp: Any) -> None:
    x = np.stack([np.diag([2.0, 1e-3]), np.diag([2.0, 1e-3])])
    rtol = to(xp, np.asarray([1e-2, 1e-6]))
    g = gradient(xp, lambda _, x: ns_of(x).linalg.pinv(x, rtol=rtol), x)
    assert abs(g[0, 1, 1]) < 1
    assert abs(g[1, 1, 1]) > 1e5


def test_rank_is_an_integer_without_gradient(xp: Any) -> None:
    x = np.diag([1.0, 2.0, 0.0])
    g = gradient(
        xp, lambda xp, x: xp.astype(xp.linalg.matrix_rank(x), x.dtype) * xp.linalg.trace(x), x
    )
    close([g], [2 * np.eye(3)], 0, "rank")


@pytest.mark.parametrize(
    "f",
    [
        lambda xp, x: xp.linalg.inv(x),
        lambda xp, x: xp.linalg.det(x),
        lambda xp, x: xp.linalg.slogdet(x)[1],
        lambda xp, x: xp.linalg.solve(x, x * 2),
        lambda xp, x: xp.linalg.pinv(x),
        lambda xp, x: xp.linalg.matrix_power(x, -2),
        lambda xp, x: xp.linalg.matrix_norm(x, ord=2),
        lambda xp, x: xp.linalg.vector_norm(x, ord=3),
    ],
    ids=["inv", "det", "slogdet", "solve", "pinv", "power", "spectral", "norm"],
)
def test_single_precision_stays_single(xp: Any, f: Any) -> None:
    for complex, dtype in ((False, "float32"), (True, "complex64")):
        x = array(3, 3, complex=complex).astype(dtype)
        g = gradient(xp, lambda xp, x: xp.abs(f(xp, x)), x)
        assert g.dtype == x.dtype
        exact = gradient(
            xp, lambda xp, x: xp.abs(f(xp, x)), x.astype("complex128" if complex else "float64")
        )
        close([g], [exact], 1e-3, dtype)


def test_strided_input(xp: Any) -> None:
    x = array(6, 6)[::2, ::-2].copy()[:, ::-1]
    check(xp, lambda xp, x: xp.linalg.inv(xp.matrix_transpose(x)), x, order=1)
