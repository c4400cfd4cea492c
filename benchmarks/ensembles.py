"""Many small networks trained at once on a leading axis, against a loop over them.

    python benchmarks/ensembles.py [networks [steps]]

Each network is an MLP 16 -> 32 -> 1 on 64 samples, trained by Adam in float32. The ensemble keeps its weights in arrays
with the network as their first axis, so that a step is two batched products; the loop trains the networks one by one.
Both are timed in turns in one process; the weights that come out are compared.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

import bpgpu as bp

SAMPLES, INPUTS, HIDDEN = 64, 16, 32


def start(networks: int) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    shapes = {"w": (INPUTS, HIDDEN), "b": (1, HIDDEN), "v": (HIDDEN, 1), "c": (1, 1)}
    return {
        name: (draw.normal(size=(networks, *shape)) / shape[0] ** 0.5).astype(np.float32)
        for name, shape in shapes.items()
    }


def loss(p: dict[str, Any], x: Any, y: Any) -> Any:
    """The sum of the mean squared errors: no network meets the gradient of another."""
    xp = bp.array_namespace(x)
    out = xp.tanh(x @ p["w"] + p["b"]) @ p["v"] + p["c"]  # (networks, samples, 1)
    return xp.sum((out - y) ** 2) / SAMPLES


def train(p: dict[str, Any], x: Any, y: Any, steps: int) -> dict[str, Any]:
    optimizer = bp.optim.Adam(p, lr=1e-2)
    step = bp.value_and_grad(loss)
    for _ in range(steps):
        _, grads = step(p, x, y)
        p = optimizer.step(grads)
    return p


def main(networks: int = 64, steps: int = 50) -> None:
    draw = np.random.default_rng(1)
    x = draw.normal(size=(SAMPLES, INPUTS)).astype(np.float32)
    y = np.sin(x.sum(axis=1, keepdims=True))
    weights = start(networks)
    best = {"ensemble": float("inf"), "loop": float("inf")}
    for _ in range(3):
        begin = time.perf_counter()
        together = train({k: v.copy() for k, v in weights.items()}, x, y, steps)
        best["ensemble"] = min(best["ensemble"], time.perf_counter() - begin)
        begin = time.perf_counter()
        alone = [
            train({k: v[i].copy() for k, v in weights.items()}, x, y, steps)
            for i in range(networks)
        ]
        best["loop"] = min(best["loop"], time.perf_counter() - begin)
    far = max(float(np.max(np.abs(together[k][i] - a[k]))) for i, a in enumerate(alone) for k in a)
    for name, seconds in best.items():
        print(f"{name:10s} {1e3 * seconds / steps:8.2f} ms a step of all {networks} networks")
    print(
        f"the ensemble is {best['loop'] / best['ensemble']:.1f} times as fast; largest difference of weights {far:.1e}"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
