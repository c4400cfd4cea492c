"""Module: what is inside, its twin, and everything by which a twin could go wrong."""

from __future__ import annotations

import copy
import functools
import pickle

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import nn
from bpgpu.errors import ModuleError, ShapeError

R = np.random.default_rng(0)


class Dense(nn.Module):
    """A small layer with a buffer that counts and averages."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(R.normal(size=(n_out, n_in)))
        self.bias = nn.Parameter(np.zeros(n_out))
        self.register_buffer("mean", np.zeros(n_out))
        self.register_buffer("key", np.zeros(2), persistent=False)
        self.calls = 0

    def forward(self, x):
        if x.shape[-1] != self.weight.shape[1]:
            raise ShapeError(f"expected (N, {self.weight.shape[1]}), got {tuple(x.shape)}")
        xp = bp.array_namespace(x, self.weight)
        y = xp.matmul(x, xp.matrix_transpose(self.weight)) + self.bias
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * xp.mean(y, axis=0)
            self.calls += 1
        return y


def net() -> nn.Sequential:
    return nn.Sequential(Dense(3, 4), Dense(4, 2))


def loss(model, x):
    y = model(x)
    return bp.array_namespace(y).sum(y * y)


X = R.normal(size=(5, 3))


def test_parameters_have_dotted_paths():
    assert list(net().parameters()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert list(net().buffers()) == ["0.mean", "0.key", "1.mean", "1.key"]
    assert "0.key" not in net().state_dict()


def test_the_gradient_is_a_dict_of_paths_and_right():
    model = net()
    value, grads = bp.value_and_grad(loss)(model, X)
    assert list(grads) == list(model.parameters())
    w0, w1 = model[0].weight, model[1].weight
    y = X @ w0.T @ w1.T
    assert np.allclose(value, (y * y).sum())
    assert np.allclose(grads["1.weight"], 2 * y.T @ (X @ w0.T))
    assert np.allclose(grads["0.weight"], (2 * y @ w1).T @ X)
    assert isinstance(model[0].weight, np.ndarray)


def test_state_is_carried_back_in_place_and_python_attributes_too():
    model = net()
    address = model[0].mean
    bp.grad(loss)(model, X)
    assert model[0].mean is address
    assert np.allclose(address, 0.1 * (X @ model[0].weight.T).mean(0))
    assert model[0].calls == 1


def test_a_closed_over_model_keeps_plain_state():
    model = net()
    bp.grad(lambda x: loss(model, x))(X)
    assert isinstance(model[0].mean, np.ndarray)
    assert model[0].calls == 1


@pytest.mark.parametrize("closed_over", [True, False])
def test_an_exception_leaves_state_untouched(closed_over):
    model = net()

    def fails(m, x):
        loss(model if closed_over else m, x)
        raise RuntimeError("after the forward pass")

    with pytest.raises(RuntimeError, match="after"):
        bp.grad(fails)({"x": X} if closed_over else model, X)
    assert not model[0].mean.any()


def test_stored_bound_methods_and_partials_reach_the_twin():
    class Bound(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(np.asarray(3.0))
            self.f = self.times
            self.g = functools.partial(self.times)

        def times(self, x):
            return x * self.scale

        def forward(self, x):
            return self.f(x) + self.g(x)

    grads = bp.grad(lambda m, x: m(x))(Bound(), np.asarray(2.0))
    assert grads["scale"] == 4.0


def test_layers_in_lists_and_dicts_are_found():
    class Lists(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [Dense(3, 3), Dense(3, 3)]
            self.heads = {"a": Dense(3, 1)}

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return self.heads["a"](x)

    model = Lists()
    assert list(model.parameters())[::2] == ["layers.0.weight", "layers.1.weight", "heads.a.weight"]
    grads = bp.grad(loss)(model, X)
    assert all(g is not None for g in grads.values())


def test_tied_parameters_are_one():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = Dense(3, 3), Dense(3, 3)
            self.decoder.weight = self.encoder.weight

        def forward(self, x):
            return self.decoder(self.encoder(x))

    model = Tied()
    grads = bp.grad(loss)(model, X)
    assert "decoder.weight" not in grads
    w = model.encoder.weight
    y = X @ w.T @ w.T
    assert np.allclose(grads["encoder.weight"], 2 * y.T @ (X @ w.T) + (2 * y @ w).T @ X)
    assert "decoder.weight" in model.state_dict()
    assert copy.deepcopy(model).decoder.weight is not model.decoder.weight
    clone = copy.deepcopy(model)
    assert clone.decoder.weight is clone.encoder.weight
    clone.to(dtype="float32")
    assert clone.decoder.weight is clone.encoder.weight


def test_a_shared_layer_counts_once():
    layer = Dense(3, 3)
    model = nn.Sequential(layer, layer)
    grads = bp.grad(loss)(model, X)
    assert list(grads) == ["0.weight", "0.bias"]


def test_frozen_parameters_get_no_gradient():
    model = net().freeze("0", "*.bias")
    assert list(bp.grad(loss)(model, X)) == ["1.weight"]
    assert list(bp.grad(loss)(model.unfreeze(), X)) == list(model.parameters())


def test_freezing_what_is_not_there_is_an_error():
    with pytest.raises(ModuleError, match=r"no parameter matches \['head'\]"):
        net().freeze("head")


def test_an_unreached_parameter_has_no_gradient():
    model = net()
    grads = bp.grad(lambda m, x: loss(m[0], x))(model, X)
    assert grads["1.weight"] is None


def test_a_traced_array_that_is_stored_is_refused_by_name():
    class Stashes(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(np.ones(3))

        def forward(self, x):
            self.hidden = x * self.w
            return self.hidden

    with pytest.raises(ModuleError, match="attribute 'hidden' was set to a traced array"):
        bp.grad(loss)(Stashes(), X)


def test_forgetting_super_init_is_told():
    class Forgets(nn.Module):
        def __init__(self):
            self.layer = Dense(3, 3)

    with pytest.raises(ModuleError, match=r"call super\(\).__init__\(\) first in Forgets"):
        Forgets()


def test_errors_name_the_layer_by_its_path():
    model = nn.Sequential(net(), net())
    with pytest.raises(ShapeError, match=r"^Dense '1.0': expected \(N, 3\), got \(5, 2\)$"):
        model(X)


def test_pickle_and_deepcopy():
    model = net().freeze("0")
    for clone in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert np.allclose(clone(X), model(X))
        assert clone.trainable().keys() == model.trainable().keys()


def test_load_state_dict_is_all_or_nothing():
    model = net()
    state = {k: v + 1 for k, v in model.state_dict().items()}
    before = {k: v.copy() for k, v in model.state_dict().items()}
    bad = dict(state, extra=np.zeros(1))
    bad["0.bias"] = np.zeros(7)
    del bad["1.bias"]
    with pytest.raises(ModuleError) as error:
        model.load_state_dict(bad)
    text = str(error.value)
    assert "1.bias: missing" in text
    assert "extra: unexpected" in text
    assert "0.bias: expected shape (4,), got (7,)" in text
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())
    address = model[0].weight
    model.load_state_dict({k: v.astype("f4") for k, v in state.items()})
    assert model[0].weight is address
    assert address.dtype == "f8"
    assert np.allclose(address, state["0.weight"])


def test_a_twin_of_a_twin_gives_second_order():
    model = net().eval()
    v = {k: np.ones_like(a) for k, a in model.parameters().items()}
    product = bp.hvp(lambda m: loss(m, X), model, v)
    e = 1e-5

    def gradient(t):
        other = copy.deepcopy(model)
        other.load_state_dict(
            {**other.state_dict(), **{k: a + t * v[k] for k, a in other.parameters().items()}}
        )
        return bp.grad(loss)(other, X)

    up, down = gradient(e), gradient(-e)
    for k in product:
        assert np.allclose(product[k], (up[k] - down[k]) / (2 * e), atol=1e-4)


def test_checkpoint_changes_state_once():
    plain, saved = net(), None
    saved = copy.deepcopy(plain)
    g0 = bp.grad(loss)(plain, X)
    g1 = bp.grad(lambda m, x: loss(lambda y: m[1](bp.checkpoint(m[0])(y)), x))(saved, X)
    assert all(np.array_equal(g0[k], g1[k]) for k in g0)
    assert np.array_equal(plain[0].mean, saved[0].mean)


@pytest.mark.parametrize("inside", [False, True])
def test_checkpoint_meets_the_state_of_the_first_run_though_the_model_has_moved_on(inside):
    """The model takes over its new key in place, over the array from which the first run drew."""

    class Drops(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(np.ones((4, 5)))
            self.drop = nn.Dropout(0.5)

        def drawn(self, x):
            return self.drop(self.scale * x)

        def forward(self, x):
            return (bp.checkpoint(self.drawn) if inside else self.drawn)(x)

    plain = Drops()
    saved = copy.deepcopy(plain)
    x = np.ones((4, 5))
    for _ in range(3):
        expected = bp.grad(lambda m: m.drawn(x).sum())(plain)
        found = bp.grad(lambda m: (m if inside else bp.checkpoint(m))(x).sum())(saved)
        assert np.array_equal(found["scale"], expected["scale"])
        assert np.array_equal(saved.drop.key, plain.drop.key)


def test_habits_from_torch_are_answered():
    with pytest.raises(AttributeError, match="value_and_grad"):
        net().zero_grad()


def test_repr_shows_the_structure():
    assert repr(nn.Sequential(nn.Residual(Dense(3, 3)))) == (
        "Sequential(\n  (0): Residual(\n    (layers): Dense()\n  )\n)"
    )


def test_a_residual_takes_data_that_is_not_traced(xp):
    """Also in libraries whose arrays refuse to be added to what they do not know."""
    x = xp.ones((2, 3), dtype=xp.float64)
    gain = nn.Linear(3, 3, bias=False, dtype="float64")
    gain.weight = xp.ones((3, 3), dtype=xp.float64)
    grads = bp.grad(lambda m: bp.array_namespace(*m.parameters().values()).sum(m(x)))(
        nn.Residual(gain)
    )
    assert bool(xp.all(grads["layers.weight"] == 2.0))
