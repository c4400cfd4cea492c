"""A training step against batch and width: the cost must grow with the work, and show no cliff.

Run: python benchmarks/scaling.py [--rounds 3] [--fast] [--write]

A network width-width-width-10 with Adam, float32, two threads. PyTorch and bpgpu are processes of their own that take
turns at each size. A cell of the table is bpgpu's time in ms and, behind it, the median of its ratios to PyTorch.
`--fast` uses the kernels of that extra, `--write` stores the table in benchmarks/results/scaling.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDTHS = (64, 256, 1024, 4096)
BATCHES = (1, 8, 32, 128, 512, 1024)
SECONDS = 0.2
"""Of one turn."""


def serve(rival: str) -> None:
    """Answer each line "width batch" with the median time of a step."""
    sys.path.insert(0, str(HERE / "training"))
    from rivals import make
    from workloads import dense

    for line in sys.stdin:
        width, batch = map(int, line.split())
        step, _ = make(dense((width, width, width, 10), batch, "adam"), rival)
        step()
        times = []
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end or len(times) < 3:
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)
        print(statistics.median(times), flush=True)


def start(rival: str) -> subprocess.Popen[str]:
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return subprocess.Popen(
        [sys.executable, __file__, "--serve", rival],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **dict.fromkeys(pools, "2")},
    )


def ask(process: subprocess.Popen[str], width: int, batch: int) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    print(width, batch, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve)
    rivals = [start("torch"), start("bpgpu:fast" if options.fast else "bpgpu")]
    lines = [
        "| width | " + " | ".join(f"batch {b}" for b in BATCHES) + " |",
        "|---" * (len(BATCHES) + 1) + "|",
    ]
    for width in WIDTHS:
        cells = []
        for batch in BATCHES:
            turns = [[ask(r, width, batch) for r in rivals] for _ in range(options.rounds)]
            ratio = statistics.median(ours / theirs for theirs, ours in turns)
            cells.append(f"{statistics.median(t[1] for t in turns) * 1e3:.2f} ({ratio:.2f})")
        lines.append(f"| {width} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    for r in rivals:
        r.kill()
    if options.write:
        command = "python benchmarks/scaling.py " + " ".join(sys.argv[1:])
        title = "# A training step against batch and width"
        note = "bpgpu in ms, and its ratio to PyTorch eager, two threads, float32."
        text = "\n".join([title, "", f"`{command}`", "", note, "", *lines, ""])
        (HERE / "results" / "scaling.md").write_text(text)
    return None


if __name__ == "__main__":
    main()
