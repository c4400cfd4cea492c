"""The twin: a copy of a model with traced arrays, on which a function runs while its gradient is
taken.

The copy shares everything but what has to differ: parameters are traced, other arrays are constants
of the traced namespace, layers are twins, and bound methods and closures that were stored as
attributes see the twins (else their gradient would be zero in silence). Lists and dicts are copies,
since what a function puts into them may be traced. After the function has succeeded, buffers and
Python attributes that it set are carried back to the model; after one that failed, nothing is."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from types import CellType, FunctionType, MethodType
from typing import Any, NamedTuple, NoReturn

from bpgpu import tree as trees
from bpgpu.autodiff.array import Array, raw
from bpgpu.autodiff.state import write
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ModuleError
from bpgpu.nn.module import Module

_OWN = frozenset(("_twin", "_parameters", "_buffers"))


class _Made(NamedTuple):
    """A twin, and what it looked like at first."""

    module: Module
    twin: Module
    fields: dict[str, Any]
    handles: dict[str, Any]
    """The plain values of its traced arrays."""
    mutable: bool
    """Whether there are lists or dicts among its attributes."""

    @property
    def is_as_it_was(self) -> bool:
        now = self.twin.__dict__
        return (
            not self.mutable
            and len(now) == len(self.fields)
            and all(map(operator.is_, now.values(), self.fields.values()))
            and all(now[name].value is value for name, value in self.handles.items())
        )


class Twins:
    """The layers of a model, each with its twin and what the twin looked like at first."""

    def __init__(self, arrays: dict[int, Array]) -> None:
        self._arrays = arrays  # by the identity of the plain array
        self._by_id: dict[int, Module] = {}
        self._back: dict[
            int, tuple[Any, Any]
        ] = {}  # what a twin has, and what the model has for it
        self._made: list[_Made] = []

    def of(self, module: Module) -> Module:
        """The twin of a layer, made when first asked for."""
        twin = self._by_id.get(id(module))
        if twin is None:
            twin = object.__new__(type(module))
            self._by_id[id(module)] = twin
            self._back[id(twin)] = (twin, module)
            fields = module.__dict__.copy()
            handles: dict[str, Any] = {}
            mutable = False
            for name in [n for n, x in fields.items() if not _plain.get(type(x)) and n not in _OWN]:
                fields[name] = value = self.replaced(fields[name])
                if type(value) is Array:
                    handles[name] = value.value
                elif type(value) is list or type(value) is dict:
                    mutable = True
            fields["_twin"] = self
            fields["_parameters"] = fields["_parameters"].copy()
            fields["_buffers"] = fields["_buffers"].copy()
            self._made.append(_Made(module, twin, fields, handles, mutable))
            twin.__dict__.update(fields)
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
        if cls is FunctionType and (value.__closure__ or value.__defaults__):
            return self._function(value)
        if cls is list or cls is tuple:
            new = cls([self._kept(v) for v in value])
            if cls is tuple and all(map(_same, new, value)):
                return value
            self._back[id(new)] = (new, value)
            return new
        if cls is dict:
            found = {k: self._kept(v) for k, v in value.items()}
            self._back[id(found)] = (found, value)
            return found
        return value

    def _kept(self, value: Any) -> Any:
        """An item of a list, tuple or dict, of which is noted what it stands for."""
        new = self.replaced(value)
        if new is not value:
            self._back[id(new)] = (new, value)
        return new

    def _function(self, f: FunctionType) -> Any:
        """A function that closes over layers, or has them for defaults, over their twins."""
        layers = (Module, MethodType)
        cells = [_contents(cell) for cell in f.__closure__ or ()]
        defaults = f.__defaults__ or ()
        if not any(isinstance(x, layers) for x in (*cells, *defaults)):
            return f
        twin = FunctionType(
            f.__code__,
            f.__globals__,
            f.__name__,
            tuple(self.replaced(x) if isinstance(x, layers) else x for x in defaults) or None,
            tuple(
                CellType(self.replaced(x)) if isinstance(x, layers) else cell
                for x, cell in zip(cells, f.__closure__ or (), strict=True)
            ),
        )
        twin.__kwdefaults__ = f.__kwdefaults__
        return twin

    def carry_back(self) -> None:
        """Put what changed on the twins onto the layers themselves, after all of it was checked."""
        lists: list[tuple[Any, Any]] = []
        fields: list[tuple[Module, str, Any]] = []
        buffers: list[tuple[Module, str, Any]] = []
        for made in self._made:
            module, twin, first, handles, _ = made
            for name, value in () if made.is_as_it_was else twin.__dict__.items():
                was, behind = first.get(name, _OWN), handles.get(name, _OWN)
                if name in _OWN or not _changed(value, was, behind):
                    continue
                if name in twin._buffers:
                    buffers.append((module, name, value))
                else:
                    fields.append((module, name, self._original(value, module, name, lists)))
            for kind in ("_parameters", "_buffers"):
                module.__dict__[kind].update(twin.__dict__[kind])
        for old, new in lists:
            if type(old) is dict:
                old.clear()
                old.update(new)
            else:
                old[:] = new
        for module, name, value in fields:
            module.__dict__[name] = value
        for module, name, value in buffers:
            _store(module, name, value)
        self._by_id.clear()  # without circles the twins are gone when nobody holds them any more
        self._back.clear()
        self._made.clear()

    def _original(self, value: Any, module: Module, name: str, lists: list[tuple[Any, Any]]) -> Any:
        """What the model is to have for an attribute of a twin; changes of its own lists and dicts are
        added to `lists`."""
        cls = type(value)
        known = self._back.get(id(value), (None, value))[1]
        if cls is Array and known is value:
            _refuse(module, name)
        if cls is MethodType and isinstance(value.__self__, Module):
            return MethodType(value.__func__, self._original(value.__self__, module, name, lists))
        if cls is list or cls is tuple:
            new = [self._original(v, module, name, lists) for v in value]
            if len(new) == len(known) and all(map(_same, new, known)):
                return known
            if cls is tuple:
                return tuple(new)
            lists.append((known, new))
        elif cls is dict:
            found = {k: self._original(v, module, name, lists) for k, v in value.items()}
            if list(found) != list(known) or not all(map(_same, found.values(), known.values())):
                lists.append((known, found))
        elif not isinstance(value, Module) and _holds_traced(value):
            _refuse(module, name)
        return known


_plain: dict[type, bool] = {}


def _is_plain(value: Any) -> bool:
    """True for what a twin keeps as it is: numbers, strings. Found once for each class."""
    cls = type(value)
    plain = _plain.get(cls)
    if plain is None:
        other = (Module, MethodType, FunctionType, functools.partial, list, tuple, dict)
        plain = _plain[cls] = not (issubclass(cls, other) or trees.is_array(value))
    return plain


def _changed(value: Any, first: Any, behind: Any) -> bool:
    """False for the attribute that was put there. A list or dict may have other contents since, and
    an array other values: `behind` is what it had."""
    if type(value) is Array:
        return value.value is not behind
    return value is not first or type(value) is list or type(value) is dict


def _same(a: Any, b: Any) -> bool:
    return a is b


def _store(module: Module, name: str, value: Any) -> None:
    """A buffer's new value: over the old one where that is possible, so that its address stays."""
    old: Any = module.__dict__.get(name)
    new = raw(value)
    if type(old) is Array:  # the model is itself the twin of an outer trace
        module.__dict__[name] = Array(new)
    elif trees.is_array(old) and old.shape == new.shape and old.dtype == new.dtype:
        write(module, name, backend_of(namespace_of(old)).copy_into(old, new))
    else:
        write(module, name, new)


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that has no value yet
        return None


def _holds_traced(value: Any) -> bool:
    how = trees.container(value)
    return how is not None and any(type(x) is Array for x in trees.leaves(value))


def _refuse(module: Module, name: str) -> NoReturn:
    raise ModuleError(
        f"attribute '{name}' of {type(module).__name__} holds traced arrays after the call. "
        "Return them from forward, or declare state with register_buffer"
    )


# ---- a Module as a tree: its trainable parameters


def _twin(module: Module, old: Iterable[Any], new: Iterable[Any]) -> Module:
    return Twins({id(x): traced for x, traced in zip(old, new, strict=True)}).of(module)


def _finish(module: Module, twin: Module) -> None:
    twins: Twins = twin.__dict__["_twin"]
    twins.carry_back()


trees.register(Module, branches=Module.named_trainable, twin=_twin, finish=_finish)
