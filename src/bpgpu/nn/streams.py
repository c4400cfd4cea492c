"""Random keys of layers. A copy of a model draws what the model would draw, so that both can be compared, or
one put in the place of the other; but the layers of one model never draw alike, also if they are copies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bpgpu import random
from bpgpu.device import to_numpy

_COPIES = 1 << 63
"""Where keys of copies begin among the blocks of a key; drawing never comes that far."""


def give_key(layer: Any) -> None:
    """A layer's own random key, from this thread's stream, as state that is not saved with the weights."""
    key = random.next_key()
    layer.register_buffer("key", key, persistent=False)
    layer._stream = tuple(to_numpy(key).tolist())


def separate(layers: Iterable[Any]) -> None:
    """Give copies among the layers of a model keys of their own; the first of equal ones keeps its key."""
    taken: set[tuple[int, ...]] = set()
    copies = []
    for layer in layers:
        stream = layer.__dict__.get("_stream")
        if stream in taken:
            copies.append(layer)
        elif stream is not None:
            taken.add(stream)
    for layer in copies:
        base, n = layer._stream[:2], 1
        while (*base, n) in taken:
            n += 1
        layer._stream = (*base, n)
        taken.add(layer._stream)
        layer.key = random.fold_in(layer.key, _COPIES + n)
