"""What a GPU can do, and what the design of bpgpu rests on: the first thing to run on a machine with one.

Run: python benchmarks/gpu_checklist.py [OUT.json]

About three minutes. Each section runs by itself: where one fails, that is noted, and the next one runs. Exits with 3
where there is no GPU. Sections, and what each decides:

- versions: of the driver, CUDA, CuPy and the libraries
- ceilings: copy and products at full speed; every later time is divided by these
- host: microseconds of the processor for each call of CuPy, of bpgpu and of PyTorch
- captured: which functions of the Array API a stream captures as CuPy computes them, and as bpgpu's namespace does
- graphs: the cost of a node, and of a launch
- memory: whether memory of a graph is ever handed to others
- repeated: whether each operation gives the same bits twice, without which a graph fails its test
- steps: small training steps, eager and captured, with the reason where one was not
- torch: the same small step in PyTorch, eager and compiled
"""

from __future__ import annotations

import importlib.metadata
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Found = dict[str, Any]
Run = Callable[[], Any]


def versions() -> Found:
    import cupy as cp

    found: Found = {}
    for name in ("cupy-cuda13x", "cupy-cuda12x", "numpy", "array-api-compat", "torch", "jax"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    facts = cp.cuda.runtime.getDeviceProperties(0)
    return found | {
        "gpu": facts["name"].decode(),
        "compute capability": f"{facts['major']}.{facts['minor']}",
        "multiprocessors": facts["multiProcessorCount"],
        "driver": cp.cuda.runtime.driverGetVersion(),
        "nvrtc": cp.cuda.nvrtc.getVersion(),
    }


# ---- clocks


def device_us(f: Run, calls: int = 50) -> float:
    """Microseconds of the device for a call: the median of five rows of calls."""
    import cupy as cp

    for _ in range(3):
        f()
    times = []
    for _ in range(5):
        begin, end = cp.cuda.Event(), cp.cuda.Event()
        begin.record()
        for _ in range(calls):
            f()
        end.record()
        end.synchronize()
        times.append(cp.cuda.get_elapsed_time(begin, end) * 1e3 / calls)
    return round(statistics.median(times), 2)


def host_us(f: Run, calls: int = 1000) -> float:
    """Microseconds until a call returns, the device having little to do."""
    import cupy as cp

    for _ in range(20):
        f()
    cp.cuda.Device().synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        f()
    taken = (time.perf_counter() - start) / calls * 1e6
    cp.cuda.Device().synchronize()
    return round(taken, 2)


# ---- sections


def ceilings() -> Found:
    import cupy as cp

    import bpgpu as bp

    x = cp.zeros(2**27, dtype=cp.float32)
    y = cp.empty_like(x)
    found: Found = {
        "copy TB/s": round(2 * x.nbytes / device_us(lambda: cp.copyto(y, x), 10) / 1e6, 3)
    }
    n = 8192
    for precision, dtype in (("fp32", "float32"), ("tf32", "float32"), ("fp16", "float16")):
        a = cp.random.standard_normal((n, n), dtype=cp.float32).astype(dtype)
        with bp.precision(precision):
            us = device_us(lambda a=a: bp.functional.linear(a, a), 3)
        found[f"linear {n} {precision} TFLOP/s"] = round(2e-6 * n**3 / us, 1)
        us = device_us(lambda a=a: a @ a, 3)
        found[f"CuPy's product {n} {dtype} TFLOP/s"] = round(2e-6 * n**3 / us, 1)
    return found


def host() -> Found:
    import cupy as cp

    import bpgpu as bp

    x, w, b = (cp.ones(s, dtype=cp.float32) for s in ((128, 512), (512, 512), (512,)))
    out = cp.empty_like(x)
    found: Found = {
        "cupy add": host_us(lambda: x + x),
        "cupy add, out=": host_us(lambda: cp.add(x, x, out=out)),
        "cupy sum": host_us(lambda: x.sum(axis=0)),
        "cupy matmul": host_us(lambda: x @ w),
        "cupy empty": host_us(lambda: cp.empty((128, 512), dtype=cp.float32)),
        "bpgpu linear": host_us(lambda: bp.functional.linear(x, w, b)),
        "bpgpu linear and its gradient": host_us(
            lambda: bp.value_and_grad(lambda w: bp.functional.linear(x, w, b).sum())(w), 300
        ),
    }
    try:
        import torch
    except ImportError:
        return found
    tx, tw = torch.ones(128, 512, device="cuda"), torch.ones(512, 512, device="cuda")
    return found | {
        "torch add": host_us(lambda: tx + tx),
        "torch matmul": host_us(lambda: tx @ tw),
        "torch sum": host_us(lambda: tx.sum(0)),
    }


def captured() -> Found:
    import cupy as cp

    import bpgpu as bp

    x = cp.random.random((256, 256), dtype=cp.float32)
    xp, at, key = bp.array_namespace(x), cp.arange(256), bp.random.key(0, device="cuda")
    calls: dict[str, Run] = {
        "elementwise": lambda: xp.exp(x) * 2 + x,
        "sum": lambda: xp.sum(x, axis=0),
        "max": lambda: xp.max(x, axis=1),
        "argmax": lambda: xp.argmax(x, axis=1),
        "take": lambda: xp.take(x, at, axis=0),
        "where": lambda: xp.where(x > 0, x, 0),
        "clip": lambda: xp.clip(x, 0, 1),
        "stack of 9": lambda: xp.stack([x] * 9),
        "CuPy's stack of 9": lambda: cp.stack([x] * 9),
        "cumulative_sum": lambda: xp.cumulative_sum(x, axis=1),
        "sort": lambda: xp.sort(x, axis=1),
        "argsort": lambda: xp.argsort(x, axis=1),
        "tril": lambda: xp.tril(x),
        "add.at": lambda: cp.add.at(x, at, x),
        "CuPy's product": lambda: x @ x,
        "bpgpu's product": lambda: bp.functional.linear(x, x),
        "asarray of a list": lambda: x + xp.asarray([1.0] * 256),
        "float()": lambda: float(x[0, 0]),
        "a mask": lambda: x[x > 0.5],
        "softmax": lambda: bp.functional.softmax(x, dim=1),
        "dropout": lambda: bp.functional.dropout(x, 0.5, key=key),
    }
    return {name: capture_of(f) for name, f in calls.items()}


def capture_of(f: Run) -> str:
    """`ok`, with the bytes that the pool grew by, or what was raised."""
    from bpgpu.backend.capture import Place

    place = Place(0)
    try:
        with place.entered(own_memory=True):
            f()
            f()
            made = place.captured(f)
            place.launch(made.graph)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was asked for
        return f"{type(error).__name__}: {str(error)[:80]}"
    return "ok" if not made.grown else f"ok, but the pool grew by {made.grown} bytes"


def graphs() -> Found:
    import cupy as cp

    from bpgpu.backend.capture import Place

    x = cp.zeros(32, dtype=cp.float32)
    found: Found = {}

    def many(nodes: int) -> None:
        for _ in range(nodes):
            cp.add(x, 1, out=x)

    for nodes in (1, 10, 100, 1000):
        place = Place(0)
        with place.entered(own_memory=True):
            many(1)
            made = place.captured(lambda n=nodes: many(n))

        def launch(place: Any = place, made: Any = made) -> None:
            with place.entered(own_memory=False):
                place.launch(made.graph)

        found[f"{nodes} nodes: device us"] = device_us(launch, 20)
        found[f"{nodes} nodes: host us"] = host_us(launch, 200)
    return found


def memory() -> Found:
    import cupy as cp

    import bpgpu as bp

    w = cp.ones(2**20, dtype=cp.float32)
    step = bp.compile(lambda x: ((x * w) * 2).sum())
    x = cp.arange(2**20, dtype=cp.float32)
    for _ in range(5):
        step(x)
    others = [cp.full(2**20, 7, dtype=cp.float32) for _ in range(8)]
    results = [step(x) for _ in range(3)]
    return {
        "replays": step.replays,
        "reason": step.reason,
        "what others hold is intact": all(float(o.min()) == 7 == float(o.max()) for o in others),
        "results agree": len({float(r) for r in results}) == 1,
    }


def repeated() -> Found:
    """The same bits twice? Those that differ keep a step from being captured: its graph fails the test."""
    import cupy as cp

    import bpgpu as bp

    f = bp.functional
    x = cp.random.standard_normal((32, 16, 32, 32), dtype=cp.float32)
    w = cp.random.standard_normal((16, 16, 3, 3), dtype=cp.float32)
    a, at = cp.random.standard_normal((512, 512), dtype=cp.float32), cp.arange(4096) % 512
    q = cp.random.standard_normal((4, 8, 64, 32), dtype=cp.float32)
    functions: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "linear": (lambda a: f.linear(a, a), (a,)),
        "conv2d": (lambda x, w: f.conv2d(x, w, padding=1), (x, w)),
        "max_pool2d": (lambda x: f.max_pool2d(x, 2), (x,)),
        "batch_norm": (lambda x: f.batch_norm(x, None, None, training=True), (x,)),
        "layer_norm": (lambda a: f.layer_norm(a, (512,)), (a,)),
        "softmax": (lambda a: f.softmax(a, dim=1), (a,)),
        "embedding": (lambda a: f.embedding(at, a), (a,)),
        "attention": (lambda q: f.scaled_dot_product_attention(q, q, q, is_causal=True), (q,)),
    }
    found = {}
    for name, (function, args) in functions.items():
        gradient = bp.grad(
            lambda *args, g=function: (g(*args) ** 2).sum(), argnums=tuple(range(len(args)))
        )
        first, second = gradient(*args), gradient(*args)
        same = [x.tobytes() == y.tobytes() for x, y in zip(first, second, strict=True)]
        found[name] = (
            all(same) or f"the gradients {[i for i, s in enumerate(same) if not s]} differ"
        )
    return found


