"""Networks of these functions run whole inside torch's and JAX's compilers, and give what NumPy gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import functional as bf

R = np.random.default_rng(0)
TABLE = R.normal(size=(7, 4))
PARAMETERS = {
    "table": TABLE,
    "w": R.normal(size=(6, 4)),
    "b": R.normal(size=6),
    "slope": np.full(6, 0.2),
    "bilinear": R.normal(size=(3, 6, 6)),
}
INDEX = np.asarray([[0, 3], [6, 3], [1, 2]])
SMOOTH = ("celu", "elu", "erf", "gelu", "logsigmoid", "mish", "selu", "sigmoid", "silu")
SMOOTH += ("softplus", "softsign", "tanh", "tanhshrink")
PIECEWISE = ("hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "relu", "relu6")
PIECEWISE += ("rrelu", "softshrink")


def network(p: dict[str, Any], index: Any, key: Any) -> Any:
    xp = bp.array_namespace(p["w"])
    x = bf.embedding(index, p["table"], padding_idx=3, max_norm=2.0)
    x = bf.prelu(bf.linear(x, p["w"], p["b"]), p["slope"][:2])
    x = bf.dropout(x, 0.25, key=key)
    x = x + sum(getattr(bf, name)(x) for name in (*SMOOTH, *PIECEWISE))
    x = x + bf.threshold(x, 0.1, -1.0) + bf.gelu(x, "tanh")
    x = bf.softmax(x, -1) + bf.log_softmax(x, 1) + bf.softmin(x, 0) + bf.logsumexp(x, 2, True)
    y = bf.bilinear(x, bf.alpha_dropout(x, 0.5, True, key=key), p["bilinear"])
    return xp.sum(bf.glu(xp.concat([y, y**2], axis=-1)) * bf.gumbel_softmax(y, key=key))


def step(p: dict[str, Any], index: Any, key: Any) -> Any:
    return bp.value_and_grad(network)(p, index, key)


def equal_to_numpy(compiled: Callable[..., Any], asarray: Callable[[Any], Any]) -> None:
    p = {k: asarray(v) for k, v in PARAMETERS.items()}
    for seed in (1, 2):
        key = bp.random.key(seed)
        value, grads = compiled(p, asarray(INDEX), asarray(key))
        reference, others = step(PARAMETERS, INDEX, key)
        np.testing.assert_allclose(np.asarray(value), reference, rtol=1e-10)
        for name, g in grads.items():
            np.testing.assert_allclose(np.asarray(g), others[name], rtol=1e-8, atol=1e-10)


def test_jit_runs_the_network_with_new_masks_for_each_key() -> None:
    import jax
    import jax.numpy as jnp

    equal_to_numpy(jax.jit(step), jnp.asarray)


def test_torch_compile_takes_the_network_as_one_graph() -> None:
    torch = pytest.importorskip("torch")
    import torch._dynamo as dynamo

    dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="eager")
    equal_to_numpy(compiled, lambda a: torch.from_numpy(np.array(a)))
    dynamo.reset()
