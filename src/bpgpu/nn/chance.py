"""What layers that draw at random have in common: a key of their own."""

from __future__ import annotations

from typing import Any

from bpgpu import random
from bpgpu.nn.module import Module
from bpgpu.nn.streams import give_key


class Random(Module):
    """Base of layers that draw at random.

    *Attributes* `key`: a key of `bpgpu.random`, taken from this thread's stream when the layer is
    made (`bp.seed`). It is state that is not saved with the weights. Each draw uses it and puts the
    next in its place, on the device; so steps differ, also those of a compiled step, and a step
    that is computed again (`bp.checkpoint`) draws the same. A copy (`copy.deepcopy`, a pickle) draws
    what the layer itself would; once both are part of one model, the copy goes on with a key of its
    own, so that a stack of copied layers does not drop the same numbers everywhere.
    """

    key: Any

    def __init__(self) -> None:
        super().__init__()
        give_key(self)

    def next_key(self) -> Any:
        """The key for one draw; the layer goes on to the one after it."""
        key = self.key
        self.key = random.advance(key)
        return key
