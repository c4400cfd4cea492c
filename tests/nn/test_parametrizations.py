"""Weight norm and spectral norm, and maps of one's own in their place."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import bpgpu as bp
from bpgpu import nn
from bpgpu.errors import ModuleError, ShapeError
from bpgpu.nn.utils import parametrize
from bpgpu.nn.utils.parametrizations import spectral_norm, weight_norm
from gradients import numpy_of
from nn.layers_against_torch import to_library
from torch_compare import given

R = np.random.default_rng(0)
X, IMAGE = R.normal(size=(4, 6)), R.normal(size=(2, 4, 5, 6))

CASES = [
    ("weight_norm", {}, "Linear", (6, 3), X),
    ("weight_norm", {"dim": None}, "Linear", (6, 3), X),
    ("weight_norm", {"dim": -1}, "Linear", (6, 3), X),
    ("weight_norm", {"dim": 1}, "Linear", (6, 3), X),
    ("weight_norm", {"name": "bias"}, "Linear", (6, 3), X),
    ("weight_norm", {}, "Conv2d", (4, 3, 3), IMAGE),
    ("weight_norm", {"dim": 1}, "ConvTranspose2d", (4, 3, 2), IMAGE),
    ("weight_norm", {"dim": -2}, "Conv2d", (4, 3, 3), IMAGE),
    ("spectral_norm", {}, "Linear", (6, 3), X),
    ("spectral_norm", {"n_power_iterations": 3, "eps": 1e-3}, "Linear", (6, 3), X),
    ("spectral_norm", {"dim": 1}, "Linear", (6, 3), X),
    ("spectral_norm", {"name": "bias"}, "Linear", (6, 3), X),
    ("spectral_norm", {}, "Conv2d", (4, 3, 3), IMAGE),
    ("spectral_norm", {}, "ConvTranspose2d", (4, 3, 2), IMAGE),
    ("spectral_norm", {}, "Embedding", (6, 3), np.asarray([3, 1, 3])),
]


def both(xp: Any, case: Any) -> tuple[Any, Any]:
    """The layer of torch, and ours with its state."""
    function, settings, name, args, _ = case
    theirs = getattr(torch.nn, name)(*args).double()
    theirs = getattr(torch.nn.utils.parametrizations, function)(theirs, **settings)
    ours = getattr(nn, name)(*args)
    ours = getattr(nn.utils.parametrizations, function)(ours, **settings).to(dtype="float64")
    to_library(ours, xp)
    state = {k: numpy_of(v) for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    assert list(ours.state_dict()) == list(state)
    return ours, theirs


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_gradients_and_state_are_those_of_torch(xp: Any, case: Any) -> None:
    ours, theirs = both(xp, case)
    x = case[-1]
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        theirs.zero_grad()
        y = theirs(given(torch, x))
        (y * y).sum().backward()

        def loss(m: Any) -> Any:
            z = m(given(xp, x))
            return bp.array_namespace(z).sum(z * z)

        value, grads = bp.value_and_grad(loss)(ours)
        np.testing.assert_allclose(numpy_of(value), (y * y).sum().item(), rtol=1e-10)
        for path, p in theirs.named_parameters():
            expected = np.zeros(p.shape) if p.grad is None else p.grad.numpy()
            np.testing.assert_allclose(numpy_of(grads[path]), expected, rtol=1e-8, atol=1e-9)
        for path, s in theirs.state_dict().items():
            found = numpy_of(ours.state_dict()[path])
            np.testing.assert_allclose(found, s.numpy(), rtol=1e-9, atol=1e-11)
            assert type(ours.state_dict()[path]) is type(xp.asarray([1.0]))
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("function", ["weight_norm", "spectral_norm"])
def test_second_order_is_that_of_torch(function: str) -> None:
    ours, theirs = both(np, (function, {}, "Linear", (6, 3), X))
    ours.eval(), theirs.eval()
    if function == "weight_norm":  # torch's fused form forgets a term in second order
        theirs.parametrizations.weight[0].forward = lambda g, v: v * (g / v.norm(dim=1)[:, None])
    wanted = [p for p in theirs.parameters() if p.ndim == 2]
    first = torch.autograd.grad((theirs(torch.tensor(X)) ** 3).sum(), wanted, create_graph=True)
    second = torch.autograd.grad(sum((g * g).sum() for g in first), wanted)
    names = [k for k, p in theirs.named_parameters() if p.ndim == 2]

    def size_of_gradient(m: Any) -> Any:
        grads = bp.grad(lambda m: bp.array_namespace(m(X)).sum(m(X) ** 3))(m)
        return sum(bp.array_namespace(grads[k]).sum(grads[k] ** 2) for k in names)

    found = bp.grad(size_of_gradient)(ours)
    for k, expected in zip(names, second, strict=True):
        np.testing.assert_allclose(found[k], expected, rtol=1e-8)


def test_a_model_trains_and_the_norm_stays() -> None:
    bp.seed(0)
    model = nn.Sequential(spectral_norm(nn.Linear(6, 5)), nn.Tanh(), weight_norm(nn.Linear(5, 1)))
    model.to(dtype="float64")
    opt = bp.optim.Adam(model, lr=0.05)

    def loss(m: Any) -> Any:
        return bp.functional.mse_loss(m(X), np.sin(X[:, :1]))

    before = loss(model)
    for _ in range(60):
        opt.step(bp.grad(loss)(model))
    assert loss(model) < 0.2 * before
    assert abs(np.linalg.norm(model.eval()[0].weight, 2) - 1) < 0.02


def test_a_training_step_inside_jax_jit_moves_the_vectors() -> None:
    jax = pytest.importorskip("jax")
    layer = spectral_norm(nn.Linear(6, 3))
    plain = copy.deepcopy(layer)
    to_library(layer, jax.numpy)

    def squares(m: Any, x: Any) -> Any:
        y = m(x)
        return bp.array_namespace(y).sum(y * y)

    @jax.jit
    def step(state: Any, x: Any) -> Any:
        layer.load_state_dict(state)
        return bp.grad(squares)(layer, x), layer.state_dict()

    x = X.astype(np.float32)
    grads, state = step(layer.state_dict(), jax.numpy.asarray(x))
    expected = bp.grad(squares)(plain, x)
    for k, g in expected.items():
        np.testing.assert_allclose(grads[k], g, rtol=1e-4, atol=1e-5)
    for k, s in plain.state_dict().items():
        np.testing.assert_allclose(state[k], s, rtol=1e-4, atol=1e-5)


def test_an_error_leaves_the_vectors_and_checkpoint_moves_them_once() -> None:
    layer = spectral_norm(nn.Linear(6, 3)).to(dtype="float64")
    saved = copy.deepcopy(layer)
    u = layer.parametrizations.weight[0]._u.copy()

    def fails(m: Any) -> Any:
        m(X)
        raise RuntimeError("after the forward pass")

    with pytest.raises(RuntimeError, match="after"):
        bp.grad(fails)(layer)
    assert np.array_equal(layer.parametrizations.weight[0]._u, u)

    plain = bp.grad(lambda m: (m(X) ** 2).sum())(layer)
    again = bp.grad(lambda m: (bp.checkpoint(m)(X) ** 2).sum())(saved)
    assert all(np.allclose(plain[k], again[k], rtol=1e-12) for k in plain)
    for k, s in layer.state_dict().items():
        assert np.array_equal(s, saved.state_dict()[k])


@pytest.mark.parametrize("function", [weight_norm, spectral_norm])
def test_copies_pickles_and_casts_keep_the_weight(function: Any) -> None:
    layer = function(nn.Linear(6, 3)).eval()
    weight = layer.weight
    for clone in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert np.array_equal(clone.weight, weight)
        assert clone.parametrizations.weight is not layer.parametrizations.weight
        clone.to(dtype="float64")
        assert {str(s.dtype) for s in clone.state_dict().values()} == {"float64"}
        assert np.allclose(clone.weight, weight)


def test_a_frozen_weight_stays_frozen() -> None:
    layer = weight_norm(nn.Linear(2, 2).freeze("weight"))
    assert list(layer.trainable()) == ["bias"]
    assert list(parametrize.remove_parametrizations(layer, "weight").trainable()) == ["bias"]


def test_tied_weights_stay_tied_under_spectral_norm_and_part_under_weight_norm() -> None:
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight = a.weight
    assert spectral_norm(b).parametrizations.weight.original is a.weight
    c = nn.Linear(2, 2)
    c.weight = a.weight
    assert not np.shares_memory(weight_norm(c).parametrizations.weight.original1, a.weight)


def test_assigning_to_the_weight_sets_the_originals() -> None:
    layer = weight_norm(nn.Linear(2, 2))
    new = np.asarray([[3.0, 4.0], [0.0, 2.0]], dtype=np.float32)
    layer.weight = nn.Parameter(new)
    assert np.allclose(layer.weight, new)
    assert layer.parametrizations.weight.original0.ravel().tolist() == [5.0, 2.0]
    with pytest.raises(ShapeError, match=r"an array of shape \(3, 2\), expected \(2, 2\)"):
        layer.weight = np.ones((3, 2), dtype=np.float32)
    with pytest.raises(ModuleError, match="'weight' is the name of an attribute of Linear already"):
        layer.register_buffer("weight", new)


def test_removing_leaves_the_value_or_the_original() -> None:
    layer = spectral_norm(nn.Linear(6, 3)).eval()
    original, value = layer.parametrizations.weight.original, layer.weight
    kept = copy.deepcopy(layer)
    before = original.copy()
    assert parametrize.is_parametrized(layer)
    assert not parametrize.is_parametrized(layer, "bias")
    assert parametrize.remove_parametrizations(layer, "weight") is layer
    assert np.array_equal(layer.weight, value)
    assert layer.weight is original  # an optimizer goes on with it
    assert repr(layer) == repr(nn.Linear(6, 3))
    assert list(layer.state_dict()) == ["bias", "weight"]
    assert not parametrize.is_parametrized(layer)
    parametrize.remove_parametrizations(kept, "weight", leave_parametrized=False)
    assert np.array_equal(kept.weight, before)
    with pytest.raises(ModuleError, match="'weight' of Linear is not parametrized"):
        parametrize.remove_parametrizations(kept, "weight")
    with pytest.raises(ModuleError, match="computed from 2 arrays, none of which is the weight"):
        parametrize.remove_parametrizations(weight_norm(kept), "weight", leave_parametrized=False)


class Symmetric(nn.Module):
    def forward(self, x: Any) -> Any:
        return x + x.T


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(np.asarray(2.0))

    def forward(self, x: Any) -> Any:
        return self.scale * x

    def right_inverse(self, x: Any) -> Any:
        return x / self.scale


def test_maps_of_ones_own_follow_one_another_and_train() -> None:
    layer = nn.Linear(3, 3, bias=False, dtype="float64")
    w = layer.weight.copy()
    parametrize.register_parametrization(layer, "weight", Scaled())
    assert np.allclose(layer.weight, w)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert np.allclose(layer.weight, w + w.T)
    grads = bp.grad(lambda m: m.weight.sum())(layer)
    assert np.allclose(grads["parametrizations.weight.original"], 4)
    assert np.allclose(grads["parametrizations.weight.0.scale"], w.sum())
    with pytest.raises(ModuleError, match=r"has shape \(2,\) and dtype float64, the weight has"):
        parametrize.register_parametrization(
            layer, "weight", type("Cut", (nn.Module,), {"forward": lambda self, x: x[:2, 0]})()
        )


def test_a_buffer_can_be_parametrized() -> None:
    layer = nn.Module()
    layer.register_buffer("table", np.ones((2, 2)))
    parametrize.register_parametrization(layer, "table", Symmetric())
    assert np.allclose(layer.table, 2)
    assert list(layer.buffers()) == ["parametrizations.table.original"]
    assert not layer.parameters()


def test_inside_cached_a_weight_is_computed_once() -> None:
    layer = spectral_norm(nn.Linear(6, 3))
    with parametrize.cached():
        assert layer.weight is layer.weight
        a = layer.parametrizations.weight[0]._u
        layer(X.astype(np.float32))
        assert layer.parametrizations.weight[0]._u is a
    assert layer.weight is not layer.weight


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_state_of_torchs_older_functions_loads(name: str) -> None:
    theirs = torch.nn.Sequential(getattr(torch.nn.utils, name)(torch.nn.Conv1d(4, 3, 2))).double()
    theirs.eval()
    ours = nn.Sequential(getattr(nn.utils, name)(nn.Conv1d(4, 3, 2))).to(dtype="float64").eval()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x = R.normal(size=(2, 4, 5))
    np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).detach(), rtol=1e-9, atol=1e-12)


def test_what_cannot_be_parametrized_is_told() -> None:
    layer = nn.Linear(2, 2, bias=False)
    with pytest.raises(ModuleError, match="Linear has no parameter or buffer 'bias' to param"):
        weight_norm(layer, "bias")
    with pytest.raises(ModuleError, match="Linear has no parameter or buffer 'kernel'"):
        spectral_norm(layer, "kernel")
    with pytest.raises(ModuleError, match="n_power_iterations of at least 1, got 0"):
        spectral_norm(layer, n_power_iterations=0)
    with pytest.raises(ShapeError, match=r"spectral_norm: expected dim in \[-2, 2\), got 2"):
        spectral_norm(layer, dim=2)
    with pytest.raises(ShapeError, match="weight_norm: expected dim as an axis of the weight"):
        weight_norm(layer, dim=2)
    assert list(layer.state_dict()) == ["weight"]
