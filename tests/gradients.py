"""The one harness through which every derivative goes.

A function under test is written to the standard, `f(xp, *arrays)`. It is differentiated by bpgpu on the library of the
test and, independently, by JAX in float64, where `xp` is `jax.numpy`; where JAX lacks a function or defines it
differently, `reference` gives another form. First and second order are compared, and the first also with central
differences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bpgpu as bp

FIRST, SECOND, DIFFERENCES = 1e-9, 1e-8, 1e-5
"""Largest error of a gradient, relative to 1 + its size: against JAX, in second order, against differences."""


def check(
    xp: Any,
    f: Callable[..., Any],
    *arrays: Any,
    reference: Callable[..., Any] | None = None,
    order: int = 2,
    differences: bool = True,
) -> None:
    """Compare value, gradient and second derivative of `f(xp, *arrays)` with JAX's, and with central differences.

    `arrays` are NumPy arrays or numbers; the floating ones are differentiated. `f` returns an array or a tuple of
    arrays; floating outputs are reduced to one number by fixed random weights.
    """
    arrays = tuple(np.asarray(a) for a in arrays)
    inputs = tuple(i for i, a in enumerate(arrays) if a.dtype.kind in "fc")
    ours = ours_of(xp, f, arrays, inputs)
    theirs = jax_of(reference or f, arrays, inputs)
    close(ours["value"], theirs["value"], FIRST, "value")
    close(ours["first"], theirs["first"], FIRST, "first order")
    if differences:
        close(ours["first"], central_differences(xp, f, arrays, inputs), DIFFERENCES, "differences")
    if order > 1:
        close(ours["second"](), theirs["second"](), SECOND, "second order")


def weights(shape: tuple[int, ...], salt: int = 0) -> np.ndarray:
    """Fixed numbers of order one, none of them equal."""
    n = int(np.prod(shape))
    return np.asarray(np.cos(np.arange(n) * 1.7 + 0.3 + salt) + 1.1).reshape(shape)


def scalar(xp: Any, ys: Any, asarray: Callable[[np.ndarray], Any]) -> Any:
    """Reduce outputs to one real number: random weights, the real part of complex ones turned a little."""
    total: Any = None
    for salt, y in enumerate(ys if isinstance(ys, (tuple, list)) else (ys,)):
        name = str(y.dtype)
        if "float" not in name and "complex" not in name:
            continue
        real = xp.real(y) + 0.7 * xp.imag(y) if "complex" in name else y
        term = xp.sum(real * asarray(weights(tuple(y.shape), salt)))
        total = term if total is None else total + term
    return total


def to(xp: Any, a: np.ndarray) -> Any:
    """A NumPy array as an array of the library."""
    if "torch" in xp.__name__:
        import torch

        return torch.from_numpy(np.array(a))
    return xp.asarray(np.array(a))


def ours_of(
    xp: Any, f: Callable[..., Any], arrays: tuple[np.ndarray, ...], inputs: tuple[int, ...]
) -> dict[str, Any]:
    given = [to(xp, a) for a in arrays]

    def loss(*xs: Any) -> Any:
        ns = bp.array_namespace(*xs)
        return scalar(ns, f(ns, *xs), lambda w: ns.asarray(to(xp, w)))

    def directional(*xs: Any) -> Any:
        ns = bp.array_namespace(*xs)
        grads = bp.grad(loss, inputs)(*xs)
        return scalar(ns, grads, lambda w: ns.asarray(to(xp, w)))

    value, first = bp.value_and_grad(loss, inputs)(*given)
    for g, i in zip(first, inputs, strict=True):
        assert tuple(g.shape) == arrays[i].shape
        assert str(g.dtype).rpartition(".")[2] == str(arrays[i].dtype)
    return {
        "value": [numpy_of(value)],
        "first": [numpy_of(g) for g in first],
        "second": lambda: [numpy_of(g) for g in bp.grad(directional, inputs)(*given)],
    }


def jax_of(
    f: Callable[..., Any], arrays: tuple[np.ndarray, ...], inputs: tuple[int, ...]
) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    given = [jnp.asarray(a) for a in arrays]

    def loss(*xs: Any) -> Any:
        return scalar(jnp, f(jnp, *xs), jnp.asarray)

    def gradient(*xs: Any) -> Any:
        # JAX gives the conjugate of what torch and bpgpu call the gradient
        return [jnp.conj(g) for g in jax.grad(loss, inputs)(*xs)]

    def directional(*xs: Any) -> Any:
        return scalar(jnp, gradient(*xs), jnp.asarray)

    return {
        "value": [np.asarray(loss(*given))],
        "first": [np.asarray(g) for g in gradient(*given)],
        "second": lambda: [np.asarray(jnp.conj(g)) for g in jax.grad(directional, inputs)(*given)],
    }


def central_differences(
    xp: Any, f: Callable[..., Any], arrays: tuple[np.ndarray, ...], inputs: tuple[int, ...]
) -> list[np.ndarray]:
    """Gradients by central differences on plain arrays, for complex inputs along both axes."""
    step = 1e-6

    def loss(changed: int, x: np.ndarray) -> float:
        given = [to(xp, x if i == changed else a) for i, a in enumerate(arrays)]
        return float(scalar(xp, f(xp, *given), lambda w: to(xp, w)))

    grads = []
    for i in inputs:
        a = arrays[i]
        g = np.zeros_like(a)
        for at in np.ndindex(a.shape):
            for unit in (1, 1j) if a.dtype.kind == "c" else (1,):
                d = np.zeros_like(a)
                d[at] = step * unit
                g[at] += unit * (loss(i, a + d) - loss(i, a - d)) / (2 * step)
        grads.append(g)
    return grads


def looked_at(xp: Any) -> None:
    """Skip a test of what is refused by its value where values may not be looked at."""
    if "cupy" in xp.__name__:
        pytest.skip("values on a GPU are not looked at: that would wait for it")


def numpy_of(x: Any) -> np.ndarray:
    while type(x).__name__ == "Array" and hasattr(x, "tape"):
        x = x.value
    return np.asarray(x.detach() if hasattr(x, "detach") else x)


def close(ours: list[np.ndarray], theirs: list[np.ndarray], tolerance: float, what: str) -> None:
    """Raise with the input and the entry that is furthest off."""
    for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a.size == 0:
            assert a.shape == b.shape
            continue
        both_nan = np.isnan(a) & np.isnan(b)
        error = np.where(both_nan | (a == b), 0, np.abs(a - b) / (1 + np.abs(b)))
        worst = np.unravel_index(int(np.argmax(np.where(np.isnan(error), np.inf, error))), a.shape)
        assert error[worst] <= tolerance, (
            f"{what}: input {k}, entry {tuple(int(i) for i in worst)}: ours {a[worst]}, "
            f"reference {b[worst]}, error {error[worst]:.2e} > {tolerance}"
        )
