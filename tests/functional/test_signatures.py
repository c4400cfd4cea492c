"""Every function has torch's arguments, in torch's order, with torch's defaults."""

from __future__ import annotations

import ast
import inspect
from inspect import Parameter
from typing import Any

import pytest
import torch.nn.functional as tf

from bpgpu import functional as bf

LEFT_OUT = ("size_average", "reduce", "out")
OTHERS = {"erf": "erf(input)", "logsumexp": "logsumexp(input, dim, keepdim=False)"}
"""Functions that torch keeps elsewhere."""


def keywords_of(name: str) -> set[str]:
    """Torch's arguments that are given by keyword only."""
    f = getattr(tf, name, None)
    if not hasattr(f, "__code__"):
        return set()
    parameters = inspect.signature(f).parameters.values()
    return {p.name for p in parameters if p.kind is Parameter.KEYWORD_ONLY}


def torch_arguments(name: str) -> dict[str, Any]:
    """The names and defaults of torch's arguments; `Parameter.empty` where there is no default."""
    f = getattr(tf, f"_{name}", None) or getattr(tf, name, None)  # the first behind `max_pool2d`
    if hasattr(f, "__code__"):
        found = {p.name: p.default for p in inspect.signature(f).parameters.values()}
    else:  # built in: from the head of its docstring
        head = OTHERS.get(name) or " ".join(f.__doc__.split(") ->")[0].split()) + ")"
        call = ast.parse(head, mode="eval").body
        assert isinstance(call, ast.Call)
        found = {a.id: Parameter.empty for a in call.args if isinstance(a, ast.Name)}
        found |= {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
    return {k: v for k, v in found.items() if k not in LEFT_OUT}


TORCHS = [name for name in bf.__all__ if name in OTHERS or hasattr(tf, name)]


@pytest.mark.parametrize("name", TORCHS)
def test_a_function_has_the_arguments_of_torch(name: str) -> None:
    ours = inspect.signature(getattr(bf, name)).parameters.values()
    first = [p for p in ours if p.kind is not Parameter.KEYWORD_ONLY]
    theirs = torch_arguments(name)
    for keyword in keywords_of(name):
        assert next(p for p in ours if p.name == keyword).default == theirs.pop(keyword)
    assert [p.name for p in first][: len(theirs)] == list(theirs)
    assert [p.default for p in first][: len(theirs)] == list(theirs.values())
    assert all(p.kind is Parameter.POSITIONAL_OR_KEYWORD for p in first)
    assert all(p.default is not Parameter.empty for p in ours if p.kind is Parameter.KEYWORD_ONLY)
