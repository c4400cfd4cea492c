"""What random numbers cost, beside those of NumPy, torch and JAX.

Run: python benchmarks/random_speed.py [--size N] [--rounds N]

All rivals run in this one process, on one thread, taking turns; a time is the median over the rounds, in milliseconds,
and the ratio is the median of the ratios to the library's own generator in the same round. JAX runs compiled, with
the key as data.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

# one thread for everyone, before anyone starts a pool
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"

import numpy as np

from bpgpu import random

Draw = Callable[[], Any]
KEEP = 0.9


def numpy_rows(n: int) -> dict[str, tuple[Draw, Draw]]:
    """Ours, and NumPy's PCG64."""
    key, rng = random.key(0), np.random.default_rng(0)
    return {
        "mask": (
            lambda: random.mask(key, n, KEEP),
            lambda: rng.random(n, dtype=np.float32) < KEEP,
        ),
        "uniform": (lambda: random.uniform(key, n), lambda: rng.random(n, dtype=np.float32)),
        "normal": (
            lambda: random.normal(key, n),
            lambda: rng.standard_normal(n, dtype=np.float32),
        ),
        "permutation": (lambda: random.permutation(key, n), lambda: rng.permutation(n)),
    }


def torch_rows(n: int) -> dict[str, tuple[Draw, Draw]]:
    """Ours on torch tensors, operation by operation, and torch's Mersenne twister."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(1)
    key = torch.asarray(random.key(0))
    return {
        "mask": (lambda: random.mask(key, n, KEEP), lambda: torch.rand(n) < KEEP),
        "uniform": (lambda: random.uniform(key, n), lambda: torch.rand(n)),
        "normal": (lambda: random.normal(key, n), lambda: torch.randn(n)),
    }


def jax_rows(n: int) -> dict[str, tuple[Draw, Draw]]:
    """Ours inside `jax.jit`, and JAX's own Threefry."""
    try:
        import jax
    except ImportError:
        return {}
    key, theirs = jax.numpy.asarray(random.key(0)), jax.random.key(0)

    def compiled(f: Callable[[Any], Any], key: Any) -> Draw:
        run = jax.jit(f)
        return lambda: run(key).block_until_ready()

    pairs: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
        "mask": (
            lambda k: random.mask(k, n, KEEP)[0],
            lambda k: jax.random.bernoulli(k, KEEP, (n,)),
        ),
        "uniform": (lambda k: random.uniform(k, n), lambda k: jax.random.uniform(k, (n,))),
        "normal": (lambda k: random.normal(k, n), lambda k: jax.random.normal(k, (n,))),
    }
    return {name: (compiled(f, key), compiled(g, theirs)) for name, (f, g) in pairs.items()}


def milliseconds(draw: Draw) -> float:
    start = time.perf_counter()
    draw()
    return 1e3 * (time.perf_counter() - start)


def compare(ours: Draw, theirs: Draw, rounds: int) -> tuple[float, float, float]:
    """Our time, their time, and the ratio, each the median over the rounds."""
    ours(), theirs()
    times = [(milliseconds(ours), milliseconds(theirs)) for _ in range(rounds)]
    return (
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
        statistics.median(a / b for a, b in times),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1_000_000, help="how many numbers")
    parser.add_argument("--rounds", type=int, default=25)
    args = parser.parse_args()
    print(f"{args.size} numbers, one thread")
    print("| library | numbers | bpgpu, ms | the library's own, ms | ratio |")
    print("|---|---|---|---|---|")
    for library, rows in (("NumPy", numpy_rows), ("torch", torch_rows), ("jax.jit", jax_rows)):
        for name, (ours, theirs) in rows(args.size).items():
            a, b, ratio = compare(ours, theirs, args.rounds)
            print(f"| {library} | {name} | {a:.2f} | {b:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
