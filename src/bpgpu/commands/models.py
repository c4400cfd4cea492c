"""Small networks of each kind, with a batch to train them on, for `parity` and `bench`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import bpgpu as bp

Array = Any


class Example(NamedTuple):
    """A network and what it is trained on."""

    title: str
    build: Callable[[], Any]
    batch: Callable[[], tuple[Array, Array]]
    """Inputs and classes, on the CPU in float32."""


class Recurrent(bp.nn.Module):
    """The class of a sequence from the last state of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = bp.nn.Embedding(32, 16)
        self.lstm = bp.nn.LSTM(16, 32, batch_first=True)
        self.head = bp.nn.Linear(32, 10)

    def forward(self, x: Array) -> Array:
        y, _ = self.lstm(self.embedding(x))
        return self.head(y[:, -1, :])


class Attending(bp.nn.Module):
    """The class of a sequence from the mean over a Transformer's outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = bp.nn.Embedding(32, 32)
        self.encoder = bp.nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.head = bp.nn.Linear(32, 10)

    def forward(self, x: Array) -> Array:
        y = self.encoder(self.embedding(x))
        return self.head(bp.array_namespace(y).mean(y, axis=1))


def _mlp() -> Any:
    nn = bp.nn
    return nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 10)
    )


def _cnn() -> Any:
    nn = bp.nn
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 16, 10)),
    )


def _numbers(*shape: int) -> Callable[[], tuple[Array, Array]]:
    def batch() -> tuple[Array, Array]:
        return bp.random.normal(bp.random.key(1), shape), _classes(shape[0])

    return batch


def _words(*shape: int) -> Callable[[], tuple[Array, Array]]:
    def batch() -> tuple[Array, Array]:
        x = bp.random.randint(bp.random.key(1), shape, 0, 32)
        return _int64(x), _classes(shape[0])

    return batch


def _int64(x: Array) -> Array:
    xp = bp.array_namespace(x)
    return xp.astype(x, xp.int64)


def _classes(count: int) -> Array:
    xp = bp.device("cpu").xp
    return xp.arange(count, dtype=xp.int64) % 10


EXAMPLES = {
    "mlp": Example("MLP 64-128-128-10, batch 64", _mlp, _numbers(64, 64)),
    "cnn": Example("CNN 16x16: 16, 32; batch 32", _cnn, _numbers(32, 3, 16, 16)),
    "lstm": Example("LSTM 32, 12 steps, batch 32", Recurrent, _words(32, 12)),
    "transformer": Example("Transformer d 32, 12 steps, batch 32", Attending, _words(32, 12)),
}
