"""A multi-layer perceptron, and backpropagation through it.

With `h_0 = x`, the layers are `z_i = h_{i-1} W_i + b_i` and `h_i = a_i(z_i)`. The gradient `d_i = dL/dz_i` starts at
the last layer as prediction minus target, and goes back by the chain rule:

    dL/dW_i = h_{i-1}^T d_i        dL/db_i = sum of d_i over the rows        d_{i-1} = (d_i W_i^T) a_{i-1}'(z_{i-1})

It is written out here, and not left to `bpgpu.grad`, for the sake of small networks: a step of one takes so little time
that to record it would take most of it. The activations bring their derivatives along, as rules do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bpgpu import random
from bpgpu.autodiff.rules.elementwise import tanh
from bpgpu.autodiff.transform import vjp
from bpgpu.backend.libraries import namespace_of
from bpgpu.functional.activations import _sigmoid
from bpgpu.functional.rectifiers import _relu
from bpgpu.functional.select import keep
from bpgpu.sklearn.losses import Loss

Array = Any
Pull = Callable[[Array], Array] | None
Activation = Callable[[Any, Array], tuple[Array, Pull]]
"""`activation(xp, z)` gives the values, and the pull that multiplies a gradient by the derivative."""

ACTIVATIONS: dict[str, Activation] = {
    "identity": lambda xp, z: (z, None),
    "logistic": _sigmoid.function,
    "tanh": tanh.function,
    "relu": _relu.function,
}


def differentiated(function: Callable[[Array], Array]) -> Activation:
    """Any function of an array as an activation."""

    def activation(xp: Any, z: Array) -> tuple[Array, Pull]:
        values, pull = vjp(function, z)
        if getattr(values, "shape", None) != z.shape:
            raise ValueError(
                f"activation: expected a function that keeps the shape {tuple(z.shape)} of what it is given, got "
                f"{tuple(values.shape)}"
            )
        return values, lambda g: pull(g)[0]

    return activation


class Network:
    """Weights, and what is computed with them.

    *Parameters* `coefs`, `intercepts`: the arrays `W_i` and `b_i` of the layers, of shape (in, out) and (out,).
    `activations`: one for each layer but the last. `alpha`: the weight of the squares of all `W` in the loss.
    `dropout`: the probability of each hidden layer that a value is left out.
    """

    def __init__(
        self,
        coefs: list[Array],
        intercepts: list[Array],
        activations: Sequence[Activation],
        loss: Loss,
        alpha: float = 0.0,
        dropout: Sequence[float] = (),
    ) -> None:
        self.params: dict[str, list[Array]] = {"coefs": coefs, "intercepts": intercepts}
        self._paths = [(f"coefs.{i}", f"intercepts.{i}") for i in range(len(coefs))]
        self.activations, self.loss, self.alpha = activations, loss, alpha
        self.dropout = dropout if any(dropout) else ()
        self.key: Any = None
        """Of `bpgpu.random`, where values are left out at random."""
        self.steps = 0

    def output(self, x: Array) -> Array:
        """The values `z` of the last layer."""
        xp = namespace_of(x)
        *hidden, (w, b) = self._layers()
        for (w_i, b_i), activation in zip(hidden, self.activations, strict=True):
            z = x @ w_i
            z += b_i
            if activation is ACTIVATIONS["relu"] and type(z) is np.ndarray:
                x = np.maximum(z, 0, out=z)
            else:
                x = activation(xp, z)[0]
        z = x @ w
        z += b
        return z

    def gradients(
        self, x: Array, y: Array, weight: Array = None
    ) -> tuple[Array, Array, dict[str, Array]]:
        """The loss of a batch without and with the penalty on the weights, and the gradients: `"coefs.0"` and so on.

        The loss is the mean over the rows, in which each counts by its `weight`; the penalty is
        `alpha / (2 n) sum_i |W_i|^2`, with the number or the weight `n` of the rows.
        """
        xp = namespace_of(x)
        layers = self._layers()
        masks = self._masks(x)
        inputs: list[Array] = [x]
        pulls: list[Pull] = []
        for (w, b), activation in zip(layers[:-1], self.activations, strict=True):
            z = x @ w
            z += b
            x, pull = activation(xp, z)
            if masks:
                mask, scale = masks[len(pulls)]
                x = keep(x, mask) * scale
            inputs.append(x)
            pulls.append(pull)
        w, b = layers[-1]
        z = x @ w
        z += b
        n: Any = z.shape[0]
        if weight is not None:
            n = xp.sum(weight)
            n = xp.where(n > 0, n, xp.ones_like(n))
            weight = weight / n
        value, d = self.loss.value_and_gradient(xp, z, y, weight)
        grads: dict[str, Array] = {}
        penalty: Any = 0.0
        for i in reversed(range(len(layers))):
            w, _ = layers[i]
            g = inputs[i].T @ d
            if self.alpha:
                g += (self.alpha / n) * w
                flat = xp.reshape(w, (-1,))
                penalty = penalty + xp.vecdot(flat, flat)
            of_w, of_b = self._paths[i]
            grads[of_w], grads[of_b] = g, xp.sum(d, axis=0)
            if i:
                d = d @ w.T
                if masks:
                    mask, scale = masks[i - 1]
                    d = keep(d, mask) * scale
                pull = pulls[i - 1]
                d = d if pull is None else pull(d)
        penalty = (self.alpha / 2) * penalty / n
        return value, penalty, grads

    def _layers(self) -> list[tuple[Array, Array]]:
        return list(zip(self.params["coefs"], self.params["intercepts"], strict=True))

    def _masks(self, x: Array) -> list[tuple[Array, float]]:
        """What is kept of each hidden layer in this step, and the factor that makes up for the rest."""
        if not self.dropout:
            return []
        self.steps += 1
        keys: Any = random.split(random.fold_in(self.key, self.steps), len(self.dropout))
        masks = []
        for i, (p, b) in enumerate(zip(self.dropout, self.params["intercepts"], strict=False)):
            mask, kept = random.mask(keys[i], (x.shape[0], b.shape[0]), 1 - p)
            masks.append((mask, 1 / kept if kept else 0.0))
        return masks


def drawn(
    sizes: Sequence[int], logistic: Sequence[bool], random_state: Any
) -> tuple[list[Any], list[Any]]:
    """First weights and intercepts, as scikit-learn draws them: uniform within `sqrt(6 / (in + out))` of 0.

    Before logistic functions it is `sqrt(2 / (in + out))`.

    *References* X. Glorot, Y. Bengio (2010), "Understanding the difficulty of training deep feedforward
    neural networks".
    """
    coefs, intercepts = [], []
    for (n_in, n_out), is_logistic in zip(itertools.pairwise(sizes), logistic, strict=True):
        bound = math.sqrt((2.0 if is_logistic else 6.0) / (n_in + n_out))
        coefs.append(random_state.uniform(-bound, bound, (n_in, n_out)))
        intercepts.append(random_state.uniform(-bound, bound, n_out))
    return coefs, intercepts


def copied(params: dict[str, list[Array]]) -> dict[str, list[Array]]:
    """The same weights in arrays of their own."""
    return {k: [namespace_of(a).asarray(a, copy=True) for a in v] for k, v in params.items()}


def all_finite(params: dict[str, list[Array]]) -> bool:
    """True unless a weight is NaN or infinite."""
    arrays = [a for v in params.values() for a in v]
    return all(bool(namespace_of(a).all(namespace_of(a).isfinite(a))) for a in arrays)
