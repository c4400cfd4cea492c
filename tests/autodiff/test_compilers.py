"""The same source runs whole inside the compilers of JAX and torch, and again without being compiled again.

What keeps it so: no branch on array values, no global counter, and state that changes is arrays.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp

Tree = dict[str, Any]

R = np.random.default_rng(0)
PARAMETERS = {
    "w1": R.normal(size=(8, 16)) * 0.3,
    "b1": np.zeros(16),
    "w2": R.normal(size=(16, 3)) * 0.3,
    "b2": np.zeros(3),
}
X = R.normal(size=(12, 8))
Y = np.eye(3)[R.integers(0, 3, 12)]
V = R.normal(size=(12, 3))
Q, K = R.normal(size=(8, 8)), R.normal(size=(8, 8))


def network(p: Tree, x: Any) -> Any:
    xp = bp.array_namespace(x, *p.values())
    return xp.tanh(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]


def cross_entropy(p: Tree, x: Any, y: Any) -> Any:
    z = network(p, x)
    xp = bp.array_namespace(z)
    z = z - bp.stop_gradient(xp.max(z, axis=1, keepdims=True))
    log_likelihood = z - xp.log(xp.sum(xp.exp(z), axis=1, keepdims=True))
    return -xp.mean(xp.sum(y * log_likelihood, axis=1))


def adam(p: Tree, g: Tree, m: Tree, v: Tree, t: Any) -> tuple[Tree, Tree, Tree, Any]:
    """One update, with the step count as an array."""
    t = t + 1
    m = {k: 0.9 * m[k] + 0.1 * g[k] for k in p}
    v = {k: 0.999 * v[k] + 0.001 * g[k] * g[k] for k in p}
    scale = 0.01 / (1 - 0.9**t)
    p = {k: p[k] - scale * m[k] / ((v[k] / (1 - 0.999**t)) ** 0.5 + 1e-8) for k in p}
    return p, m, v, t


def train_step(p: Tree, m: Tree, v: Tree, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    loss, g = bp.value_and_grad(cross_entropy)(p, x, y)
    return loss, *adam(p, g, m, v, t)


def pull_back(p: Tree, v: Any, x: Any) -> Any:
    out, pull = bp.vjp(lambda p: network(p, x), p)
    return out, pull(v)


def push_forward(p: Tree, x: Any) -> Any:
    return bp.jvp(lambda x: network(p, x), x, x * x)


def gradient_penalty(p: Tree, x: Any, y: Any) -> Any:
    """Second order: the gradient of a loss that contains a gradient."""

    def loss(p: Tree, x: Any) -> Any:
        g = bp.grad(cross_entropy, argnums=1)(p, x, y)
        return cross_entropy(p, x, y) + bp.array_namespace(g).sum(g * g)

    return bp.value_and_grad(loss)(p, x)


def third_order(x: Any) -> Any:
    f = lambda x: bp.array_namespace(x).sum(bp.array_namespace(x).tanh(x) ** 2)  # noqa: E731
    g = bp.grad(lambda x: bp.array_namespace(x).sum(bp.grad(f)(x) ** 2))
    return bp.grad(lambda x: bp.array_namespace(x).sum(g(x) ** 2))(x)


def recomputed(p: Tree, x: Any, y: Any) -> Any:
    layer = bp.checkpoint(lambda h: bp.array_namespace(h).tanh(h) ** 2)
    return bp.value_and_grad(lambda p: bp.array_namespace(p["w1"]).sum(layer(network(p, x)) * y))(p)


def assigned(x: Any) -> Any:
    def f(x: Any) -> Any:
        x[1:3, ...] = x[0, ...] * x[1:3, ...]
        x += 1
        return bp.array_namespace(x).sum(x[:, ::2] ** 2)

    return bp.value_and_grad(f)(x)


def attention(q: Any, k: Any, x: Any) -> Any:
    """With a closed-over array, masks, shapes that are computed, and an operator beside a plain array."""
    plain = bp.array_namespace(x)
    causal = plain.tril(plain.ones((12, 12), dtype=x.dtype))

    def loss(w: Tree) -> Any:
        xp = bp.array_namespace(w["q"])
        scores = (x @ w["q"]) @ xp.matrix_transpose(x @ w["k"]) / math.sqrt(x.shape[-1])
        scores = xp.where(xp.asarray(causal) > 0, scores, -xp.inf)
        weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        weights = weights / xp.sum(weights, axis=-1, keepdims=True)
        heads = xp.stack(xp.unstack(xp.reshape(weights @ x, (12, 2, 4)), axis=1))
        centred = heads - xp.mean(heads, axis=-1, keepdims=True)
        normal = centred / xp.sqrt(xp.var(heads, axis=-1, keepdims=True) + 1e-5)
        picked = xp.take(xp.permute_dims(normal, (1, 0, 2)), xp.asarray([0, 3, 3]), axis=0)
        return xp.sum(xp.clip(picked, -1.0, 1.0) ** 2) + 2.0 * xp.linalg.matrix_norm(
            x - x @ w["q"] @ w["k"]
        )

    return bp.value_and_grad(loss)({"q": q, "k": k})


def decompositions(x: Any) -> Any:
    def f(x: Any) -> Any:
        xp = bp.array_namespace(x)
        a = x.T @ x + 8 * xp.eye(8, dtype=x.dtype)
        half = xp.linalg.cholesky(a)
        w = xp.linalg.eigh(a).eigenvalues
        spectrum = xp.abs(xp.fft.fft(xp.astype(x, xp.complex128)))
        return xp.sum(xp.linalg.solve(a, half)) + xp.sum(xp.log(w)) + xp.sum(spectrum)

    return bp.value_and_grad(f)(x)


def matrix_of_second_derivatives(x: Any) -> Any:
    return bp.hessian(lambda x: bp.array_namespace(x).sum(x[0] * x**3))(x)


def copies(asarray: Callable[[Any], Any]) -> tuple[Tree, Any, Any]:
    return {k: asarray(p) for k, p in PARAMETERS.items()}, asarray(X), asarray(Y)


def step_arguments(asarray: Callable[[Any], Any]) -> tuple[Any, ...]:
    p, x, y = copies(asarray)
    m, v = ({k: asarray(np.zeros_like(w)) for k, w in PARAMETERS.items()} for _ in range(2))
    return p, m, v, asarray(np.zeros(())), x, y


CASES: dict[str, tuple[Callable[..., Any], Callable[[Any], tuple[Any, ...]]]] = {
    "vjp": (pull_back, lambda a: (copies(a)[0], a(V), a(X))),
    "jvp": (push_forward, lambda a: (copies(a)[0], a(X))),
    "second order": (gradient_penalty, lambda a: copies(a)),
    "third order": (third_order, lambda a: (a(X[0]),)),
    "hessian": (matrix_of_second_derivatives, lambda a: (a(X[0, :3]),)),
    "checkpoint": (recomputed, lambda a: copies(a)),
    "assignment": (assigned, lambda a: (a(X),)),
    "attention": (attention, lambda a: (a(Q), a(K), a(X))),
    "decompositions": (decompositions, lambda a: (a(X),)),
}


def train(step: Callable[..., Any], asarray: Callable[[Any], Any], steps: int = 5) -> list[Any]:
    """Some steps of Adam; the losses and the last parameters."""
    *state, x, y = step_arguments(asarray)
    losses = []
    for _ in range(steps):
        loss, *state = step(*state, x, y)
        losses.append(float(loss))
    return [*losses, *numbers(state[0])]


def numbers(tree: Any) -> list[np.ndarray]:
    """The leaves by their paths, since JAX sorts the keys of dicts."""
    return [np.asarray(leaf) for _, leaf in sorted(bp.tree.items(tree), key=lambda item: item[0])]


def equal(ours: list[Any], expected: list[Any]) -> None:
    assert len(ours) == len(expected) > 0
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.fixture(scope="module")
def jnp() -> Any:
    return pytest.importorskip("jax").numpy


class Counted:
    """A function that counts how often Python runs it: a compiler runs it once for each program."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f, self.calls = f, 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.f(*args)


