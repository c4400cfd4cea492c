"""Loss scaling: torch's sequence of scales and weights, steps that are left out, compiled, saved, pure."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

import bpgpu as bp
from bpgpu import optim
from bpgpu.testing import capture_lint
from optim.against_torch import array
from optim.network import Net, loss

SETTINGS = {
    "init_scale": 2.0**10,
    "growth_factor": 4.0,
    "backoff_factor": 0.25,
    "growth_interval": 3,
}
BAD = {0: np.inf, 1: np.inf, 2: np.nan, 6: -np.inf, 13: np.nan}
"""In these steps an entry of a gradient is no number."""


def gradients(k: int) -> dict[str, np.ndarray]:
    """Those of step `k`, before they are scaled."""
    rng = np.random.default_rng(k)
    found = {"w": rng.normal(size=(3, 2)).astype("f4"), "b": rng.normal(size=2).astype("f4")}
    if k in BAD:
        found["b"][1] = BAD[k]
    return found


def by_torch(make: Any) -> tuple[list[float], list[dict[str, np.ndarray]]]:
    params = {"w": torch.ones(3, 2), "b": torch.zeros(2)}
    optimizer = make(torch.optim, list(params.values()))
    scaler = torch.amp.GradScaler("cpu", **SETTINGS)
    scales, weights = [], []
    for k in range(20):
        scaler.scale(torch.zeros(()))  # makes its state
        for name, p in params.items():
            p.grad = torch.tensor(gradients(k)[name]) * scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
        weights.append({n: p.numpy().copy() for n, p in params.items()})
    return scales, weights


@pytest.mark.parametrize(
    "make",
    [
        lambda o, p: o.SGD(p, lr=0.1, momentum=0.9),
        lambda o, p: o.Adam(p, lr=0.01),
        lambda o, p: o.RMSprop(p, lr=0.01, momentum=0.5),
    ],
    ids=["SGD", "Adam", "RMSprop"],
)
def test_scales_and_weights_are_those_of_torch(xp: Any, make: Any) -> None:
    params = {
        "w": array(xp, np.ones((3, 2), np.float32)),
        "b": array(xp, np.zeros(2, np.float32)),
    }
    optimizer, scaler = make(optim, params), optim.GradScaler(**SETTINGS)
    scales, weights = by_torch(make)
    for k in range(20):
        factor = scaler.get_scale()
        grads = {n: array(xp, g * np.float32(factor)) for n, g in gradients(k).items()}
        grads, finite = scaler.unscale(grads)
        assert bool(finite) == (k not in BAD)
        params = optimizer.step(grads, only_if=finite)
        scaler.update(finite)
        assert scaler.get_scale() == scales[k]
        for name, p in params.items():
            np.testing.assert_allclose(np.asarray(p), weights[k][name], rtol=2e-6, atol=1e-7)


ALL = sorted(
    name
    for name, cls in vars(optim).items()
    if isinstance(cls, type) and issubclass(cls, optim.Optimizer)
)


@pytest.mark.parametrize(
    ("growth", "backoff", "interval", "tolerance"),
    [(2.0, 0.5, 5, 0.0), (4.0, 0.5, 1, 0.0), (1.7, 0.3, 3, 1e-4)],
)
def test_a_long_sequence_of_scales(
    growth: float, backoff: float, interval: int, tolerance: float
) -> None:
    """By the function that torch's scaler calls, over a thousand steps of which some are not finite."""
    scaler = optim.GradScaler(1000.0, growth, backoff, interval)
    scale, tracker = torch.tensor(1000.0), torch.zeros((), dtype=torch.int32)
    rng = np.random.default_rng(0)
    for _ in range(1000):
        # seldom where the scale is large, so that it stays in its range
        finite = rng.random() < (0.2 if scaler.get_scale() > 1000 else 0.95)
        found_inf = torch.tensor(0.0 if finite else 1.0)
        torch._amp_update_scale_(scale, tracker, found_inf, growth, backoff, interval)
        scaler.update(np.asarray(finite))
        np.testing.assert_allclose(scaler.get_scale(), scale.item(), rtol=tolerance)
        assert scaler.state["growth_tracker"] == tracker.item()


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("Optimizer", "LBFGS")])
def test_a_step_that_is_left_out_changes_no_bit(xp: Any, name: str) -> None:
    params = {"w": array(xp, np.ones((3, 2))), "v": array(xp, np.ones((200, 100)))}
    optimizer = getattr(optim, name)(params, lr=0.1)
    grads = {k: xp.ones_like(p) for k, p in params.items()}
    bad = {k: g * np.nan for k, g in grads.items()}
    yes, no = xp.asarray(True), xp.asarray(False)
    optimizer.step(grads, only_if=yes)
    before = copy.deepcopy(
        (
            {k: np.asarray(p) for k, p in optimizer.params.items()},
            {k: {n: np.asarray(v) for n, v in s.items()} for k, s in optimizer.state.items()},
        )
    )
    optimizer.step(bad, only_if=no)
    for k, p in optimizer.params.items():
        np.testing.assert_array_equal(np.asarray(p), before[0][k])
        for n, v in optimizer.state[k].items():
            np.testing.assert_array_equal(np.asarray(v), before[1][k][n])


