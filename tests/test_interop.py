"""bpgpu's functions in the graphs of torch and JAX; arrays in and out without copies."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
PAGE = Path(__file__).parents[1] / "docs" / "torch.md"
W = np.random.default_rng(0).normal(size=(4, 3))


def layer(x: Any, b: Any) -> Any:
    xp = bp.array_namespace(x)
    return xp.tanh(x @ xp.asarray(W) + b)


def two(x: Any, y: Any) -> Any:
    return x * y, x + y * y


def double(*shape: int) -> Any:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("f", "shapes"), [(layer, ((2, 4), (3,))), (two, ((3,), (3,)))])
def test_torch_checks_the_gradients_of_both_orders(f, shapes):
    inputs = tuple(double(*s).requires_grad_() for s in shapes)
    joined = bp.interop.torch_function(f)
    assert torch.autograd.gradcheck(joined, inputs)
    assert torch.autograd.gradgradcheck(joined, inputs)


def test_only_what_needs_a_gradient_gets_one():
    x, b = double(2, 4).requires_grad_(), double(3)
    bp.interop.torch_function(layer)(x, b).sum().backward()
    assert x.grad is not None
    assert b.grad is None
    assert not bp.interop.torch_function(layer)(x.detach(), b).requires_grad


def test_a_model_takes_part_and_integers_are_handed_on():
    model = bp.nn.Embedding(5, 3)
    rows = bp.interop.torch_function(lambda i, scale: model(i) * scale)
    scale = torch.ones(3, requires_grad=True)
    rows(torch.tensor([1, 4]), scale).sum().backward()
    np.testing.assert_allclose(scale.grad, model.weight[1] + model.weight[4], rtol=1e-6)


def test_what_is_no_tensor_is_handed_on():
    power = bp.interop.torch_function(lambda x, n: x**n)
    x = torch.tensor([3.0], requires_grad=True)
    power(x, 2).backward()
    assert x.grad.tolist() == [6.0]


def test_arguments_may_be_named_and_results_be_a_list():
    scaled = bp.interop.torch_function(lambda x, *, by, n: [(x * by) ** n, x])
    x, by = torch.tensor([3.0], requires_grad=True), torch.tensor([2.0], requires_grad=True)
    power, same = scaled(x, by=by, n=2)
    (power + same).backward()
    assert (x.grad.item(), by.grad.item()) == (25.0, 36.0)


def test_tensors_share_their_memory():
    seen = []
    x = torch.ones(3)
    bp.interop.torch_function(lambda a: (seen.append(a), a * 2)[1])(x)
    assert seen[0].ctypes.data == x.data_ptr()


def test_arrays_go_in_and_out_without_copies():
    cpu = bp.device("cpu")
    x = torch.ones(3, requires_grad=True)
    assert cpu.asarray(x).ctypes.data == x.data_ptr()
    a = np.ones(3)
    assert torch.from_dlpack(a).data_ptr() == a.ctypes.data
    j = jax.numpy.ones(3)
    assert cpu.asarray(j).ctypes.data == j.unsafe_buffer_pointer()


def test_jax_differentiates_compiles_and_maps():
    joined = bp.interop.jax_function(layer)
    x, b = np.random.default_rng(1).normal(size=(2, 4)), np.ones(3)

    def own(x: Any, b: Any) -> Any:
        return jax.numpy.tanh(x @ W + b)

    def total(f: Any) -> Any:
        return lambda *a: jax.numpy.sum(f(*a) ** 2)

    for n in (0, 1):
        got = jax.jit(jax.grad(total(joined), n))(x, b)
        np.testing.assert_allclose(got, jax.grad(total(own), n)(x, b), rtol=1e-10)
    second = jax.grad(lambda b: jax.numpy.sum(jax.grad(total(joined), 1)(x, b) ** 2))(b)
    want = jax.grad(lambda b: jax.numpy.sum(jax.grad(total(own), 1)(x, b) ** 2))(b)
    np.testing.assert_allclose(second, want, rtol=1e-10)
    mapped = jax.vmap(joined, (0, None))(x, b)
    np.testing.assert_allclose(mapped, own(x, b), rtol=1e-12)


def test_jax_hands_integers_on_and_takes_several_results():
    def f(x: Any, i: Any) -> Any:
        return x * 2, x + i

    joined = bp.interop.jax_function(f)
    value = jax.grad(lambda x: sum(jax.numpy.sum(y) for y in joined(x, np.asarray([1, 2]))))(
        np.ones(2)
    )
    np.testing.assert_allclose(value, 3)


def test_jax_takes_numbers_and_trees_and_gives_trees():
    cube = bp.interop.jax_function(lambda x: x**3)
    assert float(jax.grad(jax.grad(cube))(2.0)) == 12.0

    def f(p: Any, k: Any) -> Any:
        return {"y": p["a"] * p["b"][0], "z": p["a"] + k}

    joined = bp.interop.jax_function(f)
    params = {"a": np.ones(2), "b": [np.full(2, 3.0)]}
    found = jax.jit(joined)(params, 1.0)
    assert sorted(found) == ["y", "z"]
    grads = jax.grad(lambda p: jax.numpy.sum(joined(p, 1.0)["y"]))(params)
    np.testing.assert_allclose(grads["a"], 3)
    np.testing.assert_allclose(grads["b"][0], 1)


def test_without_torch_the_error_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(bp.errors.MissingPackageError, match="pip install torch"):
        bp.interop.torch_function(layer)
    with pytest.raises(bp.errors.ArgumentError):
        bp.interop.torch_function(3)


def test_the_examples_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
