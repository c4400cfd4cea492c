"""Products of matrices and vectors, and parts of matrices: values and gradients against JAX and central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import ShapeError
from gradients import check, close, numpy_of, to


def array(*shape: int, complex: bool = False, salt: float = 0) -> np.ndarray:
    """Fixed numbers without a pattern."""
    n = int(np.prod(shape))
    x = np.sin(2.3 * np.arange(n, dtype=float) ** 1.2 + 0.4 + salt).reshape(shape)
    return x + 1j * np.cos(3.1 * x + salt) if complex else x


SHAPES = [
    ((3, 4), (4, 2)),
    ((4,), (4,)),
    ((3, 4), (4,)),
    ((4,), (4, 3)),
    ((2, 3, 4), (4, 2)),
    ((2, 3, 4), (4,)),
    ((3, 4), (2, 4, 2)),
    ((4,), (2, 4, 3)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((1, 3, 4), (2, 4, 1)),
    ((1, 1), (1, 1)),
    ((0, 4), (4, 2)),
    ((3, 0), (0, 2)),
    ((0, 3, 4), (4, 2)),
    ((2, 3, 0), (0, 2)),
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_product_of_matrices_vectors_and_stacks(xp: Any, shapes: Any) -> None:
    x, y = array(*shapes[0]), array(*shapes[1], salt=1)
    check(xp, lambda xp, x, y: xp.matmul(x, y), x, y)
    check(xp, lambda xp, x, y: xp.linalg.matmul(x, y), x, y, order=1, differences=False)
    check(
        xp,
        lambda xp, x, y: x @ y,
        array(*shapes[0], complex=True),
        array(*shapes[1], complex=True, salt=1),
        order=1,
        differences=False,
    )


def test_product_of_complex_and_real(xp: Any) -> None:
    check(xp, lambda xp, x, y: xp.matmul(x, y), array(3, 4, complex=True), array(4, 2))
    check(xp, lambda xp, x, y: xp.matmul(x, y), array(2, 3, 4), array(4, 2, complex=True))


def test_product_of_transposed_and_strided_matrices(xp: Any) -> None:
    x = np.asarray(array(8, 6)[::2, ::2])
    check(xp, lambda xp, x: xp.matrix_transpose(x) @ x, x, reference=lambda xp, x: x.T @ x)
    check(xp, lambda xp, x: x.T @ x.mT.T, x)


def test_gradient_of_one_operand_only(xp: Any) -> None:
    x, w = to(xp, array(5, 2, 3)), to(xp, array(3, 4))
    for at in (0, 1):
        g = bp.grad(lambda x, w: bp.array_namespace(x).sum(x @ w), at)(x, w)
        assert g.shape == (x, w)[at].shape


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize(
    ("shapes", "axis"),
    [
        (((4,), (4,)), -1),
        (((2, 4), (4,)), -1),
        (((2, 3), (5, 2, 1)), -2),
        (((2, 3, 1), (3, 4)), -2),
        (((3, 2), (3, 2)), -2),
        (((0, 3), (3,)), -1),
        (((2, 0), (2, 0)), -1),
    ],
)
def test_dot_product_of_vectors(xp: Any, shapes: Any, axis: int, complex: bool) -> None:
    x, y = array(*shapes[0], complex=complex), array(*shapes[1], complex=complex, salt=1)
    check(xp, lambda xp, x, y: xp.vecdot(x, y, axis=axis), x, y)


def test_dot_product_conjugates_the_first_vector(xp: Any) -> None:
    x, y = array(3, complex=True), array(3, complex=True, salt=1)
    for f in (
        lambda x, y: xp_of(x).real(xp_of(x).vecdot(x, y)),
        lambda x, y: xp_of(x).imag(xp_of(x).vecdot(x, y)),
    ):
        gx, gy = bp.grad(f, (0, 1))(to(xp, x), to(xp, y))
        turn = 1 if f(to(xp, x), to(xp, y)) == xp.real(xp.vecdot(to(xp, x), to(xp, y))) else 1j
        close([numpy_of(gx), numpy_of(gy)], [np.conj(turn) * y, turn * x], 1e-12, "vecdot")
    check(xp, lambda xp, x, y: xp.linalg.vecdot(x, y), x, array(3))
    check(xp, lambda xp, x, y: xp.vecdot(x, y), array(3), y)


def xp_of(x: Any) -> Any:
    return bp.array_namespace(x)


def test_dot_product_refuses_to_stretch_the_summed_axis(xp: Any) -> None:
    for shapes in (((1,), (4,)), ((2, 4), (2, 1))):
        with pytest.raises(ValueError, match=r"(?i)size|shape|mismatch|dimension"):
            bp.grad(lambda x, y: xp_of(x).sum(xp_of(x).vecdot(x, y)))(
                to(xp, array(*shapes[0])), to(xp, array(*shapes[1]))
            )


@pytest.mark.parametrize(
    ("shapes", "axes"),
    [
        (((2, 3, 4), (3, 4, 5)), 2),
        (((2, 3), (3, 2)), 1),
        (((2,), (3, 2)), 0),
        (((2, 3, 4), (4, 5, 2)), ((0, 2), (2, 0))),
        (((2, 3, 4), (4, 5, 2)), ((-1, -3), (0, 2))),
        (((3, 4, 2, 2), (2, 4, 3)), ((1, 0, 3), (1, 2, 0))),
        (((2, 3), (2, 3)), ((0, 1), (0, 1))),
        (((2, 3), (4,)), ((), ())),
        (((0, 3), (3, 2)), 1),
        (((2, 0), (0, 3)), 1),
    ],
)
def test_tensor_product(xp: Any, shapes: Any, axes: Any) -> None:
    x, y = array(*shapes[0]), array(*shapes[1], salt=1)
    check(xp, lambda xp, x, y: xp.tensordot(x, y, axes=axes), x, y)
    check(
        xp,
        lambda xp, x, y: xp.linalg.tensordot(x, y, axes=axes),
        array(*shapes[0], complex=True),
        array(*shapes[1], complex=True, salt=1),
        order=1,
        differences=False,
        reference=lambda xp, x, y: xp.tensordot(x, y, axes=axes),
    )


def test_tensor_product_refuses_to_stretch_a_summed_axis() -> None:
    """torch does stretch it, against the standard; the gradient would have the wrong shape."""
    import array_api_compat.torch as xp

    with pytest.raises(ShapeError, match="axis 1 of the first array has 1 entries, axis 0 of the"):
        bp.grad(lambda x, y: xp_of(x).sum(xp_of(x).tensordot(x, y, axes=1)))(
            to(xp, array(2, 1)), to(xp, array(3, 2))
        )


def test_outer_product(xp: Any) -> None:
    check(xp, lambda xp, x, y: xp.linalg.outer(x, y), array(3), array(2))
    check(xp, lambda xp, x, y: xp.linalg.outer(x, y), array(3, complex=True), array(2))
    check(xp, lambda xp, x, y: xp.linalg.outer(x, y), array(0), array(2), order=1)
    check(xp, lambda xp, x: xp.linalg.outer(x, x), array(3, complex=True))


@pytest.mark.parametrize(
    ("shapes", "axis"),
    [
        (((3,), (3,)), -1),
        (((2, 3), (3,)), -1),
        (((2, 3), (4, 1, 3)), -1),
        (((3, 2), (4, 3, 1)), -2),
        (((0, 3), (3,)), -1),
    ],
)
def test_cross_product(xp: Any, shapes: Any, axis: int) -> None:
    for complex in (False, True):
        check(
            xp,
            lambda xp, x, y: xp.linalg.cross(x, y, axis=axis),
            array(*shapes[0], complex=complex),
            array(*shapes[1], salt=1),
        )


@pytest.mark.parametrize("offset", [0, 1, -2, 5, -4])
@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 2)])
def test_diagonal_and_its_sum(xp: Any, offset: int, shape: tuple[int, ...]) -> None:
    if "torch" in xp.__name__ and abs(offset) > 3:
        pytest.skip("torch refuses a diagonal outside of the matrix")
    for complex in (False, True):
        x = array(*shape, complex=complex)
        order = 2 if offset == 1 else 1
        check(xp, lambda xp, x: xp.linalg.diagonal(x, offset=offset) ** 2, x, order=order)
        check(xp, lambda xp, x: xp.linalg.trace(x, offset=offset) ** 2, x, order=order)


def test_trace_in_another_dtype(xp: Any) -> None:
    x = to(xp, array(3, 3).astype("float32"))

    def f(x: Any) -> Any:
        xp = xp_of(x)
        y = xp.linalg.trace(x, dtype=xp.float64)
        assert y.dtype == xp.float64
        return y

    g = bp.grad(f)(x)
    assert g.dtype == x.dtype
    close([numpy_of(g)], [np.eye(3)], 0, "trace")


def test_trace_does_not_spread_infinity(xp: Any) -> None:
    """An infinite gradient stays on the diagonal; beside it are zeros, not 0 * inf."""
    g = numpy_of(
        bp.vjp(lambda x: xp_of(x).linalg.trace(x), to(xp, array(2, 2)))[1](
            to(xp, np.asarray(np.inf))
        )[0]
    )
    assert np.array_equal(g, np.where(np.eye(2, dtype=bool), np.inf, 0))


def test_transposed_matrices(xp: Any) -> None:
    x = array(2, 3, 4)
    check(xp, lambda xp, x: xp.matrix_transpose(x) ** 2, x)
    check(xp, lambda xp, x: xp.linalg.matrix_transpose(x) ** 2, x, order=1)
    check(xp, lambda xp, x: x.mT**2, x[:0], order=1)


def test_single_precision_stays_single(xp: Any) -> None:
    x, y = (to(xp, array(3, 3, salt=s).astype("float32")) for s in (0, 1))
    for f in (
        lambda xp, x, y: x @ y,
        lambda xp, x, y: xp.vecdot(x, y),
        lambda xp, x, y: xp.tensordot(x, y, axes=1),
        lambda xp, x, y: xp.linalg.cross(x, y),
        lambda xp, x, y: xp.linalg.outer(x[0, :], y[:, 0]),
        lambda xp, x, y: xp.linalg.diagonal(x) * xp.linalg.trace(y),
    ):
        grads = bp.grad(lambda x, y, f=f: xp_of(x).sum(f(xp_of(x), x, y)), (0, 1))(x, y)
        assert all(g.dtype == x.dtype for g in grads)
