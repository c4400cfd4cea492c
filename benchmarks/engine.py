"""What the tape costs: small and middle-sized steps against PyTorch, HIPS autograd, MyGrad, JAX and
NumPy by hand.

Run: python benchmarks/engine.py [--rounds N] [--write]

All rivals run in this one process, taking turns; a figure is the median over the rounds of the
ratio to the first rival of its table, so that a machine whose speed drifts does not matter. Steps
compute the same update from the same numbers, and the losses must agree. `--write` stores the
tables in benchmarks/results/engine.md."""

from __future__ import annotations

import argparse
import gc
import importlib
import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # one thread for everyone, before anyone starts a pool

import numpy as np  # noqa: E402 - after the number of threads is set

import bpgpu as bp  # noqa: E402

Step = Callable[[], Any]
RATE = np.float32(0.01)


class Problem:
    """A classifier of dense layers with tanh, softmax cross-entropy and plain SGD, in float32."""

    def __init__(self, sizes: list[int], batch: int) -> None:
        rng = np.random.default_rng(0)
        pairs = itertools.pairwise(sizes)
        self.layers = [
            (rng.normal(size=(o, i)).astype("f4") / np.float32(i**0.5), np.zeros(o, "f4"))
            for i, o in pairs
        ]
        self.x = rng.normal(size=(batch, sizes[0])).astype("f4")
        self.y = rng.integers(0, sizes[-1], batch)
        self.hot = np.eye(sizes[-1], dtype="f4")[self.y]

    def copies(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(w.copy(), b.copy()) for w, b in self.layers]


def by_hand(p: Problem) -> Step:
    layers, n = p.copies(), np.float32(len(p.y))

    def step() -> Any:
        hs = [p.x]
        for w, b in layers[:-1]:
            h = hs[-1] @ w.T
            h += b
            hs.append(np.tanh(h, out=h))
        w, b = layers[-1]
        z = hs[-1] @ w.T + b
        z -= z.max(-1, keepdims=True)
        e = np.exp(z)
        s = e.sum(-1, keepdims=True)
        loss = (np.log(s[:, 0]) - (z * p.hot).sum(-1)).sum() / n
        g = (e / s - p.hot) / n
        updates = []
        for (w, b), h in zip(reversed(layers), reversed(hs), strict=True):
            updates.append((w, g.T @ h, b, g.sum(0)))
            if h is not p.x:
                g = g @ w
                g *= 1 - h * h
        for w, gw, b, gb in updates:
            w -= RATE * gw
            b -= RATE * gb
        return loss

    return step


def with_bpgpu(p: Problem) -> Step:
    functional = bp.functional
    params = [{"w": w, "b": b} for w, b in p.copies()]

    def loss(params: Any, x: Any, y: Any) -> Any:
        xp = bp.array_namespace(x)
        for layer in params[:-1]:
            x = xp.tanh(functional.linear(x, layer["w"], layer["b"]))
        return functional.cross_entropy(functional.linear(x, params[-1]["w"], params[-1]["b"]), y)

    both = bp.value_and_grad(loss)

    def step() -> Any:
        value, grads = both(params, p.x, p.y)
        for layer, g in zip(params, grads, strict=True):
            layer["w"] -= RATE * g["w"]
            layer["b"] -= RATE * g["b"]
        return value

    return step


