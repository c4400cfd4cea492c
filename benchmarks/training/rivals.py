"""One training step in each library. `make(workload, rival)` gives a function that takes one step and returns the loss,
and one that runs the network without training."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from workloads import Workload, weights

Step = Callable[[], Any]


def make(w: Workload, rival: str) -> tuple[Step, Step]:
    library, _, mode = rival.partition(":")
    return {"bpgpu": with_bpgpu, "torch": with_torch, "jax": with_jax, "sklearn": with_sklearn}[
        library
    ](w, mode)


def with_bpgpu(w: Workload, mode: str) -> tuple[Step, Step]:
    """`mode` is empty for NumPy only, `fast` for the kernels of that extra; with `compiled`, recorded and replayed."""
    if "fast" not in mode:
        sys.modules["numba"] = None  # type: ignore[assignment]  # as if it were not installed
    import bpgpu as bp

    model = w.build(bp.nn, bp.functional)
    model.load_state_dict(weights(model.state_dict()))
    optimizer: Any = (
        bp.optim.Adam(model, lr=w.rate)
        if w.optimizer == "adam"
        else bp.optim.SGD(model, lr=w.rate, momentum=0.9)
    )
    x, y = w.data()
    both = bp.value_and_grad(lambda m, x, y: bp.functional.cross_entropy(m(x), y))

    def train(x: Any, y: Any) -> Any:
        loss, grads = both(model, x, y)
        optimizer.step(grads)
        return loss

    step = bp.compile(train) if "compiled" in mode else train

    def infer() -> Any:
        if model.training:
            model.eval()
        return model(x)

    return lambda: step(x, y), infer


def with_torch(w: Workload, mode: str) -> tuple[Step, Step]:
    """`mode` is empty for eager, or `channels_last`, or `compile`."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = w.build(torch.nn, torch.nn.functional)
    model.load_state_dict({k: torch.tensor(v) for k, v in weights(model.state_dict()).items()})
    optimizer: Any = (
        torch.optim.Adam(model.parameters(), lr=w.rate)
        if w.optimizer == "adam"
        else torch.optim.SGD(model.parameters(), lr=w.rate, momentum=0.9)
    )
    x, y = (torch.tensor(a) for a in w.data())
    if mode == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)

    def loss_of(x: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(x), y)

    run = torch.compile(loss_of) if mode == "compile" else loss_of

    def step() -> Any:
        optimizer.zero_grad()
        loss = run(x, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def infer() -> Any:
        if model.training:
            model.eval()
        return model(x)

    return step, infer


def with_jax(w: Workload, mode: str) -> tuple[Step, Step]:
    import jax_models
    import torch  # for the names and shapes of the weights only

    names = w.build(torch.nn, torch.nn.functional).state_dict()
    return jax_models.make(w, weights(names))


def with_sklearn(w: Workload, mode: str) -> tuple[Step, Step]:
    """scikit-learn's own MLP, one `partial_fit` a step; its initial weights are its own."""
    from sklearn.neural_network import MLPClassifier

    if not w.sizes:
        raise SystemExit("scikit-learn has dense networks only")
    x, y = w.data()
    model = MLPClassifier(
        w.sizes[1:-1],
        solver=w.optimizer,
        alpha=0,
        batch_size=len(x),
        learning_rate_init=w.rate,
        momentum=0.9,
    )
    classes = np.arange(w.sizes[-1])

    def step() -> Any:
        model.partial_fit(x, y, classes=classes)
        return model.loss_

    return step, lambda: model.predict_proba(x)