@pytest.mark.parametrize("name", ["SGD", "RMSprop"])
def test_a_momentum_that_is_turned_on_in_a_step_that_is_left_out_begins_at_zero(
    xp: Any, name: str
) -> None:
    one, two = {"w": array(xp, np.ones(3))}, {"w": array(xp, np.ones(3))}
    optimizer, plain = getattr(optim, name)(one, lr=0.1), getattr(optim, name)(two, lr=0.1)
    good, bad = {"w": array(xp, np.ones(3))}, {"w": array(xp, np.full(3, np.inf))}
    optimizer.step(good, only_if=xp.asarray(True))
    plain.step(good)
    optimizer.param_groups[0]["momentum"] = plain.param_groups[0]["momentum"] = 0.9
    optimizer.step(bad, only_if=xp.asarray(False))
    for _ in range(2):
        found, wanted = optimizer.step(good, only_if=xp.asarray(True)), plain.step(good)
        np.testing.assert_allclose(np.asarray(found["w"]), np.asarray(wanted["w"]), rtol=1e-12)


def test_the_first_step_may_be_left_out() -> None:
    """Then the state is that before a first step."""
    w = [np.ones(3)]
    optimizer = optim.Adam(w, lr=0.1)
    optimizer.step([np.full(3, 7.0)], only_if=np.asarray(False))
    assert w[0].tolist() == [1, 1, 1]
    optimizer.step([np.full(3, 2.0)], only_if=np.asarray(True))
    other = [np.ones(3)]
    optim.Adam(other, lr=0.1).step([np.full(3, 2.0)])
    np.testing.assert_array_equal(w[0], other[0])


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_what_is_not_finite_is_shown_and_gives_no_warning(bad: float, recwarn: Any) -> None:
    scaler, w = optim.GradScaler(), np.ones(2, np.float32)
    grads, finite = scaler.unscale({"w": np.asarray([bad, 2.0**16], np.float32), "v": None})
    assert not finite
    np.testing.assert_array_equal(grads["w"], [bad, 1])
    assert grads["v"] is None
    optim.Adam({"w": w}).step(grads, only_if=finite)
    scaler.update(finite)
    assert w.tolist() == [1, 1]
    assert scaler.get_scale() == 2.0**15
    assert not recwarn.list


@pytest.mark.parametrize("finite", [True, False])
def test_the_scale_stays_a_number_that_can_be_divided_by(xp: Any, finite: bool) -> None:
    """However often it rises or falls, a gradient of ones comes back as it went in."""
    scaler = optim.GradScaler(growth_interval=1)
    for _ in range(300):
        scaler.update(xp.asarray(finite))
    assert scaler.get_scale() == (2.0**126 if finite else 2.0**-126)
    ones = xp.ones(2, dtype=xp.float32)
    grads, usable = scaler.unscale([scaler.scale(ones)])
    assert bool(usable)
    np.testing.assert_array_equal(np.asarray(grads[0]), [1, 1])


def test_an_overflow_of_the_division_is_not_finite_either() -> None:
    """A finite gradient may be too large for a scale below 1."""
    scaler = optim.GradScaler(2.0**-20)
    with np.errstate(over="ignore"):
        _, finite = scaler.unscale([np.asarray([1e38], np.float32)])
    assert not finite


def test_half_precision_gradients_are_unscaled_in_float32() -> None:
    scaler = optim.GradScaler(2.0**16)
    grads, finite = scaler.unscale([np.asarray([6e-8], np.float16)])
    assert bool(finite)
    assert grads[0].dtype == np.float32
    np.testing.assert_allclose(grads[0], np.float32(np.float16(6e-8)) / 2**16)


def train(step: Any, model: Any, x: Any, count: int = 12) -> list[float]:
    return [float(step(model, x)) for _ in range(count)]


def scaled_step(optimizer: Any, scaler: Any) -> Any:
    def step(model: Any, x: Any) -> Any:
        def scaled(m: Any) -> Any:
            value = loss(m, x)
            return scaler.scale(value), value

        with bp.precision("fp16"):
            (_, value), grads = bp.value_and_grad(scaled, has_aux=True)(model)
        grads, finite = scaler.unscale(grads)
        optimizer.step(grads, only_if=finite)
        scaler.update(finite)
        return value

    return step


def made() -> tuple[Any, Any, Any, np.ndarray]:
    model = Net("float32")
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("f4")
    return model, optim.Adam(model, lr=0.05), optim.GradScaler(2.0**19, growth_interval=4), x


def test_compiled_steps_are_bit_for_bit_the_same() -> None:
    """The first steps overflow, the scale falls, and later ones train."""
    (one, o1, s1, x), (two, o2, s2, _) = made(), made()
    with np.errstate(invalid="ignore"):
        values = train(scaled_step(o1, s1), one, x)
        assert train(bp.compile(scaled_step(o2, s2)), two, x) == values
    assert values[0] == values[1] > values[-1]
    assert s1.get_scale() == s2.get_scale() < 2.0**19
    for path, p in one.parameters().items():
        np.testing.assert_array_equal(p, two.parameters()[path])


