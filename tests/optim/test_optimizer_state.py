"""Saving and loading the state of an optimizer: all or nothing, into what is there; torch's states are understood."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from bpgpu import optim
from optim.against_torch import CASES, array, gradients, start


def steps(
    optimizer: Any, xp: Any, params: dict[str, np.ndarray], numbers: range, *, gaps: bool = True
) -> None:
    for step in numbers:
        grads = gradients(params, step, gaps=gaps)
        optimizer.step({k: None if g is None else array(xp, g) for k, g in grads.items()})


@pytest.mark.parametrize("name", [*CASES, "Lion", "LAMB"])
def test_a_saved_state_goes_on_exactly(xp: Any, name: str) -> None:
    params = start(name)
    options = CASES.get(name, [{}])[-1]
    arrays = {k: array(xp, p) for k, p in params.items()}
    optimizer = getattr(optim, name)(arrays, **options)
    steps(optimizer, xp, params, range(6))
    state = optimizer.state_dict()
    others = {k: xp.asarray(x, copy=True) for k, x in arrays.items()}
    resumed = getattr(optim, name)(others)
    resumed.load_state_dict(state)
    steps(optimizer, xp, params, range(6, 12))
    steps(resumed, xp, params, range(6, 12))
    for k, x in arrays.items():
        assert np.array_equal(np.asarray(others[k]), np.asarray(x)), k


@pytest.mark.parametrize("name", CASES)
def test_a_state_of_torch_goes_on_here(name: str) -> None:
    params = start(name)
    options = CASES[name][-1]
    tensors = {k: torch.tensor(p, requires_grad=True) for k, p in params.items()}
    theirs = getattr(torch.optim, name)(list(tensors.values()), **options)

    def run(numbers: range) -> None:
        for step in numbers:
            for k, g in gradients(params, step, gaps=False).items():
                tensors[k].grad = torch.tensor(g)
            theirs.step()

    run(range(5))
    arrays = {k: t.detach().numpy().copy() for k, t in tensors.items()}
    mine = getattr(optim, name)(arrays)
    mine.load_state_dict(theirs.state_dict())
    import array_api_compat.numpy as xp

    run(range(5, 10))
    steps(mine, xp, params, range(5, 10), gaps=False)
    for k, t in tensors.items():
        np.testing.assert_allclose(arrays[k], t.detach().numpy(), atol=1e-10, rtol=0)


def small() -> tuple[dict[str, np.ndarray], Any]:
    params = {"w": np.ones((2, 2)), "b": np.ones(2), "s": np.asarray(1.0)}
    optimizer = optim.AdamW(params, lr=0.1, groups=[{"params": "b", "weight_decay": 0.0}])
    optimizer.step({k: np.ones_like(p) for k, p in params.items()})
    return params, optimizer


def test_a_state_is_a_copy_under_torchs_names() -> None:
    params, optimizer = small()
    state = optimizer.state_dict()
    assert set(state) == {"state", "param_groups"}
    assert set(state["state"]["w"]) == {"step", "exp_avg", "exp_avg_sq"}
    assert [h["params"] for h in state["param_groups"]] == [["b"], ["w", "s"]]
    assert [h["weight_decay"] for h in state["param_groups"]] == [0.0, 0.01]
    before = copy.deepcopy(state)
    optimizer.step({k: np.ones_like(p) for k, p in params.items()})
    assert float(state["state"]["w"]["step"]) == 1
    np.testing.assert_array_equal(state["state"]["b"]["exp_avg"], before["state"]["b"]["exp_avg"])


def test_loading_copies_and_keeps_the_arrays_that_are_there() -> None:
    _, optimizer = small()
    _, other = small()
    state = other.state_dict()
    before = dict(optimizer.state["w"])
    optimizer.load_state_dict(state)
    assert all(np.shares_memory(before[k], v) for k, v in optimizer.state["w"].items())
    state["state"]["w"]["exp_avg"] += 5
    assert np.all(optimizer.state["w"]["exp_avg"] < 1)


def test_options_are_loaded_too() -> None:
    _, optimizer = small()
    optimizer.lr = 0.5
    optimizer.param_groups[0]["betas"] = (0.5, 0.6)
    optimizer.param_groups[0]["initial_lr"] = 3.0  # as schedules leave it
    _, other = small()
    other.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    assert other.lr == 0.5
    assert other.param_groups[0]["betas"] == (0.5, 0.6)
    assert other.param_groups[0]["initial_lr"] == 3.0


def test_a_state_moves_to_the_dtype_and_library_that_are_there(xp: Any) -> None:
    _, optimizer = small()
    params = {
        k: xp.asarray(np.ones(s), dtype=xp.float32)
        for k, s in (("w", (2, 2)), ("b", (2,)), ("s", ()))
    }
    other = optim.AdamW(params, groups=[{"params": "b"}])
    other.load_state_dict(optimizer.state_dict())
    for k, s in other.state.items():
        for name, v in s.items():
            assert type(v) is type(params[k])
            assert v.dtype == xp.float32
            np.testing.assert_allclose(np.asarray(v), optimizer.state[k][name], rtol=1e-6)


def test_parameters_that_were_not_stepped_have_no_state() -> None:
    params = {"w": np.ones(2), "b": np.ones(2)}
    optimizer = optim.Adam(params)
    optimizer.step({"w": np.ones(2)})
    state = optimizer.state_dict()
    assert list(state["state"]) == ["w"]
    other = optim.Adam({k: p.copy() for k, p in params.items()})
    other.step({k: np.ones(2) for k in params})
    other.load_state_dict(state)
    assert list(other.state) == ["w"]


def test_parameters_with_different_histories_stay_apart_after_loading() -> None:
    params = {"a": np.ones(2), "b": np.ones(2), "c": np.ones(2)}
    optimizer = optim.Adam(params, lr=0.1)
    for present in ("abc", "ab", "a", "ac"):
        optimizer.step({k: np.ones(2) * (i + 1) for i, k in enumerate(present)})
    other = optim.Adam({k: p.copy() for k, p in params.items()}, lr=0.1)
    other.load_state_dict(optimizer.state_dict())
    assert {k: float(s["step"]) for k, s in other.state.items()} == {"a": 4, "b": 2, "c": 2}
    for o in (optimizer, other):
        o.step({k: np.ones(2) for k in "abc"})
    for k in params:
        np.testing.assert_array_equal(other.params[k], optimizer.params[k])


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda s: 3, ValueError, "expected a dict with 'state' and 'param_groups'"),
    (lambda s: {"state": {}}, ValueError, "expected a dict with 'state' and 'param_groups'"),
    (
        lambda s: {**s, "param_groups": s["param_groups"][:1]},
        ValueError,
        "has 1 parameter groups, the optimizer has 2",
    ),
    (
        lambda s: _set(s, ["param_groups", 1, "params"], ["w"]),
        ValueError,
        "group 1 of the saved state has other parameters: missing 's'; unexpected none",
    ),
    (lambda s: _set(s, ["param_groups", 1, "params"], [0]), ValueError, "1 parameters, expected 2"),
    (lambda s: _set(s, ["param_groups", 0, "lr"], -1), ValueError, "expected lr >= 0, got -1"),
    (
        lambda s: _set(s, ["param_groups", 0, "betas"], [0.9, 1.0]),
        ValueError,
        r"expected betas\[1\] in \[0, 1\), got 1.0",
    ),
    (
        lambda s: _set(s, ["state", "z"], {}),
        ValueError,
        "entries for 'z', which belong to no group",
    ),
    (
        lambda s: _set(s, ["state", "w", "exp_avg"], np.ones(3)),
        ValueError,
        r"'exp_avg' of 'w' has shape \(3,\), expected \(2, 2\)",
    ),
    (
        lambda s: _set(s, ["state", "w"], {"momentum_buffer": np.ones((2, 2))}),
        ValueError,
        r"state of 'w' does not belong to AdamW .* missing \['step', .*\], unexpected \['momentum_buffer'\]",
    ),
]


def _set(state: dict[str, Any], path: list[Any], value: Any) -> dict[str, Any]:
    inner: Any = state
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return state


@pytest.mark.parametrize(("spoil", "error", "text"), BAD, ids=[b[2][:40] for b in BAD])
def test_a_state_that_does_not_fit_changes_nothing(
    spoil: Any, error: type[Exception], text: str
) -> None:
    _, optimizer = small()
    before = optimizer.state_dict()
    with pytest.raises(error, match=text):
        optimizer.load_state_dict(spoil(optimizer.state_dict()))
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for k, s in before["state"].items():
        for name, v in s.items():
            np.testing.assert_array_equal(after["state"][k][name], v)


def test_the_representation_names_groups_and_options() -> None:
    text = repr(small()[1])
    assert text.startswith("AdamW (\nParameter group 0: 1 parameters\n    lr: 0.1")
