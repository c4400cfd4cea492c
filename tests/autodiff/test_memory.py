"""What a gradient keeps alive: no more than it needs, and nothing afterwards."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np

import bpgpu as bp

MIB = 2**20


def deep(blocks: int) -> tuple[Any, list[np.ndarray], np.ndarray]:
    """Blocks of tanh(x * w): each must keep its result (for tanh) and its input (for w), which is the result before."""
    x = np.ones((256, 1024), "f4")
    ws = [np.full((1,), 0.9, "f4") for _ in range(blocks)]

    def loss(ws: Any, x: Any) -> Any:
        xp = bp.array_namespace(x)
        for w in ws:
            x = xp.tanh(x * w)
        return xp.mean(x)

    return loss, ws, x


def peak_of(f: Any) -> float:
    gc.collect()
    tracemalloc.start()
    f()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / MIB


def test_a_deep_chain_peaks_at_what_must_be_kept():
    blocks = 40
    loss, ws, x = deep(blocks)
    step = bp.value_and_grad(loss)
    step(ws, x)
    assert peak_of(lambda: step(ws, x)) <= 1.15 * blocks  # one MiB a block


def test_nothing_is_left_for_the_cycle_collector():
    loss, ws, x = deep(5)
    step = bp.value_and_grad(loss)
    step(ws, x)
    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        for _ in range(3):
            step(ws, x)
        left = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert left < 0.1 * MIB
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_checkpoint_keeps_less():
    blocks = 24
    x = np.ones((256, 1024), "f4")
    ws = [np.full((1,), 0.9, "f4") for _ in range(blocks)]

    def loss_with(wrap: Any) -> Any:
        def block(x: Any, w: Any) -> Any:
            xp = bp.array_namespace(x)
            return xp.tanh(xp.tanh(x * w) * w)

        def loss(ws: Any, x: Any) -> Any:
            for w in ws:
                x = wrap(block)(x, w)
            return bp.array_namespace(x).mean(x)

        return bp.value_and_grad(loss)

    plain, saving = loss_with(lambda f: f), loss_with(bp.checkpoint)
    plain(ws, x), saving(ws, x)
    assert peak_of(lambda: saving(ws, x)) < 0.7 * peak_of(lambda: plain(ws, x))


def test_the_gradient_of_data_is_never_computed():
    calls = []

    @bp.custom_vjp
    def watched(x: Any, w: Any) -> Any:
        return x * w

    def bwd(saved: Any, ct: Any) -> Any:
        calls.append(1)
        return ct * saved[1], ct * saved[0]

    watched.defvjp(lambda x, w: (x * w, (x, w)), bwd)
    x = np.ones(3)
    bp.grad(lambda w: bp.array_namespace(w).sum(watched(x, w)))(np.ones(3))
    from bpgpu.autodiff.rules import RULES

    matmul = RULES["matmul"]
    tape_nodes: list[Any] = []
    original = matmul.function

    def spy(xp: Any, a: Any, b: Any) -> Any:
        out, pull_a, pull_b = original(xp, a, b)
        return out, lambda g: tape_nodes.append("data") or pull_a(g), pull_b

    matmul.function = spy
    try:
        bp.grad(lambda w, x: bp.array_namespace(w).sum(bp.array_namespace(w).linalg.matmul(x, w)))(
            np.ones((3, 2)), np.ones((4, 3))
        )
    finally:
        matmul.function = original
    assert tape_nodes == []