def test_jax_jit_compiles_a_whole_train_step_once(jnp):
    import jax

    counted = Counted(train_step)
    equal(train(jax.jit(counted), jnp.asarray), train(train_step, np.asarray))
    assert counted.calls == 1


@pytest.mark.parametrize("case", CASES)
def test_jax_jit_equals_numpy(jnp, case):
    import jax

    f, arguments = CASES[case]
    counted = Counted(f)
    compiled = jax.jit(counted)
    for _ in range(2):
        equal(numbers(compiled(*arguments(jnp.asarray))), numbers(f(*arguments(np.asarray))))
    assert counted.calls == 1


def test_the_program_that_jax_sees_holds_nothing_of_ours(jnp):
    import jax

    program = str(jax.make_jaxpr(train_step)(*step_arguments(jnp.asarray)))
    assert "callback" not in program
    assert "bpgpu" not in program


def test_jax_vmap_over_grad_gives_one_gradient_for_each_example(jnp):
    import jax

    p, x, y = copies(jnp.asarray)
    single = bp.grad(lambda p, x, y: cross_entropy(p, x[None, :], y[None, :]))
    batched = jax.vmap(single, in_axes=(None, 0, 0))(p, x, y)
    plain, xs, ys = copies(np.asarray)
    for i in (0, 5, 11):
        expected = bp.grad(cross_entropy)(plain, xs[i : i + 1], ys[i : i + 1])
        equal([batched[k][i] for k in plain], list(expected.values()))


