"""The twin: a copy of a model with traced arrays, on which a function runs while its gradient is
taken.

The copy shares everything but what has to differ: parameters are traced, other arrays are constants
of the traced namespace, layers are twins, and bound methods that were stored as attributes are
bound to the twins (else their gradient would be zero in silence). After the function has succeeded,
buffers and Python attributes that it set are carried back to the model."""

from __future__ import annotations

import functools
from collections.abc import Iterable
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
            fields = module.__dict__.copy()
            first = {}
            for name, value in fields.items():
                if not _is_plain(value) and name not in _OWN:
                    fields[name] = value = self.replaced(value)
                first[name] = (_HANDLE, value.value) if type(value) is Array else value
            self._made.append((module, twin, first))
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
                was = first.get(name, _OWN)
                if value is was or name in _OWN or _unchanged(value, was):
                    continue
                if name in module._buffers:
                    _store(module, name, value)
                elif not isinstance(value, Module):
                    _check_free(module, name, value)
                    module.__dict__[name] = value


_plain: dict[type, bool] = {}


def _is_plain(value: Any) -> bool:
    """True for what a twin keeps as it is: numbers, strings, functions. Found once for each class."""
    cls = type(value)
    plain = _plain.get(cls)
    if plain is None:
        other = (Module, MethodType, functools.partial, list, tuple, dict)
        plain = _plain[cls] = not (issubclass(cls, other) or trees.is_array(value))
    return plain


def _unchanged(value: Any, first: Any) -> bool:
    """True for the attribute that was put there; a handle may have been bound to other values since."""
    if type(first) is tuple and len(first) == 2 and first[0] is _HANDLE:
        return type(value) is Array and value.value is first[1]
    return False


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


def _twin(module: Module, old: Iterable[Any], new: Iterable[Any]) -> Module:
    return Twins({id(x): traced for x, traced in zip(old, new, strict=True)}).of(module)


def _finish(module: Module, twin: Module) -> None:
    twins: Twins = twin.__dict__["_twin"]
    twins.carry_back()


trees.register(Module, branches=Module.named_trainable, twin=_twin, finish=_finish)
