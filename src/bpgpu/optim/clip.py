"""Clipping gradients: by their common norm, or entry by entry."""

from __future__ import annotations

import math
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.errors import DtypeError, NonFiniteError
from bpgpu.kernels import LISTED, find
from bpgpu.optim.arrays import Array, device_of, working_dtype


def grad_norm(grads: Any, norm_type: float | str = 2.0, error_if_nonfinite: bool = False) -> Array:
    """The norm of all gradients as one vector.

    `(sum |g|^norm_type)^(1 / norm_type)` over all entries of all arrays; the largest |g| for `inf`, the smallest for
    `-inf`, and the number of entries that are not 0 for 0.

    *Parameters*
    `grads`: a tree of arrays, such as `bpgpu.grad` gives; `None` is passed over.
    `norm_type`: a number, or "inf". `error_if_nonfinite`: raise if the norm is infinite or NaN. This reads the value,
    so it waits for the device.

    Returns a 0-d array, in float32 at least; a tree without arrays has norm 0.

    *Raises* `NonFiniteError` if that was asked for.

    *Notes* Arrays without entries count as 0. As in torch, the norm of each array is taken first, then the norm of
    those: with 0 that gives the number of arrays that are not all 0.

    >>> import numpy as np
    >>> grad_norm({"w": np.asarray([3.0, 0.0]), "b": np.asarray(4.0)})
    np.float64(5.0)
    """
    order = float(norm_type)
    arrays = _arrays("grad_norm", grads)
    if not arrays:
        from bpgpu.backend import default_namespace

        return default_namespace().asarray(0.0)
    xp = array_namespace(*arrays)
    total = _norm_of_all(xp, arrays, order)
    if error_if_nonfinite and not bool(xp.isfinite(total)):
        raise NonFiniteError(
            f"grad_norm: the norm of the gradients is {float(total)}, so they cannot be clipped. Find the first layer "
            "that overflows, or pass error_if_nonfinite=False"
        )
    return total


def _norm_of_all(xp: Any, arrays: list[Array], order: float) -> Array:
    run = find("norm_of_many", xp, arrays) if order == 2 and xp.__name__ in LISTED else None
    if run is not None:
        return run(arrays)
    parts = [_norm(xp, xp.astype(xp.abs(g), working_dtype(xp, g)), order) for g in arrays]
    dtype = xp.result_type(*parts)
    return _norm(xp, xp.stack([xp.astype(n, dtype) for n in parts]), order)


def clip_grad_norm(
    grads: Any, max_norm: float, norm_type: float | str = 2.0, error_if_nonfinite: bool = False
) -> tuple[Any, Array]:
    """Scale all gradients by one factor so that their common norm is at most `max_norm`.

    `g * min(1, max_norm / (norm + 1e-6))`, with the norm of `grad_norm`.

    *Parameters*
    `grads`: a tree of arrays, such as `bpgpu.grad` gives; `None` stays.
    `max_norm`: >= 0. `norm_type`, `error_if_nonfinite`: see `grad_norm`.

    Returns the clipped gradients and the norm that they had before: `grads, norm = clip_grad_norm(grads, 1.0)`.
    What was given stays as it is.

    *Raises* `ValueError` for a negative `max_norm`, `NonFiniteError` if that was asked for.

    *Notes* No branch is taken on values, so it can be compiled. An infinite norm makes finite gradients 0 and infinite
    ones NaN; a norm that is NaN makes all of them NaN.

    *References* R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent neural networks (2013),
    algorithm 1.

    >>> import numpy as np
    >>> grads, norm = clip_grad_norm([np.asarray([30.0, 40.0])], max_norm=5.0)
    >>> grads[0].round(4), norm
    (array([3., 4.]), np.float64(50.0))
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm: expected max_norm >= 0, got {max_norm!r}")
    total = grad_norm(grads, norm_type, error_if_nonfinite)
    arrays = _arrays("clip_grad_norm", grads)
    if not arrays:
        return grads, total
    xp = array_namespace(*arrays)
    operands = (arrays, total, max_norm)
    run = find("clipped_many", xp, *operands) if xp.__name__ in LISTED else None
    if run is not None:
        made = iter(run(*operands))
        return trees.map(lambda g: next(made), grads), total
    factor = xp.clip(max_norm / (total + 1e-6), None, 1.0)

    def scaled(g: Array) -> Array:
        return g * xp.astype(xp.asarray(factor), g.dtype)

    return trees.map(scaled, grads), total


def clip_grad_value(grads: Any, clip_value: float) -> Any:
    """Bring every entry of every gradient into [-clip_value, clip_value].

    *Parameters*
    `grads`: a tree of real arrays; `None` stays. `clip_value`: >= 0.

    Returns the clipped gradients; what was given stays as it is.

    *Raises* `ValueError` for a negative `clip_value`, `DtypeError` for complex gradients, which have no order.

    *Notes* NaN stays NaN.

    >>> import numpy as np
    >>> clip_grad_value([np.asarray([-3.0, 0.5])], 1.0)
    [array([-1. ,  0.5])]
    """
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value: expected clip_value >= 0, got {clip_value!r}")
    for g in _arrays("clip_grad_value", grads):
        if kind(g.dtype) == "complex":
            raise DtypeError(
                f"clip_grad_value: expected real gradients, got dtype {g.dtype}; use clip_grad_norm"
            )

    def clipped(g: Array) -> Array:
        return array_namespace(g).clip(g, -clip_value, clip_value)

    return trees.map(clipped, grads)


def _arrays(who: str, grads: Any) -> list[Array]:
    """The arrays of a tree, which must be floating."""
    if hasattr(grads, "named_parameters"):
        raise TypeError(
            f"{who}: expected gradients, got a {type(grads).__name__}; gradients are what bpgpu.grad returns"
        )
    found = list(trees.items(grads))
    for path, g in found:
        if kind(g.dtype) == "other":
            raise DtypeError(
                f"{who}: expected floating gradients, got dtype {g.dtype}"
                + (f" at '{path}'" if path else "")
            )
    return [g for _, g in found]


def _norm(xp: Any, x: Array, order: float) -> Array:
    """The norm of the entries of a real array that are not negative."""
    if 0 in x.shape:
        return xp.zeros((), dtype=x.dtype, device=device_of(x))
    if order == math.inf:
        return xp.max(x)
    if order == -math.inf:
        return xp.min(x)
    if order == 0:
        return xp.sum(xp.astype(x != 0, x.dtype))
    if order == 1:
        return xp.sum(x)
    if order == 2:
        return xp.sqrt(xp.sum(x * x))
    return xp.sum(x**order) ** (1 / order)
