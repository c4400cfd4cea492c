"""Bad options, parameters and gradients: what was expected and what came, before anything has changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import optim

OPTIONS: list[tuple[str, dict[str, Any], str]] = [
    *[
        (name, {"lr": -0.1}, f"{name}: expected lr >= 0, got -0.1")
        for name in (
            "SGD",
            "Adam",
            "AdamW",
            "Adamax",
            "NAdam",
            "RAdam",
            "RMSprop",
            "Adagrad",
            "Adadelta",
            "Adafactor",
            "ASGD",
            "Rprop",
            "Muon",
            "Lion",
            "LAMB",
            "LBFGS",
        )
    ],
    ("SGD", {"lr": float("nan")}, "expected lr >= 0, got nan"),
    ("SGD", {"momentum": -0.5}, "expected momentum >= 0, got -0.5"),
    ("SGD", {"weight_decay": -1}, "expected weight_decay >= 0, got -1"),
    (
        "SGD",
        {"nesterov": True},
        "nesterov needs momentum > 0 and dampening = 0, got momentum=0, dampening=0",
    ),
    ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov needs"),
    *[
        (name, {"betas": (1.0, 0.9)}, r"expected betas\[0\] in \[0, 1\), got 1.0")
        for name in (
            "Adam",
            "AdamW",
            "Adamax",
            "NAdam",
            "RAdam",
            "Lion",
            "LAMB",
        )
    ],
    ("Adam", {"betas": (0.9, -0.1)}, r"expected betas\[1\] in \[0, 1\), got -0.1"),
    ("Adam", {"betas": 0.9}, "expected betas to be two numbers, got 0.9"),
    ("Adam", {"eps": -1e-8}, "expected eps >= 0, got -1e-08"),
    ("AdamW", {"weight_decay": -0.1}, "expected weight_decay >= 0"),
    ("NAdam", {"momentum_decay": -1}, "expected momentum_decay >= 0"),
    ("RMSprop", {"alpha": -1}, "expected alpha >= 0"),
    ("RMSprop", {"momentum": -1}, "expected momentum >= 0"),
    ("Adagrad", {"lr_decay": -1}, "expected lr_decay >= 0"),
    ("Adagrad", {"initial_accumulator_value": -1}, "expected initial_accumulator_value >= 0"),
    ("Adadelta", {"rho": 1.1}, r"expected rho in \[0, 1\], got 1.1"),
    ("Adafactor", {"beta2_decay": 0.1}, "expected beta2_decay <= 0, got 0.1"),
    ("Adafactor", {"eps": (-1.0, 1e-3)}, r"expected eps\[0\] >= 0"),
    ("Adafactor", {"eps": (None, -1e-3)}, r"expected eps\[1\] >= 0"),
    ("Adafactor", {"eps": 1e-3}, "expected eps to be two numbers"),
    ("Adafactor", {"d": 0.5}, "expected d >= 1, got 0.5"),
    ("ASGD", {"weight_decay": -1}, "expected weight_decay >= 0"),
    (
        "Rprop",
        {"etas": (1.0, 1.2)},
        r"expected etas with 0 < etas\[0\] < 1 < etas\[1\], got \(1.0, 1.2\)",
    ),
    ("Rprop", {"etas": (0.5, 1.0)}, "expected etas"),
    ("Rprop", {"step_sizes": (1.0, 0.5)}, "expected step_sizes as"),
    ("Muon", {"momentum": -1}, "expected momentum >= 0"),
    ("Muon", {"ns_steps": 100}, r"expected ns_steps in \[0, 100\), got 100"),
    ("Muon", {"ns_coefficients": (1.0, 2.0)}, "expected three ns_coefficients"),
    ("Muon", {"adjust_lr_fn": "adam"}, "adjust_lr_fn must be one of"),
    ("LBFGS", {"history_size": 0}, "expected history_size >= 1"),
    ("LBFGS", {"max_eval": 0}, "expected max_eval >= 1"),
]


@pytest.mark.parametrize(("name", "options", "text"), OPTIONS)
def test_options_out_of_range_raise_at_construction(
    name: str, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        getattr(optim, name)([np.ones((2, 2))], **options)


def test_options_of_a_group_are_checked_too() -> None:
    with pytest.raises(ValueError, match="expected lr >= 0, got -1"):
        optim.SGD([{"params": [np.ones(2)], "lr": -1}])
    with pytest.raises(
        TypeError, match=r"a group has the options \['beta'\], which SGD does not know"
    ):
        optim.SGD([{"params": [np.ones(2)], "beta": 1}])


def test_a_learning_rate_must_be_a_number() -> None:
    with pytest.raises(TypeError, match="lr must be a number, got str 'fast'"):
        optim.SGD([np.ones(2)], lr="fast")
    with pytest.raises(ValueError, match=r"lr as an array must be 0-d, got shape \(2,\)"):
        optim.SGD([np.ones(2)], lr=np.ones(2))


@pytest.mark.parametrize("option", ["foreach", "fused", "capturable", "differentiable"])
def test_torchs_switches_are_refused_with_a_reason(option: str) -> None:
    with pytest.raises(
        TypeError, match=f"AdamW: the option '{option}' does not exist here: .* Leave it out"
    ):
        optim.AdamW([np.ones(2)], **{option: True})
    with pytest.raises(TypeError, match=f"the option '{option}' does not exist here"):
        optim.AdamW([{"params": [np.ones(2)], option: True}])


PARAMETERS: list[tuple[Any, type[Exception], str]] = [
    ([], ValueError, "SGD: there are no parameters to train; pass a Module"),
    ({}, ValueError, "there are no parameters"),
    (iter(()), ValueError, "there are no parameters"),
    ({"a": None, "b": "relu"}, ValueError, "there are no parameters"),
    (
        {"w": np.ones(2), "n": np.arange(3)},
        TypeError,
        "parameter 'n' has dtype int64, and only floating arrays can be trained",
    ),
    ({"w": np.asarray([True])}, TypeError, "parameter 'w' has dtype bool"),
    (
        {"w": 1.5},
        TypeError,
        "parameter 'w' is the Python number 1.5, which cannot be updated; make it an array",
    ),
    (3.0, TypeError, "the parameter is the Python number 3.0"),
    ({"a.b": np.ones(1), "a": {"b": np.ones(1)}}, ValueError, "two parameters have the path 'a.b'"),
    (
        [{"params": "*.bias"}],
        TypeError,
        r"need one Module or tree to look in, got 0; write SGD\(model, groups=\[\{'params': '\*.bias', ...\}\]\)",
    ),
]


@pytest.mark.parametrize(("params", "error", "text"), PARAMETERS)
def test_what_cannot_be_trained_is_named(params: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        optim.SGD(params)


def test_one_array_at_two_places_is_refused() -> None:
    w = np.ones(2)
    with pytest.raises(
        ValueError, match="the same array stands at 'a' and at 'b', and would be updated twice"
    ):
        optim.SGD({"a": w, "b": w})
    with pytest.raises(ValueError, match=r"the same array stands at '0.0' and at '1.0'"):
        optim.SGD([{"params": [w]}, {"params": [w]}])


def test_a_tensor_of_torchs_autograd_is_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"requires a gradient of torch.*pass p\.detach"):
        optim.SGD([torch.ones(2, requires_grad=True)])


def test_optimizers_of_real_numbers_refuse_complex_ones() -> None:
    for name in ("Adafactor", "Muon"):
        with pytest.raises(TypeError, match=f"{name} is defined for real numbers only"):
            getattr(optim, name)([np.ones((2, 2)) + 0j])


def test_muon_takes_matrices_only() -> None:
    with pytest.raises(
        ValueError, match=r"parameter 'b' has shape \(2,\), and Muon trains matrices only"
    ):
        optim.Muon({"w": np.ones((2, 2)), "b": np.ones(2)})
    optimizer = optim.Muon([{"params": [np.ones((2, 2))]}])
    with pytest.raises(ValueError, match="Muon trains matrices only"):
        optimizer.add_param_group({"params": [np.ones(2)]})
    with pytest.raises(ValueError, match="Muon trains matrices only"):
        optim.Muon([np.ones((2, 2))]).init([np.ones(2)])


def test_patterns_that_take_nothing_are_named() -> None:
    tree = {"w": np.ones(2), "b": np.ones(2)}
    with pytest.raises(
        ValueError, match=r"the group '\*.bias' takes no parameter.*The parameters are: 'w', 'b'"
    ):
        optim.SGD(tree, groups=[{"params": "*.bias"}])
    with pytest.raises(ValueError, match="only such as an earlier group has taken"):
        optim.SGD(tree, groups=[{"params": "*"}, {"params": "b"}])
    with pytest.raises(ValueError, match=r"under 'params'; got \['lr'\]"):
        optim.SGD(tree, groups=[{"lr": 0.1}])
    with pytest.raises(ValueError, match="groups were given twice"):
        optim.SGD([{"params": tree}], groups=[{"params": "w"}])


def params() -> dict[str, np.ndarray]:
    return {"first.weight": np.ones((2, 3)), "first.bias": np.ones(3)}


GRADIENTS: list[tuple[Any, type[Exception], str]] = [
    (
        {"first.bias": np.ones(4)},
        ValueError,
        r"SGD.step: the gradient of 'first.bias' has shape \(4,\), but the parameter has \(3,\)",
    ),
    ({"first.bias": np.ones(())}, ValueError, r"has shape \(\), but the parameter has \(3,\)"),
    (
        {"first.weights": np.ones((2, 3))},
        ValueError,
        "for 'first.weights', which is no parameter of this optimizer; did you mean 'first.weight'",
    ),
    ({"z": np.ones(3)}, ValueError, "Its parameters are 'first.weight', 'first.bias'"),
    ({"z": 0.5}, ValueError, "a gradient for 'z', which is no parameter"),
    (
        {"first.bias": 0.5},
        TypeError,
        "the gradient of 'first.bias' is a float, expected an array or None",
    ),
    ({"first.bias": np.arange(3)}, TypeError, "has dtype int64, but the parameter has float64"),
    (
        {"first.bias": np.ones(3) + 0j},
        TypeError,
        "has dtype complex128, but the parameter has float64",
    ),
    (
        {"first.bias": np.ones(3), "first": {"bias": np.ones(3)}},
        ValueError,
        "there are two gradients for 'first.bias'",
    ),
    (None, TypeError, "expected gradients, got None. Here gradients are values"),
    (lambda: None, TypeError, "expected gradients, got the function '<lambda>'"),
]


@pytest.mark.parametrize(("spoiled", "error", "text"), GRADIENTS)
def test_a_gradient_that_does_not_fit_changes_nothing(
    spoiled: Any, error: type[Exception], text: str
) -> None:
    tree = params()
    optimizer = optim.SGD(tree, momentum=0.9)
    good = {"first.weight": np.ones((2, 3))}
    with pytest.raises(error, match=text):
        optimizer.step({**good, **spoiled} if isinstance(spoiled, dict) else spoiled)
    assert all(np.all(p == 1) for p in tree.values())
    assert optimizer.state == {}


@pytest.mark.parametrize(("spoiled", "error", "text"), GRADIENTS[:8])
def test_the_pure_form_checks_gradients_too(
    spoiled: Any, error: type[Exception], text: str
) -> None:
    tree = params()
    optimizer = optim.SGD(tree)
    with pytest.raises(error, match=text.replace("SGD.step", "SGD.update")):
        optimizer.update(spoiled, optimizer.init(tree), tree)


def test_step_without_gradients_shows_the_form() -> None:
    with pytest.raises(
        TypeError, match=r"value, grads = bpgpu.value_and_grad\(loss\)\(model, x, y\)"
    ):
        optim.SGD([np.ones(2)]).step()


def test_a_habit_of_torch_shows_the_form() -> None:
    with pytest.raises(TypeError, match=r"SGD\.zero_grad: there is nothing to reset"):
        optim.SGD([np.ones(2)]).zero_grad()


def test_the_parameters_themselves_are_no_gradients() -> None:
    tree = params()
    with pytest.raises(
        ValueError, match=r"the gradient of 'first\.weight' is the parameter itself"
    ):
        optim.SGD(tree).step(tree)
    model = bp.nn.Module()
    model.w = bp.nn.Parameter(np.ones(2))
    with pytest.raises(
        TypeError,
        match="expected gradients, got a Module; the gradient of a Module is a dict by path",
    ):
        optim.SGD(model).step(model)


def test_gradients_of_another_library_are_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(
        TypeError,
        match="the gradient of 'w' is an array of torch, but the parameter is one of numpy",
    ):
        optim.SGD({"w": np.ones(2)}).step({"w": torch.ones(2, dtype=torch.float64)})


def test_stepping_inside_a_gradient_is_refused() -> None:
    w = {"w": np.ones(2)}
    optimizer = optim.SGD(w)

    def loss(g: Any) -> Any:
        optimizer.step({"w": g})
        return bp.array_namespace(g).sum(g)

    with pytest.raises(ValueError, match=r"is being traced; step after.*or use the pure form"):
        bp.grad(loss)(np.ones(2))
    assert w["w"].tolist() == [1, 1]


def test_gradients_of_other_precision_are_cast() -> None:
    w = {"w": np.ones(2, np.float32), "v": np.ones(2)}
    optim.SGD(w, lr=0.5).step({"w": np.ones(2), "v": np.ones(2, np.float32)})
    assert w["w"].dtype == np.float32
    assert w["w"].tolist() == [0.5, 0.5] == w["v"].tolist()
