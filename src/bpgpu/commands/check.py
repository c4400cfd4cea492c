"""`check`: whether the device works: arrays, kernels, gradients, and how fast it multiplies and copies."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import bpgpu as bp
from bpgpu.commands import options as given
from bpgpu.commands.models import EXAMPLES
from bpgpu.commands.parity import parity, within
from bpgpu.errors import BpgpuError

PEAKS = {
    "H200": (67.0, 4800.0),
    "H100 PCIe": (51.0, 2000.0),
    "H100": (67.0, 3350.0),
    "A100": (19.5, 1555.0),
    "L40": (90.5, 864.0),
    "L4": (30.3, 300.0),
    "V100": (15.7, 900.0),
    "T4": (8.1, 320.0),
    "RTX 4090": (82.6, 1008.0),
    "RTX 3090": (35.6, 936.0),
}
"""TFLOP/s in float32 without tensor cores, and GB/s of memory, from NVIDIA's data sheets."""

Line = tuple[bool, str, str]


def add(parser: argparse.ArgumentParser) -> None:
    given.device(parser)


def run(options: argparse.Namespace) -> int:
    device = bp.device(options.device)
    print(f"{device}: {device.name}")
    print(f"chosen because {device.reason}\n")
    fine = True
    for name, test in TESTS.items():
        try:
            ok, text = test(device)
        except (BpgpuError, ArithmeticError, RuntimeError, OSError, MemoryError) as error:
            ok, text = False, f"{type(error).__name__}: {error}"
        fine = fine and ok
        print(f"{'ok' if ok else 'FAILED':<7} {name:<10} {text}", flush=True)
    if not fine:
        print("\n'python -m bpgpu info' tells the versions; put them into a bug report with this.")
    return 0 if fine else 1


def _arrays(device: Any) -> tuple[bool, str]:
    x = device.asarray([[1.0, 2.0], [3.0, 4.0]], dtype="float32")
    y = bp.to_numpy(device.xp.sum(x @ x, axis=0))
    return y.tolist() == [22.0, 32.0], "made, multiplied, summed and copied back"


def _gradients(device: Any) -> tuple[bool, str]:
    worst, fine = 0.0, True
    for example in EXAMPLES.values():
        for d in parity(example.build, example.batch(), device, steps=1):
            worst = max(worst, d.forward or 0.0, d.backward or 0.0)
            fine = fine and within(d)
    names = ", ".join(EXAMPLES)
    return fine, f"{names}: at most {worst:.1e} from float64 on the CPU"


def _product(device: Any) -> tuple[bool, str]:
    n = 1024 if device.type == "cpu" else 8192
    x = device.xp.ones((n, n), dtype=device.xp.float32, device=_place(device))
    rate = 2 * n**3 / _seconds(lambda: x @ x, device) / 1e12
    return True, f"{rate:.3g} TFLOP/s in float32{_of_peak(device, rate, 0)}"


def _copy(device: Any) -> tuple[bool, str]:
    n = 2**24 if device.type == "cpu" else 2**28
    x = device.xp.ones(n, dtype=device.xp.float32, device=_place(device))
    rate = 2 * 4 * n / _seconds(lambda: x + 0, device) / 1e9
    return True, f"{rate:.3g} GB/s read and written{_of_peak(device, rate, 1)}"


def _place(device: Any) -> Any:
    return device.asarray([0.0]).device


def _seconds(work: Callable[[], Any], device: Any) -> float:
    """The shortest time of several runs."""
    times = []
    for _ in range(7):
        device.synchronize()
        began = time.perf_counter()
        work()
        device.synchronize()
        times.append(time.perf_counter() - began)
    return min(times)


def _of_peak(device: Any, rate: float, which: int) -> str:
    """What share of the data sheet's number that is, where the device is known."""
    for name, peaks in PEAKS.items():
        if name in device.name:
            return f", {rate / peaks[which]:.0%} of the {name}'s {peaks[which]:g}"
    return ""


TESTS: dict[str, Callable[[Any], tuple[bool, str]]] = {
    "arrays": _arrays,
    "gradients": _gradients,
    "product": _product,
    "copy": _copy,
}
