"""`bench`: how long a training step takes here, beside PyTorch where it is installed."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import bpgpu as bp
from bpgpu.commands import options as given

SIZES = {
    "MLP 64-64-10": ((64, 64, 10), 32),
    "MLP 784-512-512-10": ((784, 512, 512, 10), 128),
    "MLP 1024-2048-2048-1000": ((1024, 2048, 2048, 1000), 256),
}
"""Widths and rows a step, with Adam."""
SECONDS = 1.5
"""For each model."""


def add(parser: argparse.ArgumentParser) -> None:
    given.device(parser)


def run(options: argparse.Namespace) -> int:
    device = bp.device(options.device)
    print(f"a training step with Adam, float32, on {device} ({device.name})")
    ours = {title: _median(_ours(device, *size)) for title, size in SIZES.items()}
    theirs = _torch_times(device)
    rows = []
    for title, (_, count) in SIZES.items():
        seconds, other = ours[title], theirs.get(title)
        ratio = f"{seconds / other:.2f}" if other else "-"
        rows.append((title, count, f"{seconds * 1e3:.3f}", f"{count / seconds:,.0f}", ratio))
    print(given.table(rows, ("model", "rows", "ms a step", "rows a second", "ratio to torch")))
    if theirs:
        print("\nBelow 1 is faster than torch eager. benchmarks/ of the source compares much more.")
    else:
        print(
            "\nPyTorch is not installed, or has no such device; there is nothing to compare with."
        )
    return 0


def _torch_times(device: Any) -> dict[str, float]:
    """Torch's times, measured last: the threads of both would take the cores from each other."""
    if importlib.util.find_spec("torch") is None:
        return {}
    torch = importlib.import_module("torch")
    if device.type == "cuda" and not torch.cuda.is_available():
        return {}
    return {title: _median(_torch(torch, device, *size)) for title, size in SIZES.items()}


def _median(step: Callable[[], None]) -> float:
    """The median time of a step, after some to warm up."""
    for _ in range(5):
        step()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 3:
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _ours(device: Any, widths: tuple[int, ...], count: int) -> Callable[[], None]:
    nn = bp.nn
    layers = [x for i, o in itertools.pairwise(widths) for x in (nn.Linear(i, o), nn.ReLU())]
    model = nn.Sequential(*layers[:-1]).to(device)
    optimizer = bp.optim.Adam(model)
    x = bp.to_device(bp.random.normal(bp.random.key(0), (count, widths[0])), device)
    y = device.asarray([i % widths[-1] for i in range(count)])
    step = bp.compile(
        lambda x, y: bp.value_and_grad(lambda m: bp.functional.cross_entropy(m(x), y))(model)
    )

    def one() -> None:
        _, grads = step(x, y)
        optimizer.step(grads)
        device.synchronize()

    return one


def _torch(torch: Any, device: Any, widths: tuple[int, ...], count: int) -> Callable[[], None]:
    place, nn = str(device), torch.nn
    layers = [x for i, o in itertools.pairwise(widths) for x in (nn.Linear(i, o), nn.ReLU())]
    model = nn.Sequential(*layers[:-1]).to(place)
    optimizer = torch.optim.Adam(model.parameters())
    x = torch.randn(count, widths[0], device=place)
    y = torch.arange(count, device=place) % widths[-1]

    def one() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        device.synchronize()

    return one
