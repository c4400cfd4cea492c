"""A function of which an ONNX graph is written: whatever arrays it holds are constants of the graph.

A function holds what it closes over, its defaults, the globals that it names, and `self` of a method. It is not
changed: what is called is a copy, with constants in the place of arrays and copies in that of Modules.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import raw

Constant = Callable[[Any], Any]


def with_constants(function: Any, constant: Constant) -> Any:
    """The function with `constant(array)` for each array that it holds."""
    return _Copies(constant).of(function)


def constants_in(value: Any, constant: Constant) -> Any:
    """An array, or a list, tuple or dict of them, as constants; anything else as it is."""
    return _each(value, lambda v: constant(v) if trees.is_array(v) else v)


def module_with_constants(module: Any, constant: Constant) -> Any:
    """A copy of a Module with `constant(array)` for each of its arrays."""
    twin = copy.deepcopy(module)
    for part in twin.modules():
        fields = part.__dict__
        for name, value in fields.items():
            fields[name] = constants_in(value, constant)
    return twin


def each_module(argument: Any, f: Callable[[Any], Any]) -> Any:
    """An argument with `f(module)` in the place of the Modules in it."""
    return _each(argument, lambda v: f(v) if _is_module(v) else v)


def _each(value: Any, f: Callable[[Any], Any]) -> Any:
    """`f` of all that lists, tuples and dicts hold, however deep; other classes are left to `f`."""
    if type(value) in (list, tuple):
        return type(value)(_each(v, f) for v in value)
    if type(value) is dict:
        return {k: _each(v, f) for k, v in value.items()}
    return f(value)


def bare(module: Any) -> Any:
    """The Module with plain arrays in the place of constants of the traced namespace."""
    for part in module.modules():
        fields = part.__dict__
        fields.update({name: raw(v) for name, v in fields.items() if type(v) is Traced})
    return module


class _Copies:
    """Copies of what a function holds; each thing has one."""

    def __init__(self, constant: Constant) -> None:
        self.constant = constant
        self.made: dict[int, Any] = {}
        self.home: dict[str, Any] | None = None
        """The globals of the user's file: of other files the functions are taken as they are."""
        self.globals: dict[str, Any] = {}

    def of(self, value: Any) -> Any:
        if id(value) in self.made:
            return self.made[id(value)]
        if isinstance(value, FunctionType):
            return self._function(value)
        found = value
        if trees.is_array(value):
            found = self.constant(value)
        elif _is_module(value):
            found = module_with_constants(value, self.constant)
        elif type(value) in (list, tuple):
            found = type(value)(self.of(v) for v in value)
        elif type(value) is dict:
            found = {k: self.of(v) for k, v in value.items()}
        elif type(value) is functools.partial:
            found = functools.partial(
                self.of(value.func), *self.of(value.args), **self.of(value.keywords)
            )
        elif isinstance(value, MethodType):
            found = MethodType(value.__func__, self._owner(value.__self__))
        if found is not value:
            self.made[id(value)] = found
        return found

    def _owner(self, instance: Any) -> Any:
        """The object of a method, with what it holds copied."""
        if isinstance(instance, type) or _is_module(instance) or not hasattr(instance, "__dict__"):
            return self.of(instance)
        twin = copy.copy(instance)
        twin.__dict__.update({name: self.of(v) for name, v in vars(instance).items()})
        return twin

    def _function(self, function: Any) -> Any:
        cells = tuple(CellType() for _ in function.__closure__ or ())
        twin = FunctionType(
            function.__code__, self._named(function), function.__name__, None, cells
        )
        self.made[id(function)] = twin
        twin.__dict__.update(vars(function))
        twin.__defaults__ = self.of(function.__defaults__)
        twin.__kwdefaults__ = self.of(function.__kwdefaults__)
        for cell, old in zip(cells, function.__closure__ or (), strict=True):
            try:
                cell.cell_contents = self.of(old.cell_contents)
            except ValueError:  # a name that has no value yet
                continue
        return twin

    def _named(self, function: Any) -> dict[str, Any]:
        """The globals of a function, with copies of what it names."""
        names: dict[str, Any] = function.__globals__
        if str(names.get("__name__")).partition(".")[0] == "bpgpu":
            return names
        if self.home is None:
            self.home, self.globals = names, dict(names)
        if names is not self.home:
            return names
        for name in _names(function.__code__):
            if name in names:
                self.globals[name] = self.of(names[name])
        return self.globals


def _names(code: CodeType) -> set[str]:
    """The globals and attributes that a function names, those inside it included."""
    inner = (_names(c) for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*inner)


def _is_module(value: Any) -> bool:
    return not isinstance(value, type) and callable(getattr(value, "named_modules", None))