def test_nothing_waits_for_a_value() -> None:
    model, optimizer, _, x = made()
    step = scaled_step(optimizer, optim.GradScaler(4.0))
    step(model, x)  # makes the state
    capture_lint(step, model, x)


def test_the_pure_form_compiles_and_changes_nothing() -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    optimizer, scaler = optim.Adam([np.ones(2)], lr=0.1), optim.GradScaler(8.0, growth_interval=2)

    @jax.jit
    def step(params: Any, state: Any, scaling: Any, g: Any) -> Any:
        grads = [g * scaling["scale"]]
        grads, finite = scaler.unscale(grads, scaling)
        params, state = optimizer.update(grads, state, params, only_if=finite)
        return params, state, scaler.update(finite, scaling)

    params = [jnp.ones(2, dtype=jnp.float32)]
    state, scaling = optimizer.init(params), scaler.init(params[0])
    scales = []
    for g in (jnp.asarray([1.0, jnp.inf]), jnp.ones(2), jnp.ones(2), jnp.ones(2)):
        before = params[0]
        params, state, scaling = step(params, state, scaling, g)
        scales.append(float(scaling["scale"]))
        assert bool(jnp.all(params[0] == before)) == bool(jnp.isinf(g[1]))
    assert scales == [4, 4, 8, 8]
    assert scaler.get_scale() == 8
    assert type(scaler.state["scale"]) is np.ndarray


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_torch_compiles_the_pure_form_whole(name: str) -> None:
    optimizer, scaler = optim.Adam({"w": torch.ones(3, 2)}, lr=0.1), optim.GradScaler(8.0)

    def step(params: Any, state: Any, scaling: Any, x: Any) -> Any:
        def scaled(p: Any) -> Any:
            return scaler.scale((bp.functional.linear(x, p["w"]) ** 2).sum(), scaling)

        grads, finite = scaler.unscale(bp.grad(scaled)(params), scaling)
        params, state = optimizer.update(grads, state, params, only_if=finite)
        return params["w"], scaler.update(finite, scaling)["scale"]

    params, bad = {"w": torch.ones(3, 2)}, torch.full((4, 2), np.inf)
    given = params, optimizer.init(params), scaler.init(params["w"])
    with bp.precision(name):
        compiled = torch.compile(step, fullgraph=True, backend="eager")
        for x, scale in ((torch.ones(4, 2), 8.0), (bad, 4.0)):
            found, wanted = compiled(*given, x), step(*given, x)
            assert torch.equal(found[0], wanted[0])
            assert found[1] == wanted[1] == scale
    assert torch.equal(found[0], params["w"])


def test_a_saved_scaler_goes_on(tmp_path: Any) -> None:
    one, two = optim.GradScaler(growth_interval=3), optim.GradScaler(growth_interval=3)
    for finite in (False, True, True):
        one.update(np.asarray(finite))
    bp.save(tmp_path / "scaler.safetensors", scaler=one)
    bp.load(tmp_path / "scaler.safetensors", scaler=two)
    for scaler in (one, two):
        scaler.update(np.asarray(True))
        assert scaler.get_scale() == 2.0**16
    theirs = torch.amp.GradScaler("cpu", init_scale=32.0)
    theirs.scale(torch.zeros(()))
    two.load_state_dict(theirs.state_dict())
    assert two.get_scale() == 32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"init_scale": 0.0}, "init_scale"),
        ({"init_scale": "cuda"}, "init_scale must be a number"),
        ({"init_scale": float("inf")}, "init_scale"),
        ({"growth_factor": 1.0}, "growth_factor"),
        ({"backoff_factor": 1.0}, "backoff_factor"),
        ({"backoff_factor": 0.0}, "backoff_factor"),
        ({"growth_interval": 0}, "growth_interval"),
    ],
    ids=str,
)
def test_bad_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        optim.GradScaler(**options)


def test_bad_input_is_named() -> None:
    scaler = optim.GradScaler()
    for habit in (scaler.step, scaler.unscale_):
        with pytest.raises(TypeError, match=r"optimizer.step\(grads, only_if=finite\)"):
            habit(optim.SGD([np.ones(2)], lr=0.1))
    with pytest.raises(ValueError, match="no array among the gradients"):
        scaler.unscale({"w": None})
    with pytest.raises(bp.errors.DtypeError, match="floating gradients, got dtype int64"):
        scaler.unscale([np.ones(2, np.int64)])
    with pytest.raises(bp.errors.ShapeError, match=r"Adam.step: only_if must be.*\(2,\)"):
        optim.Adam([np.ones(2)]).step([np.ones(2)], only_if=np.asarray([True, False]))
    for wrong, came in ((True, "bool"), (np.ones(()), "float64")):
        with pytest.raises(TypeError, match=f"only_if must be a 0-d array of bool, got {came}"):
            optim.Adam([np.ones(2)]).step([np.ones(2)], only_if=wrong)
    with pytest.raises(ValueError, match="expected a dict with 'scale'"):
        scaler.load_state_dict({"scale": 1.0})
