"""What layers that draw at random have in common: a key of their own."""

from __future__ import annotations

from typing import Any

from bpgpu import random
from bpgpu.nn.module import Module


class Random(Module):
    """Base of layers that draw at random.

    *Attributes* `key`: a key of `bpgpu.random`, taken from this thread's stream when the layer is
    made (`bp.seed`). It is state that is not saved with the weights. Each draw uses it and puts the
    next in its place, on the device; so steps differ, also those of a compiled step, and a step
    that is computed again (`bp.checkpoint`) draws the same. A copy of the layer draws what the
    layer itself would.
    """

    key: Any

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("key", random.next_key(), persistent=False)

    def next_key(self) -> Any:
        """The key for one draw; the layer goes on to the one after it."""
        key = self.key
        self.key = random.advance(key)
        return key
