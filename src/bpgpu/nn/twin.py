"""The twin: a copy of a model with traced arrays, on which a function runs while its gradient is
taken.

The copy shares everything but what has to differ: parameters are traced, other arrays are constants
of the traced namespace, layers are twins, and bound methods that were stored as attributes are
bound to the twins (else their gradient would be zero in silence). After the function has succeeded,
buffers and Python attributes that it set are carried back to the model."""

from __future__ import annotations

import functools
from types import MethodType
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.array import Array, raw
from bpgpu.autodiff.state import write
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ModuleError
from bpgpu.nn.module import Module

_HANDLE = object()
_OWN = frozenset(("_twin", "_parameters", "_buffers"))


class Twins:
    """The layers of a model, each with its twin and what the twin looked like at first."""

    def __init__(self, arrays: dict[int, Array]) -> None:
        self._arrays = arrays  # by the identity of the plain array
        self._by_id: dict[int, Module] = {}
        self._made: list[tuple[Module, Module, dict[str, Any]]] = []

    def of(self, module: Module) -> Module:
        """The twin of a layer, made when first asked for."""
        twin = self._by_id.get(id(module))
        if twin is None:
            twin = object.__new__(type(module))
            self._by_id[id(module)] = twin
            fields = {name: self.replaced(value) for name, value in module.__dict__.items()}
            self._made.append((module, twin, {k: _mark(v) for k, v in fields.items()}))
            twin.__dict__.update(fields, _twin=self)
        return twin

    def replaced(self, value: Any) -> Any:
        """An attribute as the twin has it."""
        if isinstance(value, Module):
            return self.of(value)
        if trees.is_array(value):
            traced = self._arrays.get(id(value))
            if traced is not None:
                return traced
            return value if type(value) is Array else Array(value)
        cls = type(value)
        if cls is MethodType and isinstance(value.__self__, Module):
            return MethodType(value.__func__, self.of(value.__self__))
        if cls is functools.partial:
            return functools.partial(
                self.replaced(value.func),
                *map(self.replaced, value.args),
                **{k: self.replaced(v) for k, v in value.keywords.items()},
            )
        if cls is list or cls is tuple:
            new = [self.replaced(v) for v in value]
            return value if all(map(_same, new, value)) else cls(new)
        if cls is dict:
            found = {k: self.replaced(v) for k, v in value.items()}
            return value if all(map(_same, found.values(), value.values())) else found
        return value

    def carry_back(self) -> None:
        """Put what changed on the twins onto the layers themselves."""
        for module, twin, first in self._made:
            for name, value in twin.__dict__.items():
                if name in _OWN or _unchanged(value, first.get(name, _OWN)):
                    continue
                if name in module._buffers:
                    _store(module, name, value)
                elif not isinstance(value, Module):
                    _check_free(module, name, value)
                    module.__dict__[name] = value


def _mark(value: Any) -> Any:
    return (_HANDLE, value.value) if type(value) is Array else value


def _unchanged(value: Any, first: Any) -> bool:
    """True for the attribute that was put there; a handle may have been bound to other values since."""
    if type(first) is tuple and len(first) == 2 and first[0] is _HANDLE:
        return type(value) is Array and value.value is first[1]
    return value is first


def _same(a: Any, b: Any) -> bool:
    return a is b


def _store(module: Module, name: str, value: Any) -> None:
    """A buffer's new value: over the old one where that is possible, so that its address stays."""
    old, new = module.__dict__[name], raw(value)
    if type(old) is Array:  # the model is itself the twin of an outer trace
        module.__dict__[name] = Array(new)
    elif trees.is_array(old) and old.shape == new.shape and old.dtype == new.dtype:
        write(module, name, backend_of(namespace_of(old)).copy_into(old, new))
    else:
        write(module, name, new)


def _check_free(module: Module, name: str, value: Any) -> None:
    if trees.container(value) is not None and any(type(x) is Array for x in trees.leaves(value)):
        raise ModuleError(
            f"attribute '{name}' of {type(module).__name__} holds traced arrays after the call. "
            "Return them from forward, "
            f"or declare state with register_buffer"
        )


# ---- a Module as a tree: its trainable parameters


def _rebuild(module: Module, values: list[Any]) -> Module:
    arrays = {id(x): value for x, value in zip(module.trainable().values(), values, strict=True)}
    return Twins(arrays).of(module)


def _gradient(module: Module, values: list[Any]) -> dict[str, Any]:
    return dict(zip(module.trainable(), values, strict=True))


def _finish(module: Module, twin: Module) -> None:
    twins: Twins = twin.__dict__["_twin"]
    twins.carry_back()


trees.register(
    Module,
    keys=lambda m: list(m.trainable()),
    values=lambda m: list(m.trainable().values()),
    rebuild=_rebuild,
    gradient=_gradient,
    finish=_finish,
)
