"""Training steps on a GPU: bpgpu against PyTorch and JAX, each at the same precision. Written without a GPU at hand.

Run: python benchmarks/training --device cuda [--workloads mlp,cnn] [--precisions tf32,bf16] [--rounds 5] [--write]

Every rival is a process of its own, on the same weights and the same batch, and takes its turns; the losses of the
first steps must agree. Two ratios are printed: to PyTorch eager, and to the fastest of PyTorch eager, `torch.compile`
with CUDA graphs and `jax.jit`, both of the same round. On an H100 the floor stands beside them: what the memory and the
arithmetic units need at least (estimated; see the docstring of `FLOORS`). Exits with 3 where there is no GPU. `--write`
stores the table in benchmarks/results/gpu/training.md."""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "gpu"
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "src")]

RIVALS = ("torch", "torch:compile", "jax", "bpgpu:eager", "bpgpu")
PRECISIONS = {
    "mlp": ("tf32",),
    "large": ("tf32", "bf16"),
    "cnn": ("tf32",),
    "resnet": ("tf32",),
    "lstm": ("tf32",),
    "gpt": ("bf16",),
}
"""At which precisions a workload is run, for all rivals alike: of products and convolutions; parameters are float32."""

FLOORS = {
    ("mlp", "tf32"): 0.010,
    ("large", "tf32"): 1.69,
    ("large", "bf16"): 0.96,
    ("cnn", "tf32"): 0.23,
    ("cnn", "bf16"): 0.13,
    ("resnet", "tf32"): 3.8,
    ("resnet", "bf16"): 2.0,
    ("lstm", "tf32"): 0.27,
    ("lstm", "bf16"): 0.13,
    ("gpt", "tf32"): 4.2,
    ("gpt", "bf16"): 2.2,
}
"""Milliseconds of a step on an H100: the sum, over the parts of a step, of the larger of bytes / 3.0 TB/s and
operations / (400 TFLOP/s in TF32, 800 in bf16). An estimate, and not a measurement."""

GOALS = {
    ("mlp", "tf32"): (0.15, 0.9),
    ("large", "tf32"): (0.95, 1.0),
    ("large", "bf16"): (0.95, 1.0),
    ("cnn", "tf32"): (0.4, 1.0),
    ("resnet", "tf32"): (0.9, 1.05),
    ("lstm", "tf32"): (1.0, 1.0),
    ("gpt", "bf16"): (0.8, 1.05),
}
"""The ratios that are aimed at: to PyTorch eager, and to the fastest."""


# ---- the networks, from PyTorch's or bpgpu's `nn` and `functional`


def mlp(nn: Any, functional: Any, sizes: tuple[int, ...]) -> Any:
    layers: list[Any] = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(nn: Any, functional: Any) -> Any:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        nn.MaxPool2d(2),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(64 * 8 * 8, 512), nn.ReLU(), nn.Linear(512, 10)),
    )


def resnet18(nn: Any, functional: Any) -> Any:
    from models import residual  # beside this file: see sys.path

    block = residual(nn, functional)
    widths = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
    blocks = [b for i, o, s in widths for b in (block(i, o, s), block(o, o, 1))]
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), *blocks),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)),
    )


