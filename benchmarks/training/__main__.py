"""Training steps on the CPU: bpgpu against PyTorch (eager, channels last, compiled), JAX and scikit-learn.

Run: python benchmarks/training [--workloads mlp,cnn] [--rivals torch,bpgpu] [--rounds 9] [--batch N] [--infer]
     [--write] [--device cuda]

With `--device cuda` the workloads and rivals are those of cuda.py, which has options of its own.

Every rival is a process of its own and waits while another has its turn. All start from the same weights and the same
batch, and their losses over the first steps must agree. A figure is the median over the rounds of the ratio to the
first rival of that round, so that a machine whose speed drifts does not matter; the spread stands beside it.
`--write` stores the table and a chart in benchmarks/results/training.md and training.png."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
sys.path.insert(0, str(HERE))

RIVALS = (
    "torch",
    "bpgpu",
    "bpgpu:fast",
    "bpgpu:compiled",
    "bpgpu:fast compiled",
    "torch:channels_last",
    "torch:compile",
    "jax",
    "sklearn",
)


class Row(NamedTuple):
    workload: str
    rival: str
    milliseconds: float
    ratio: float
    low: float
    high: float
    peak: float
    """Of memory, in MiB; the libraries themselves included."""


class Worker:
    """A rival that waits for its turn."""

    def __init__(self, workload: str, rival: str, options: argparse.Namespace) -> None:
        self.rival = rival
        threads = str(options.threads)
        pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        self.process = subprocess.Popen(
            [
                *(sys.executable, str(HERE / "worker.py"), workload, rival, str(options.batch)),
                *("infer" if options.infer else "train", str(options.seconds)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **dict.fromkeys(pools, threads), "JAX_PLATFORMS": "cpu"},
        )
        self.times: list[float] = []
        self.peak = 0.0
        self.losses: list[float] = []
        self.trouble = ""

    def ready(self) -> bool:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        said = self.process.stdout.readline().split()
        if said[:1] != ["ready"]:
            lines = self.process.stderr.read().strip().splitlines() or ["it said nothing"]
            self.trouble = lines[-1]
            return False
        self.losses = [float(x) for x in said[2:]]
        return True

    def turn(self) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        taken, peak = self.process.stdout.readline().split()
        self.times.append(float(taken))
        self.peak = float(peak) / 1024
        return float(taken)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def race(workload: str, rivals: list[str], options: argparse.Namespace) -> list[Row]:
    workers = []
    for rival in rivals:
        worker = Worker(workload, rival, options)
        if worker.ready():
            workers.append(worker)
        else:
            print(f"{workload}: {rival} left out: {worker.trouble}", flush=True)
            worker.stop()
    try:
        agree(workload, workers)
        for _ in range(options.rounds):
            for worker in workers:
                worker.turn()
    finally:
        for worker in workers:
            worker.stop()
    rows = []
    for worker in workers:
        ratios = [a / b for a, b in zip(worker.times, workers[0].times, strict=True)]
        rows.append(
            Row(
                *(workload, worker.rival, statistics.median(worker.times) * 1e3),
                *(statistics.median(ratios), min(ratios), max(ratios), worker.peak),
            )
        )
        print(line(rows[-1]), flush=True)
    return rows


def agree(workload: str, workers: list[Worker]) -> None:
    """Raise unless all have taken the same steps; scikit-learn starts from weights of its own."""
    same = [w for w in workers if not w.rival.startswith("sklearn")]
    for w in same[1:]:
        for a, b in zip(w.losses, same[0].losses, strict=True):
            if abs(a - b) > 2e-3 * abs(b):
                raise SystemExit(
                    f"{workload}: {w.rival} and {same[0].rival} disagree: {w.losses}, {same[0].losses}"
                )


def line(r: Row) -> str:
    return (
        f"| {r.workload} | {r.rival} | {r.milliseconds:.3f} | {r.ratio:.2f} | {r.low:.2f}-{r.high:.2f} |"
        f" {r.peak:.0f} |"
    )


def write(rows: list[Row], options: argparse.Namespace, titles: dict[str, str]) -> None:
    name = "inference" if options.infer else "training"
    name += f"-batch-{options.batch}" if options.batch else ""
    command = "python benchmarks/training " + " ".join(sys.argv[1:])
    conditions = (
        f"{options.threads} threads, float32, {options.rounds} rounds, {platform.machine()}, Python "
        f"{platform.python_version()}. Ratio to the first rival: below 1 is faster. Peak memory is that of the whole "
        "process."
    )
    text = [
        f"# {'Inference' if options.infer else 'A training step'} on the CPU",
        "",
        f"`{command}`",
        "",
        conditions,
        "",
        "| workload | rival | ms | ratio | spread | peak MiB |",
        "|---|---|---|---|---|---|",
        *(line(r) for r in rows),
        "",
        *(f"- {key}: {titles[key]}" for key in dict.fromkeys(r.workload for r in rows)),
        "",
    ]
    (RESULTS / f"{name}.md").write_text("\n".join(text))
    chart(rows, RESULTS / f"{name}.png")


def chart(rows: list[Row], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(r.workload for r in rows))
    rivals = list(dict.fromkeys(r.rival for r in rows))
    figure, axes = plt.subplots(figsize=(11, 4.5), layout="constrained")
    width = 0.8 / len(rivals)
    for i, rival in enumerate(rivals):
        found = [(names.index(r.workload) + i * width, r.ratio) for r in rows if r.rival == rival]
        axes.bar([x for x, _ in found], [y for _, y in found], width, label=rival)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks([i + 0.4 - width / 2 for i in range(len(names))], names)
    axes.set_ylabel(f"time, ratio to {rivals[0]}")
    axes.set_ylim(0, min(3.0, max(r.ratio for r in rows) * 1.05))
    axes.legend(ncols=3, fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    from workloads import workloads

    if "--device" in sys.argv[1:-1]:
        at = sys.argv.index("--device")
        device = sys.argv[at + 1]
        del sys.argv[at : at + 2]
        if device == "cuda":
            import cuda

            sys.exit(cuda.main(sys.argv[1:]))
        if device != "cpu":
            sys.exit(f"--device: expected cpu or cuda, got {device}")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", default=",".join(workloads()))
    parser.add_argument("--rivals", default=",".join(RIVALS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.7, help="of one turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=0, help="0 for the size of each workload")
    parser.add_argument("--infer", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.workloads.split(","):
        rows += race(name, options.rivals.split(","), options)
    if options.write:
        titles = {key: w.title for key, w in workloads(options.batch or None).items()}
        write(rows, options, titles)


if __name__ == "__main__":
    main()
