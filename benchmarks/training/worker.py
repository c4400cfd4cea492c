"""One rival in a process of its own: waits for its turn, runs a block of steps, prints their median time.

Run by __main__.py: python worker.py WORKLOAD RIVAL BATCH WHAT SECONDS
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from rivals import make
from workloads import workloads


def median_time(step: Callable[[], Any], seconds: float) -> float:
    """Seconds a step takes; steps too short for the clock are timed together."""
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    name, rival, batch, what, seconds = sys.argv[1:]
    began = time.perf_counter()
    train, infer = make(workloads(int(batch) or None)[name], rival)
    losses = [float(train()) for _ in range(4)]
    step = train if what == "train" else infer
    step()
    first = time.perf_counter() - began
    median_time(step, 1.0)  # warm
    print("ready", first, *losses, flush=True)
    for _ in sys.stdin:
        taken = median_time(step, float(seconds))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(taken, peak, flush=True)


if __name__ == "__main__":
    main()
