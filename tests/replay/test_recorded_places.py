"""Gradients at places that are recorded, of a cotangent that is not: what a constant gives."""

from __future__ import annotations

import numpy as np

import bpgpu as bp


def test_a_smoothed_loss_is_replayed() -> None:
    bp.seed(0)
    model = bp.nn.Linear(6, 5)
    optimizer = bp.optim.SGD(model, lr=0.1)

    @bp.compile
    def step(x: object, t: object) -> object:
        loss, grads = bp.value_and_grad(
            lambda m: bp.functional.cross_entropy(m(x), t, label_smoothing=0.1)
        )(model)
        optimizer.step(grads)
        return loss

    rng = np.random.default_rng(0)
    losses = [step(rng.normal(size=(4, 6)).astype("f4"), rng.integers(0, 5, 4)) for _ in range(6)]
    assert step.replays > 0, step.reason
    assert len({float(x) for x in losses}) == 6
