"""L-BFGS walks the path of torch's, and says what it cannot do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import bpgpu as bp
import bpgpu.optim as ours
from optim.against_torch import array, settings


def rosenbrock(p: dict[str, Any]) -> Any:
    x, y = p["x"], p["y"]
    xp = bp.array_namespace(x)
    return xp.sum((1 - x) ** 2) + 100 * xp.sum((y - x**2) ** 2)


def quartic(p: dict[str, Any]) -> Any:
    x, y = p["x"], p["y"]
    xp = bp.array_namespace(x)
    return (
        xp.sum((x - 0.5) ** 4 + 0.1 * xp.abs(x) ** 3)
        + xp.sum(xp.exp(y) - 2 * y)
        + xp.sum(x * y) * 0.3
    )


def bumpy(p: dict[str, Any]) -> Any:
    x, y = p["x"], p["y"]
    xp = bp.array_namespace(x)
    return xp.sum(xp.sin(3 * x) + 0.2 * x**2) + xp.sum(xp.cos(2 * y) + 0.1 * y**2)


def as_torch(f: Callable[..., Any]) -> Callable[..., Any]:
    def run(p: dict[str, torch.Tensor]) -> torch.Tensor:
        x, y = p["x"], p["y"]
        if f is rosenbrock:
            return ((1 - x) ** 2).sum() + 100 * ((y - x**2) ** 2).sum()
        if f is bumpy:
            return (torch.sin(3 * x) + 0.2 * x**2).sum() + (torch.cos(2 * y) + 0.1 * y**2).sum()
        return (
            ((x - 0.5) ** 4 + 0.1 * x.abs() ** 3).sum()
            + (y.exp() - 2 * y).sum()
            + (x * y).sum() * 0.3
        )

    return run


STARTS = {"x": np.asarray([[-1.2, 0.3], [0.7, 1.9]]), "y": np.asarray([[1.0, -0.5], [2.0, 0.1]])}

SETTINGS = [
    {},
    *settings(
        line_search_fn=["strong_wolfe"],
        lr=[1, 0.3],
        max_iter=[20, 5],
        history_size=[100, 2],
        max_eval=[None, 9],
    ),
    *settings(line_search_fn=[None], lr=[0.01, 0.001], max_iter=[20, 3], history_size=[100, 1]),
    {"line_search_fn": "strong_wolfe", "tolerance_grad": 1e-2},
    {"line_search_fn": "strong_wolfe", "tolerance_change": 1e-2},
    {"line_search_fn": None, "lr": 0.01, "max_iter": 1},
    {"line_search_fn": "strong_wolfe", "max_eval": 1},
]


def theirs(
    f: Callable[..., Any], options: dict[str, Any], calls: int
) -> tuple[list[np.ndarray], int]:
    tensors = {k: torch.tensor(v, requires_grad=True) for k, v in STARTS.items()}
    optimizer = torch.optim.LBFGS(list(tensors.values()), **options)
    evaluations = 0

    def closure() -> torch.Tensor:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        value = as_torch(f)(tensors)
        value.backward()
        return value

    for _ in range(calls):
        optimizer.step(closure)
    return [t.detach().numpy() for t in tensors.values()], evaluations


@pytest.mark.parametrize("f", [rosenbrock, quartic, bumpy])
@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_iterates_and_evaluations_are_those_of_torch(
    xp: Any, options: dict[str, Any], f: Callable[..., Any]
) -> None:
    if f is not rosenbrock and not options.get("line_search_fn"):
        options = {**options, "lr": 0.1}
    arrays = {k: array(xp, v) for k, v in STARTS.items()}
    optimizer = ours.LBFGS(arrays, **options)
    evaluations = 0

    def closure() -> Any:
        nonlocal evaluations
        evaluations += 1
        return bp.value_and_grad(f)(arrays)

    calls = (
        1 if f is rosenbrock else 4
    )  # its valley doubles differences of rounding from step to step
    for _ in range(calls):
        assert optimizer.step(closure) is arrays
    wanted, count = theirs(f, options, calls)
    assert evaluations == count
    for got, w in zip(arrays.values(), wanted, strict=True):
        np.testing.assert_allclose(np.asarray(got), w, rtol=1e-8, atol=1e-8)


def test_fifty_steps_stay_within_1e_10_of_torch() -> None:
    options = {"line_search_fn": "strong_wolfe", "max_iter": 1}
    arrays = {k: v.copy() for k, v in STARTS.items()}
    optimizer = ours.LBFGS(arrays, **options)
    for _ in range(50):
        optimizer.step(lambda: bp.value_and_grad(quartic)(arrays))
    wanted, _ = theirs(quartic, options, 50)
    for got, w in zip(arrays.values(), wanted, strict=True):
        np.testing.assert_allclose(got, w, rtol=0, atol=1e-10)


def test_immutable_arrays_are_read_from_params() -> None:
    jnp = pytest.importorskip("jax").numpy
    optimizer = ours.LBFGS(
        {k: jnp.asarray(v) for k, v in STARTS.items()}, line_search_fn="strong_wolfe"
    )
    new = optimizer.step(lambda: bp.value_and_grad(quartic)(optimizer.params))
    wanted, _ = theirs(quartic, {"line_search_fn": "strong_wolfe"}, 1)
    for k, w in zip(STARTS, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(new[k]), w, rtol=0, atol=1e-9)


def test_complex_parameters_count_as_pairs(xp: Any) -> None:
    z = array(xp, np.asarray([1 + 2j, -0.5 + 0.1j]))
    target = array(xp, np.asarray([0.25 - 1j, 3.0 + 0.5j]))

    def loss(z: Any) -> Any:
        ns = bp.array_namespace(z)
        return ns.sum(ns.abs(z - ns.asarray(target)) ** 2)

    optimizer = ours.LBFGS([z], line_search_fn="strong_wolfe")
    optimizer.step(lambda: bp.value_and_grad(lambda p: loss(p[0]))([z]))
    np.testing.assert_allclose(np.asarray(z), np.asarray(target), atol=1e-6)


def test_a_parameter_without_gradient_stays() -> None:
    p = {"x": np.asarray([3.0]), "y": np.asarray([5.0])}
    optimizer = ours.LBFGS(p)
    optimizer.step(lambda: (p["x"] ** 2, {"x": 2 * p["x"]}))
    assert p["y"][0] == 5
    assert abs(p["x"][0]) < 1e-6


def test_parameters_of_different_dtypes_keep_theirs() -> None:
    p = [np.asarray([3.0], dtype=np.float32), np.asarray([5.0])]
    ours.LBFGS(p).step(lambda: (float(p[0][0] ** 2 + p[1][0] ** 2), [2 * p[0], 2 * p[1]]))
    assert [x.dtype for x in p] == [np.float32, np.float64]
    assert max(abs(float(x[0])) for x in p) < 1e-5


def test_no_entries_are_no_problem() -> None:
    p = [np.zeros((0, 3))]
    assert ours.LBFGS(p).step(lambda: (0.0, [p[0] * 2])) is p


def test_an_error_in_the_closure_puts_the_parameters_back() -> None:
    p = [np.asarray([3.0, 1.0])]
    optimizer = ours.LBFGS(p, line_search_fn="strong_wolfe")
    calls = 0

    def closure() -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            assert p[0][0] != 3
            raise RuntimeError("no")
        return float(np.sum(p[0] ** 2)), [2 * p[0]]

    with pytest.raises(RuntimeError, match="no"):
        optimizer.step(closure)
    assert p[0].tolist() == [3, 1]


def test_a_saved_state_continues_the_path(xp: Any) -> None:
    options = {"line_search_fn": "strong_wolfe", "max_iter": 4}

    def run(break_after: int | None) -> list[np.ndarray]:
        arrays = {k: array(xp, v) for k, v in STARTS.items()}
        optimizer = ours.LBFGS(arrays, **options)
        for i in range(6):
            if i == break_after:
                state = optimizer.state_dict()
                optimizer = ours.LBFGS(arrays, **options)
                optimizer.load_state_dict(state)
            optimizer.step(lambda: bp.value_and_grad(rosenbrock)(arrays))
        return [np.asarray(x) for x in arrays.values()]

    for a, b in zip(run(None), run(3), strict=True):
        assert np.array_equal(a, b)


def test_a_state_of_torch_is_understood() -> None:
    options = {"line_search_fn": "strong_wolfe", "max_iter": 4}
    tensors = {k: torch.tensor(v, requires_grad=True) for k, v in STARTS.items()}
    other = torch.optim.LBFGS(list(tensors.values()), **options)

    def closure() -> torch.Tensor:
        other.zero_grad()
        value = as_torch(rosenbrock)(tensors)
        value.backward()
        return value

    for _ in range(3):
        other.step(closure)
    arrays = {k: t.detach().numpy().copy() for k, t in tensors.items()}
    optimizer = ours.LBFGS(arrays, **options)
    optimizer.load_state_dict(other.state_dict())
    for _ in range(3):
        other.step(closure)
        optimizer.step(lambda: bp.value_and_grad(rosenbrock)(arrays))
    for got, w in zip(arrays.values(), tensors.values(), strict=True):
        np.testing.assert_allclose(got, w.detach().numpy(), atol=1e-8)


def test_what_it_cannot_do_is_said() -> None:
    p = [np.asarray([1.0])]
    with pytest.raises(ValueError, match="one group only"):
        ours.LBFGS([{"params": p}, {"params": [np.asarray([2.0])]}])
    with pytest.raises(TypeError, match="no pure form"):
        ours.LBFGS(p).init(p)
    with pytest.raises(TypeError, match="no pure form"):
        ours.LBFGS(p).update(p, {}, p)
    with pytest.raises(TypeError, match="expected a function that returns"):
        ours.LBFGS(p).step([np.asarray([1.0])])
    with pytest.raises(TypeError, match=r"must return \(value, gradients\)"):
        ours.LBFGS(p).step(lambda: 3.0)
    with pytest.raises(ValueError, match="line_search_fn must be one of"):
        ours.LBFGS(p, line_search_fn="armijo")
    with pytest.raises(ValueError, match="lr >= 0"):
        ours.LBFGS(p, lr=-1)
