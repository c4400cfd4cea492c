"""NaN and infinity stop a training with the name of the layer and the step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import NonFiniteError
from bpgpu.functional import cross_entropy
from train.training import arrays, classes, fit_classes, fit_line, line, mlp


class Breaks(bp.nn.Module):
    """Gives NaN from its n-th training step on."""

    def __init__(self, at: int, value: float = np.nan) -> None:
        super().__init__()
        self.at, self.value, self.calls = at, value, 0

    def forward(self, x: Any) -> Any:
        if self.training:
            self.calls += 1
        return x * self.value if self.calls >= self.at else x


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_layer_and_the_step_are_named(value: float) -> None:
    model = mlp(3, 3, Breaks(7, value))
    before = model.parameters()["0.weight"]
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=r"Breaks '1'") as caught:
        fit_classes(model, epochs=4)
    assert "step" in str(caught.value)
    assert np.isfinite(np.asarray(before)).all()
    assert all(np.isfinite(x).all() for x in arrays(model).values())
    assert all(m.training for m in model.modules())


def test_the_weights_are_those_before_the_step() -> None:
    """A loss that is not finite at its fifth step changes nothing any more."""
    calls: list[int] = []
    model, other = mlp(), mlp()

    def objective(m: Any, x: Any, y: Any) -> Any:
        if m.training:
            calls.append(1)
        value = cross_entropy(m(x), y)
        return value / 0.0 if armed and len(calls) == armed + 4 else value

    class Arm(bp.train.Callback):
        def on_train_begin(self, run: Any) -> None:
            nonlocal armed
            armed = len(calls) + 1

    armed = 0
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="step 5"):
        fit_classes(model, objective=objective, callbacks=[Arm()], epochs=4)
    fit_classes(other, stop=bp.train.MaxSteps(4))
    for path, x in arrays(other).items():
        np.testing.assert_array_equal(x, arrays(model)[path])


def test_a_diverging_training_is_told() -> None:
    model = bp.nn.Linear(3, 1)
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="step"):
        fit_line(model, optimizer=bp.optim.SGD(model, lr=1e6), epochs=50)


def test_gradients_are_looked_at_if_asked() -> None:
    @bp.custom_vjp
    def hidden(x: Any) -> Any:
        return x

    hidden.defvjp(lambda x: (x, None), lambda saved, g: (g * np.float32(np.nan),))

    def objective(model: Any, x: Any, y: Any) -> Any:
        return cross_entropy(hidden(model(x)), y)

    with pytest.raises(NonFiniteError, match="gradient"):
        fit_classes(objective=objective, check_finite="steps")


def test_the_check_can_be_turned_off() -> None:
    result = fit_classes(mlp(3, 3, Breaks(3)), epochs=2, check_finite=False)
    assert np.isnan(result.history["loss"][-1])


def test_nan_in_the_data_can_be_let_through() -> None:
    x, y = classes()
    x = x.copy()
    x[3] = np.nan
    objective = lambda m, x, y: cross_entropy(m(np.nan_to_num(x)), y)  # noqa: E731
    fit_classes(data=(x, y), objective=objective, check_finite=False)


def test_a_batch_of_an_iterable_may_hold_a_nan() -> None:
    x, y = line()
    bad = x.copy()
    bad[5] = np.nan
    with pytest.raises(NonFiniteError):
        fit_line(data=[(x, y), (bad, y)], epochs=1)
