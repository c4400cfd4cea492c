"""Parameters as one vector, and torch's clipping, which has another form here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from bpgpu.autodiff.array import raw
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional.arguments import Array


def parameters_to_vector(parameters: Mapping[str, Array] | Iterable[Array]) -> Array:
    """All parameters one after another: `(n,)`.

    *Parameters* `parameters`: `model.parameters()`, gradients by path, or arrays of one dtype.

    >>> import numpy as np
    >>> parameters_to_vector([np.asarray([[1.0, 2.0]]), np.asarray(3.0)])
    array([1., 2., 3.])
    """
    arrays = _listed(parameters)
    if not arrays:
        raise ArgumentError("parameters_to_vector: expected at least one parameter, got none")
    xp = array_namespace(*arrays)
    return xp.concat([xp.reshape(x, (-1,)) for x in arrays], axis=0)


def vector_to_parameters(vec: Array, parameters: Mapping[str, Array] | Iterable[Array]) -> None:
    """Write a vector over parameters, in the order of `parameters_to_vector`.

    *Raises* `ShapeError` if the vector has not as many entries; `ArgumentError` for arrays that
    cannot be changed, as JAX's.
    """
    arrays = [raw(x) for x in _listed(parameters)]
    total = sum(x.size for x in arrays)
    if tuple(vec.shape) != (total,):
        raise ShapeError(
            f"vector_to_parameters: expected a vector ({total},), got {tuple(vec.shape)}"
        )
    start = 0
    for x in arrays:
        xp = namespace_of(x)
        piece = xp.reshape(raw(vec)[start : start + x.size], x.shape)
        if backend_of(xp).copy_into(x, xp.astype(piece, x.dtype, copy=False)) is not x:
            raise ArgumentError(
                "vector_to_parameters: these arrays cannot be changed in place; give the pieces of "
                "the vector by path: model.load_state_dict({path: piece}, strict=False)"
            )
        start += x.size


def clip_grad_norm_(parameters: Any, max_norm: float, *args: Any, **settings: Any) -> NoReturn:
    """Not possible: raises with the form to use here."""
    raise TypeError(
        "clip_grad_norm_: parameters hold no gradients here, gradients are values: "
        f"grads, norm = bpgpu.clip_grad_norm(grads, max_norm={max_norm})"
    )


def clip_grad_value_(parameters: Any, clip_value: float, *args: Any, **settings: Any) -> NoReturn:
    """Not possible: raises with the form to use here."""
    raise TypeError(
        "clip_grad_value_: parameters hold no gradients here, gradients are values: "
        f"grads = bpgpu.clip_grad_value(grads, clip_value={clip_value})"
    )


def _listed(parameters: Any) -> list[Any]:
    return list(parameters.values() if isinstance(parameters, Mapping) else parameters)
