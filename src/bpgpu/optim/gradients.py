"""Matching gradients with parameters: by path, checked before any parameter is changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.dtypes import kind
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import library_of, namespace_of
from bpgpu.errors import DeviceError, DtypeError, LibraryError, ShapeError, TreeError
from bpgpu.optim.arrays import Array
from bpgpu.optim.parameters import branches, closest, is_module, some


def match(who: str, grads: Any, arrays: dict[str, Array]) -> dict[str, Array]:
    """The gradients that are there, by the path of their parameter.

    `grads` may have the structure of the parameters, or be a dict by path; for groups, the path may leave out the
    number of the group where that is clear.
    """
    if is_module(grads):
        raise TypeError(
            f"{who}: expected gradients, got a {type(grads).__name__}; the gradient of a Module is a dict by path"
        )
    found: dict[str, Array] = {}
    for path, g in items(grads):
        known = path if path in arrays else _completed(path, arrays)
        if known is None and not (trees.is_array(g) or isinstance(g, (float, complex))):
            continue  # part of the structure, which gradients keep
        if known is None:
            raise TreeError(
                f"{who}: there is a gradient for '{path}', which is no parameter of this optimizer; "
                f"{closest(path, arrays)}Its parameters are {some(arrays)}. For one that the model has got since, call "
                "opt.add_param_group"
            )
        if known in found:
            raise TreeError(f"{who}: there are two gradients for '{known}'")
        check_gradient(who, known, arrays[known], g)
        found[known] = g
    return found


def items(grads: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The gradients with their paths; `None` is left out, anything else that is no array is kept for the checks."""
    if type(grads) is dict and not path:  # the usual case, without recursion
        for name, g in grads.items():
            if trees.container(g) is None:
                if g is not None:
                    yield str(name), g
            else:
                yield from items(g, str(name))
        return
    how = trees.container(grads)
    if how is None:
        if grads is not None:
            yield path, grads
        return
    for name, branch in branches(grads, how):
        yield from items(branch, f"{path}.{name}" if path else name)


def _completed(path: str, arrays: dict[str, Array]) -> str | None:
    """The one path that is `path` but for its first part, the number of a group."""
    fits = [p for p in arrays if p.partition(".")[2] == path and p.partition(".")[0].isdigit()]
    return fits[0] if len(fits) == 1 else None


def check_gradient(who: str, path: str, p: Array, g: Any) -> None:
    """Raise unless a gradient fits its parameter."""
    if (
        type(g) is type(p)
        and g is not p
        and g.shape == p.shape
        and g.dtype == p.dtype
        and getattr(g, "device", None) == getattr(p, "device", None)
    ):
        return
    if not trees.is_array(g):
        raise TypeError(
            f"{who}: the gradient of '{path}' is a {type(g).__name__}, expected an array or None"
        )
    if g is p:
        raise ValueError(
            f"{who}: the gradient of '{path}' is the parameter itself; pass what bpgpu.grad returns"
        )
    if tuple(g.shape) != tuple(p.shape):
        raise ShapeError(
            f"{who}: the gradient of '{path}' has shape {tuple(g.shape)}, but the parameter has {tuple(p.shape)}"
        )
    if kind(g.dtype) != kind(p.dtype):
        raise DtypeError(
            f"{who}: the gradient of '{path}' has dtype {g.dtype}, but the parameter has {p.dtype}"
        )
    plain_p, plain_g = raw(p), raw(g)
    xp = namespace_of(plain_p)
    if namespace_of(plain_g).__name__ != xp.__name__:
        raise LibraryError(
            f"{who}: the gradient of '{path}' is an array of {library_of(plain_g)}, but the parameter is one of "
            f"{library_of(plain_p)}; convert it first"
        )
    backend = backend_of(xp)
    if not backend.one_device:
        here, there = backend.device_of(plain_p), backend.device_of(plain_g)
        if here is not None and there is not None and here != there:
            raise DeviceError(
                f"{who}: the gradient of '{path}' is on {there}, but the parameter is on {here}; move one of them with "
                "bpgpu.to_device"
            )
