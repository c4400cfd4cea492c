"""What is trained: networks, batches and optimizers, the same numbers for every rival."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import models
import numpy as np

Numbers = dict[str, Any]
VOCABULARY = 96


@dataclass(frozen=True)
class Workload:
    title: str
    build: Callable[[Any, Any], Any]
    """The network, from `nn` and `functional`."""
    batch: Callable[[np.random.Generator], tuple[Any, Any]]
    optimizer: str
    """`"adam"`, or `"sgd"` with momentum 0.9."""
    sizes: tuple[int, ...] = ()

    @property
    def rate(self) -> float:
        return 1e-4 if self.optimizer == "adam" else 1e-3

    def data(self) -> tuple[Any, Any]:
        return self.batch(np.random.default_rng(0))


def dense(sizes: tuple[int, ...], count: int, optimizer: str) -> Workload:
    return Workload(
        f"MLP {'-'.join(map(str, sizes))}, batch {count}, {optimizer}",
        lambda nn, functional: models.mlp(nn, functional, list(sizes)),
        lambda rng: (
            rng.standard_normal((count, sizes[0]), dtype="f4"),
            rng.integers(0, sizes[-1], count),
        ),
        optimizer,
        sizes,
    )


def images(count: int) -> Callable[[np.random.Generator], tuple[Any, Any]]:
    return lambda rng: (
        rng.standard_normal((count, 3, 32, 32), dtype="f4"),
        rng.integers(0, 10, count),
    )


def text(count: int, length: int) -> Callable[[np.random.Generator], tuple[Any, Any]]:
    def draw(rng: np.random.Generator) -> tuple[Any, Any]:
        tokens = rng.integers(0, VOCABULARY, (count, length + 1))
        return tokens[:, :-1].copy(), tokens[:, 1:].reshape(-1)

    return draw


def workloads(batch: int | None = None) -> dict[str, Workload]:
    """All workloads; `batch` is another batch size for each of them."""

    def n(usual: int) -> int:
        return batch or usual

    return {
        "mlp": dense((784, 512, 512, 10), n(128), "adam"),
        "small": dense((64, 64, 10), n(32), "sgd"),
        "cnn": Workload(f"CNN 32x32, batch {n(64)}, adam", models.cnn, images(n(64)), "adam"),
        "resnet": Workload(f"ResNet, batch {n(64)}, sgd", models.resnet, images(n(64)), "sgd"),
        "lstm": Workload(
            f"LSTM 256, 64 steps, batch {n(32)}, adam",
            lambda nn, f: models.recurrent(nn, f, "LSTM"),
            text(n(32), 64),
            "adam",
        ),
        "gru": Workload(
            f"GRU 256, 64 steps, batch {n(32)}, adam",
            lambda nn, f: models.recurrent(nn, f, "GRU"),
            text(n(32), 64),
            "adam",
        ),
        "transformer": Workload(
            f"Transformer d 256, sequence 128, batch {n(16)}, adam",
            models.transformer,
            text(n(16), 128),
            "adam",
        ),
        "large": dense((1024, 4096, 4096, 1000), n(256), "adam"),
    }


def weights(state: dict[str, Any]) -> Numbers:
    """Initial weights for the names and shapes of a state dict, drawn in the order of the names."""
    rng = np.random.default_rng(1)
    drawn: Numbers = {}
    for name in sorted(state):
        shape, dtype = tuple(state[name].shape), str(state[name].dtype)
        if "float" not in dtype:
            drawn[name] = np.zeros(shape, "i8")
        elif len(shape) > 1:
            fan_in = math.prod(shape[1:]) if len(shape) > 2 else shape[1]
            drawn[name] = rng.standard_normal(shape, dtype="f4") / np.float32(math.sqrt(fan_in))
        elif name.endswith(("weight", "running_var")):
            drawn[name] = np.ones(shape, "f4")
        else:
            drawn[name] = np.zeros(shape, "f4")
    return drawn
