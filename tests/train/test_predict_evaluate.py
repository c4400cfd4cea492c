"""`predict` and `evaluate`: data of any size, in eval mode, and everything put back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.functional import cross_entropy, mse_loss
from train.training import arrays, assert_same, classes, line, mlp


class Fails(bp.nn.Module):
    """Fails at the second batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = bp.nn.Dropout()
        self.calls: list[Any] = []

    def forward(self, x: Any) -> Any:
        self.calls.append((self.training, self.inner.training))
        if len(self.calls) == 2:
            raise RuntimeError("mine")
        return x


@pytest.mark.parametrize("batch_size", [1, 7, 60, 1000])
def test_predictions_do_not_depend_on_the_batches(batch_size: int) -> None:
    model = mlp(3, 3, bp.nn.BatchNorm1d(8), bp.nn.Dropout)
    x, _ = classes()
    before = arrays(model)
    found = bp.predict(model, x, batch_size=batch_size)
    assert found.shape == (60, 3)
    np.testing.assert_allclose(found, bp.predict(model, x), rtol=1e-5, atol=1e-6)
    assert_same(before, arrays(model))
    assert all(m.training for m in model.modules())


def test_each_layer_gets_its_own_mode_back() -> None:
    model = mlp(3, 3, bp.nn.Dropout, bp.nn.BatchNorm1d(8))
    model[1].eval()
    before = [m.training for m in model.modules()]
    bp.predict(model, classes()[0])
    bp.evaluate(model, classes(), loss=cross_entropy)
    assert [m.training for m in model.modules()] == before


def test_modes_are_put_back_after_an_error() -> None:
    for attempt in (
        lambda m: bp.predict(m, np.ones((4, 2), "float32"), batch_size=2),
        lambda m: bp.evaluate(m, (np.ones((4, 2), "float32"), np.ones((4, 2), "float32")), loss=mse_loss, batch_size=2),
    ):  # fmt: skip
        model = Fails()
        model.inner.eval()
        with pytest.raises(RuntimeError, match="mine"):
            attempt(model)
        assert model.calls == [(False, False)] * 2
        assert (model.training, model.inner.training) == (True, False)


def test_an_eval_model_stays_in_eval_mode() -> None:
    model = mlp().eval()
    bp.predict(model, classes()[0])
    assert not any(m.training for m in model.modules())


def test_predictions_may_be_trees_and_inputs_several() -> None:
    class Two(bp.nn.Module):
        def forward(self, a: Any, b: Any) -> Any:
            return {"sum": a + b, "both": (a, b)}

    a = np.arange(10.0)
    found = bp.predict(Two(), (a, 2 * a), batch_size=4)
    np.testing.assert_array_equal(found["sum"], 3 * a)
    np.testing.assert_array_equal(found["both"][1], 2 * a)


def test_predict_takes_batches_from_an_iterable() -> None:
    x, _ = classes()
    model = mlp()
    np.testing.assert_allclose(
        bp.predict(model, iter([x[:50], x[50:]])), bp.predict(model, x), rtol=1e-6
    )


def test_evaluate_counts_rows_and_not_batches() -> None:
    model = bp.nn.Linear(3, 1)
    x, y = line(10)
    whole = float(mse_loss(model(x), y))
    for batch_size in (3, 4, 10, 99):
        found = bp.evaluate(model, (x, y), loss=mse_loss, metrics=["mse"], batch_size=batch_size)
        assert found["loss"] == pytest.approx(whole, rel=1e-5)
        assert found["mse"] == pytest.approx(whole, rel=1e-5)
        assert all(type(v) is float for v in found.values())


def test_evaluate_with_metrics_only_or_an_objective() -> None:
    model = mlp()
    assert list(bp.evaluate(model, classes(), metrics=["accuracy"])) == ["accuracy"]
    found = bp.evaluate(
        model, classes(), objective=lambda m, x, y: cross_entropy(m(x), y), batch_size=7
    )
    assert found == {
        "loss": pytest.approx(bp.evaluate(model, classes(), loss=cross_entropy)["loss"])
    }


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        (lambda m: bp.predict(m, np.ones((0, 3), "float32")), "0 rows"),
        (lambda m: bp.predict(m, np.ones((4, 3), "float32"), batch_size=0), "batch_size"),
        (lambda m: bp.evaluate(m, classes(), loss=cross_entropy, batch_size=0), "batch_size"),
        (lambda m: bp.evaluate(m, classes(), metrics=["acuracy"]), "accuracy"),
        (lambda m: bp.evaluate(m, (classes()[0][:0], classes()[1][:0]), loss=cross_entropy), "0 rows"),
        (lambda m: bp.evaluate(m, (classes()[0], classes()[1][:3]), loss=cross_entropy), "3"),
        (lambda m: bp.evaluate(m, classes()), "loss"),
        (lambda m: bp.evaluate(m, classes()[0], loss=cross_entropy), r"\(x, y\)"),
        (lambda m: bp.predict(m, 3), "x|data"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(attempt: Any, text: str) -> None:
    with pytest.raises(bp.errors.BpgpuError, match=text):
        attempt(mlp())
