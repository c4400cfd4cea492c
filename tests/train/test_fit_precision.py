"""`fit(precision=...)`: how products round, the scale of the loss, and small updates that are not lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.functional import cross_entropy
from bpgpu.optim import GradScaler
from train.test_resume import Killed, everything, same
from train.training import arrays, assert_same, classes, fit_classes, mlp


def by_hand(precision: str, scaler: Any, steps: int = 8) -> dict[str, Any]:
    """The loop that `fit` stands for."""
    model, (x, y) = mlp(), classes()
    optimizer = bp.optim.Adam(model, lr=0.05)

    def scaled(m: Any, x: Any, y: Any) -> Any:
        value = cross_entropy(m(x), y)
        return value if scaler is None else scaler.scale(value)

    for _ in range(steps):
        with bp.precision(precision):
            grads = bp.grad(scaled)(model, x, y)
        finite = None
        if scaler is not None:
            grads, finite = scaler.unscale(grads)
        optimizer.step(grads, only_if=finite)
        if scaler is not None:
            scaler.update(finite)
    return arrays(model)


def trained(steps: int = 8, **options: Any) -> dict[str, Any]:
    model = mlp()
    optimizer = bp.optim.Adam(model, lr=0.05)
    options = {"epochs": steps, "batch_size": 60, "shuffle": False, **options}
    fit_classes(model, optimizer=optimizer, **options)
    return arrays(model)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("compile", [True, False])
def test_products_round_as_in_a_block(precision: str, compile: bool) -> None:
    found = trained(precision=precision, compile=compile)
    assert_same(found, by_hand(precision, None))
    assert bp.precision() == "fp32"


@pytest.mark.parametrize("compile", [True, False])
def test_fp16_scales_the_loss(compile: bool) -> None:
    """A scale that is too large at first: steps are left out until it fits."""
    mine, theirs = GradScaler(2.0**24, growth_interval=3), GradScaler(2.0**24, growth_interval=3)
    found = trained(12, precision="fp16", scaler=mine, compile=compile)
    with np.errstate(invalid="ignore"):
        assert_same(found, by_hand("fp16", theirs, 12))
    assert mine.get_scale() == theirs.get_scale() < 2.0**24


def test_the_setting_of_the_thread_counts() -> None:
    with bp.precision("fp16"):
        found = trained()
    assert_same(found, trained(precision="fp16"))
    assert any((found[k] != v).any() for k, v in trained().items())


def test_small_gradients_survive_in_fp16_by_their_scale() -> None:
    """Gradients of 1e-9 are 0 in fp16, but not those of a loss that is scaled."""

    def faint(prediction: Any, y: Any) -> Any:
        return 1e-8 * cross_entropy(prediction, y)

    def moved(**options: Any) -> bool:
        model = mlp()
        before = arrays(model)["0.weight"]
        fit_classes(
            model, loss=faint, optimizer=bp.optim.SGD(model, lr=1e6), precision="fp16", **options
        )
        return bool((arrays(model)["0.weight"] != before).any())

    assert moved()
    assert not moved(scaler=GradScaler(1.0))


def test_updates_below_the_precision_of_the_products_add_up() -> None:
    """A hundred steps of 1e-4 beside a weight of 1, which bf16 cannot tell from one step: the weights are float32."""
    model = bp.nn.Linear(1, 1, bias=False)
    model.weight = np.ones((1, 1), np.float32)
    x = np.ones((4, 1), np.float32)
    optimizer = bp.optim.SGD(model, lr=1e-4)
    bp.fit(
        model,
        (x, x),
        loss=lambda prediction, y: prediction.mean(),
        optimizer=optimizer,
        epochs=100,
        precision="bf16",
        progress=False,
    )
    np.testing.assert_allclose(model.weight, 1 - 100 * 1e-4, rtol=1e-5)

    torch = pytest.importorskip("torch")
    narrow = torch.ones(1, dtype=torch.bfloat16)
    for _ in range(100):
        narrow -= 1e-4
    assert narrow == 1  # so they are lost where the weights themselves are rounded


@pytest.mark.parametrize(
    "options",
    [
        {"clip_grad_norm": 0.1},
        {"clip_grad_value": 0.01},
        {"accumulate": 3},
        {"micro_batch": 7},
        {"micro_batch": "auto", "metrics": ["accuracy"]},
        {"ema": 0.9, "metrics": ["accuracy"]},
        {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}},
        {"check_finite": "steps"},
    ],
    ids=lambda o: next(iter(o)) + ("_auto" if "auto" in o.values() else ""),
)
def test_a_power_of_two_changes_no_bit(options: dict[str, Any]) -> None:
    """Scaling commutes with what the other options do."""
    options = {"batch_size": 20, "steps": 4, **options}
    one = trained(scaler=GradScaler(2.0**10), precision="bf16", **options)
    assert_same(one, trained(precision="bf16", **options))


def test_the_gradients_that_callbacks_see_are_those_of_the_loss() -> None:
    class Look(bp.train.Callback):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def on_step_end(self, run: Any) -> None:
            self.seen.append({k: np.asarray(g).copy() for k, g in run.grads.items()})

    plain, scaled = Look(), Look()
    trained(callbacks=[plain])
    trained(callbacks=[scaled], scaler=GradScaler(2.0**10))
    for a, b in zip(plain.seen, scaled.seen, strict=True):
        assert_same(a, b)


WAYS: dict[str, dict[str, Any]] = {
    "an objective, two batches a step": {},
    "compiled, two batches a step": {"metrics": ["accuracy"], "compile": True},
    "compiled, a batch a step": {"metrics": ["accuracy"], "compile": True, "accumulate": 1},
    "as it is, a batch a step": {"metrics": ["accuracy"], "compile": False, "accumulate": 1},
    "in pieces": {"metrics": ["accuracy"], "micro_batch": 2},
}


@pytest.mark.parametrize("batch", [3, 21, 41])
@pytest.mark.parametrize("way", WAYS)
def test_a_killed_training_in_fp16_goes_on_bit_for_bit(
    tmp_path: Path, way: str, batch: int
) -> None:
    """The scale falls at first and rises later, before and after the kill."""

    def train(*args: Any, **options: Any) -> tuple[Any, float]:
        scaler = GradScaler(2.0**20, growth_interval=2)
        found = everything(*args, precision="fp16", scaler=scaler, **WAYS[way], **options)
        return found, scaler.get_scale()

    whole, scale = train()
    path = tmp_path / "run.safetensors"
    with pytest.raises(Killed):
        train(path, kill=batch)
    saved = float(bp.load(path)["scaler"]["scale"])
    assert batch == 3 or saved < 2.0**20
    found, last = train(path, resume=True)
    same(found, whole)
    assert last == scale


def test_a_checkpoint_without_a_scale_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    everything(path)
    with pytest.raises(bp.errors.CheckpointError, match="no part 'scaler'"):
        everything(path, resume=True, precision="fp16")


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize(
    "rule", [bp.train.GradientNorm(1e-9), bp.train.LossChange(1e-9)], ids=["gradient", "loss"]
)
def test_no_rule_takes_a_step_that_was_left_out_for_the_end(rule: Any, compile: bool) -> None:
    """The scale is too large for many steps of the whole data, so that no loss changes at first."""
    model, scaler = mlp(), GradScaler(2.0**40)
    optimizer = bp.optim.Adam(model, lr=0.05)
    options: dict[str, Any] = {"batch_size": 60, "precision": "fp16", "scaler": scaler}
    result = fit_classes(
        model, optimizer=optimizer, epochs=60, stop=rule, compile=compile, **options
    )
    losses = result.history["loss"]
    assert losses[0] == losses[10] > losses[-1]
    assert result.stopped_by == "reached 60 epochs"


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_a_gradient_that_is_never_finite_is_told() -> None:
    """sqrt has an infinite slope at 0: no scale is small enough."""

    def steep(prediction: Any, y: Any) -> Any:
        return (prediction - bp.stop_gradient(prediction)).mean() ** 0.5

    model = mlp()
    before = arrays(model)
    with pytest.raises(bp.errors.NonFiniteError, match="none of these steps was made"):
        fit_classes(model, loss=steep, epochs=20, precision="fp16")
    assert_same(arrays(model), before)


def test_bad_options_are_told_before_the_first_step() -> None:
    model = mlp()
    before = arrays(model)
    with pytest.raises(bp.errors.ArgumentError, match="precision: expected one of 'fp32', 'tf32'"):
        fit_classes(model, precision="float16")
    with pytest.raises(bp.errors.ArgumentError, match="precision: expected one of"):
        fit_classes(model, precision=["bf16"])
    with pytest.raises(
        bp.errors.ArgumentError, match=r"scaler: expected a bpgpu\.optim\.GradScaler"
    ):
        fit_classes(model, scaler=1024.0)
    with pytest.raises(bp.errors.ArgumentError, match="L-BFGS"):
        fit_classes(model, precision="fp16", optimizer=bp.optim.LBFGS(model))
    assert_same(arrays(model), before)
