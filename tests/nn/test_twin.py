"""The twin of a model under a gradient: what it must reach, what it carries back, what it refuses."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import nn
from bpgpu.errors import ModuleError

X = np.arange(1.0, 4.0)


def scaled(forward: Any, prepare: Any = None) -> nn.Module:
    """A Module with a parameter `w`, ones, and what `prepare` adds to it."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(np.ones(3))
            if prepare:
                prepare(self)

        def forward(self, x: Any) -> Any:
            return forward(self, x)

    return Scaled()


def gradient(model: nn.Module) -> dict[str, Any]:
    return bp.grad(lambda m: m(X).sum())(model)


def close_over(m: Any) -> None:
    m.f = lambda x: m.w * x


def by_default(m: Any) -> None:
    def f(x: Any, layer: Any = m) -> Any:
        return layer.w * x

    m.f = f


def in_list(m: Any) -> None:
    m.fs = [lambda x: m.w * x]
    m.f = m.fs[0]


@pytest.mark.parametrize("prepare", [close_over, by_default, in_list])
def test_stored_functions_that_see_the_layer_reach_the_twin(prepare: Any) -> None:
    """Beside another path, so that a lost gradient would be too small, and no error would tell."""
    model = scaled(lambda m, x: m.f(x) + x * m.w, prepare)
    f = model.f
    assert gradient(model)["w"].tolist() == [2, 4, 6]
    assert model.f is f


def append(m: Any, x: Any) -> Any:
    m.seen.append(x * m.w)
    return m.seen[-1]


def put(m: Any, x: Any) -> Any:
    m.seen[0]["h"] = x * m.w
    return x * m.w


def replace(m: Any, x: Any) -> Any:
    m.seen = (x * m.w,)
    return m.seen[0]


@pytest.mark.parametrize(("forward", "start"), [(append, []), (put, [{}]), (replace, ())])
def test_traced_arrays_put_into_containers_are_refused_and_do_not_stay(
    forward: Any, start: Any
) -> None:
    model = scaled(forward, lambda m: setattr(m, "seen", copy.deepcopy(start)))
    with pytest.raises(ModuleError, match="attribute 'seen' of Scaled holds traced arrays after"):
        gradient(model)
    assert model.seen == start


def replace_constant(m: Any, x: Any) -> Any:
    m.seen = m.seen * 2
    return x * m.w


def change_constant(m: Any, x: Any) -> Any:
    m.seen += 1
    return x * m.w


def replace_parameter(m: Any, x: Any) -> Any:
    m.w = m.w * 2
    return x * m.w


@pytest.mark.parametrize("forward", [replace_constant, change_constant, replace_parameter])
def test_arrays_that_are_no_state_may_not_be_replaced(forward: Any) -> None:
    model = scaled(forward, lambda m: setattr(m, "seen", np.zeros(3)))
    with pytest.raises(ModuleError, match="was set to a traced array"):
        gradient(model)
    assert model.seen.tolist() == [0, 0, 0]
    assert model.w.tolist() == [1, 1, 1]


def test_python_attributes_lists_and_dicts_are_carried_back() -> None:
    def forward(m: Any, x: Any) -> Any:
        m.count += 1
        m.shapes.append(x.shape)
        m.notes["last"] = {"size": x.size}
        m.used.append(m.layer)
        return m.layer(x) * m.w

    def prepare(m: Any) -> None:
        m.count, m.shapes, m.notes, m.used = 0, [], {}, []
        m.layer = nn.Identity()

    model = scaled(forward, prepare)
    shapes = model.shapes
    gradient(model)
    gradient(model)
    assert model.count == 2
    assert model.shapes is shapes
    assert shapes == [(3,), (3,)]
    assert model.notes == {"last": {"size": 3}}
    assert all(layer is model.layer for layer in model.used)


def test_after_an_exception_lists_are_as_before() -> None:
    def forward(m: Any, x: Any) -> Any:
        m.shapes.append(x.shape)
        m.late = nn.Parameter(np.ones(3))
        m.register_buffer("also", np.ones(3))
        raise RuntimeError("in forward")

    model = scaled(forward, lambda m: setattr(m, "shapes", []))
    with pytest.raises(RuntimeError, match="in forward"):
        gradient(model)
    assert model.shapes == []
    assert list(model.state_dict()) == ["w"]


def test_what_forward_makes_when_first_called_stays() -> None:
    def forward(m: Any, x: Any) -> Any:
        if "layer" not in m.__dict__:
            m.layer = nn.Linear(3, 1, dtype="float64")
            m.scale = nn.Parameter(np.ones(3))
            m.register_buffer("mean", x * m.w)
        return m.layer(x * m.w * m.scale)

    model = scaled(forward)
    assert list(gradient(model)) == ["w"]
    layer = model.layer
    assert list(gradient(model)) == ["w", "scale", "layer.weight", "layer.bias"]
    assert model.layer is layer
    assert type(model.mean) is np.ndarray


@pytest.mark.parametrize(
    "transform",
    [
        lambda f, m, v: bp.grad(f)(m),
        lambda f, m, v: bp.value_and_grad(f)(m),
        lambda f, m, v: bp.vjp(f, m)[1](np.asarray(1.0)),
        lambda f, m, v: bp.jvp(f, (m,), (v,)),
        lambda f, m, v: bp.hvp(f, m, v),
        lambda f, m, v: bp.jacobian(lambda s: f(m) * s)(np.asarray(1.0)),
        lambda f, m, v: bp.hessian(lambda s: f(m) * s**2)(np.asarray(1.0)),
    ],
    ids=["grad", "value_and_grad", "vjp", "jvp", "hvp", "jacobian", "hessian"],
)
def test_running_statistics_move_once_whatever_is_asked(transform: Any) -> None:
    x = np.random.default_rng(0).normal(size=(4, 2))
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).to(dtype="float64")
    expected = copy.deepcopy(model)
    expected(x)
    v = {k: np.ones_like(p) for k, p in model.parameters().items()}
    transform(lambda m: (m(x) ** 3).sum(), model, v)
    for path, s in model.buffers().items():
        assert type(s) is type(expected.buffers()[path])
        np.testing.assert_allclose(s, expected.buffers()[path], rtol=1e-12)
