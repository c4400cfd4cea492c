"""An optimizer on layers of `nn`, disturbed between steps; and parameters that a step does not reach, against torch."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import bpgpu as bp
from bpgpu import nn, optim

R = np.random.default_rng(0)
X = R.normal(size=(8, 4))
STEPS = 6


class Branches(nn.Module):
    """Two heads on one body; a step uses one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3)
        self.left, self.right = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: Any, head: str) -> Any:
        return getattr(self, head)(bp.nn.functional.tanh(self.body(x)))


class TorchBranches(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Linear(4, 3)
        self.left, self.right = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)

    def forward(self, x: Any, head: str) -> Any:
        return getattr(self, head)(torch.tanh(self.body(x)))


@pytest.mark.parametrize("name", ["AdamW", "Adam", "SGD", "NAdam", "RAdam", "Adafactor", "RMSprop"])
def test_parameters_that_a_step_does_not_reach_are_left_alone_as_in_torch(name: str) -> None:
    """No decay, no moments, no step count: torch skips what has no gradient."""
    theirs = TorchBranches().double()
    ours = Branches().to(dtype="float64")
    ours.load_state_dict({k: v.numpy().copy() for k, v in theirs.state_dict().items()})
    settings = {"lr": 0.05, "weight_decay": 0.1}
    their_optimizer = getattr(torch.optim, name)(theirs.parameters(), **settings)
    optimizer = getattr(optim, name)(ours, **settings)
    for head in ("left", "left", "right", "left", "right"):
        unreached = getattr(ours, "right" if head == "left" else "left").weight.copy()
        grads = bp.grad(lambda m, head=head: (m(X, head) ** 2).mean())(ours)
        optimizer.step(grads)
        their_optimizer.zero_grad()
        (theirs(torch.tensor(X), head) ** 2).mean().backward()
        their_optimizer.step()
        other = getattr(ours, "right" if head == "left" else "left")
        assert np.array_equal(other.weight, unreached)
    for path, p in theirs.named_parameters():
        np.testing.assert_allclose(ours.parameters()[path], p.detach(), rtol=0, atol=1e-10)


def test_a_parameter_that_was_never_reached_has_no_state_and_no_decay() -> None:
    model = Branches()
    before = model.right.weight.copy()
    optimizer = optim.AdamW(model, lr=0.1, weight_decay=0.5)
    for _ in range(3):
        optimizer.step(bp.grad(lambda m: (m(X.astype("float32"), "left") ** 2).mean())(model))
    assert np.array_equal(model.right.weight, before)
    assert not any(path.startswith("right") for path in optimizer.state)


# ---- whatever happens to the arrays between two steps


def network() -> nn.Sequential:
    bp.seed(0)
    layers = (nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 1))
    return nn.Sequential(*layers).to(dtype="float64")


def step(model: Any, optimizer: Any) -> None:
    optimizer.step(bp.grad(lambda m: ((m(X) - 1) ** 2).mean())(model))


def loaded(model: Any, optimizer: Any) -> tuple[Any, Any]:
    model.load_state_dict({k: v.copy() for k, v in model.state_dict().items()})
    return model, optimizer


def moved(model: Any, optimizer: Any) -> tuple[Any, Any]:
    return model.to("cpu").to(dtype="float64"), optimizer


def there_and_back(model: Any, optimizer: Any) -> tuple[Any, Any]:
    kept = {k: v.copy() for k, v in model.state_dict().items()}
    state = optimizer.state_dict()
    model.to(dtype="float32").to(dtype="float64").load_state_dict(kept)
    optimizer.load_state_dict(state)
    return model, optimizer


def assigned(model: Any, optimizer: Any) -> tuple[Any, Any]:
    model[0].weight = nn.Parameter(model[0].weight.copy())
    model[3].bias = model[3].bias.copy()
    return model, optimizer


def layer_replaced(model: Any, optimizer: Any) -> tuple[Any, Any]:
    model[0] = copy.deepcopy(model[0])
    return model, optimizer


def frozen_and_thawed(model: Any, optimizer: Any) -> tuple[Any, Any]:
    model.freeze("0", "*.bias")
    model.unfreeze()
    return model, optimizer


def second_optimizer(model: Any, optimizer: Any) -> tuple[Any, Any]:
    optim.SGD(model, lr=0.1).step({})
    return model, optimizer


def copied(model: Any, optimizer: Any) -> tuple[Any, Any]:
    return copy.deepcopy((model, optimizer))


def pickled(model: Any, optimizer: Any) -> tuple[Any, Any]:
    return pickle.loads(pickle.dumps((model, optimizer)))


def new_optimizer_from_state(model: Any, optimizer: Any) -> tuple[Any, Any]:
    model, saved = copy.deepcopy(model), pickle.loads(pickle.dumps(optimizer.state_dict()))
    fresh = type(optimizer)(model, lr=0.9)
    fresh.load_state_dict(saved)
    return model, fresh


def copy_trained_apart(model: Any, optimizer: Any) -> tuple[Any, Any]:
    other = copy.deepcopy((model, optimizer))
    step(*other)
    return model, optimizer


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Adafactor", "LAMB", "RMSprop"])
@pytest.mark.parametrize(
    "disturb",
    [
        loaded,
        moved,
        there_and_back,
        assigned,
        layer_replaced,
        frozen_and_thawed,
        second_optimizer,
        copied,
        pickled,
        new_optimizer_from_state,
        copy_trained_apart,
    ],
)
def test_training_goes_on_as_if_nothing_had_happened(
    name: str, disturb: Callable[[Any, Any], tuple[Any, Any]]
) -> None:
    options: dict[str, Any] = {"momentum": 0.9} if name == "SGD" else {}
    expected = network()
    optimizer = getattr(optim, name)(expected, lr=0.05, **options)
    for _ in range(2 * STEPS):
        step(expected, optimizer)
    model = network()
    optimizer = getattr(optim, name)(model, lr=0.05, **options)
    for _ in range(STEPS):
        step(model, optimizer)
        model, optimizer = disturb(model, optimizer)
        step(model, optimizer)
    for path, value in expected.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[path], value, rtol=1e-12, atol=1e-14)