def lstm(nn: Any, functional: Any) -> Any:
    class Model(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(512, 512, batch_first=True)
            self.head = nn.Linear(512, 10)

        def forward(self, x: Any) -> Any:
            y, _ = self.rnn(x)
            return self.head(y[:, -1, :])

    return Model()


def gpt(nn: Any, functional: Any) -> Any:
    class Block(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self, d: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.norm1, self.qkv, self.out = nn.LayerNorm(d), nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.norm2 = nn.LayerNorm(d)
            self.up, self.act, self.down = nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d)

        def forward(self, x: Any) -> Any:
            n, t, d = x.shape
            qkv = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, d // self.heads)
            q, k, v = (qkv[:, :, i, :, :].swapaxes(1, 2) for i in range(3))
            a = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(a.swapaxes(1, 2).reshape(n, t, d))
            return x + self.down(self.act(self.up(self.norm2(x))))

    class Model(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.place = nn.Embedding(96, 384), nn.Embedding(256, 384)
            self.blocks = nn.Sequential(*[Block(384, 6) for _ in range(6)])
            self.norm, self.head = nn.LayerNorm(384), nn.Linear(384, 96)

        def forward(self, x: Any) -> Any:
            y = self.blocks(self.embedding(x) + self.place.weight)
            return self.head(self.norm(y).reshape(-1, 96 * 4))

    return Model()


def workloads() -> dict[str, Any]:
    from workloads import Workload, dense, images, text

    def sequences(rng: Any) -> tuple[Any, Any]:
        return rng.standard_normal((64, 128, 512), dtype="f4"), rng.integers(0, 10, 64)

    return {
        "mlp": dense((784, 512, 512, 10), 128, "adam"),
        "large": dense((1024, 4096, 4096, 1000), 4096, "adam"),
        "cnn": Workload("CNN 32-32-64-64-512 on 32x32, batch 256, adam", cnn, images(256), "adam"),
        "resnet": Workload("ResNet-18 on 32x32, batch 256, sgd", resnet18, images(256), "sgd"),
        "lstm": Workload("LSTM 512, 128 steps, batch 64, adam", lstm, sequences, "adam"),
        "gpt": Workload(
            "GPT 6 layers d 384, sequence 256, batch 64, adam", gpt, text(64, 256), "adam"
        ),
    }


# ---- the rivals: a step, and what waits until it is done

Made = tuple[Callable[[], Any], Callable[[], Any]]


def with_bpgpu(w: Any, mode: str, precision: str) -> Made:
    from workloads import weights

    import bpgpu as bp

    device = bp.device("cuda")
    model = w.build(bp.nn, bp.functional)
    model.load_state_dict(weights(model.state_dict()))
    model.to(device)
    optimizer: Any = (
        bp.optim.Adam(model, lr=w.rate)
        if w.optimizer == "adam"
        else bp.optim.SGD(model, lr=w.rate, momentum=0.9)
    )
    x, y = (device.asarray(a) for a in w.data())

    def train(x: Any, y: Any) -> Any:
        with bp.precision(precision):
            loss, grads = bp.value_and_grad(lambda m: bp.functional.cross_entropy(m(x), y))(model)
        optimizer.step(grads)
        return loss

    step = train if mode == "eager" else bp.compile(train)

    def run() -> Any:
        return step(x, y)

    def synchronize() -> None:
        device.synchronize()
        if mode != "eager" and step.calls > 8 and step.reason is not None:
            sys.stderr.write(f"not captured: {step.reason}\n")

    return run, synchronize


def with_torch(w: Any, mode: str, precision: str) -> Made:
    import torch
    from workloads import weights

    torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    torch.backends.cudnn.benchmark = True
    model = w.build(torch.nn, torch.nn.functional)
    model.load_state_dict({k: torch.tensor(v) for k, v in weights(model.state_dict()).items()})
    model = model.cuda()
    if "Conv" in str(model):
        model = model.to(memory_format=torch.channels_last)
    made: Any = torch.optim.Adam if w.optimizer == "adam" else torch.optim.SGD
    options = {"momentum": 0.9} if w.optimizer == "sgd" else {"capturable": True}
    optimizer = made(model.parameters(), lr=w.rate, fused=True, **options)
    x, y = (torch.tensor(a).cuda() for a in w.data())
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)

    def loss_of(x: Any, y: Any) -> Any:
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            return torch.nn.functional.cross_entropy(model(x), y)

    run = torch.compile(loss_of, mode="reduce-overhead") if mode == "compile" else loss_of

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = run(x, y)
        loss.backward()
        optimizer.step()
        return loss.detach().clone()

    return step, torch.cuda.synchronize


def with_jax(w: Any, mode: str, precision: str) -> Made:
    """bpgpu's network on JAX's arrays, the whole step compiled by `jax.jit`."""
    if "LSTM" in w.title:
        raise SystemExit("jax.jit unrolls the 128 steps, and compiles for minutes")
    import jax
    from workloads import weights

    import bpgpu as bp

    names = {"fp32": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}
    jax.config.update("jax_default_matmul_precision", names[precision])
    os.environ["BPGPU_DEVICE"] = "cpu"
    model = w.build(bp.nn, bp.functional)
    model.load_state_dict(weights(model.state_dict()))
    optimizer: Any = (
        bp.optim.Adam(model, lr=w.rate)
        if w.optimizer == "adam"
        else bp.optim.SGD(model, lr=w.rate, momentum=0.9)
    )

    def bind(arrays: Any) -> None:
        for path, value in arrays.items():
            owner, name = model.locate(path)
            setattr(owner, name, value)

    @jax.jit
    def train(arrays: Any, state: Any, x: Any, y: Any) -> Any:
        bind(arrays)
        loss, grads = bp.value_and_grad(lambda m: bp.functional.cross_entropy(m(x), y))(model)
        params, state = optimizer.update(grads, state, model.parameters())
        return {**params, **model.buffers()}, state, loss

    arrays = {k: jax.numpy.asarray(v) for k, v in {**model.parameters(), **model.buffers()}.items()}
    x, y = (jax.numpy.asarray(a) for a in w.data())
    bind(arrays)
    held = [arrays, optimizer.init(model.parameters())]

    def step() -> Any:
        held[0], held[1], loss = train(*held, x, y)
        return loss

    return step, lambda: jax.block_until_ready(held)


MAKERS = {"bpgpu": with_bpgpu, "torch": with_torch, "jax": with_jax}


# ---- a rival in a process of its own


def work(workload: str, rival: str, precision: str, seconds: float) -> None:
    """Wait for turns, and say after each how long a step takes."""
    library, _, mode = rival.partition(":")
    step, synchronize = MAKERS[library](workloads()[workload], mode, precision)
    losses = [float(step()) for _ in range(4)]
    timed(step, synchronize, 2.0)  # warm
    print("ready", *losses, flush=True)
    for _ in sys.stdin:
        print(timed(step, synchronize, seconds), flush=True)


def timed(step: Callable[[], Any], synchronize: Callable[[], Any], seconds: float) -> float:
    """Milliseconds of a step: rows of steps, each waited for at its end; the median row."""
    count, times = 1, []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        synchronize()
        start = time.perf_counter()
        for _ in range(count):
            step()
        synchronize()
        taken = time.perf_counter() - start
        if taken < 0.02 and count < 4096:
            count *= 2
            continue
        times.append(taken / count * 1e3)
    return statistics.median(times)


class Row(NamedTuple):
    workload: str
    precision: str
    rival: str
    milliseconds: float
    to_eager: float | None
    to_fastest: float | None


class Worker:
    """A rival that waits for its turn."""

    def __init__(self, workload: str, rival: str, precision: str, seconds: float) -> None:
        self.rival, self.times, self.losses, self.trouble = rival, list[float](), list[float](), ""
        command = [str(HERE / "cuda.py"), "--worker", workload, rival, precision, str(seconds)]
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        said = self.process.stdout.readline().split()
        if said[:1] == ["ready"]:
            self.losses = [float(v) for v in said[1:]]
        else:
            lines = self.process.stderr.read().strip().splitlines() or ["it said nothing"]
            self.trouble = lines[-1]

    def turn(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.times.append(float(self.process.stdout.readline()))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def race(workload: str, precision: str, options: argparse.Namespace) -> list[Row]:
    workers = []
    for rival in options.rivals.split(","):
        worker = Worker(workload, rival, precision, options.seconds)
        if worker.trouble:
            print(f"{workload} {precision}: {rival} left out: {worker.trouble}", flush=True)
            worker.stop()
        else:
            workers.append(worker)
    try:
        agree(workload, precision, workers)
        for _ in range(options.rounds):
            for worker in workers:
                worker.turn()
    finally:
        for worker in workers:
            worker.stop()
    others = [w for w in workers if not w.rival.startswith("bpgpu")]
    eager = next((w.times for w in workers if w.rival == "torch"), None)
    fastest = [min(times) for times in zip(*(w.times for w in others), strict=True)] or None
    rows = []
    for w in workers:
        rows.append(
            Row(
                *(workload, precision, w.rival, statistics.median(w.times)),
                *(ratio(w.times, eager), ratio(w.times, fastest)),
            )
        )
        print(line(rows[-1], options.floors), flush=True)
    return rows


def ratio(times: list[float], to: list[float] | None) -> float | None:
    """The median over the rounds."""
    return None if to is None else statistics.median(a / b for a, b in zip(times, to, strict=True))


def agree(workload: str, precision: str, workers: list[Worker]) -> None:
    """Raise unless all have taken the same steps, up to what the precision allows."""
    bound = {"fp32": 2e-3, "tf32": 1e-2, "bf16": 3e-2}[precision]
    for w in workers[1:]:
        for a, b in zip(w.losses, workers[0].losses, strict=True):
            if abs(a - b) > bound * abs(b):
                raise SystemExit(
                    f"{workload} {precision}: {w.rival} and {workers[0].rival} disagree: {w.losses}, "
                    f"{workers[0].losses}"
                )


def line(r: Row, floors: bool) -> str:
    eager, fastest = (f"{v:.2f}" if v is not None else "" for v in (r.to_eager, r.to_fastest))
    floor = FLOORS.get((r.workload, r.precision)) if floors else None
    over = f"{r.milliseconds / floor:.1f}" if floor else ""
    goal = GOALS.get((r.workload, r.precision)) if r.rival == "bpgpu" else None
    aim = f"{goal[0]:.2f}, {goal[1]:.2f}" if goal else ""
    return (
        f"| {r.workload} | {r.precision} | {r.rival} | {r.milliseconds:.3f} | {eager} | {fastest} | {over} "
        f"| {aim} |"
    )


def write(rows: list[Row], gpu: str) -> None:
    titles = workloads()
    conditions = (
        f"`python benchmarks/training --device cuda {' '.join(sys.argv[1:])}` on {gpu}, Python "
        f"{platform.python_version()}. Below 1 is faster. Precision is that of products and convolutions, the same for "
        "all rivals; parameters are float32."
    )
    text = [
        "# A training step on a GPU",
        "",
        conditions,
        "",
        "| workload | precision | rival | ms | to torch eager | to the fastest other | times the floor | aim |",
        "|---|---|---|---|---|---|---|---|",
        *(line(r, "H100" in gpu) for r in rows),
        "",
        *(f"- {k}: {titles[k].title}" for k in dict.fromkeys(r.workload for r in rows)),
        "",
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "training.md").write_text("\n".join(text))


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--worker"]:
        work(*arguments[1:4], float(arguments[4]))  # type: ignore[arg-type,call-arg]
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", default=",".join(PRECISIONS))
    parser.add_argument("--rivals", default=",".join(RIVALS))
    parser.add_argument("--precisions", help="fp32, tf32, bf16; by default those of the table")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    from bpgpu.backend import cupy

    found = cupy.survey().obstacle or cupy.trial(0)
    if found is not None:
        print(f"no GPU to train on: {found.cause}. Remedy: {found.remedy}")
        return 3
    gpu = cupy.name(0)
    options.floors = "H100" in gpu
    rows = []
    for workload in options.workloads.split(","):
        wanted = options.precisions.split(",") if options.precisions else PRECISIONS[workload]
        for precision in wanted:
            rows += race(workload, precision, options)
    if options.write:
        write(rows, gpu)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