def steps() -> Found:
    import cupy as cp

    import bpgpu as bp

    nn = bp.nn
    networks = {
        "mlp 784-512-512-10, 128": (
            [nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)],
            (128, 784),
        ),
        "cnn, 256": (
            [
                *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(32 * 16 * 16, 10)),
            ],
            (256, 3, 32, 32),
        ),
    }
    found: Found = {}
    for name, (layers, shape) in networks.items():
        model = nn.Sequential(*layers).to("cuda")
        opt = bp.optim.AdamW(model)
        x = cp.random.standard_normal(shape, dtype=cp.float32)
        y = cp.random.randint(0, 10, shape[0])

        def train(x: Any, y: Any, model: Any = model, opt: Any = opt) -> Any:
            value, grads = bp.value_and_grad(lambda m: bp.functional.cross_entropy(m(x), y))(model)
            opt.step(grads)
            return value

        step = bp.compile(train)
        eager = device_us(lambda t=train, x=x, y=y: t(x, y), 20)
        fast = device_us(lambda s=step, x=x, y=y: s(x, y), 50)
        found[name] = {"eager us": eager, "captured us": fast, "reason": step.reason}
    return found


def torch() -> Found:
    import torch as t

    t.set_float32_matmul_precision("high")
    found: Found = {}
    for mode in ("eager", "reduce-overhead"):
        t.manual_seed(0)
        layers = [t.nn.Linear(784, 512), t.nn.ReLU(), t.nn.Linear(512, 512), t.nn.ReLU()]
        net: Any = t.nn.Sequential(*layers, t.nn.Linear(512, 10)).cuda()
        opt = t.optim.AdamW(net.parameters(), fused=True, capturable=True)
        run = net if mode == "eager" else t.compile(net, mode=mode)
        x, y = t.randn(128, 784, device="cuda"), t.randint(0, 10, (128,), device="cuda")

        def step(run: Any = run, opt: Any = opt, x: Any = x, y: Any = y) -> None:
            opt.zero_grad(set_to_none=True)
            t.nn.functional.cross_entropy(run(x), y).backward()
            opt.step()

        for _ in range(20):
            step()
        t.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(200):
            step()
        t.cuda.synchronize()
        found[f"mlp, {mode}: us"] = round((time.perf_counter() - start) / 200 * 1e6, 1)
    return found


SECTIONS: tuple[Callable[[], Found], ...] = (
    *(versions, ceilings, host, captured, graphs, memory, repeated, steps, torch),
)


def obstacle() -> str:
    from bpgpu.backend import cupy

    found = cupy.survey().obstacle or cupy.trial(0)
    return "" if found is None else f"{found.cause}. Remedy: {found.remedy}"


def main(path: Path | None) -> int:
    if reason := obstacle():
        print(f"gpu_checklist: no GPU to look at: {reason}")
        return 3
    found: dict[str, Found] = {}
    for section in SECTIONS:
        start = time.perf_counter()
        try:
            found[section.__name__] = section()
        except Exception as error:  # noqa: BLE001 - noted, and the next section runs
            where = traceback.format_exc().splitlines()[-3:-1]
            found[section.__name__] = {"failed": f"{type(error).__name__}: {error}", "at": where}
        print(f"[{section.__name__}] {time.perf_counter() - start:.1f} s", flush=True)
        for name, value in found[section.__name__].items():
            print(f"    {name}: {value}", flush=True)
    if path is not None:
        path.write_text(json.dumps(found, indent=1, default=str) + "\n")
    return int(any("failed" in f for f in found.values()))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
