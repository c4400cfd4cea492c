#!/usr/bin/env python3
"""What `bpgpu.fit` costs beside the loop of five lines that does the same.

    python benchmarks/fit_overhead.py
    python benchmarks/fit_overhead.py --rounds 40 --what small

Both train the same network on the same batches, in turns in one process; the weights are equal at the end, bit for bit.
The figures are medians over the rounds: microseconds a step of each, and the difference of neighbours.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import numpy as np  # noqa: E402 - after the environment is set

import bpgpu as bp  # noqa: E402

Data = tuple[Any, Any]
SIZES: dict[str, tuple[tuple[int, ...], int, int]] = {
    # the layers, examples in a batch, steps in a round
    "small": ((64, 64, 10), 32, 400),
    "mnist": ((784, 512, 10), 128, 40),
}


def network(layers: tuple[int, ...]) -> Any:
    bp.seed(0)
    found: list[Any] = []
    for a, b in itertools.pairwise(layers):
        found += [bp.nn.Linear(a, b), bp.nn.ReLU()]
    return bp.nn.Sequential(*found[:-1])


def loop(model: Any, optimizer: Any, data: Data, batch_size: int) -> None:
    loader = bp.data.DataLoader(data, batch_size, shuffle=True, seed=0)
    step = bp.value_and_grad(lambda model, x, y: bp.functional.cross_entropy(model(x), y))
    for x, y in loader:
        _, grads = step(model, x, y)
        optimizer.step(grads)


def fit(model: Any, optimizer: Any, data: Data, batch_size: int, **options: Any) -> None:
    bp.fit(
        model,
        data,
        loss=bp.functional.cross_entropy,
        optimizer=optimizer,
        epochs=1,
        batch_size=batch_size,
        **{"progress": False, "check_finite": "loss", **options},
    )


def one_epoch(
    train: Callable[..., None], layers: tuple[int, ...], data: Data, batch: int
) -> tuple[float, Any]:
    """Seconds of an epoch, and the weights after it."""
    model = network(layers)
    optimizer = bp.optim.Adam(model, lr=1e-3)
    start = time.perf_counter()
    train(model, optimizer, data, batch)
    return time.perf_counter() - start, model.parameters()


def measure(name: str, rounds: int, options: dict[str, Any]) -> None:
    layers, batch, steps = SIZES[name]
    rng = np.random.default_rng(0)
    data = (
        rng.normal(size=(batch * steps, layers[0])).astype(np.float32),
        rng.integers(0, layers[-1], batch * steps),
    )

    def with_options(*args: Any) -> None:
        fit(*args, **options)

    ours, theirs, differences = [], [], []
    for i in range(rounds + 2):
        order = (loop, with_options) if i % 2 else (with_options, loop)
        found = {f: one_epoch(f, layers, data, batch) for f in order}
        (a, weights), (b, expected) = found[with_options], found[loop]
        for path, w in expected.items():
            assert np.array_equal(w, weights[path]), f"{path} differs"
        if i >= 2:  # the first rounds warm up
            ours.append(1e6 * a / steps)
            theirs.append(1e6 * b / steps)
            differences.append(ours[-1] - theirs[-1])
    a, b, d = map(statistics.median, (ours, theirs, differences))
    told = ", ".join(f"{k}={v}" for k, v in options.items()) or "plain"
    sizes = "-".join(map(str, layers))
    print(
        f"{name:6} {sizes:12} batch {batch:3}  {told:22}  loop {b:8.1f} us/step  fit {a:8.1f}  "
        f"more {d:6.1f} us = {100 * d / b:5.1f} %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--what", choices=[*SIZES, "all"], default="all")
    args = parser.parse_args()
    for name in SIZES if args.what == "all" else [args.what]:
        for options in ({}, {"metrics": ["accuracy"]}, {"check_finite": False}):
            measure(name, args.rounds, options)


if __name__ == "__main__":
    main()
