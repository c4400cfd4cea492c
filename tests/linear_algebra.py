"""What the tests of linear algebra have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

import bpgpu as bp
from gradients import numpy_of, scalar, to


def array(*shape: int, complex: bool = False, salt: int = 0) -> np.ndarray:
    """Fixed random numbers, the same in every test."""
    rng = np.random.default_rng(10 * len(shape) + salt)
    x = rng.normal(size=shape)
    return x + 1j * rng.normal(size=shape) if complex else x


def ns_of(x: Any) -> Any:
    return bp.array_namespace(x)


def raw_of(xp: Any) -> Any:
    """The plain library under a traced namespace."""
    return getattr(xp, "xp", xp)


def gradient(xp: Any, f: Any, *xs: np.ndarray) -> np.ndarray:
    """Of the sum of `f(xp, *xs)` with respect to the first."""

    def loss(*xs: Any) -> Any:
        ns = ns_of(xs[0])
        return ns.sum(f(ns, *xs))

    return numpy_of(bp.grad(loss)(*[to(xp, x) for x in xs]))


def harness(x: Any, ys: Any) -> Any:
    """What `central_differences` differentiates: `ys` as one number."""
    ns = ns_of(x)
    return scalar(ns, ys, lambda w: ns.asarray(to(raw_of(ns), w)))


def adjoint(xp: Any, x: Any) -> Any:
    return xp.conj(xp.matrix_transpose(x))


def symmetric(xp: Any, x: Any) -> Any:
    return x + adjoint(xp, x)


def positive(xp: Any, x: Any) -> Any:
    """A positive definite matrix."""
    return x @ adjoint(xp, x) + 0.1 * xp.linalg.matrix_power(x, 0)


def scaled(xp: Any, v: Any, w: Any) -> Any:
    """v diag(w)."""
    return v * xp.expand_dims(w, axis=-2)


def torch_linalg() -> Any:
    import torch

    return torch.linalg
