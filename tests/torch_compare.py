"""The harness that compares a function of bpgpu with torch's function of the same name.

Both run in float64 on the same numbers: ours on the arrays of the library under test, theirs on torch tensors. Values,
gradients, and gradients of gradients with random cotangents must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

import bpgpu as bp
import gradients
from gradients import close, numpy_of, weights

VALUE, FIRST, SECOND = 1e-9, 1e-8, 1e-8
"""Largest error, relative to 1 + the size of torch's number."""


def compare(
    xp: Any,
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    *args: Any,
    order: int = 2,
    fixed: Sequence[int] = (),
    tolerance: tuple[float, float, float] = (VALUE, FIRST, SECOND),
    **kwargs: Any,
) -> None:
    """Compare `ours(*args, **kwargs)` with `theirs(*args, **kwargs)`: value, gradient, second order.

    NumPy arrays among the arguments become arrays of `xp` and tensors; all else is passed as it is. Floating arrays
    given by position are differentiated, except those at the positions `fixed`. `order=0` compares values only,
    `order=1` leaves out the second order, which torch does not have for every function.

    Outputs may be tuples; of those that are not floating, the values are compared.
    """
    inputs = tuple(
        i
        for i, a in enumerate(args)
        if isinstance(a, np.ndarray) and a.dtype.kind in "fc" and i not in fixed
    )
    order = order if inputs else 0
    mine = run_ours(xp, ours, args, kwargs, inputs, order)
    reference = run_torch(theirs, args, kwargs, inputs, order)
    for what, a, b, bound in zip(
        ("value", "first order", "second order"), mine, reference, tolerance, strict=False
    ):
        assert [x.shape for x in a] == [x.shape for x in b], what
        with np.errstate(invalid="ignore"):  # equal infinities
            close(a, b, bound, what)


def given(xp: Any, a: Any) -> Any:
    """An argument for a library: NumPy arrays as its arrays, in the same memory order, all else as it is."""
    if not isinstance(a, np.ndarray):
        return a
    a = a if a.flags.writeable and min(a.strides, default=0) >= 0 else np.array(a)
    return torch.from_numpy(a) if "torch" in xp.__name__ else xp.asarray(a)


def outputs(y: Any) -> list[Any]:
    return list(y) if isinstance(y, (tuple, list)) else [y]


def run_ours(
    xp: Any,
    f: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    inputs: tuple[int, ...],
    order: int,
) -> list[list[np.ndarray]]:
    """Values, gradients and second gradients of `f`, as far as `order` asks for them."""
    plain = [given(xp, a) for a in args]
    settings = {k: given(xp, a) for k, a in kwargs.items()}
    found = [[numpy_of(y) for y in outputs(f(*plain, **settings))]]
    if order == 0:
        return found

    def scalar(ys: Any, xs: Any, salt: int) -> Any:
        ns = bp.array_namespace(*xs)
        zero = sum(ns.sum(ns.real(x) * 0 if is_complex(x) else x * 0) for x in xs if depends(x))
        return zero + gradients.scalar(
            ns, ys, lambda w: ns.asarray(given(xp, np.roll(w.reshape(-1), salt).reshape(w.shape)))
        )

    def depends(x: Any) -> bool:
        return "float" in str(x.dtype) or is_complex(x)

    def loss(*xs: Any) -> Any:
        full = list(plain)
        for i, x in zip(inputs, xs, strict=True):
            full[i] = x
        return scalar(f(*full, **settings), xs, 0)

    everything = tuple(range(len(inputs)))
    leaves = [plain[i] for i in inputs]
    first = bp.grad(loss, everything)(*leaves)
    found.append([numpy_of(g) for g in first])
    for g, x in zip(first, leaves, strict=True):
        assert g.dtype == x.dtype, f"gradient of {x.dtype} came as {g.dtype}"
    if order > 1:
        second = bp.grad(lambda *xs: scalar(bp.grad(loss, everything)(*xs), xs, 1), everything)
        found.append([numpy_of(g) for g in second(*leaves)])
    return found


def run_torch(
    f: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    inputs: tuple[int, ...],
    order: int,
) -> list[list[np.ndarray]]:
    tensors = [given(torch, a) for a in args]
    settings = {k: given(torch, a) for k, a in kwargs.items()}
    leaves = [tensors[i].requires_grad_() for i in inputs] if order else []
    ys = outputs(f(*tensors, **settings))
    found = [[numpy_of(y) for y in ys]]
    if order == 0:
        return found

    def scalar(ys: Sequence[torch.Tensor], salt: int) -> torch.Tensor:
        def asarray(w: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.roll(w.reshape(-1), salt).reshape(w.shape))

        zero = sum((x * 0).sum().real for x in leaves)
        return zero + gradients.scalar(torch, ys, asarray)

    first = torch.autograd.grad(scalar(ys, 0), leaves, create_graph=order > 1)
    found.append([numpy_of(g) for g in first])
    if order > 1:
        second = torch.autograd.grad(scalar(first, 1), leaves)
        found.append([numpy_of(g) for g in second])
    return found


def is_complex(x: Any) -> bool:
    return "complex" in str(x.dtype)


def specials(f: Callable[..., Any], theirs: Callable[..., Any], xp: Any, x: np.ndarray) -> None:
    """Compare an elementwise function and its derivative where `inf` and `nan` come in: exactly those of torch."""
    t = torch.from_numpy(x).requires_grad_()
    y = theirs(t)
    (g,) = torch.autograd.grad(y, t, torch.ones_like(y))
    out, pull = bp.vjp(f, given(xp, x))
    (ours,) = pull(given(xp, np.ones_like(x)))
    close([numpy_of(out)], [numpy_of(y)], VALUE, "value")
    close([numpy_of(ours)], [numpy_of(g)], FIRST, "first order")


__all__ = ["compare", "given", "numpy_of", "specials", "weights"]