def test_jax_jvp_and_grad_over_grad(jnp):
    import jax

    p, x, y = copies(jnp.asarray)
    direction = {k: jnp.ones_like(w) for k, w in p.items()}
    g = lambda p: bp.grad(cross_entropy)(p, x, y)  # noqa: E731
    ours = bp.hvp(lambda p: cross_entropy(p, x, y), p, direction)
    equal(numbers(jax.jvp(g, (p,), (direction,))[1]), numbers(ours))
    total = lambda p: sum(jnp.sum(leaf) for leaf in g(p).values())  # noqa: E731
    equal(numbers(jax.grad(total)(p)), numbers(ours))


@pytest.fixture
def dynamo() -> Any:
    """torch's tracer, set to raise where it would compile a function a second time."""
    torch = pytest.importorskip("torch")
    import torch._dynamo as dynamo

    dynamo.reset()
    with dynamo.config.patch(error_on_recompile=True):
        yield lambda f: torch.compile(f, fullgraph=True, backend="aot_eager")
    dynamo.reset()


def tensor(a: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.array(a))


def test_torch_compile_takes_a_whole_train_step_as_one_graph(dynamo):
    equal(train(dynamo(train_step), tensor), train(train_step, np.asarray))


@pytest.mark.parametrize("case", CASES)
def test_torch_compile_equals_numpy(dynamo, case):
    f, arguments = CASES[case]
    compiled = dynamo(f)
    for _ in range(2):
        equal(numbers(compiled(*arguments(tensor))), numbers(f(*arguments(np.asarray))))


COLD = """
import numpy as np
import torch
import torch._dynamo

import bpgpu as bp
import test_compilers as cases

with torch._dynamo.config.patch(error_on_recompile=True):
    compiled = torch.compile(cases.train_step, fullgraph=True, backend="eager")
    ours = cases.train(compiled, cases.tensor)
cases.equal(ours, cases.train(cases.train_step, np.asarray))
"""


def test_torch_compile_needs_no_call_before_it():
    """The first thing that a process does with bpgpu: no table is filled yet."""
    pytest.importorskip("torch")
    paths = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-c", COLD], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's code generator warns of torch's own code
def test_torch_inductor_compiles_a_whole_train_step():
    """With torch's own code generator, which needs a C++ compiler."""
    torch = pytest.importorskip("torch")
    compiled = torch.compile(train_step, fullgraph=True)
    equal(train(compiled, tensor), train(train_step, np.asarray))
