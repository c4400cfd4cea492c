#!/usr/bin/env python3
"""What `bpgpu.fit` costs beside the loop of five lines that does the same.

    python benchmarks/fit_overhead.py
    python benchmarks/fit_overhead.py --rounds 40 --what small

Both train the same network on the same batches, in turns in one process; the weights are equal at the end, bit for bit.
The figures are medians over the rounds: microseconds a step of each after the first epoch, the difference of the two,
and the milliseconds that `fit` takes once: to look at the data and the arguments, and to record what it replays.
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
EPOCHS = 4
SIZES: dict[str, tuple[tuple[int, ...], int, int]] = {
    # the layers, examples in a batch, steps in a round
    "small": ((64, 64, 10), 32, 200),
    "mnist": ((784, 512, 10), 128, 40),
}


def network(layers: tuple[int, ...]) -> Any:
    bp.seed(0)
    found: list[Any] = []
    for a, b in itertools.pairwise(layers):
        found += [bp.nn.Linear(a, b), bp.nn.ReLU()]
    return bp.nn.Sequential(*found[:-1])


class Clock(bp.train.Callback):
    """The moments at which epochs end."""

    def __init__(self) -> None:
        self.moments = [time.perf_counter()]

    def on_epoch_end(self, run: Any) -> None:
        self.moments.append(time.perf_counter())


def loop(model: Any, optimizer: Any, data: Data, batch_size: int, clock: Clock) -> None:
    loader = bp.data.DataLoader(data, batch_size, shuffle=True, seed=0)
    step = bp.value_and_grad(lambda model, x, y: bp.functional.cross_entropy(model(x), y))
    for _ in range(EPOCHS):
        for x, y in loader:
            _, grads = step(model, x, y)
            optimizer.step(grads)
        clock.on_epoch_end(None)


def fit(
    model: Any, optimizer: Any, data: Data, batch_size: int, clock: Clock, **options: Any
) -> None:
    bp.fit(
        model,
        data,
        loss=bp.functional.cross_entropy,
        optimizer=optimizer,
        epochs=EPOCHS,
        batch_size=batch_size,
        callbacks=[clock],
        progress=False,
        **options,
    )


def training(
    train: Callable[..., None], layers: tuple[int, ...], data: Data, batch: int
) -> tuple[float, float, Any]:
    """Seconds of an epoch after the first, seconds that the start costs beside it, and the weights in the end."""
    model = network(layers)
    optimizer = bp.optim.Adam(model, lr=1e-3)
    clock = Clock()
    train(model, optimizer, data, batch, clock)
    begin, first, *_, last = clock.moments
    epoch = (last - first) / (EPOCHS - 1)
    return epoch, first - begin - epoch, model.parameters()


def measure(name: str, rounds: int, options: dict[str, Any]) -> None:
    layers, batch, steps = SIZES[name]
    rng = np.random.default_rng(0)
    data = (
        rng.normal(size=(batch * steps, layers[0])).astype(np.float32),
        rng.integers(0, layers[-1], batch * steps),
    )

    def with_options(*args: Any) -> None:
        fit(*args, **options)

    ours, theirs, starts = [], [], []
    for i in range(rounds + 1):
        order = (loop, with_options) if i % 2 else (with_options, loop)
        found = {f: training(f, layers, data, batch) for f in order}
        (a, start, weights), (b, _, expected) = found[with_options], found[loop]
        for path, w in expected.items():
            assert np.array_equal(w, weights[path]), f"{path} differs"
        if i:  # the first round warms up
            ours.append(1e6 * a / steps)
            theirs.append(1e6 * b / steps)
            starts.append(1e3 * start)
    more = statistics.median(a - b for a, b in zip(ours, theirs, strict=True))
    a, b, start = map(statistics.median, (ours, theirs, starts))
    told = ", ".join(f"{k}={v}" for k, v in options.items()) or "plain"
    print(
        f"{'-'.join(map(str, layers)):11} batch {batch:3}  {told:22} {b:8.1f} {a:8.1f} {more:8.1f} "
        f"{100 * more / b:6.1f} % {start:8.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--what", choices=[*SIZES, "all"], default="all")
    args = parser.parse_args()
    print(f"{'us a step:':45} {'loop':>8} {'fit':>8} {'more':>8} {'':8} {'start, ms':>8}")
    for name in SIZES if args.what == "all" else [args.what]:
        for options in ({"compile": False}, {}, {"metrics": ["accuracy"]}):
            measure(name, args.rounds, options)


if __name__ == "__main__":
    main()
