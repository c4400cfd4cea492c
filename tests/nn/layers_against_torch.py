"""The harness that compares a layer with torch's layer of the same name, made with the same arguments.

Both get the same weights: torch's `state_dict`, given to ours as NumPy arrays. Then both take two steps in training
and one in evaluation, all in float64: outputs, gradients of inputs and parameters, and the state after each step must
agree.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch

import bpgpu as bp
import gradients
from bpgpu import nn
from gradients import close, numpy_of
from torch_compare import FIRST, VALUE, given, outputs


class Case(NamedTuple):
    """A layer's name and arguments, and what it is called with: NumPy arrays of one step, or a list for two."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[Any, ...]
    call: dict[str, Any]

    def __str__(self) -> str:
        settings = [*map(_short, self.args), *(f"{k}={_short(v)}" for k, v in self.kwargs.items())]
        shapes = [str(x.shape) if isinstance(x, np.ndarray) else _short(x) for x in self.inputs]
        return f"{self.name}({', '.join(settings)})({', '.join(shapes)})"


def _short(x: Any) -> str:
    return f"array{x.shape}" if isinstance(x, np.ndarray) else str(x)


def case(name: str, *args: Any, on: Any, call: dict[str, Any] | None = None, **kwargs: Any) -> Case:
    """`case("Linear", 3, 4, on=x)`: `on` is what the layer is called with, one array or a tuple."""
    return Case(name, args, kwargs, on if isinstance(on, tuple) else (on,), call or {})


def to_library(module: Any, xp: Any) -> Any:
    """Make every array of a Module one of the library under test."""
    for m in module.modules():
        for name, value in m.__dict__.items():
            if hasattr(value, "shape") and hasattr(value, "dtype"):
                m.__dict__[name] = given(xp, np.array(numpy_of(value)))
    return module


def both(xp: Any, c: Case) -> tuple[Any, Any]:
    """Our layer on arrays of `xp` and torch's, with torch's weights."""
    args, kwargs = c.args, c.kwargs
    if c.name.endswith("Loss"):  # torch's deprecated arguments stand between
        kwargs = inspect.signature(getattr(nn, c.name)).bind(*args, **kwargs).arguments
        args = ()
    settings = {k: given(torch, a) for k, a in kwargs.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the speed of a Transformer
        theirs = getattr(torch.nn, c.name)(*args, **settings).double()
    ours = getattr(nn, c.name)(*c.args, **c.kwargs).to(dtype="float64")
    ours = to_library(ours, xp)
    state = {k: numpy_of(v) for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    assert list(ours.state_dict()) == list(state)
    return ours, theirs


def compare_layers(xp: Any, c: Case) -> None:
    """Two steps in training, one in evaluation."""
    ours, theirs = both(xp, c)
    for step, training in enumerate((True, True, False)):
        ours.train(training)
        theirs.train(training)
        inputs = tuple(_changed(x, step) for x in c.inputs)
        mine, reference = _ours(xp, ours, inputs, c.call), _theirs(theirs, inputs, c.call)
        for what, a, b, bound in zip(
            ("value", "gradient", "state"), mine, reference, (VALUE, FIRST, VALUE), strict=True
        ):
            assert [x.shape for x in a] == [x.shape for x in b], what
            with np.errstate(invalid="ignore"):
                close(a, b, bound, f"{what}, step {step}")
    assert_plain(ours, xp)


def assert_plain(module: Any, xp: Any) -> None:
    """A Module keeps arrays of its library only."""
    for name, value in module.state_dict().items():
        assert type(value) is type(xp.asarray([1.0])), name


def _changed(x: Any, step: int) -> Any:
    """Other numbers for each step; indices and labels stay."""
    floating = isinstance(x, np.ndarray) and x.dtype.kind == "f"
    return np.roll(x, step) if floating else x


def _differentiable(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind in "fc"


def _ours(xp: Any, layer: Any, inputs: Any, call: dict[str, Any]) -> list[list[np.ndarray]]:
    plain = [given(xp, x) for x in inputs]
    call = {k: given(xp, x) for k, x in call.items()}
    places = [i for i, x in enumerate(inputs) if _differentiable(x)]

    def loss(m: Any, *xs: Any) -> Any:
        full = list(plain)
        for i, x in zip(places, xs, strict=True):
            full[i] = x
        ys = m(*full, **call)
        ns = bp.array_namespace(*outputs(ys))
        value = gradients.scalar(ns, outputs(ys), lambda w: ns.asarray(given(xp, w)))
        return value, ys

    leaves = [plain[i] for i in places]
    which = tuple(range(len(leaves) + 1))
    (_, ys), (params, *grads) = bp.value_and_grad(loss, which, has_aux=True)(layer, *leaves)
    zeros = [np.zeros(p.shape) for p in layer.parameters().values()]
    found = [
        z if g is None else numpy_of(g) for z, g in zip(zeros, params.values(), strict=True)
    ] + [
        np.zeros(x.shape) if g is None else numpy_of(g) for g, x in zip(grads, leaves, strict=True)
    ]
    return [[numpy_of(y) for y in outputs(ys)], found, _state(layer)]


def _theirs(layer: Any, inputs: Any, call: dict[str, Any]) -> list[list[np.ndarray]]:
    tensors = [given(torch, x) for x in inputs]
    call = {k: given(torch, x) for k, x in call.items()}
    leaves = [
        t.clone().requires_grad_() if _differentiable(x) else t
        for t, x in zip(tensors, inputs, strict=True)
    ]
    given_on = [t.clone() if _differentiable(x) else t for t, x in zip(leaves, inputs, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ys = outputs(layer(*given_on, **call))  # copies, for layers that write in place
    parameters = [p for p in layer.parameters() if p.requires_grad]
    wanted = [*parameters, *(t for t in leaves if isinstance(t, torch.Tensor) and t.requires_grad)]
    value = gradients.scalar(torch, ys, torch.from_numpy)
    grads = [torch.zeros_like(t) for t in wanted]
    if value.requires_grad:
        found = torch.autograd.grad(value, wanted, allow_unused=True)
        grads = [z if g is None else g for z, g in zip(grads, found, strict=True)]
    return [[numpy_of(y) for y in ys], [numpy_of(g) for g in grads], _state(layer)]


def _state(layer: Any) -> list[np.ndarray]:
    return [np.array(numpy_of(v)) for v in layer.state_dict().values()]
