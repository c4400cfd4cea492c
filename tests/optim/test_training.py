"""A network of nn trains as torch's does, weight by weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import bpgpu as bp
from bpgpu import nn, optim
from bpgpu.nn.linear import Linear
from optim.against_torch import array

OPTIONS = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("AdamW", {"lr": 0.01, "amsgrad": True}),
    ("RMSprop", {"lr": 0.01, "centered": True}),
    ("Muon", {"lr": 0.02}),
]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Linear(5, 8)
        self.second = Linear(8, 3)
        self.unused = Linear(2, 2)

    def forward(self, x: Any) -> Any:
        return self.second(bp.array_namespace(x).tanh(self.first(x)))


class TorchNet(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(5, 8)
        self.second = torch.nn.Linear(8, 3)
        self.unused = torch.nn.Linear(2, 2)

    def forward(self, x: Any) -> Any:
        return self.second(torch.tanh(self.first(x)))


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_fifty_steps_of_a_network_are_those_of_torch(
    xp: Any, name: str, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    theirs = TorchNet().double()
    x, y = np.random.default_rng(0).normal(size=(2, 16, 5))
    y = np.tanh(y[:, :3])
    model = Net()
    for path, t in theirs.state_dict().items():
        owner, attribute = model.locate(path)
        setattr(owner, attribute, array(xp, t.numpy()))
    tensors = dict(theirs.named_parameters())
    if name == "Muon":
        tensors = {k: t for k, t in tensors.items() if t.ndim == 2}
        mine = optim.Muon({k: p for k, p in model.named_parameters() if p.ndim == 2}, **options)
    else:
        mine = getattr(optim, name)(model, **options)
    other = getattr(torch.optim, name)(list(tensors.values()), **options)

    def loss(model: Any, x: Any, y: Any) -> Any:
        return bp.array_namespace(x).mean((model(x) - y) ** 2)

    data = array(xp, x), array(xp, y)
    for _ in range(50):
        grads = bp.grad(loss)(model, *data)
        mine.step({k: g for k, g in grads.items() if k in tensors})
        other.zero_grad()
        ((theirs(torch.tensor(x)) - torch.tensor(y)) ** 2).mean().backward()
        other.step()
    for path, p in model.named_parameters():
        wanted = dict(theirs.named_parameters())[path].detach().numpy()
        np.testing.assert_allclose(np.asarray(p), wanted, atol=1e-10, rtol=0, err_msg=path)


def test_unreached_parameters_are_left_alone_by_adamw() -> None:
    bp.seed(0)
    model = Net()
    before = np.array(model.unused.weight)
    optimizer = optim.AdamW(model, lr=0.1, weight_decay=0.5)
    optimizer.step(
        bp.grad(lambda m, x: bp.array_namespace(x).mean(m(x) ** 2))(
            model, np.ones((2, 5), np.float32)
        )
    )
    assert np.array_equal(model.unused.weight, before)
    assert sorted(optimizer.state) == ["first.bias", "first.weight", "second.bias", "second.weight"]
