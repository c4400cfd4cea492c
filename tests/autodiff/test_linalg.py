"""Inverses, systems, powers, determinants and norms: gradients against JAX, central differences and formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import NotDifferentiableError, ShapeError
from gradients import check, close, numpy_of, to


def array(*shape: int, complex: bool = False, salt: int = 0) -> np.ndarray:
    rng = np.random.default_rng(len(shape) + salt)
    x = rng.normal(size=shape)
    return x + 1j * rng.normal(size=shape) if complex else x


def gradient(xp: Any, f: Any, x: np.ndarray) -> np.ndarray:
    """Of the sum of `f(xp, x)`."""

    def loss(x: Any) -> Any:
        ns = bp.array_namespace(x)
        return ns.sum(f(ns, x))

    return numpy_of(bp.grad(loss)(to(xp, x)))


def ns_of(x: Any) -> Any:
    return bp.array_namespace(x)


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


# ---- determinants


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 3)])
def test_determinant(xp: Any, shape: tuple[int, ...], complex: bool) -> None:
    check(xp, lambda xp, x: xp.linalg.det(x) ** 2, array(*shape, complex=complex))


def leibniz(xp: Any, x: Any) -> Any:
    """The determinant of a (3, 3) matrix as the polynomial that it is."""
    a, b, c = x[0, :], x[1, :], x[2, :]
    return (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - a[1] * (b[0] * c[2] - b[2] * c[0])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )


ROW = np.outer([1, 2, 3.0], [1, 0, 2.0])
SINGULAR = {
    "rank 2": ROW + np.outer([0, 1, 1.0], [1, 1, 1.0]),
    "rank 1": ROW,
    "zero": np.zeros((3, 3)),
    "identity": np.eye(3),
    "equal singular values": np.asarray([[0, 0, -2.0], [2, 0, 0], [0, 1, 0]]),
}


@pytest.mark.parametrize("x", SINGULAR.values(), ids=SINGULAR)
@pytest.mark.parametrize("complex", [False, True])
def test_determinant_of_singular_matrices(xp: Any, x: np.ndarray, complex: bool) -> None:
    """First and second order are finite and exact: minors of the matrix."""
    if complex:
        x = (0.6 + 0.8j) * x
    check(xp, lambda xp, x: xp.linalg.det(x) + xp.linalg.det(x) ** 2, x, reference=reference)


def reference(xp: Any, x: Any) -> Any:
    return leibniz(xp, x) + leibniz(xp, x) ** 2


def test_determinant_of_third_and_fourth_order(xp: Any) -> None:
    u, v, w = (to(xp, array(3, 3, salt=k)) for k in (1, 2, 3))

    def derivative(f: Any, x: Any) -> Any:
        def along(g: Any, direction: Any) -> Any:
            return lambda x: ns_of(x).sum(bp.grad(g)(x) * ns_of(x).asarray(direction))

        return bp.grad(along(along(along(f, u), v), w))(to(xp, x))

    for x in (array(3, 3), np.eye(3)):
        ours = derivative(lambda x: ns_of(x).linalg.det(x) ** 2, x)
        exact = derivative(lambda x: leibniz(None, x) ** 2, x)
        close([numpy_of(ours)], [numpy_of(exact)], 1e-8, "fourth order")


def test_third_derivative_of_the_determinant_needs_a_regular_matrix(xp: Any) -> None:
    def second(x: Any) -> Any:
        return ns_of(x).sum(bp.grad(lambda x: ns_of(x).sum(bp.grad(ns_of(x).linalg.det)(x)))(x))

    with pytest.raises(NotDifferentiableError, match=r"linalg\.det .* third derivative at a sing"):
        bp.grad(second)(to(xp, np.zeros((3, 3))))


@pytest.mark.parametrize("complex", [False, True])
def test_logarithm_of_the_determinant(xp: Any, complex: bool) -> None:
    check(xp, lambda xp, x: tuple(xp.linalg.slogdet(x)), array(2, 3, 3, complex=complex))


def test_real_sign_of_a_determinant_has_zero_gradient(xp: Any) -> None:
    for x in (array(3, 3), np.zeros((3, 3))):
        g = gradient(xp, lambda xp, x: xp.linalg.slogdet(x)[0], x)
        assert np.array_equal(g, np.zeros((3, 3)))


def test_logarithm_of_a_zero_determinant_is_refused(xp: Any) -> None:
    """log|det| is -inf there: no finite answer exists, and none is made up."""
    with pytest.raises(NotDifferentiableError, match=r"slogdet .* the matrix is singular"):
        gradient(xp, lambda xp, x: xp.linalg.slogdet(x)[1], np.zeros((2, 2)))


# ---- norms

ORDERS = [0, 1, 2, 3, math.inf, -math.inf, 0.5, 2.5, -1, -2]


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("ord", ORDERS)
def test_norm_of_vectors(xp: Any, ord: float, complex: bool) -> None:
    x = array(2, 3, 4, complex=complex)
    for axis, keepdims in ((None, False), (1, True), ((0, -1), False), ((2, 0), True)):

        def f(xp: Any, x: Any, axis: Any = axis, keepdims: bool = keepdims) -> Any:
            y = xp.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)
            return y * y + xp.sum(xp.real(x) ** 3)  # depends on x where the norm is a count

        first = axis is None
        check(xp, f, x, order=2 if axis == (0, -1) else 1, differences=first and ord != 0)


@pytest.mark.parametrize("ord", [1, 2, 3, math.inf, 0.5, 2.5])
@pytest.mark.parametrize("dtype", ["float64", "complex128", "float32"])
def test_norm_of_zero_vectors_has_zero_gradient(xp: Any, ord: float, dtype: str) -> None:
    x = np.zeros((2, 3), dtype=dtype)

    def norms(xp: Any, x: Any) -> Any:
        return xp.linalg.vector_norm(x, axis=-1, ord=ord)

    g = gradient(xp, norms, x)
    assert g.dtype == x.dtype
    assert np.array_equal(g, x)

    def second(xp: Any, x: Any) -> Any:
        g = bp.grad(lambda x: xp.sum(norms(xp, x)))(x)
        return xp.real(g) + xp.sum(xp.real(x) ** 2) if "complex" in dtype else g + xp.sum(x**2)

    assert np.array_equal(gradient(xp, second, x), x)


@pytest.mark.filterwarnings("ignore:divide by zero")  # NumPy's own, in the value for ord = -1
@pytest.mark.parametrize("ord", [1, 2, 3, math.inf, -math.inf, 0.5, 1.5, -1])
def test_norm_of_vectors_with_zeros_is_finite(xp: Any, ord: float) -> None:
    x = np.asarray([[3.0, 0.0, -4.0], [0.0, 0.0, 2.0]])

    def f(xp: Any, x: Any) -> Any:
        return xp.linalg.vector_norm(x, axis=-1, ord=ord)

    g = gradient(xp, f, x)
    assert np.all(np.isfinite(g))
    if ord >= 1:
        assert np.all(g[x == 0] == 0)

    def second(xp: Any, x: Any) -> Any:
        return bp.grad(lambda x: xp.sum(f(xp, x)))(x) ** 2 + x * 0

    assert np.all(np.isfinite(gradient(xp, second, x)))


def test_entries_that_tie_for_the_largest_share_the_gradient(xp: Any) -> None:
    x = np.asarray([2.0, -2.0, 1.0, 2.0])
    g = gradient(xp, lambda xp, x: xp.linalg.vector_norm(x, ord=math.inf), x)
    close([g], [np.asarray([1, -1, 0, 1]) / 3], 1e-15, "inf")
    g = gradient(xp, lambda xp, x: xp.linalg.vector_norm(x, ord=-math.inf), x)
    close([g], [np.asarray([0, 0, 1.0, 0])], 1e-15, "-inf")


def test_norm_of_a_number_and_over_no_axis(xp: Any) -> None:
    check(xp, lambda xp, x: xp.linalg.vector_norm(x) ** 2, np.asarray(-3.0))
    x = array(2, 3)
    g = gradient(xp, lambda xp, x: xp.linalg.vector_norm(x, axis=()), x)
    close([g], [np.sign(x)], 1e-15, "axis=()")


def test_norm_is_scaled_before_it_is_raised(xp: Any) -> None:
    """|x|^(p - 1) alone would overflow."""
    x = np.asarray([3e200, 4e200])
    g = gradient(xp, lambda xp, x: xp.linalg.vector_norm(x / 1e200, ord=4) * 1e200, x)
    assert np.all(np.isfinite(g))
    tiny = gradient(xp, lambda xp, x: xp.linalg.vector_norm(x, ord=3), np.asarray([3e-90, 4e-90]))
    close([tiny], [np.asarray([9.0, 16.0]) / 91 ** (2 / 3)], 1e-12, "tiny")


MATRIX_ORDERS = ["fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf]


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("ord", MATRIX_ORDERS)
def test_norm_of_matrices(xp: Any, ord: Any, complex: bool) -> None:
    x = array(2, 3, 4, complex=complex)
    for keepdims in (False, True):
        check(
            xp,
            lambda xp, x, k=keepdims: xp.linalg.matrix_norm(x, ord=ord, keepdims=k) ** 2,
            x,
            order=1 if keepdims else 2,
            differences=not keepdims and not complex,
        )


@pytest.mark.parametrize("ord", MATRIX_ORDERS)
def test_norm_of_zero_matrices_has_zero_gradient(xp: Any, ord: Any) -> None:
    x = np.zeros((2, 3, 2))
    assert np.array_equal(gradient(xp, lambda xp, x: xp.linalg.matrix_norm(x, ord=ord), x), x)


def test_norms_by_equal_singular_values_share_the_gradient(xp: Any) -> None:
    eye = np.eye(3)
    for ord, expected in (("nuc", eye), (2, eye / 3), (-2, eye / 3), ("fro", eye / 3**0.5)):
        g = gradient(xp, lambda xp, x, o=ord: xp.linalg.matrix_norm(x, ord=o), eye)
        close([g], [expected], 1e-12, str(ord))


def test_nuclear_norm_of_low_rank_has_the_smallest_subgradient(xp: Any) -> None:
    """u v^H of the singular values that are not zero: what central differences give too."""
    x = np.outer([3.0, 4.0, 0.0], [0.6, 0.8])
    g = gradient(xp, lambda xp, x: xp.linalg.matrix_norm(x, ord="nuc"), x)
    close([g], [x / 5], 1e-12, "nuc")


def test_unknown_matrix_norm_is_refused(xp: Any) -> None:
    with pytest.raises(
        ValueError, match="ord must be 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got"
    ):
        gradient(xp, lambda xp, x: xp.linalg.matrix_norm(x, ord=3), array(2, 2))


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
