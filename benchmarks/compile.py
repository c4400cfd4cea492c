"""What `bpgpu.compile` gains: a training step as it is, compiled, in PyTorch, and by hand in NumPy.

Run: python benchmarks/compile.py [--rounds N] [--write]

All rivals run in this one process on one thread, taking turns; a figure is the median over the rounds of the ratio to
PyTorch, so that a machine whose speed drifts does not matter. All compute the same updates from the same weights, and
their losses must agree. `--write` stores the tables in benchmarks/results/compile.md."""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # one thread for everyone, before anyone starts a pool

import numpy as np  # noqa: E402 - after the number of threads is set

import bpgpu as bp  # noqa: E402

Step = Callable[[], Any]
PROBLEMS: dict[str, tuple[list[int], int, str]] = {
    "64-64-10, batch 32, SGD with momentum": ([64, 64, 10], 32, "sgd"),
    "64-64-10, batch 32, Adam": ([64, 64, 10], 32, "adam"),
    "784-512-512-10, batch 128, Adam": ([784, 512, 512, 10], 128, "adam"),
}


class Problem:
    """A classifier of dense layers with ReLU and softmax cross-entropy, in float32, and ten batches."""

    def __init__(self, sizes: list[int], batch: int, optimizer: str) -> None:
        rng = np.random.default_rng(0)
        self.sizes, self.optimizer = sizes, optimizer
        self.weights = [
            (rng.normal(size=(o, i)) / i**0.5).astype("f4") for i, o in itertools.pairwise(sizes)
        ]
        self.xs = [rng.normal(size=(batch, sizes[0])).astype("f4") for _ in range(10)]
        self.ys = [rng.integers(0, sizes[-1], batch) for _ in range(10)]

    def batches(self) -> Any:
        return itertools.cycle(list(zip(self.xs, self.ys, strict=True)))


def bpgpu_step(p: Problem) -> tuple[Callable[..., Any], Any]:
    layers: list[Any] = []
    for w in p.weights:
        layer = bp.nn.Linear(w.shape[1], w.shape[0], dtype="float32")
        layer.weight, layer.bias = w.copy(), np.zeros(w.shape[0], "f4")
        layers += [layer, bp.nn.ReLU()]
    model = bp.nn.Sequential(*layers[:-1])
    optimizer = (
        bp.optim.SGD(model, lr=0.01, momentum=0.9)
        if p.optimizer == "sgd"
        else bp.optim.Adam(model, lr=1e-3)
    )

    def loss(model: Any, x: Any, y: Any) -> Any:
        return bp.functional.cross_entropy(model(x), y)

    def step(x: Any, y: Any) -> Any:
        value, grads = bp.value_and_grad(loss)(model, x, y)
        optimizer.step(grads)
        return value

    return step, p.batches()


def eager(p: Problem) -> Step:
    step, batches = bpgpu_step(p)
    return lambda: step(*next(batches))


def compiled(p: Problem) -> Step:
    step, batches = bpgpu_step(p)
    fast = bp.compile(step)
    return lambda: fast(*next(batches))


def with_torch(p: Problem) -> Step:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    layers: list[Any] = []
    for w in p.weights:
        layer = nn.Linear(w.shape[1], w.shape[0])
        layer.weight.data, layer.bias.data = torch.tensor(w), torch.zeros(w.shape[0])
        layers += [layer, nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    optimizer: Any = (
        torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        if p.optimizer == "sgd"
        else torch.optim.Adam(model.parameters(), lr=1e-3)
    )
    pairs = [(torch.tensor(x), torch.tensor(y)) for x, y in zip(p.xs, p.ys, strict=True)]
    batches = itertools.cycle(pairs)

    def step() -> Any:
        x, y = next(batches)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def by_hand(p: Problem) -> Step:
    ws = [w.copy() for w in p.weights]
    bs = [np.zeros(w.shape[0], "f4") for w in ws]
    params = [*ws, *bs]
    first = [np.zeros_like(x) for x in params]
    second = [np.zeros_like(x) for x in params]
    batches, count, rows = p.batches(), 0, np.arange(len(p.ys[0]))

    def update(grads: list[Any]) -> None:
        for x, g, m, v in zip(params, grads, first, second, strict=True):
            if p.optimizer == "sgd":
                m *= 0.9
                m += g
                x -= 0.01 * m
                continue
            m *= 0.9
            m += (1 - 0.9) * g
            v *= 0.999
            v += (1 - 0.999) * g * g
            c1, c2 = 1 - 0.9**count, 1 - 0.999**count
            x -= 1e-3 / c1 * m / (np.sqrt(v) / c2**0.5 + 1e-8)

    def step() -> Any:
        nonlocal count
        count += 1
        x, y = next(batches)
        hs = [x]
        for w, b in zip(ws[:-1], bs[:-1], strict=True):
            h = hs[-1] @ w.T
            h += b
            hs.append(np.maximum(h, 0, out=h))
        z = hs[-1] @ ws[-1].T
        z += bs[-1]
        z -= z.max(-1, keepdims=True)
        e = np.exp(z)
        s = e.sum(-1, keepdims=True)
        loss = (np.log(s[:, 0]) - z[rows, y]).sum() / len(y)
        g = e / s
        g[rows, y] -= 1
        g /= np.float32(len(y))
        gw, gb = [], []
        for w, h in zip(reversed(ws), reversed(hs), strict=True):
            gw.append(g.T @ h)
            gb.append(g.sum(0))
            if h is not x:
                g = (g @ w) * (h > 0)
        update([*reversed(gw), *reversed(gb)])
        return loss

    return step


RIVALS = {"torch": with_torch, "bpgpu": eager, "bpgpu, compiled": compiled, "by hand": by_hand}


def measured(p: Problem, rounds: int) -> dict[str, list[float]]:
    """Seconds of a step, by rival and round."""
    steps = {name: make(p) for name, make in RIVALS.items()}
    for _ in range(20):
        losses = {name: float(step()) for name, step in steps.items()}
    assert max(losses.values()) - min(losses.values()) < 5e-3, losses
    start = time.perf_counter()
    steps["torch"]()
    repeats = max(1, int(0.01 / (time.perf_counter() - start)))
    found: dict[str, list[float]] = {name: [] for name in steps}
    gc.disable()
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(repeats):
                step()
            found[name].append((time.perf_counter() - start) / repeats)
    gc.enable()
    return found


def table(title: str, found: dict[str, list[float]]) -> str:
    lines = [f"### {title}", "", "| | us a step | ratio to torch | half of the rounds between |"]
    lines.append("|---|---|---|---|")
    for name, times in found.items():
        ratios = [t / r for t, r in zip(times, found["torch"], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        lines.append(
            f"| {name} | {statistics.median(times) * 1e6:.0f} | {statistics.median(ratios):.2f} | "
            f"{low:.2f} and {high:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    parts = []
    for title, (sizes, batch, optimizer) in PROBLEMS.items():
        parts.append(table(title, measured(Problem(sizes, batch, optimizer), options.rounds)))
        print(parts[-1])
    if options.write:
        head = (
            "# What compile gains\n\n"
            f"`python benchmarks/compile.py --rounds {options.rounds} --write`, one thread, float32, "
            f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}. The machine "
            "was shared: trust ratios within one table.\n\n"
        )
        out = Path(__file__).parent / "results" / "compile.md"
        out.write_text(head + "\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
