"""Weights that are computed from other arrays each time they are used: `weight = f(original)`.

What trains is the original, under `parametrizations.weight.original`; the layer itself is as before
and reads `self.weight`. The gradient goes through `f`."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.array import raw
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ModuleError, ShapeError
from bpgpu.functional.arguments import Array
from bpgpu.nn.containers import ModuleDict, ModuleList
from bpgpu.nn.module import Module
from bpgpu.nn.parameter import Parameter


class _Cache(threading.local):
    """The weights computed inside `cached()`, each with what computed it."""

    values: dict[int, tuple[Any, Any]] | None = None


_cache = _Cache()


class ParametrizationList(ModuleList):
    """The maps by which one weight is computed, and the arrays from which: called, it gives the weight.

    *Attributes* `original`, the array from which the first map starts; or `original0`, `original1`,
    ... if the map takes several. They are parameters if the weight was one, else buffers.

    *Parameters* `modules`: the maps, first to last; with a method `right_inverse` they say which
    original gives a weight. `original`: the weight as it was, a `Parameter` or the array of a
    buffer. `unsafe`: the result may have another shape or dtype than the weight had (False).

    *Raises* `ModuleError` for a map that changes the shape or the dtype.
    """

    def __init__(
        self, modules: Iterable[Module], original: Parameter | Array, unsafe: bool = False
    ) -> None:
        super().__init__(modules)
        self.unsafe = unsafe
        weight = original.data if isinstance(original, Parameter) else original
        start = _inverse(reversed(list(self)), weight)
        self.is_tensor = trees.is_array(start)
        found = [start] if self.is_tensor else list(start)
        self.ntensors = len(found)
        for name, x in zip(self._names(), found, strict=True):
            if isinstance(original, Parameter):
                self.register_parameter(name, Parameter(x, original.requires_grad))
            else:
                self.register_buffer(name, x)
        if not unsafe:
            _check_same("the result", self(), weight)

    def _names(self) -> list[str]:
        return ["original"] if self.is_tensor else [f"original{i}" for i in range(self.ntensors)]

    def forward(self) -> Array:
        known = _cache.values
        if known is None:
            return self._compute()
        if id(self) not in known:
            known[id(self)] = (self, self._compute())
        return known[id(self)][1]

    def _compute(self) -> Array:
        first, *rest = self
        x = first(*(getattr(self, name) for name in self._names()))
        for f in rest:
            x = f(x)
        return x

    def right_inverse(self, value: Array) -> None:
        """Set the originals so that the weight becomes `value`: what assigning to the weight does."""
        value = value.data if isinstance(value, Parameter) else value
        if not trees.is_array(value):
            raise ModuleError(
                f"a parametrized weight can be set to an array, got {type(value).__name__}"
            )
        found = _inverse(reversed(list(self)), value)
        for name, x in zip(self._names(), [found] if self.is_tensor else found, strict=True):
            if tuple(x.shape) != tuple(getattr(self, name).shape):
                raise ShapeError(
                    f"a parametrized weight was set to an array of shape {tuple(value.shape)}, "
                    f"expected {tuple(self().shape)}"
                )
            setattr(self, name, x)


@contextmanager
def cached() -> Iterator[None]:
    """Compute each parametrized weight once inside, however often it is used, as in a loop over a
    cell."""
    outer, _cache.values = _cache.values, {} if _cache.values is None else _cache.values
    try:
        yield
    finally:
        _cache.values = outer


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute the parameter or buffer `tensor_name` of a layer by a Module from now on; returns the
    layer.

    Called again, a second map follows the first. Make the optimizer after this, not before.

    *Parameters* `parametrization`: its `forward` takes the original and gives the weight; a method
    `right_inverse`, if there is one, gives the original, or a tuple of several, for a weight.
    `unsafe`: it may change shape and dtype (False).

    *Raises* `ModuleError` if there is no such parameter or buffer, or shape or dtype change.

    >>> import numpy as np
    >>> class Symmetric(Module):
    ...     def forward(self, x):
    ...         return x + x.T
    >>> from bpgpu.nn import Linear
    >>> layer = register_parametrization(Linear(2, 2), "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.T).all())
    True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        known = _lists(module)[tensor_name]
        if not (unsafe or known.unsafe):
            before = known()
            _check_same("the result", parametrization(before), before)
        known.append(parametrization)
        known.unsafe = known.unsafe or unsafe
        return module
    if tensor_name in module._parameters and getattr(module, tensor_name) is not None:
        original = Parameter(getattr(module, tensor_name), module._parameters[tensor_name])
    elif tensor_name in module._buffers and getattr(module, tensor_name) is not None:
        original = getattr(module, tensor_name)
    else:
        raise ModuleError(
            f"{type(module).__name__} has no parameter or buffer '{tensor_name}' to parametrize; it "
            f"has {[*module._parameters, *module._buffers]}"
        )
    made = ParametrizationList([parametrization], original, unsafe)
    made.training = module.training
    delattr(module, tensor_name)
    if not is_parametrized(module):
        module.add_module("parametrizations", ModuleDict())
    _lists(module)[tensor_name] = made
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """True if the layer computes this weight, or any, from others."""
    lists = module.__dict__.get("parametrizations")
    if not isinstance(lists, ModuleDict) or len(lists) == 0:
        return False
    return tensor_name is None or tensor_name in lists


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make a weight an array of the layer again; returns the layer.

    *Parameters* `leave_parametrized`: with the value that was computed (the default), else with
    that of the original.

    *Raises* `ModuleError` if the weight is not parametrized, or there are several originals to
    choose from.
    """
    if not is_parametrized(module, tensor_name):
        raise ModuleError(f"'{tensor_name}' of {type(module).__name__} is not parametrized")
    lists = _lists(module)
    known = lists[tensor_name]
    if not leave_parametrized and not known.is_tensor:
        raise ModuleError(
            f"'{tensor_name}' is computed from {known.ntensors} arrays, none of which is the weight; "
            "leave out leave_parametrized=False"
        )
    value = raw(getattr(module, tensor_name)) if leave_parametrized else known.original
    if leave_parametrized and known.is_tensor and value.shape == known.original.shape:
        value = backend_of(namespace_of(value)).copy_into(known.original, value)
    trains = list(known._parameters.values())
    del lists[tensor_name]
    if len(lists) == 0:
        del module.parametrizations
    if trains:
        module.register_parameter(tensor_name, Parameter(value, any(trains)))
    else:
        module.register_buffer(tensor_name, value)
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class of a layer; here it does not change."""
    return type(module)


def _lists(module: Module) -> Any:
    return module.__dict__["parametrizations"]


def _inverse(maps: Iterable[Any], value: Any) -> Any:
    """The originals for a weight; a map without `right_inverse` passes it through."""
    for f in maps:
        if hasattr(f, "right_inverse"):
            value = f.right_inverse(value)
    return value


def _check_same(what: str, x: Any, weight: Any) -> None:
    if not trees.is_array(x):
        raise ModuleError(f"a parametrization must give an array, got {type(x).__name__}")
    if tuple(x.shape) != tuple(weight.shape) or x.dtype != weight.dtype:
        raise ModuleError(
            f"{what} of the parametrization has shape {tuple(x.shape)} and dtype {x.dtype}, the "
            f"weight has {tuple(weight.shape)} and {weight.dtype}; say unsafe=True if that is meant"
        )
