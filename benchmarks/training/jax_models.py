"""The networks in JAX, as a JAX user writes them: one pure function of the weights, the whole step compiled.

Convolutions run channels last, which is the faster order on a CPU; the weights are turned once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from workloads import Workload

P = dict[str, Any]


def make(w: Workload, numbers: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    kind = next(k for k in ("MLP", "CNN", "ResNet", "LSTM", "GRU", "Transformer") if k in w.title)
    forward = FORWARD[kind]
    state = ("running", "tracked")
    p = {k: jnp.asarray(v) for k, v in numbers.items() if not any(s in k for s in state)}
    p = {k: v.transpose(2, 3, 1, 0) if v.ndim == 4 else v for k, v in p.items()}
    x, y = w.data()
    x = jnp.asarray(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)
    y = jnp.asarray(y)
    zeros = jax.tree.map(jnp.zeros_like, p)

    def loss_of(p: P, x: Any, y: Any) -> Any:
        z = forward(p, x)
        return (jax.nn.logsumexp(z, -1) - z[jnp.arange(len(y)), y]).mean()

    def sgd(p: P, m: Any, x: Any, y: Any) -> Any:
        loss, g = jax.value_and_grad(loss_of)(p, x, y)
        m = jax.tree.map(lambda m, g: 0.9 * m + g, m, g)
        return jax.tree.map(lambda p, m: p - w.rate * m, p, m), m, loss

    def adam(p: P, state: Any, x: Any, y: Any) -> Any:
        m, v, t = state
        loss, g = jax.value_and_grad(loss_of)(p, x, y)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        a, root = w.rate / (1 - 0.9**t), jnp.sqrt(1 - 0.999**t)
        new = jax.tree.map(lambda p, m, v: p - a * m / (jnp.sqrt(v) / root + 1e-8), p, m, v)
        return new, (m, v, t), loss

    is_adam = w.optimizer == "adam"
    update = jax.jit(adam if is_adam else sgd, donate_argnums=(0, 1))
    held = [p, (zeros, jax.tree.map(jnp.zeros_like, p), jnp.float32(0)) if is_adam else zeros]

    def step() -> Any:
        held[0], held[1], loss = update(held[0], held[1], x, y)
        return loss.block_until_ready()

    run = jax.jit(forward)
    return step, lambda: run(held[0], x).block_until_ready()


def linear(p: P, name: str, x: Any) -> Any:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def mlp(p: P, x: Any) -> Any:
    names = sorted({k.rpartition(".")[0] for k in p}, key=int)
    for name in names[:-1]:
        x = jax.nn.relu(linear(p, name, x))
    return linear(p, names[-1], x)


def conv(x: Any, w: Any, stride: int = 1) -> Any:
    pad = (w.shape[0] // 2, w.shape[0] // 2)
    return lax.conv_general_dilated(
        x, w, (stride, stride), (pad, pad), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def cnn(p: P, x: Any) -> Any:
    for name in ("0", "2", "5", "7"):
        x = jax.nn.relu(conv(x, p[f"{name}.weight"]) + p[f"{name}.bias"])
        if name in ("2", "7"):
            n, h, w, c = x.shape
            x = x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))
    return linear(p, "11", x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1))


def norm(p: P, name: str, x: Any, axes: tuple[int, ...]) -> Any:
    m, v = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - m) * lax.rsqrt(v + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def resnet(p: P, x: Any) -> Any:
    relu, over = jax.nn.relu, (0, 1, 2)
    x = relu(norm(p, "bn", conv(x, p["conv.weight"]), over))
    for i, stride in enumerate((1, 2, 2)):
        b = f"blocks.{i}"
        y = relu(norm(p, f"{b}.bn1", conv(x, p[f"{b}.conv1.weight"], stride), over))
        y = norm(p, f"{b}.bn2", conv(y, p[f"{b}.conv2.weight"]), over)
        if f"{b}.down.0.weight" in p:
            x = norm(p, f"{b}.down.1", conv(x, p[f"{b}.down.0.weight"], stride), over)
        x = relu(y + x)
    return linear(p, "head", x.mean((1, 2)))


def lstm(p: P, x: Any) -> Any:
    w, u = p["rnn.weight_ih_l0"], p["rnn.weight_hh_l0"]
    bias = p["rnn.bias_ih_l0"] + p["rnn.bias_hh_l0"]
    xs = (p["embedding.weight"][x] @ w.T + bias).swapaxes(0, 1)

    def cell(carry: Any, a: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(a + h @ u.T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros((x.shape[0], u.shape[1]))
    _, hs = lax.scan(cell, (zero, zero), xs)
    return linear(p, "head", hs.swapaxes(0, 1).reshape(-1, u.shape[1]))


def gru(p: P, x: Any) -> Any:
    w, u = p["rnn.weight_ih_l0"], p["rnn.weight_hh_l0"]
    xs = (p["embedding.weight"][x] @ w.T + p["rnn.bias_ih_l0"]).swapaxes(0, 1)

    def cell(h: Any, a: Any) -> Any:
        ar, az, an = jnp.split(a, 3, -1)
        hr, hz, hn = jnp.split(h @ u.T + p["rnn.bias_hh_l0"], 3, -1)
        r, z = jax.nn.sigmoid(ar + hr), jax.nn.sigmoid(az + hz)
        h = (1 - z) * jnp.tanh(an + r * hn) + z * h
        return h, h

    _, hs = lax.scan(cell, jnp.zeros((x.shape[0], u.shape[1])), xs)
    return linear(p, "head", hs.swapaxes(0, 1).reshape(-1, u.shape[1]))


def transformer(p: P, x: Any) -> Any:
    n, t = x.shape
    x = p["embedding.weight"][x] + p["place.weight"]
    d, heads, mask = x.shape[-1], 4, jnp.tril(jnp.ones((t, t), bool))
    for b in ("blocks.0", "blocks.1"):
        qkv = linear(p, f"{b}.qkv", norm(p, f"{b}.norm1", x, (-1,)))
        q, k, v = qkv.reshape(n, t, 3, heads, d // heads).transpose(2, 0, 3, 1, 4)
        s = jnp.where(mask, (q @ k.swapaxes(-1, -2)) / (d // heads) ** 0.5, -jnp.inf)
        a = (jax.nn.softmax(s) @ v).transpose(0, 2, 1, 3).reshape(n, t, d)
        x = x + linear(p, f"{b}.out", a)
        h = linear(p, f"{b}.up", norm(p, f"{b}.norm2", x, (-1,)))
        x = x + linear(p, f"{b}.down", jax.nn.gelu(h, approximate=False))
    return linear(p, "head", norm(p, "norm", x, (-1,)).reshape(-1, d))


FORWARD: dict[str, Callable[[P, Any], Any]] = {
    "MLP": mlp,
    "CNN": cnn,
    "ResNet": resnet,
    "LSTM": lstm,
    "GRU": gru,
    "Transformer": transformer,
}
