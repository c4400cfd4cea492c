"""grad, value_and_grad, vjp, jvp, jacobian, hessian, hvp: against JAX, on trees, nested, with odd arguments."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import DtypeError, NotDifferentiableError, ShapeError, TreeError
from gradients import numpy_of, to

R = np.random.default_rng(0)
X, V = R.normal(size=(3,)), R.normal(size=(3,))
Z, W = X + 1j * V, V - 0.5j * X


def energy(xp: Any, x: Any) -> Any:
    return xp.sum(xp.exp(x) * xp.sin(x) * xp.prod(x))


def field(xp: Any, x: Any) -> Any:
    return xp.stack([x[0] * x[1], xp.exp(x[2]) * x[0], xp.sum(x * x), xp.tanh(x[1])])


def traced(f: Any) -> Any:
    return lambda *xs: f(bp.array_namespace(*xs), *xs)


def with_jax(f: Any) -> Any:
    return lambda *xs: f(jnp, *xs)


def equal(a: Any, b: Any, tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(numpy_of(a), np.asarray(b), rtol=tolerance, atol=tolerance)


def test_jvp_is_the_directional_derivative(xp):
    out, tangent = bp.jvp(traced(field), (to(xp, X),), (to(xp, V),))
    theirs = jax.jvp(with_jax(field), (X,), (V,))
    equal(out, theirs[0])
    equal(tangent, theirs[1])
    assert type(out) is type(to(xp, X)) is type(tangent)


def test_jvp_takes_trees_and_a_lone_argument():
    def f(p: Any) -> Any:
        return {"a": p["x"] * p["y"], "positive": p["x"] > 0}

    p = {"x": X, "y": V}
    out, tangent = bp.jvp(f, p, {"x": V, "y": X})
    equal(tangent["a"], V * V + X * X)
    assert tangent["positive"] is None
    assert out["positive"].dtype == bool


def test_jvp_of_a_function_that_does_not_depend_on_its_argument_is_zero():
    _, tangent = bp.jvp(lambda x: np.ones(2), (X,), (V,))
    equal(tangent, np.zeros(2))


def test_vjp_can_be_pulled_again_and_differentiated(xp):
    x, ct = to(xp, X), to(xp, R.normal(size=4))
    _, pull = bp.vjp(traced(field), x)
    _, theirs = jax.vjp(with_jax(field), X)
    for _ in range(2):
        equal(pull(ct)[0], theirs(numpy_of(ct))[0])

    def through(ct: Any) -> Any:
        ns = bp.array_namespace(ct)
        return ns.sum(ns.square(pull(ct)[0]))

    equal(bp.grad(through)(ct), jax.grad(lambda c: jnp.sum(theirs(c)[0] ** 2))(numpy_of(ct)))


def test_vjp_inside_a_trace_is_differentiable():
    def f(x: Any) -> Any:
        _, pull = bp.vjp(lambda y: y * y * y, x)
        (g,) = pull(x)
        return bp.array_namespace(g).sum(g)

    equal(bp.grad(f)(X), 9 * X**2)  # the sum of 3 x^2 * x


@pytest.mark.parametrize("argnums", [0, (0,), (0, 1), -1])
def test_jacobian(xp, argnums):
    def f(ns: Any, x: Any, y: Any) -> Any:
        return ns.stack([x[0] * y[1], y[0] * y[2], ns.sum(x)])

    ours = bp.jacobian(traced(f), argnums)(to(xp, X), to(xp, V))
    theirs = jax.jacobian(with_jax(f), 1 if argnums == -1 else argnums)(X, V)
    if isinstance(argnums, tuple):
        for a, b in zip(ours, theirs, strict=True):
            equal(a, b)
    else:
        equal(ours, theirs)


def test_jacobian_of_trees():
    ours = bp.jacobian(lambda p: (p["x"] * p["y"], p["y"][:0]))({"x": X, "y": V})
    equal(ours[0]["x"], np.diag(V))
    assert ours[1]["y"].shape == (0, 3)


def test_jacobian_of_complex_functions():
    equal(bp.jacobian(lambda z: z * z * (1 + 1j))(Z), np.diag(2 * Z * (1 + 1j)))
    equal(bp.jacobian(lambda x: x * (1 + 2j))(X), np.diag(np.full(3, 1 + 2j)))


def test_hessian(xp):
    equal(bp.hessian(traced(energy))(to(xp, X)), jax.hessian(with_jax(energy))(X), 1e-9)


def test_hvp(xp):
    ours = bp.hvp(traced(energy), to(xp, X), to(xp, V))
    equal(ours, jax.hessian(with_jax(energy))(X) @ V, 1e-9)


def test_hvp_over_several_arguments():
    def f(x: Any, y: Any) -> Any:
        return bp.array_namespace(x).sum(x * x * y)

    hx, hy = bp.hvp(f, (X, V), (V, X))
    equal(hx, 2 * V * V + 2 * X * X)
    equal(hy, 2 * X * V)


def test_derivatives_nest_without_confusion():
    assert bp.grad(lambda x: x * bp.grad(lambda y: x + y)(x))(3.0) == 1.0
    equal(
        bp.grad(
            lambda a: bp.array_namespace(a).sum(
                bp.grad(lambda b: bp.array_namespace(b).sum(a * a * b * b))(a)
            )
        )(X),
        6 * X**2,
    )
    f = lambda x: x**5  # noqa: E731
    for order in range(1, 5):
        f = bp.grad(f)
        assert np.isclose(f(2.0), [0, 80, 160, 240, 240][order])


def test_the_second_derivative_of_a_linear_function_is_zero(xp):
    def linear(x: Any) -> Any:
        return bp.array_namespace(x).sum(3 * x)

    equal(bp.hessian(linear)(to(xp, X)), np.zeros((3, 3)))
    equal(bp.grad(lambda x: bp.array_namespace(x).sum(bp.grad(linear)(x)))(to(xp, X)), np.zeros(3))
    assert bp.grad(bp.grad(bp.grad(lambda x: 3 * x)))(2.0) == 0.0


def test_complex_gradients_follow_torch(xp):
    torch = pytest.importorskip("torch")

    def f(ns: Any, z: Any, w: Any) -> Any:
        return ns.sum(ns.abs(z * ns.conj(w)) + ns.real(ns.exp(z)) * ns.imag(w))

    ours = bp.grad(traced(f), (0, 1))(to(xp, Z), to(xp, W))
    ts = [torch.tensor(a, requires_grad=True) for a in (Z, W)]
    z, w = ts
    (torch.abs(z * w.conj()) + z.exp().real * w.imag).sum().backward()
    for a, t in zip(ours, ts, strict=True):
        equal(a, t.grad)
    lower = Z - 1e-3 * numpy_of(ours[0])
    assert f(np, lower, W) < f(np, Z, W)  # z -= lr * g descends


# ---- trees


@dataclasses.dataclass(frozen=True)
class Layer:
    w: Any
    name: str


Point = collections.namedtuple("Point", "x y")


def test_gradients_have_the_structure_of_the_argument():
    tree = {"a": [X, (V, None)], "layer": Layer(X + 1, "dense"), "p": Point(V + 1, 3), 7: X + 2}

    def f(t: Any) -> Any:
        terms = [t["a"][0], t["a"][1][0], t["layer"].w, t["p"].x]
        return sum((i + 1) * bp.array_namespace(x).sum(x * x) for i, x in enumerate(terms))

    g = bp.grad(f)(tree)
    equal(g["a"][0], 2 * X)
    equal(g["a"][1][0], 4 * V)
    assert g["a"][1][1] is None
    equal(g["layer"].w, 6 * (X + 1))
    assert isinstance(g["layer"], Layer)
    assert g["layer"].name is None
    equal(g["p"].x, 8 * (V + 1))
    assert isinstance(g["p"], Point)
    equal(g[7], np.zeros(3))


def test_python_floats_are_arguments_like_any_other():
    assert bp.grad(lambda p: p["x"] ** 2 * p["y"])({"x": 3.0, "y": 2.0}) == {"x": 12.0, "y": 9.0}
    assert bp.grad(lambda x, y: x * y, (0, 1))(3.0, 2.0) == (2.0, 3.0)


def test_has_aux():
    (value, aux), g = bp.value_and_grad(lambda x: (x * x, {"double": 2 * x, "n": 5}), has_aux=True)(
        3.0
    )
    assert (value, g, aux["n"]) == (9.0, 6.0, 5)
    assert aux["double"] == 6.0
    assert not hasattr(aux["double"], "tape")
    assert bp.grad(lambda x: (x * x, "note"), has_aux=True)(3.0) == (6.0, "note")


def test_keyword_arguments_are_constants():
    assert bp.grad(lambda x, scale: x * scale)(2.0, scale=np.asarray(5.0)) == 5.0


def test_the_callers_arrays_stay_untouched_and_gradients_are_their_own():
    x, y = X.copy(), V.copy()

    def f(x: Any, y: Any) -> Any:
        x[0] = 5.0
        y += x
        return bp.array_namespace(x).sum(x + y)

    gx, gy = bp.grad(f, (0, 1))(x, y)
    assert np.array_equal(x, X)
    assert np.array_equal(y, V)
    equal(gx, [0, 2, 2])
    gx *= 7
    equal(gy, [1, 1, 1])


def test_gradients_of_sums_can_be_changed_in_place():
    gx, gy = bp.grad(
        lambda x, y: bp.array_namespace(x).sum(x) + bp.array_namespace(y).sum(y), (0, 1)
    )(X, V)
    gx += 1
    equal(gy, np.ones(3))


def test_zero_size_and_zero_dimensional_arguments(xp):
    empty = to(xp, np.zeros((0, 3)))
    g = bp.grad(traced(lambda ns, x: ns.sum(x * x)))(empty)
    assert tuple(g.shape) == (0, 3)
    equal(bp.grad(lambda x: x * x)(to(xp, np.asarray(3.0))), 6.0)


def test_float32_stays_float32(xp):
    x = to(xp, X.astype("f4"))
    value, g = bp.value_and_grad(traced(energy))(x)
    assert g.dtype == x.dtype == value.dtype


# ---- bad input


def test_a_result_of_the_wrong_kind_is_told():
    with pytest.raises(ShapeError, match=r"must return a scalar, got shape \(3,\)"):
        bp.grad(lambda x: x * x)(X)
    with pytest.raises(
        NotDifferentiableError, match="does not depend on the differentiated arguments"
    ):
        bp.grad(lambda x: 3.0)(X)
    with pytest.raises(DtypeError, match="must return a real scalar, got dtype complex128"):
        bp.grad(lambda z: z * z)(np.asarray(1j))
    with pytest.raises(TreeError, match=r"must return a pair \(value, aux\)"):
        bp.grad(lambda x: x, has_aux=True)(2.0)


def test_a_cotangent_of_the_wrong_shape_is_told():
    _, pull = bp.vjp(lambda x: x * x, X)
    with pytest.raises(
        ShapeError, match=r"a cotangent has shape \(2,\), its output has shape \(3,\)"
    ):
        pull(np.ones(2))
    with pytest.raises(TreeError, match="trees differ"):
        bp.vjp(lambda x: (x, x), X)[1]([X, X, X])


def test_a_tangent_of_the_wrong_shape_is_told():
    with pytest.raises(
        ShapeError, match=r"jvp: a tangent has shape \(2,\), its primal has shape \(3,\)"
    ):
        bp.jvp(lambda x: x, X, np.ones(2))
