"""An optimizer follows a model that is changed between two steps, and its pure form changes nothing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import nn, optim
from optim.network import Layer, Net, X, loss, same, train, weights

# ---- parameters without gradient


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Muon", "Rprop", "LAMB", "Lion"])
def test_a_parameter_without_gradient_is_left_alone_with_its_state(xp: Any, name: str) -> None:
    a, b = xp.asarray([[1.0, 2.0]]), xp.asarray([[3.0, 4.0]])
    optimizer = getattr(optim, name)({"a": a, "b": b})
    optimizer.step({"a": a * 0 + 1})
    assert list(optimizer.state) == ["a"]
    optimizer.step({"a": a * 0 + 1, "b": None})
    assert np.asarray(b).tolist() == [[3, 4]]
    optimizer.step({"b": b * 0 + 1})
    if "step" in optimizer.state["a"]:
        assert float(optimizer.state["a"]["step"]) == 2
        assert float(optimizer.state["b"]["step"]) == 1


def test_no_gradient_at_all_changes_nothing() -> None:
    p = {"a": np.asarray([1.0])}
    optimizer = optim.AdamW(p, weight_decay=0.5)
    assert optimizer.step({}) is p
    assert optimizer.step({"a": None}) is p
    assert p["a"][0] == 1
    assert optimizer.state == {}


def test_frozen_parameters_stay_and_train_again_after() -> None:
    model = Net()
    optimizer = optim.AdamW(model, lr=0.1)
    train(model, optimizer, 2)
    model.freeze("first")
    before = weights(model)
    train(model, optimizer, 2)
    after = weights(model)
    assert [k for k in after if not np.array_equal(after[k], before[k])] == [
        "second.weight",
        "second.bias",
    ]
    model.unfreeze()
    train(model, optimizer, 2)
    steps = {k: float(s["step"]) for k, s in optimizer.state.items()}
    assert steps == {"first.weight": 4, "first.bias": 4, "second.weight": 6, "second.bias": 6}
    assert all(not np.array_equal(p, after[k]) for k, p in weights(model).items())


# ---- a model that is changed between two steps


def reference(steps: int) -> dict[str, np.ndarray]:
    model = Net()
    train(model, optim.AdamW(model, lr=0.1), steps)
    return weights(model)


def test_loading_weights_keeps_training_right() -> None:
    model, other = Net(), Net()
    optimizer = optim.AdamW(model, lr=0.1)
    train(model, optimizer, 3)
    saved = {k: np.array(v) for k, v in model.state_dict().items()}
    continued = copy.deepcopy(model), copy.deepcopy(optimizer.state_dict())
    train(model, optimizer, 2)
    model.load_state_dict(saved)
    optimizer.load_state_dict(continued[1])
    train(model, optimizer, 2)
    same(weights(model), reference(5))
    train(other, optim.AdamW(other, lr=0.1), 3)
    same(weights(continued[0]), weights(other))


def test_assigned_arrays_are_trained_on_with_the_state_that_is_there() -> None:
    model = Net()
    optimizer = optim.AdamW(model, lr=0.1)
    train(model, optimizer, 3)
    assigned = model.first.weight.copy()
    model.first.weight = assigned
    train(model, optimizer, 2)
    assert model.first.weight is assigned
    same(weights(model), reference(5))


def test_a_replaced_layer_is_trained() -> None:
    model = Net()
    optimizer = optim.SGD(model, lr=0.1)
    train(model, optimizer, 2)
    model.second = Layer(3, 2)
    fresh = np.array(model.second.weight)
    train(model, optimizer, 1)
    assert not np.array_equal(model.second.weight, fresh)


def test_a_layer_of_another_shape_is_refused_before_anything_changes() -> None:
    model = Net()
    optimizer = optim.Adam(model, lr=0.1)
    train(model, optimizer, 2)
    model.second = Layer(3, 5)
    before = weights(model)
    with pytest.raises(
        ValueError,
        match=r"'second.weight' has shape \(3, 5\) now, but its state was made for \(3, 2\)",
    ):
        train(model, optimizer, 1)
    same(weights(model), before)


def test_a_layer_that_was_taken_away_is_no_longer_trained() -> None:
    model = Net()
    optimizer = optim.Adam(model, lr=0.1)
    train(model, optimizer, 2)
    del model.second
    optimizer.step({"first.weight": np.ones((4, 3))})
    assert len(optimizer.param_groups[0]["params"]) == 2


def test_a_cast_takes_the_state_along() -> None:
    model = Net()
    optimizer = optim.AdamW(model, lr=0.1)
    train(model, optimizer, 3)
    model.to(dtype="float32")
    train(model, optimizer, 2, X.astype(np.float32))
    assert all(p.dtype == np.float32 for p in model.parameters().values())
    assert all(v.dtype == np.float32 for s in optimizer.state.values() for v in s.values())
    same({k: p.astype(np.float64) for k, p in weights(model).items()}, reference(5), 1e-5)


def test_another_library_takes_the_state_along() -> None:
    torch = pytest.importorskip("torch")
    model = Net()
    optimizer = optim.AdamW(model, lr=0.1)
    train(model, optimizer, 3)
    for module in (model.first, model.second):
        module.weight = torch.tensor(module.weight)
        module.bias = torch.tensor(module.bias)
        module.calls = torch.tensor(module.calls)
    x = torch.tensor(X)
    for _ in range(2):
        optimizer.step(bp.grad(loss)(model, x))
    assert all(type(p) is torch.Tensor for p in model.parameters().values())
    same(weights(model), reference(5), 1e-12)


def test_immutable_arrays_in_a_module_are_replaced_and_ties_hold() -> None:
    jnp = pytest.importorskip("jax").numpy

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Parameter(jnp.ones((2, 2)))
            self.inner = nn.Module()
            self.inner.decoder = nn.Parameter(self.encoder)

        def forward(self, x: Any) -> Any:
            return x @ self.encoder @ self.inner.decoder

    model = Tied()
    assert model.inner.decoder is model.encoder
    optimizer = optim.SGD(model, lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["encoder"]
    for _ in range(2):
        assert optimizer.step(bp.grad(loss)(model, jnp.ones((3, 2)))) is model
    assert model.inner.decoder is model.encoder
    assert not np.array_equal(np.asarray(model.encoder), np.ones((2, 2)))


def test_two_optimizers_on_one_model_do_not_disturb_each_other() -> None:
    a, b = Net(), Net()
    first, second = optim.Adam(a, lr=0.1), optim.SGD(a, lr=0.05, momentum=0.9)
    third, fourth = (
        optim.Adam(b.parameters(), lr=0.1),
        optim.SGD(b.parameters(), lr=0.05, momentum=0.9),
    )
    for _ in range(3):
        for one, two in ((first, third), (second, fourth)):
            one.step(bp.grad(loss)(a, X))
            two.step(bp.grad(loss)(b, X))
    same(weights(a), weights(b))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("name", ["SGD", "AdamW", "Adafactor", "Rprop"])
def test_copies_of_model_and_optimizer_train_on_alone(duplicate: Any, name: str) -> None:
    model = Net()
    optimizer = getattr(optim, name)(model, lr=0.1)
    train(model, optimizer, 2)
    other, its = duplicate((model, optimizer))
    assert its.params is other
    before = weights(model)
    train(other, its, 3)
    same(weights(model), before)
    train(model, optimizer, 3)
    same(weights(model), weights(other))


def test_the_arrays_in_the_groups_are_those_of_now() -> None:
    model = Net()
    optimizer = optim.SGD(model, lr=0.1)
    model.first.weight = model.first.weight.copy()
    train(model, optimizer, 1)
    assert optimizer.param_groups[0]["params"][0] is model.first.weight


# ---- the pure form


def test_the_pure_form_changes_nothing_that_it_is_given(xp: Any) -> None:
    params = {"w": xp.asarray([1.0, 2.0]), "b": xp.asarray(1.0)}
    grads = {"w": xp.asarray([1.0, 1.0]), "b": xp.asarray(1.0)}
    optimizer = optim.Adam(params, lr=0.1)
    state = optimizer.init(params)
    copies = [np.asarray(x).copy() for x in bp.tree.leaves((params, grads, state))]
    new, after = optimizer.update(grads, state, params)
    for x, before in zip(bp.tree.leaves((params, grads, state)), copies, strict=True):
        assert np.array_equal(np.asarray(x), before)
    assert float(after["state"]["w"]["step"]) == 1
    assert new["w"] is not params["w"]
    assert optimizer.state == {}


def test_a_module_stands_for_its_parameters_in_the_pure_form() -> None:
    model = Net()
    optimizer = optim.AdamW(model, lr=0.1)
    state = optimizer.init(model)
    before = weights(model)
    params, state = optimizer.update(bp.grad(loss)(model, X), state, model)
    same(weights(model), before)
    train(model, optimizer, 1)
    same(params, weights(model))


def test_the_pure_form_can_be_differentiated() -> None:
    optimizer = optim.Adam({"x": np.asarray([1.0, -2.0])}, lr=0.1)

    def after_two_steps(x: Any) -> Any:
        params = {"x": x}
        state = optimizer.init(params)
        for _ in range(2):
            grads = bp.grad(lambda p: bp.array_namespace(p["x"]).sum(p["x"] ** 4))(params)
            params, state = optimizer.update(grads, state, params)
        return bp.array_namespace(x).sum(params["x"] ** 2)

    bp.check_grads(after_two_steps, (np.asarray([1.0, -2.0]),), order=1)


def test_a_learning_rate_can_be_changed_without_compiling_again() -> None:
    jax = pytest.importorskip("jax")
    params = {"x": jax.numpy.asarray([1.0])}
    optimizer = optim.SGD(params, lr=0.5)
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    grads = {"x": jax.numpy.asarray([1.0])}
    params, state = update(grads, state, params)
    state["lr"][0] = jax.numpy.asarray(0.25, dtype=state["lr"][0].dtype)
    params, state = update(grads, state, params)
    assert float(params["x"][0]) == 0.25
    assert update._cache_size() == 1


def test_a_whole_training_step_compiles() -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)))}
    optimizer = optim.AdamW(params, lr=0.1)

    def mean_square(params: Any, x: Any) -> Any:
        return bp.array_namespace(x).mean((x @ params["w"] - 1) ** 2)

    @jax.jit
    def step(params: Any, state: Any, x: Any) -> Any:
        value, grads = bp.value_and_grad(mean_square)(params, x)
        grads, _ = optim.clip_grad_norm(grads, 1.0)
        params, state = optimizer.update(grads, state, params)
        return params, state, value

    state = optimizer.init(params)
    values = []
    for _ in range(20):
        params, state, value = step(params, state, jnp.asarray(X))
        values.append(float(value))
    assert values[-1] < values[0]
    assert step._cache_size() == 1
