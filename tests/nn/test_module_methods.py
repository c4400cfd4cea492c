"""Torch's methods of a Module and its containers: the same calls on both libraries give the same."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import bpgpu as bp
from bpgpu.errors import ModuleError


def net(nn: Any) -> Any:
    return nn.Sequential(
        nn.Linear(3, 4),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
        nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()]),
    )


def changed(nn: Any, change: Callable[[Any], Any]) -> str:
    model = net(nn)
    change(model)
    return repr(model)


def parameter_list(nn: Any, ones: Any) -> Any:
    p = nn.ParameterList([nn.Parameter(ones(2)), nn.Parameter(ones(3))])
    p.append(nn.Parameter(ones(1))).extend([nn.Parameter(ones(4))])
    p += nn.ParameterList([ones(5)])
    p[0] = nn.Parameter(ones(6))
    shapes = [tuple(x.shape) for x in p]
    return len(p), shapes, list(p.state_dict()), tuple(p[-1].shape), len(p[1:3])


def parameter_dict(nn: Any, ones: Any) -> Any:
    p = nn.ParameterDict({"a": nn.Parameter(ones(2))})
    p["b"] = nn.Parameter(ones(3))
    p.update({"c": nn.Parameter(ones(4))})
    found = [list(p.keys()), len(p), "a" in p, [tuple(v.shape) for v in p.values()]]
    found += [list(p.state_dict()), [k for k, _ in p.items()], tuple(p["b"].shape)]
    p.pop("a")
    p.popitem()
    other = p.copy()
    p.setdefault("z", nn.Parameter(ones(1)))
    found += [list(p), list(other), list(reversed(p)), list(p | other), p.get("nope")]
    p.clear()
    return [*found, len(p)]


def with_lists(nn: Any, ones: Any) -> Any:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.scales = nn.ParameterList([nn.Parameter(ones(2) * 3)])
            self.shifts = nn.ParameterDict({"k": nn.Parameter(ones(1))})
            self.offset = nn.Buffer(ones(2))
            self.count = nn.Buffer(ones(1), persistent=False)

        def forward(self, x: Any) -> Any:
            return x * self.scales[0] + self.shifts["k"] + self.offset

    return Net()


CASES: dict[str, Callable[[Any, Any], Any]] = {
    "state dict with a prefix": lambda nn, _: list(net(nn).state_dict(prefix="p.")),
    "state dict into a dict": lambda nn, _: list(net(nn).state_dict(destination={"a": 1})),
    "modules, shared ones each time": lambda nn, _: len(
        list(nn.Sequential(*[nn.ReLU()] * 3).modules(remove_duplicate=False))
    ),
    "parameters of the layer alone": lambda nn, _: (
        len(list(net(nn)[0].parameters(recurse=False))),
        len(list(net(nn).parameters(recurse=False))),
    ),
    "buffers of the layer alone": lambda nn, _: len(list(net(nn)[1].buffers(recurse=False))),
    "a parameter by its path": lambda nn, _: tuple(net(nn).get_parameter("1.0.weight").shape),
    "a buffer by its path": lambda nn, _: tuple(net(nn).get_buffer("1.1.running_mean").shape),
    "a layer by its path": lambda nn, _: type(net(nn).get_submodule("1.1")).__name__,
    "another layer at a path": lambda nn, _: changed(
        nn, lambda m: m.set_submodule("1.0", nn.Identity())
    ),
    "a new layer by name": lambda nn, _: changed(nn, lambda m: m.register_module("new", nn.ReLU())),
    "equal layers in a list": lambda nn, _: repr(nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()])),
    "an empty list": lambda nn, _: repr(nn.ModuleList()),
    "a multiple of layers": lambda nn, _: (
        len(nn.Sequential(nn.ReLU(), nn.Tanh()) * 2),
        len(2 * nn.Sequential(nn.ReLU())),
    ),
    "a layer that stands twice": lambda nn, _: (
        repr(nn.Sequential(*[nn.Linear(1, 1)] * 2)),
        list(nn.Sequential(*[nn.Linear(1, 1)] * 2).state_dict()),
        [n for n, _ in nn.Sequential(*[nn.Linear(1, 1)] * 2).named_parameters()],
        [n for n, _ in nn.Sequential(*[nn.Linear(1, 1)] * 2).named_children()],
    ),
    "ParameterList": parameter_list,
    "ParameterDict": parameter_dict,
    "parameters in lists and dicts": lambda nn, ones: (
        list(with_lists(nn, ones).state_dict()),
        [n for n, _ in with_lists(nn, ones).named_parameters()],
        [n for n, _ in with_lists(nn, ones).named_buffers()],
        with_lists(nn, ones)(ones(2)).tolist(),
    ),
    "all keys matched": lambda nn, _: str(net(nn).load_state_dict(net(nn).state_dict())),
}


@pytest.mark.parametrize("case", CASES)
def test_a_module_does_what_torchs_does(case: str) -> None:
    ours = CASES[case](bp.nn, lambda *s: np.ones(s, "f4"))
    assert ours == CASES[case](torch.nn, torch.ones)


def test_multiplied_in_place() -> None:
    ours, theirs = (nn.Sequential(nn.ReLU(), nn.Tanh()) for nn in (bp.nn, torch.nn))
    ours *= 3
    theirs *= 3
    assert repr(ours) == repr(theirs)


def test_loading_with_assign_takes_the_arrays_themselves() -> None:
    model = bp.nn.Linear(2, 3)
    state = {"weight": np.ones((3, 2)), "bias": np.zeros(3)}
    assert str(model.load_state_dict(state, assign=True)) == "<All keys matched successfully>"
    assert model.weight is state["weight"]
    assert model.parameters()["bias"].dtype == np.float64
    with pytest.raises(ModuleError, match=r"weight: expected shape \(3, 2\), got \(2,\)"):
        model.load_state_dict({"weight": np.ones(2), "bias": np.ones(3)}, assign=True)
    assert model.bias is state["bias"]


def test_saved_states_from_before_batches_were_counted() -> None:
    layer = bp.nn.BatchNorm1d(2)
    state = {k: v + 1 for k, v in layer.state_dict().items() if k != "num_batches_tracked"}
    layer.load_state_dict(state)
    np.testing.assert_array_equal(layer.running_mean, [1, 1])
    assert int(layer.num_batches_tracked) == 0


def test_a_list_of_parameters_has_gradients_and_copies() -> None:
    model = with_lists(bp.nn, lambda *s: np.ones(s))
    x = np.ones(2)
    g = bp.grad(lambda m: bp.array_namespace(m(x)).sum(m(x)))(model)
    assert {k: v.tolist() for k, v in g.items()} == {"scales.0": [1, 1], "shifts.k": [2]}
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model.scales))):
        twin.apply(lambda m: None)
    assert model.freeze("scales").scales[:1].trainable() == {}
    assert repr(bp.nn.ParameterList([x])) == (
        "ParameterList(\n  (0): Parameter containing: [float64 of size 2]\n)"
    )


def test_names_that_are_taken_are_refused() -> None:
    with pytest.raises(ModuleError, match="'training' is an attribute of this ModuleDict already"):
        bp.nn.ModuleDict({"training": bp.nn.ReLU()})
    with pytest.raises(ModuleError, match="'values' is the name of an attribute of ParameterDict"):
        bp.nn.ParameterDict({"values": np.ones(2)})
    with pytest.raises(ModuleError, match=r"there is no parameter at '1\.1\.running_mean'"):
        net(bp.nn).get_parameter("1.1.running_mean")
    with pytest.raises(ModuleError, match=r"there is no Module at '1\.7' in this Sequential"):
        net(bp.nn).set_submodule("1.7", bp.nn.ReLU(), strict=True)


def test_an_error_names_a_layer_that_is_called_where_it_stands_deeper() -> None:
    class Net(bp.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = bp.nn.ModuleDict({"a": bp.nn.ModuleList([bp.nn.Linear(3, 4)])})

        def forward(self, x: Any) -> Any:
            return self.blocks["a"][0](x)

    with pytest.raises(bp.errors.ShapeError, match=r"^Linear 'model.blocks.a.0': "):
        bp.nn.Sequential({"model": Net()})(np.ones((2, 5), "f4"))


@pytest.mark.parametrize(
    "wrong", [np.ones((1, 2), "f4"), np.ones((4, 2), "i4"), np.ones((4, 3), "f4")]
)
def test_a_batch_that_is_refused_is_not_counted(wrong: Any) -> None:
    layer = bp.nn.BatchNorm1d(2, momentum=None)
    before = {k: np.array(v) for k, v in layer.state_dict().items()}
    with pytest.raises(bp.errors.BpgpuError, match=r"^BatchNorm1d: "):
        layer(wrong)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: bp.nn.LSTM(0, 3), "LSTM: expected input_size of at least 1, got 0"),
        (lambda: bp.nn.GRU(3.5, 3), "GRU: expected input_size as an integer, got 3.5"),
        (lambda: bp.nn.RNN(3, 3, nonlinearity="sin"), "RNN: nonlinearity must be 'tanh' or 'relu'"),
        (lambda: bp.nn.Embedding(5, 3, 1.5), "expected padding_idx as an integer or None, got 1.5"),
        (lambda: bp.nn.Dropout("x"), r"Dropout: expected p in \[0, 1\], got 'x'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_the_layer(make: Any, text: str) -> None:
    with pytest.raises(bp.errors.BpgpuError, match=text):
        make()


def test_numbers_of_numpy_are_settings_too() -> None:
    assert bp.nn.Embedding(np.int64(5), np.int32(2), np.int64(-1)).padding_idx == 4
    assert bp.nn.Dropout(np.float32(0.25)).p == 0.25
    assert repr(bp.nn.LSTM(np.int64(3), np.int8(2))) == repr(torch.nn.LSTM(3, 2))


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_a_cell_looks_as_in_torch(nonlinearity: str) -> None:
    ours, theirs = (nn.RNNCell(3, 2, nonlinearity=nonlinearity) for nn in (bp.nn, torch.nn))
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(
    "habit",
    [
        "register_forward_pre_hook",
        "compile",
        "type",
        "to_empty",
        "xpu",
        "grad",
        "register_backward_hook",
    ],
)
def test_a_habit_from_torch_is_answered_with_the_form_used_here(habit: str) -> None:
    with pytest.raises(AttributeError, match=rf"Linear\.{habit}: \w+"):
        getattr(bp.nn.Linear(1, 1), habit)


@pytest.mark.parametrize(
    "habit", ["clone", "data", "detach_", "grad_fn", "register_hook", "squeeze_"]
)
def test_a_habit_with_traced_arrays_too(habit: str) -> None:
    with pytest.raises(AttributeError, match=rf"'{habit}': .*(bpgpu\.|xp\.)"):
        bp.grad(lambda x: getattr(x, habit)())(np.ones(2))