def with_torch(p: Problem) -> Step:
    import torch

    torch.set_num_threads(1)
    params = [torch.tensor(a, requires_grad=True) for layer in p.layers for a in layer]
    x, y = torch.tensor(p.x), torch.tensor(p.y)
    optimizer = torch.optim.SGD(params, lr=float(RATE))

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        h = x
        for i in range(0, len(params) - 2, 2):
            h = torch.tanh(torch.nn.functional.linear(h, params[i], params[i + 1]))
        z = torch.nn.functional.linear(h, params[-2], params[-1])
        loss = torch.nn.functional.cross_entropy(z, y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def with_autograd(p: Problem) -> Step:
    import autograd
    import autograd.numpy as anp

    layers = [list(pair) for pair in p.copies()]

    def loss(layers: Any) -> Any:
        h = p.x
        for w, b in layers[:-1]:
            h = anp.tanh(anp.dot(h, w.T) + b)
        z = anp.dot(h, layers[-1][0].T) + layers[-1][1]
        z = z - anp.max(z, axis=-1, keepdims=True)
        log_sum = anp.log(anp.sum(anp.exp(z), axis=-1))
        return anp.sum(log_sum - anp.sum(z * p.hot, axis=-1)) / len(p.y)

    both = autograd.value_and_grad(loss)

    def step() -> Any:
        value, grads = both(layers)
        for layer, g in zip(layers, grads, strict=True):
            layer[0] -= RATE * g[0]
            layer[1] -= RATE * g[1]
        return value

    return step


def with_mygrad(p: Problem) -> Step:
    import mygrad
    from mygrad.nnet.losses import softmax_crossentropy

    params = [mygrad.tensor(a.copy()) for layer in p.layers for a in layer]

    def step() -> Any:
        h = p.x
        for i in range(0, len(params) - 2, 2):
            h = mygrad.tanh(mygrad.matmul(h, params[i].T) + params[i + 1])
        loss = softmax_crossentropy(mygrad.matmul(h, params[-2].T) + params[-1], p.y)
        loss.backward()
        for a in params:
            a.data -= RATE * a.grad
        return loss.data

    return step


def with_jax(p: Problem) -> Step:
    import jax
    import jax.numpy as jnp

    x, hot = jnp.asarray(p.x), jnp.asarray(p.hot)
    state = [[(jnp.asarray(w), jnp.asarray(b)) for w, b in p.layers]]

    def loss(layers: Any) -> Any:
        h = x
        for w, b in layers[:-1]:
            h = jnp.tanh(h @ w.T + b)
        z = h @ layers[-1][0].T + layers[-1][1]
        z = z - jnp.max(z, axis=-1, keepdims=True)
        return jnp.mean(jnp.log(jnp.sum(jnp.exp(z), axis=-1)) - jnp.sum(z * hot, axis=-1))

    @jax.jit
    def update(layers: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(layers)
        return value, jax.tree.map(lambda a, g: a - RATE * g, layers, grads)

    def step() -> Any:
        value, state[0] = update(state[0])
        return value.block_until_ready()

    return step


def hundred_additions(library: str) -> Step:
    """`y = x; y = y + x` a hundred times over four numbers, its sum, and the gradient of that."""

    def chain(x: Any, total: Callable[[Any], Any]) -> Any:
        y = x
        for _ in range(100):
            y = y + x
        return total(y)

    if library == "by hand":
        x = np.ones(4)

        def hand() -> Any:
            chain(x, np.sum)
            g, total = np.ones(4), np.zeros(4)
            for _ in range(100):
                total = total + g
            return total + g

        return hand
    if library == "bpgpu":
        x = np.ones(4)
        gradient = bp.grad(lambda x: chain(x, bp.array_namespace(x).sum))
        return lambda: gradient(x)
    if library == "torch eager":
        import torch

        t = torch.ones(4, dtype=torch.float64, requires_grad=True)
        return lambda: torch.autograd.grad(chain(t, torch.sum), t)[0]
    if library == "autograd":
        import autograd
        import autograd.numpy as anp

        x, g = np.ones(4), autograd.grad(lambda x: chain(x, anp.sum))
        return lambda: g(x)
    if library == "mygrad":
        import mygrad

        def mygrad_step() -> Any:
            x = mygrad.tensor(np.ones(4))
            chain(x, mygrad.sum).backward()
            return x.grad

        return mygrad_step
    import jax
    import jax.numpy as jnp

    x = jnp.ones(4)
    jitted = jax.jit(jax.grad(lambda x: chain(x, jnp.sum)))
    return lambda: jitted(x).block_until_ready()


def available(makers: dict[str, tuple[str | None, Callable[[], Step]]]) -> dict[str, Step]:
    """The rivals whose library is installed."""
    found = {}
    for title, (library, make) in makers.items():
        try:
            if library is not None:
                importlib.import_module(library)
        except ImportError:
            continue
        found[title] = make()
    return found


def in_turns(rivals: dict[str, Step], calls: int, rounds: int) -> dict[str, list[float]]:
    """Microseconds a call, one figure for each round."""
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for step in rivals.values():
        for _ in range(max(3, calls // 2)):
            step()
    for _ in range(rounds):
        for name, step in rivals.items():
            start = time.perf_counter()
            for _ in range(calls):
                step()
            times[name].append((time.perf_counter() - start) / calls * 1e6)
    return times


def table(title: str, rivals: dict[str, Step], calls: int, rounds: int) -> str:
    gc.collect()
    times = in_turns(rivals, calls, rounds)
    first = next(iter(times))
    lines = [f"### {title}", "", f"| | us | ratio to {first} | 10 % to 90 % |", "|---|---|---|---|"]
    for name, spent in times.items():
        ratios = sorted(a / b for a, b in zip(spent, times[first], strict=True))
        low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
        lines.append(
            f"| {name} | {statistics.median(spent):.0f} | {statistics.median(ratios):.2f} | "
            f"{low:.2f} to {high:.2f} |"
        )
    return "\n".join(lines) + "\n"


def dense_rivals(sizes: list[int], batch: int, first: str) -> dict[str, Step]:
    problem = Problem(sizes, batch)
    makers: dict[str, tuple[str | None, Callable[[], Step]]] = {
        "by hand": (None, lambda: by_hand(problem)),
        "torch eager": ("torch", lambda: with_torch(problem)),
        "bpgpu": (None, lambda: with_bpgpu(problem)),
        "autograd": ("autograd", lambda: with_autograd(problem)),
        "mygrad": ("mygrad", lambda: with_mygrad(problem)),
        "jax.jit": ("jax", lambda: with_jax(problem)),
    }
    rivals = available({first: makers.pop(first), **makers})
    losses = {
        name: [float(np.asarray(plain(step()))) for _ in range(3)] for name, step in rivals.items()
    }
    for name, found in losses.items():
        assert np.allclose(found, losses[first], rtol=1e-4), (
            f"{name} computes something else: {losses}"
        )
    return rivals


def plain(x: Any) -> Any:
    return x.detach() if hasattr(x, "detach") else x


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument(
        "--write", action="store_true", help="store the tables in benchmarks/results"
    )
    options = parser.parse_args()
    libraries = {
        "by hand": None,
        "bpgpu": None,
        "autograd": "autograd",
        "mygrad": "mygrad",
        "jax.jit": "jax",
    }
    chains = {"torch eager": ("torch", lambda: hundred_additions("torch eager"))}
    chains |= {k: (v, lambda k=k: hundred_additions(k)) for k, v in libraries.items()}
    tables = [
        table(
            "SGD step, 64-64-10, batch 32",
            dense_rivals([64, 64, 10], 32, "torch eager"),
            20,
            options.rounds,
        ),
        table("Chain of 100 additions", available(chains), 5, options.rounds),
        table(
            "SGD step, 784-512-512-10, batch 128",
            dense_rivals([784, 512, 512, 10], 128, "by hand"),
            2,
            options.rounds,
        ),
    ]
    head = (
        f"`python benchmarks/engine.py --rounds {options.rounds}`: one thread, Python "
        f"{platform.python_version()}, "
        f"NumPy {np.__version__}, {platform.processor() or platform.machine()}\n"
    )
    report = "\n".join([head, *tables])
    print(report)
    if options.write:
        target = Path(__file__).parent / "results" / "engine.md"
        target.parent.mkdir(exist_ok=True)
        target.write_text("# Engine\n\n" + report)


if __name__ == "__main__":
    main()
