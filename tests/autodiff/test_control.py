"""stop_gradient, checkpoint and custom_vjp."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import NotDifferentiableError, ShapeError, TraceError, TreeError
from gradients import numpy_of, to

R = np.random.default_rng(0)
P = {"w": R.normal(size=(3, 3)), "b": R.normal(size=3)}
X = R.normal(size=(4, 3))


def same(a: Any, b: Any) -> None:
    for k in a:
        np.testing.assert_allclose(numpy_of(a[k]), numpy_of(b[k]), rtol=1e-13)


def test_stop_gradient_cuts_every_order():
    assert bp.grad(lambda x: x * bp.stop_gradient(x))(3.0) == 3.0
    assert bp.grad(bp.grad(lambda x: x * x * bp.stop_gradient({"x": x})["x"]))(3.0) == 6.0
    x = np.ones(2)
    assert bp.stop_gradient(x) is x


def plain(p: Any, x: Any) -> Any:
    xp = bp.array_namespace(p["w"])
    y, z = xp.tanh(x @ p["w"]), x * p["b"]
    return xp.sum((y * y * p["b"] + y) * z)


def checkpointed(p: Any, x: Any) -> Any:
    """The same, with closures, several results and a checkpoint inside a checkpoint."""
    xp = bp.array_namespace(p["w"])
    y, z = bp.checkpoint(lambda x: (xp.tanh(x @ p["w"]), x * p["b"]))(x)
    inner = bp.checkpoint(lambda q: q * q * p["b"])
    return xp.sum(bp.checkpoint(lambda y: inner(y) + y)(y) * z)


def test_checkpoint_gives_the_same_gradients_of_any_order(xp):
    p, x = {k: to(xp, v) for k, v in P.items()}, to(xp, X)
    same(bp.grad(checkpointed)(p, x), bp.grad(plain)(p, x))
    lift = lambda p: bp.array_namespace(p["w"]).asarray(x)  # noqa: E731 - strict arrays refuse to stand left of others
    same(
        bp.hvp(lambda p: checkpointed(p, lift(p)), p, p), bp.hvp(lambda p: plain(p, lift(p)), p, p)
    )
    pull = bp.vjp(lambda p: checkpointed(p, lift(p)), p)[1]
    for _ in range(2):
        same(pull(1.0)[0], bp.grad(plain)(p, x))


def test_checkpoint_runs_the_function_twice_and_only_under_a_trace():
    calls = []

    def f(x: Any) -> Any:
        calls.append(1)
        return x * x

    bp.checkpoint(f)(3.0)
    assert len(calls) == 1
    assert bp.grad(bp.checkpoint(f))(3.0) == 6.0
    assert len(calls) == 3


def test_checkpoint_of_a_function_that_assigns_to_its_argument():
    def f(x: Any) -> Any:
        x[0] = x[1] * x[2]
        return x * x

    def loss(g: Any) -> Any:
        return lambda x: bp.array_namespace(x).sum(g(x * 1.0))

    x = np.asarray([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(bp.grad(loss(bp.checkpoint(f)))(x), bp.grad(loss(f))(x))


def test_an_array_that_escapes_a_checkpoint_is_told():
    kept = []

    def f(x: Any) -> Any:
        kept.append(x * 2)
        return x * x

    with pytest.raises(TraceError, match=r"made inside bpgpu\.checkpoint"):
        bp.grad(lambda x: bp.checkpoint(f)(x) + kept[0])(3.0)


# ---- custom_vjp


def cube() -> Any:
    @bp.custom_vjp
    def f(x: Any) -> Any:
        return x**3

    f.defvjp(lambda x: (x**3, x), lambda x, ct: (ct * 3 * x**2,))
    return f


def test_a_custom_derivative_is_used_and_can_be_differentiated():
    f = cube()
    assert f(2.0) == 8.0
    assert bp.grad(f)(2.0) == 12.0
    assert bp.grad(bp.grad(f))(2.0) == 12.0
    bp.check_grads(f, np.asarray([0.5, 2.0]))


def test_custom_vjp_takes_trees_and_settings():
    @bp.custom_vjp
    def f(p: Any, k: Any) -> Any:
        return {"y": p["a"] * k, "z": p["b"]}

    def bwd(k: Any, saved: Any, ct: Any) -> Any:
        return ({"a": ct["y"] * k, "b": ct["z"]},)

    f = bp.custom_vjp(f.f, nondiff_argnums=(1,))
    f.defvjp(lambda p, k: ({"y": p["a"] * k, "z": p["b"]}, None), bwd)
    g = bp.grad(lambda p: bp.array_namespace(p["a"]).sum(f(p, 3)["y"]))({"a": X, "b": P["b"]})
    np.testing.assert_array_equal(g["a"], np.full((4, 3), 3.0))
    np.testing.assert_array_equal(g["b"], np.zeros(3))


def test_none_stands_for_a_zero_cotangent():
    @bp.custom_vjp
    def f(x: Any, y: Any) -> Any:
        return x * y

    f.defvjp(lambda x, y: (x * y, y), lambda y, ct: (ct * y, None))
    assert bp.grad(f, (0, 1))(3.0, 2.0) == (2.0, 0.0)


def test_mistakes_in_a_custom_derivative_are_told():
    f = bp.custom_vjp(lambda x: x)
    with pytest.raises(NotDifferentiableError, match=r"has no derivative yet; call .*defvjp"):
        bp.grad(f)(2.0)
    f.defvjp(lambda x: x, lambda s, ct: (ct,))
    with pytest.raises(TreeError, match=r"fwd of .* must return a pair \(out, saved\)"):
        bp.grad(f)(2.0)
    f.defvjp(lambda x: (x, None), lambda s, ct: (ct, ct))
    with pytest.raises(TreeError, match=r"must return a tuple of 1 cotangents.*got 2"):
        bp.grad(f)(2.0)
    f.defvjp(lambda x: (x, None), lambda s, ct: (np.ones(5),))
    with pytest.raises(
        ShapeError, match=r"cotangent of shape \(5,\) for an argument of shape \(\)"
    ):
        bp.grad(f)(2.0)

    def closes_over(x: Any) -> Any:
        g = bp.custom_vjp(lambda y: y * x)
        g.defvjp(lambda y: (y * x, None), lambda s, ct: (ct,))
        return g(x)

    with pytest.raises(NotDifferentiableError, match="closes over a traced array"):
        bp.grad(closes_over)(2.0)
