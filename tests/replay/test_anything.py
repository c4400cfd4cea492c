"""Any training with anything done between its steps: the same bits with and without compile."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from same import batches, bits, loss, network

import bpgpu as bp

LAYERS = (
    bp.nn.ReLU,
    lambda: bp.nn.Dropout(0.3),
    lambda: bp.nn.BatchNorm1d(5),
    lambda: bp.nn.LayerNorm(5),
    bp.nn.GELU,
)
OPTIMIZERS = (bp.optim.SGD, bp.optim.Adam, bp.optim.AdamW, bp.optim.RMSprop)


class Training:
    """A model and an optimizer that follow from a seed."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        bp.seed(seed)
        self.model = network(*[rng.choice(LAYERS)() for _ in range(rng.randint(0, 3))])
        self.opt: Any = rng.choice(OPTIMIZERS)(self.model, lr=0.01)
        self.average = bp.optim.EMA(self.model, 0.9)
        self.averages, self.clips = rng.random() < 0.4, rng.random() < 0.4
        self.scale = 1.0
        self.first = {k: v.copy() for k, v in self.model.state_dict().items()}

    def loss(self, model: Any, x: Any, y: Any) -> Any:
        return loss(model, x, y) * self.scale

    def step(self, x: Any, y: Any) -> Any:
        value, grads = bp.value_and_grad(self.loss)(self.model, x, y)
        if self.clips:
            grads, _ = bp.clip_grad_norm(grads, 0.5)
        self.opt.step(grads)
        if self.averages:
            self.average.step()
        return value

    def everything(self) -> Any:
        return bits((self.model, self.opt.state_dict(), self.average.state_dict()))

    def disturbed(self, what: float, k: int) -> None:
        """Something that a user may do between two steps; mostly nothing."""
        if what < 0.03:
            self.model.eval()
        elif what < 0.06:
            self.model.train()
        elif what < 0.08:
            self.model.freeze("0")
        elif what < 0.10:
            self.model.unfreeze()
        elif what < 0.13:
            self.scale = 1.0 + k
        elif what < 0.20:
            self.opt.lr = 0.01 * (k + 1)
        elif what < 0.22:
            self.model.load_state_dict(self.first)
        elif what < 0.24:
            self.model[0].weight = np.full((5, 6), 0.1 * k, dtype=np.float32)
        elif what < 0.25:
            self.opt.load_state_dict(self.opt.state_dict())
        elif what < 0.26:
            self.opt.param_groups[0]["weight_decay"] = 0.01 * k


@pytest.mark.parametrize("seed", range(12))
def test_anything_between_steps(seed: int) -> None:
    plain, compiled = Training(seed), Training(seed)
    fast = bp.compile(compiled.step)
    rng = random.Random(seed + 1000)
    large, small = batches(50), batches(50, size=5)
    for i in range(50):
        what, k = rng.random(), rng.randint(0, 9)
        plain.disturbed(what, k)
        compiled.disturbed(what, k)
        batch = (small if what > 0.9 else large)[i]
        step = compiled.step if 0.3 < what < 0.33 else fast  # sometimes past the compiled one
        assert bits(step(*batch)) == bits(plain.step(*batch)), (i, fast.reason)
        assert compiled.everything() == plain.everything(), (i, fast.reason)
    assert fast.replays > 0, fast.reason
