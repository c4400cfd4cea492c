"""Habits of code for torch: those that work, and what is said of those that cannot."""

from __future__ import annotations

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import nn


@pytest.mark.parametrize(
    "fill",
    [
        nn.init.xavier_uniform_,
        nn.init.kaiming_normal_,
        nn.init.orthogonal_,
        nn.init.trunc_normal_,
        nn.init.eye_,
        nn.init.ones_,
    ],
)
def test_initialisers_fill_a_parameter_before_it_has_a_place(fill):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = fill(nn.Parameter(np.zeros((3, 2))))

        def forward(self, x):
            return x @ self.weight

    layer = Scaled()
    assert list(layer.parameters()) == ["weight"]
    assert layer.weight.any()


def test_the_memory_of_a_weight_is_no_array_to_fill():
    layer = nn.Linear(2, 3)
    for fill in (nn.init.normal_, nn.init.zeros_, nn.init.eye_):
        with pytest.raises(TypeError, match=r"write layer.weight in place of layer.weight.data"):
            fill(layer.weight.data)


def test_lists_of_layers_add_up():
    layers = nn.ModuleList([nn.ReLU()])
    layers += [nn.Tanh()]
    assert [type(m) for m in layers + nn.ModuleList([nn.GELU()])] == [nn.ReLU, nn.Tanh, nn.GELU]
    net = nn.Sequential(nn.ReLU()) + nn.Sequential(nn.Tanh(), nn.GELU())
    assert type(net.pop(1)) is nn.Tanh
    net += nn.Sequential(nn.Tanh())
    assert [type(m) for m in net] == [nn.ReLU, nn.GELU, nn.Tanh]
    assert [name for name, _ in net.named_children()] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: x.mean(dim=0), r"x\.mean\(dim=...\) of a traced array: .* called axis"),
        (lambda x: x.sum(0, keepdim=True), r"x\.sum\(keepdim=...\) .* called keepdims"),
        (lambda x: x.flatten(1), r"xp.reshape\(x, \(x.shape\[0\], -1\)\)"),
        (lambda x: x.flatten(start_dim=1), "nn.Flatten"),
    ],
)
def test_arguments_that_only_torch_has_are_answered(xp, call, text):
    with pytest.raises(TypeError, match=text):
        bp.grad(lambda x: call(x).sum())(xp.ones((2, 3)))
