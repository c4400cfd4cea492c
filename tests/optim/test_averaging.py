"""Averages of weights: torch's rules on Modules and trees, lent for evaluation, saved, and in the pure form."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from bpgpu import nn, optim
from optim.against_torch import array

SHAPES: dict[str, tuple[int, ...]] = {"w": (3, 2), "s": (), "none": (0,)}


def path(seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{k: np.asarray(rng.normal(size=s)) for k, s in SHAPES.items()} for _ in range(20)]


def by_torch(avg_fn: Any) -> dict[str, np.ndarray]:
    model = torch.nn.ParameterDict(
        {k: torch.zeros(s, dtype=torch.float64) for k, s in SHAPES.items()}
    )
    average = torch.optim.swa_utils.AveragedModel(model, avg_fn=avg_fn)
    for values in path():
        with torch.no_grad():
            for k, v in values.items():
                model[k].copy_(torch.tensor(v))
        average.update_parameters(model)
    return {k: average.module[k].detach().numpy() for k in SHAPES}


def follow(average: Any, xp: Any, params: dict[str, Any]) -> dict[str, Any]:
    for values in path():
        for k, v in values.items():
            params[k][...] = array(xp, v)
        found = average.step()
    return found


@pytest.mark.parametrize(
    ("make", "avg_fn"),
    [
        (lambda p: optim.EMA(p, 0.9), torch.optim.swa_utils.get_ema_avg_fn(0.9)),
        (lambda p: optim.EMA(p, 0.0), torch.optim.swa_utils.get_ema_avg_fn(0.0)),
        (lambda p: optim.EMA(p, 1.0), torch.optim.swa_utils.get_ema_avg_fn(1.0)),
        (optim.SWA, torch.optim.swa_utils.get_swa_avg_fn()),
    ],
)
def test_averages_are_those_of_torch(xp: Any, make: Any, avg_fn: Any) -> None:
    params = {k: array(xp, np.zeros(s)) for k, s in SHAPES.items()}
    found = follow(make(params), xp, params)
    for k, wanted in by_torch(avg_fn).items():
        np.testing.assert_allclose(np.asarray(found[k]), wanted, atol=1e-12, rtol=0)
        np.testing.assert_array_equal(np.asarray(params[k]), path()[-1][k])


def test_the_decay_can_warm_up() -> None:
    w = [np.asarray([0.0])]
    average = optim.EMA(w, 0.99, warmup=True)
    wanted = None
    for n in range(30):
        w[0][0] = float(n)
        decay = min(0.99, (1 + n) / (10 + n))
        wanted = float(n) if wanted is None else decay * wanted + (1 - decay) * n
        found = average.step()
    assert found[0][0] == pytest.approx(wanted)


def model() -> nn.Module:
    module = nn.Module()
    module.w = nn.Parameter(np.asarray([1.0, 2.0]))
    module.register_buffer("seen", np.asarray(0.0))
    return module


def test_the_average_of_a_module_is_a_dict_and_can_be_lent_to_it() -> None:
    module = model()
    w = module.w
    average = optim.EMA(module, 0.5)
    average.step()
    w += 2
    assert average.step()["w"].tolist() == [2, 3]
    with average.applied() as lent:
        assert lent is module
        assert module.w is w
        assert w.tolist() == [2, 3]
    assert w.tolist() == [3, 4]
    with pytest.raises(RuntimeError), average.applied():
        raise RuntimeError
    assert w.tolist() == [3, 4]
    assert average.copy_to() is module
    assert w.tolist() == [2, 3]
    assert list(average.params) == ["w"]


def test_immutable_arrays_are_given_and_returned() -> None:
    jnp = pytest.importorskip("jax").numpy
    params = {"w": jnp.asarray([1.0, 2.0])}
    average = optim.EMA(params, 0.5)
    average.step(params)
    found = average.step({"w": params["w"] + 2})
    assert found["w"].tolist() == [2, 3]
    assert average.copy_to({"w": params["w"]})["w"].tolist() == [2, 3]
    with average.applied(params) as lent:
        assert lent["w"].tolist() == [2, 3]


def test_the_pure_form_compiles_and_changes_nothing() -> None:
    jax = pytest.importorskip("jax")
    params = {"w": jax.numpy.asarray([1.0, 2.0])}
    average = optim.EMA(params, 0.5, warmup=True)
    update = jax.jit(average.update)
    state = average.init(params)
    for _ in range(3):
        state = update(state, params)
    assert state["average"]["w"].tolist() == [1, 2]
    assert float(state["count"]) == 3

    w = {"w": np.asarray([1.0])}
    mine = optim.EMA(w, 0.5)
    before = mine.init(w)
    after = mine.update(before, {"w": np.asarray([5.0])})
    assert (before["average"]["w"][0], after["average"]["w"][0], w["w"][0]) == (1, 5, 1)


def test_half_precision_is_averaged_in_float32() -> None:
    w = [torch.ones(3, dtype=torch.bfloat16)]
    average = optim.EMA(w, 0.999)
    average.step()
    w[0] += 1
    assert average.step()[0].dtype == torch.float32
    assert float(average.params[0][0]) == pytest.approx(1.001)
    assert average.copy_to()[0].dtype == torch.bfloat16


def test_complex_weights_are_averaged(xp: Any) -> None:
    w = [array(xp, np.asarray([1 + 1j]))]
    average = optim.EMA(w, 0.5)
    average.step()
    w[0][...] = array(xp, np.asarray([3 - 1j]))
    assert np.asarray(average.step()[0]).tolist() == [2]


def test_a_saved_average_goes_on() -> None:
    w = {"w": np.asarray([1.0])}
    average = optim.EMA(w, 0.5)
    average.step()
    state = average.state_dict()
    other = optim.EMA(w, 0.5)
    other.load_state_dict(copy.deepcopy(state))
    w["w"] += 2
    assert other.step()["w"][0] == average.step()["w"][0] == 2
    assert state["average"]["w"][0] == 1


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"EMA: expected decay in \[0, 1\], got 1.5"):
        optim.EMA([np.ones(2)], 1.5)
    with pytest.raises(ValueError, match="EMA: there are no parameters"):
        optim.EMA([])
    average = optim.EMA({"w": np.ones(2)})
    with pytest.raises(ValueError, match=r"expected the parameters \['w'\], got \['v'\]"):
        average.step({"v": np.ones(2)})
    with pytest.raises(ValueError, match=r"'w' has shape \(3,\), but its average has \(2,\)"):
        average.step({"w": np.ones(3)})
    with pytest.raises(ValueError, match=r"missing \['w'\], unexpected \['v'\]"):
        average.load_state_dict({"count": 1, "average": {"v": np.ones(2)}})
