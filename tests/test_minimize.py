"""`minimize`: whole trees and Modules handed to SciPy."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest

import bpgpu as bp
from bpgpu import minimizing
from bpgpu.minimizing import METHODS

scipy_optimize = pytest.importorskip("scipy.optimize")
PAGE = Path(__file__).parents[1] / "docs" / "minimize.md"


def rosenbrock(p: Any) -> Any:
    return 100 * (p["y"] - p["x"] ** 2) ** 2 + (1 - p["x"]) ** 2


START = {"x": np.asarray(-1.2), "y": np.asarray(1.0)}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_minimum(method):
    if method == "dogleg":  # which needs a Hessian that is positive definite
        result = bp.minimize(
            lambda p: p["x"] ** 2 + (p["y"] - 1) ** 4 + p["y"] ** 2, START, method=method
        )
        np.testing.assert_allclose(result.jac, 0, atol=1e-4)
        return
    options = {"maxfun": 5000} if method == "TNC" else {"maxiter": 5000}
    tol = 1e-5 if method == "trust-krylov" else 1e-9  # which divides by zero in the end
    result = bp.minimize(rosenbrock, START, method=method, tol=tol, options=options)
    rtol = 0.02 if method == "COBYLA" else 1e-3
    np.testing.assert_allclose([result.params["x"], result.params["y"]], 1, rtol=rtol)


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "Newton-CG", "trust-ncg", "trust-exact"])
def test_scipy_on_hand_written_derivatives_takes_the_same_steps(method):
    kwargs: dict[str, Any] = {}
    if method in ("Newton-CG", "trust-ncg"):
        kwargs["hessp"] = scipy_optimize.rosen_hess_prod
    if method == "trust-exact":
        kwargs["hess"] = scipy_optimize.rosen_hess
    start = np.asarray([-1.2, 1.0, 0.7])
    want = scipy_optimize.minimize(
        scipy_optimize.rosen, start, jac=scipy_optimize.rosen_der, method=method, **kwargs
    )

    def rosen(x: Any) -> Any:
        return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    got = bp.minimize(rosen, start, method=method)
    assert abs(got.nit - want.nit) <= 1
    np.testing.assert_allclose(got.params, want.x, atol=1e-5)


def test_names_of_methods_are_taken_in_any_case():
    assert bp.minimize(rosenbrock, START, method="bfgs").success


def test_arrays_keep_library_dtype_and_device(xp):
    given = {
        "a": xp.asarray([3.0, 4.0], dtype=xp.float32),
        "b": [xp.asarray(2.0, dtype=xp.float64), None],
        "n": "name",
    }

    def loss(p: Any) -> Any:
        ns = bp.array_namespace(p["a"])
        return ns.sum(ns.astype(p["a"], ns.float64) ** 2) + (p["b"][0] - 1) ** 2

    result = bp.minimize(loss, given)
    assert result.params["a"].dtype == xp.float32
    assert result.params["b"][0].dtype == xp.float64
    assert result.params["b"][1] is None
    assert result.params["n"] == "name"
    np.testing.assert_allclose(bp.to_numpy(result.params["a"]), 0, atol=1e-4)
    np.testing.assert_allclose(bp.to_numpy(given["a"]), [3, 4])  # not written over


def test_arrays_stay_on_a_second_device():
    there = array_api_strict.Device("device1")
    p = array_api_strict.asarray([3.0], device=there)
    result = bp.minimize(lambda p: bp.array_namespace(p).sum(p**2), p)
    assert result.params.device == there


def test_python_floats_come_back_as_floats():
    result = bp.minimize(lambda p: (p["a"] - 1) ** 2, {"a": 4.0})
    assert type(result.params["a"]) is float
    assert result.params["a"] == pytest.approx(1)


def net() -> Any:
    bp.seed(0)
    return bp.nn.Sequential(bp.nn.Linear(2, 5), bp.nn.Tanh(), bp.nn.Linear(5, 1)).to(
        dtype="float64"
    )


X = np.random.default_rng(0).normal(size=(40, 2))
Y = np.sin(X[:, :1]) * X[:, 1:]


def mse(model: Any, x: Any, y: Any) -> Any:
    return bp.functional.mse_loss(model(x), y)


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg"])
def test_a_module_is_trained_in_place(method):
    model = net()
    before = float(mse(model, X, Y))
    weight = model[0].weight
    result = bp.minimize(mse, model, (X, Y), method=method, options={"maxiter": 50})
    assert result.params is model
    assert model[0].weight is weight
    assert float(mse(model, X, Y)) == pytest.approx(result.fun)
    assert result.fun < before / 10


def test_frozen_parameters_stay():
    model = net().freeze("0")
    frozen = model[0].weight.copy()
    bp.minimize(mse, model, (X, Y), options={"maxiter": 5})
    np.testing.assert_array_equal(model[0].weight, frozen)


def test_modules_and_arrays_in_one_tree():
    model, scale = net(), np.asarray(0.5)

    def loss(p: Any, x: Any, y: Any) -> Any:
        return bp.functional.mse_loss(p["net"](x) * p["scale"], y)

    result = bp.minimize(loss, {"net": model, "scale": scale}, (X, Y), options={"maxiter": 20})
    assert result.params["net"] is model
    assert float(scale) == 0.5
    assert result.params["scale"] != 0.5


def test_the_product_of_ones_own_is_used():
    asked = []

    def product(p: Any, v: Any, *args: Any) -> Any:
        asked.append(args)
        return bp.hvp(lambda p: mse(p, *args), (p,), (v,))[0]

    model, other = net(), net()
    bp.minimize(mse, model, (X, Y), method="trust-ncg", hvp=product, options={"maxiter": 5})
    bp.minimize(mse, other, (X, Y), method="trust-ncg", options={"maxiter": 5})
    assert len(asked) > 3
    np.testing.assert_array_equal(model[0].weight, other[0].weight)


def test_state_is_that_of_before_and_dropout_draws_one_mask():
    bp.seed(1)
    model = bp.nn.Sequential(
        bp.nn.Linear(2, 6), bp.nn.BatchNorm1d(6), bp.nn.Dropout(), bp.nn.Linear(6, 1)
    )
    model.to(dtype="float64")
    state = {k: np.array(v) for k, v in model.buffers().items()}
    result = bp.minimize(mse, model, (X, Y), method="L-BFGS-B", options={"maxiter": 30})
    assert not np.isnan(result.fun)
    for name, value in model.buffers().items():
        np.testing.assert_array_equal(value, state[name])
    assert float(mse(model, X, Y)) == pytest.approx(result.fun)


# ---- bounds


@pytest.mark.parametrize(
    "bounds",
    [
        (None, 0.5),
        (None, {"x": 0.5, "y": None}),
        {"x": (None, 0.5)},
        {"x": (np.asarray(-9.0), 0.5), "y": None},
    ],
)
@pytest.mark.parametrize("method", ["L-BFGS-B", "TNC", "SLSQP", "trust-constr"])
def test_bounds_hold(bounds, method):
    result = bp.minimize(rosenbrock, START, method=method, bounds=bounds)
    assert result.params["x"] <= 0.5 + 1e-6
    assert result.params["x"] == pytest.approx(0.5, abs=1e-2)


def test_bounds_of_a_module_go_by_path():
    model = net()
    bp.minimize(mse, model, (X, Y), bounds={"0.weight": (-0.1, 0.1)}, options={"maxiter": 20})
    assert np.max(np.abs(model[0].weight)) <= 0.1
    assert np.max(np.abs(model[2].weight)) > 0.1


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ((1, 0), "a lower bound of 'x' is not below its upper bound"),
        ((0,), r"bounds as a tuple are \(low, high\), got 1 entries"),
        ({"z": (0, 1)}, r"bounds name \['z'\], which params do not have"),
        ({"x": 3}, r"bounds of 'x': expected a pair \(low, high\) or None, got 3"),
        (3, r"expected a tuple \(low, high\) or a tree"),
        ({"x": [(0, 1), (0, 1)]}, r"bounds of 'x': expected 1 pairs .* shape \(\)"),
        (
            ({"x": np.zeros(2), "y": 0.0}, None),
            r"a bound of 'x' has shape \(2,\), the parameter has shape \(\)",
        ),
    ],
)
def test_bounds_that_do_not_fit_are_told(bounds, text):
    with pytest.raises(bp.errors.BpgpuError, match=text):
        bp.minimize(rosenbrock, START, bounds=bounds)


def test_bounds_in_the_forms_of_scipy():
    def loss(p: Any) -> Any:
        return np.sum((p - 9) ** 2)

    start = np.zeros((2, 1))
    for bounds in (
        [(0, 2), (None, 3)],
        scipy_optimize.Bounds([0, -np.inf], [2, 3]),
        ([[0], [-np.inf]], np.asarray([[2], [3]])),
    ):
        found = bp.minimize(loss, start, bounds=bounds).params
        np.testing.assert_allclose(found, [[2], [3]])
    tree = bp.minimize(lambda p: loss(p["a"]), {"a": start}, bounds={"a": [(0, 2), (None, 3)]})
    np.testing.assert_allclose(tree.params["a"], [[2], [3]])


# ---- constraints, losses without a derivative


@pytest.mark.parametrize("method", [None, "SLSQP", "trust-constr", "COBYLA", "COBYQA"])
def test_constraints_hold(method):
    def loss(p: Any) -> Any:
        return np.sum(p["a"] ** 2) + p["b"] ** 2

    for constraints in (
        {"type": "ineq", "fun": lambda p, total: np.sum(p["a"]) + p["b"] - total, "args": (3,)},
        scipy_optimize.NonlinearConstraint(lambda p: np.sum(p["a"]) + p["b"], 3, np.inf),
        [scipy_optimize.LinearConstraint([[1, 1, 1]], 3, np.inf)],
    ):
        start = {"a": np.asarray([2.0, 1.0]), "b": 4.0}
        result = bp.minimize(loss, start, method=method, constraints=constraints, tol=1e-8)
        np.testing.assert_allclose([*result.params["a"], result.params["b"]], 1, atol=1e-3)


def test_derivatives_of_constraints_are_exact():
    seen = []

    def limit(p: Any) -> Any:
        return np.stack([p["x"] ** 2 - p["y"], p["y"] ** 3])

    def wanted(x: Any) -> Any:
        return [[2 * x[0], -1], [0, 3 * x[1] ** 2]]

    problem = minimizing.Problem(rosenbrock, START, (), None)
    values, jacobian, product = problem.constraint(limit)
    for x in (np.asarray([1.0, 2.0]), np.asarray([-0.5, 0.3])):
        seen.append(values(x))
        np.testing.assert_allclose(jacobian(x), wanted(x))
    np.testing.assert_allclose(seen[0], [-1, 8])
    np.testing.assert_allclose(product(x, np.asarray([3.0, 2.0]), np.asarray([1.0, 10.0])), [6, 36])


def test_a_module_is_constrained():
    model = bp.nn.Linear(1, 1).to(dtype="float64")
    bp.minimize(
        lambda m: bp.functional.mse_loss(m(X[:, :1]), 5 * X[:, :1] + 1),
        model,
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda m: 2 - m.weight[0, 0]},
    )
    np.testing.assert_allclose(model.weight, [[2]], rtol=1e-6)


@pytest.mark.parametrize("method", ["Nelder-Mead", "Powell"])
def test_a_loss_without_a_derivative_is_minimized(method):
    result = bp.minimize(
        lambda p: np.abs(np.floor(100 * p["x"]) - 40), {"x": np.asarray(0.9)}, method=method
    )
    assert 0.4 <= result.params["x"] < 0.41
    with pytest.raises(bp.errors.ShapeError, match=r"must return a scalar, got shape \(2,\)"):
        bp.minimize(lambda p: p, np.ones(2), method=method)


# ---- callback, errors


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "trust-constr", "Newton-CG"])
def test_a_callback_sees_the_parameters_and_may_stop(method):
    seen = []

    def callback(p: Any) -> None:
        seen.append(p)
        if len(seen) == 3:
            raise StopIteration

    bp.minimize(rosenbrock, START, method=method, callback=callback)
    assert len(seen) == 3
    assert set(seen[0]) == {"x", "y"}


def test_an_error_leaves_the_module_as_it_was():
    model, calls = net(), []
    before = {k: np.array(v) for k, v in model.parameters().items()}

    def failing(m: Any, x: Any, y: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("power cut")
        return mse(m, x, y)

    with pytest.raises(RuntimeError, match="power cut"):
        bp.minimize(failing, model, (X, Y))
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize(
    ("loss", "params", "error", "text"),
    [
        (lambda p: p, np.asarray([1.0]), bp.errors.ShapeError, "must return a scalar"),
        (
            lambda p: np.sum(p),
            np.asarray([1, 2]),
            bp.errors.DtypeError,
            "params is int64, which has no gradient",
        ),
        (lambda p: p["n"] * 1.0, {"n": 3}, bp.errors.DtypeError, "'n' in params is a Python int"),
        (lambda p: abs(p), np.asarray(1j), bp.errors.DtypeError, "params is complex"),
        (
            lambda p: np.log(p),
            np.asarray(-1.0),
            bp.errors.NonFiniteError,
            "the loss is nan at the start",
        ),
        (
            lambda p: np.sqrt(p),
            np.asarray(0.0),
            bp.errors.NonFiniteError,
            "the gradient is not finite at the start",
        ),
        (
            lambda p: 1 / p,
            np.asarray(0.0),
            bp.errors.NonFiniteError,
            "the loss is inf at the start",
        ),
        (lambda p: 1.0, {}, bp.errors.ArgumentError, "there is no array in params"),
        (lambda p: np.sum(p), np.zeros((0, 2)), bp.errors.ArgumentError, "no number in params"),
        (3, np.asarray(1.0), bp.errors.ArgumentError, "minimize"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_cannot_be_minimized_is_told(loss, params, error, text):
    with pytest.raises(error, match=text):
        bp.minimize(loss, params)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_becomes_nan_is_told_with_the_evaluation():
    def loss(p: Any) -> Any:
        return np.where(p < 0.5, np.nan, 1.0) * p

    with pytest.raises(
        bp.errors.NonFiniteError, match=r"the loss is nan at evaluation \d+; set bounds"
    ):
        bp.minimize(loss, np.asarray(1.0))


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"method": "adam"}, "there is no method 'adam'; there are CG, BFGS"),
        ({"method": 3}, "there is no method 3"),
        (
            {"constraints": {"type": "eq", "fun": lambda p: p["x"]}},
            "L-BFGS-B takes no constraints; those that do are SLSQP, trust-constr, COBYLA, COBYQA",
        ),
        (
            {"method": "SLSQP", "constraints": {"type": "le", "fun": lambda p: p["x"]}},
            r"constraints: expected \{'type': 'eq' or 'ineq', 'fun'",
        ),
        ({"method": "SLSQP", "constraints": [3]}, "expected dicts .* got 3"),
        ({"method": "BFGS", "bounds": (0, 1)}, "BFGS takes no bounds; those that do are L-BFGS-B"),
        ({"hvp": lambda p, v: v}, "L-BFGS-B uses no Hessian-vector products"),
    ],
)
def test_settings_that_do_not_fit_are_told(kwargs, text):
    with pytest.raises(bp.errors.ArgumentError, match=text):
        bp.minimize(rosenbrock, START, **kwargs)


def test_without_scipy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(bp.errors.MissingPackageError, match=r'pip install "bpgpu\[scipy\]"'):
        bp.minimize(rosenbrock, START)


def test_the_examples_of_the_page_run():
    names: dict[str, Any] = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
