"""`check`: a model is looked over on one batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import nn

R = np.random.default_rng(0)
X = R.normal(size=(16, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


def net(activation: Any) -> Any:
    bp.seed(0)
    return nn.Sequential(nn.Linear(3, 8), activation, nn.Linear(8, 2))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_sound_model_has_nothing_to_look_at():
    model = net(nn.Tanh())
    before = {k: np.array(v) for k, v in model.state_dict().items()}
    report = bp.check(model, (X, Y))
    assert report.ok, report.problems
    assert report.gradient_error < 1e-6
    assert report.losses is not None
    assert report.losses[1] < 0.5 * report.losses[0]
    text = str(report)
    words = ["Linear", "arrays:      weights: numpy float32 on cpu", "largest relative error"]
    for word in [*words, "one batch:", "saturated:   '1'", "nothing to look at"]:
        assert word in text
    for k, v in model.state_dict().items():
        np.testing.assert_array_equal(v, before[k])
    assert model.training


def test_dead_units_are_counted():
    model = net(nn.ReLU())
    model[0].bias[:6] = -100
    report = bp.check(model, (X, Y))
    assert report.dead["1"] == (6, 8)
    assert "'1': 6 of 8 units are zero for the whole batch" in report.problems


def test_saturated_values_are_counted():
    model = net(nn.Sigmoid())
    model[0].weight[...] *= 1000
    report = bp.check(model, (X, Y))
    assert report.saturated["1"] > 0.9
    assert any("saturated" in p for p in report.problems)


class Wrong(nn.Module):
    def forward(self, x: Any) -> Any:
        @bp.custom_vjp
        def f(x: Any) -> Any:
            return x * x

        f.defvjp(lambda x: (x * x, x), lambda x, ct: (ct * 2.01 * x,))
        return f(x)


def test_a_wrong_derivative_is_found():
    report = bp.check(net(Wrong()), (X, Y))
    assert report.gradient_error > 1e-3
    assert any("differs from a difference quotient" in p for p in report.problems)


class Idle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: Any) -> Any:
        return self.used(x)


def test_parameters_without_a_gradient_are_named():
    assert any("'idle.weight' gets no gradient" in p for p in bp.check(Idle(), (X, Y)).problems)


def test_a_model_without_parameters_that_train_is_told():
    frozen = net(nn.ReLU())
    frozen.freeze()
    for model in (nn.Sequential(nn.ReLU()), frozen):
        report = bp.check(model, (X, Y) if model is frozen else X)
        assert "the model has no parameters that train" in report.problems
        assert report.gradient_error is None
        assert "gradient:" not in str(report)


def test_a_target_of_another_shape_than_the_output_is_told():
    model = nn.Sequential(nn.Linear(3, 1))
    with pytest.warns(UserWarning, match="mse_loss: the input has shape"):
        problems = bp.check(model, (X, X[:, 0])).problems
    assert any(f"output has shape ({len(X)}, 1) and the target ({len(X)},)" in p for p in problems)
    assert not any("the target" in p for p in bp.check(model, [X, X[:, :1]]).problems)


def test_a_batch_without_rows_is_told():
    with pytest.raises(bp.errors.ArgumentError, match=r"no rows: x has shape \(0, 3\)"):
        bp.check(net(nn.Tanh()), (X[:0], Y[:0]))


def test_a_batch_that_cannot_be_learned_is_told():
    report = bp.check(net(nn.Tanh()), (X, Y), steps=1, lr=1e-9)
    assert any("should fall by half" in p for p in report.problems)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_that_are_not_finite_are_told_with_the_layer():
    model = net(nn.Tanh())
    model[0].weight[0, 0] = np.nan
    assert any("the output of '0' has NaN" in p for p in bp.check(model, (X, Y), steps=2).problems)


def test_inputs_alone_are_enough():
    report = bp.check(net(nn.Tanh()), X)
    assert report.losses is None
    assert report.gradient_error < 1e-6


def test_what_is_no_model_or_batch_is_told():
    with pytest.raises(bp.errors.ArgumentError, match=r"expected a bpgpu.nn.Module as model"):
        bp.check(3, X)
    with pytest.raises(bp.errors.ArgumentError, match=r"expected batch as \(x, y\) or x"):
        bp.check(net(nn.Tanh()), "x")
    with pytest.raises(bp.errors.ShapeError, match="Linear '0'"):
        bp.check(net(nn.Tanh()), (X[:, :2], Y))
