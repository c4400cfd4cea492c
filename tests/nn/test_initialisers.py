"""Initialisers are called as torch's: a key stands where torch takes a generator."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

import bpgpu as bp
from bpgpu.errors import ArgumentError
from bpgpu.nn import init

DRAWING = [
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
]


@pytest.mark.parametrize("name", DRAWING)
def test_the_arguments_are_torchs(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(m, name)) for m in (init, torch.nn.init))
    found = [(p.name, p.default) for p in ours.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    assert found == [(p.name, p.default) for p in theirs.parameters.values()]


@pytest.mark.parametrize("name", DRAWING)
def test_the_key_may_be_given_under_either_name(name: str) -> None:
    more = (0.5,) if name == "sparse_" else ()
    key: Any = bp.random.key(3)
    f = getattr(init, name)
    first, second = f(np.zeros((4, 3)), *more, key=key), f(np.zeros((4, 3)), *more, generator=key)
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ArgumentError, match="initialisers take one key"):
        f(np.zeros((4, 3)), *more, generator=key, key=key)
    with pytest.raises(
        ArgumentError, match=r"got generator=Generator; make one with bpgpu\.random"
    ):
        f(np.zeros((4, 3)), *more, generator=torch.Generator())


@pytest.mark.parametrize("name", ["normal_", "trunc_normal_"])
def test_a_negative_deviation_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"{name}: expected std of at least 0, got -1"):
        getattr(init, name)(np.zeros(3), std=-1)
