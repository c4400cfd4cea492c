"""A network with dropout, clipping and a schedule is trained through the CUDA kernels: as on the CPU, mask by mask."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import cuda_on_cpu


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield from cuda_on_cpu.installed(monkeypatch)


def step_of(place: str, *, compiled: bool) -> tuple[Any, Any, Any]:
    bp.seed(0)
    model = bp.nn.Sequential(
        bp.nn.Linear(12, 33), bp.nn.ReLU(), bp.nn.Dropout(0.4), bp.nn.Linear(33, 5)
    ).to(bp.device(place))
    optimizer = bp.optim.AdamW(model, lr=1e-2, eps=1e-4)
    schedule = bp.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)

    def step(x: Any, t: Any) -> Any:
        loss = lambda m: bp.functional.cross_entropy(m(x), t, label_smoothing=0.1)  # noqa: E731
        value, grads = bp.value_and_grad(loss)(model)
        grads, _ = bp.optim.clip_grad_norm(grads, 0.5)
        optimizer.step(grads)
        return value

    return (bp.compile(step) if compiled else step), schedule, model


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_masks_clipping_and_schedule_are_those_of_the_cpu(cupy: Any, compiled: bool) -> None:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(20, 12)).astype("f4"), rng.integers(0, 5, 20)
    losses = {}
    for place, put in (("cpu", np.asarray), ("cuda", cupy.asarray)):
        step, schedule, _ = step_of(place, compiled=compiled)
        losses[place] = []
        for _ in range(8):
            losses[place].append(float(step(put(x), put(t))))
            schedule.step()
    if compiled:
        assert step.replays > 0, step.reason
    np.testing.assert_allclose(losses["cuda"], losses["cpu"], rtol=1e-4)


def test_a_step_is_few_launches(cupy: Any) -> None:
    rng = np.random.default_rng(0)
    x = cupy.asarray(rng.normal(size=(20, 12)).astype("f4"))
    t = cupy.asarray(rng.integers(0, 5, 20))
    step, _, _ = step_of("cuda", compiled=False)
    step(x, t)
    state = importlib.import_module("cupy_on_numpy").state
    before = state.launches
    step(x, t)
    assert state.launches - before <= 25  # three products, and their gradients, among them
