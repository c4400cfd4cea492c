"""Modules that hold other Modules."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

from bpgpu.errors import ModuleError
from bpgpu.nn.activation import GELU
from bpgpu.nn.dropout import Dropout, at_once
from bpgpu.nn.module import Module
from bpgpu.nn.rectifier import ReLU

_DROPOUT = frozenset({Dropout})
"""As a set, since all containers ask for it at each call."""


def _with_dropout(layers: list[Module], x: Any) -> Any:
    """One layer after another, but an activation and the dropout after it at once where there is a kernel for both."""
    dropped = False
    for layer, after in itertools.zip_longest(layers, layers[1:]):
        if dropped:
            dropped = False
            continue
        y = at_once(_kernel_of(layer), after, x)
        dropped = y is not None
        x = y if dropped else layer(x)
    return x


def _kernel_of(layer: Module) -> str | None:
    """What `functional.dropout.ACTIVATIONS` calls the function of a layer."""
    if "forward" in layer.__dict__:  # put there by someone who wants to see it run
        return None
    if type(layer) is GELU:
        return "gelu" if layer.approximate == "none" else "gelu_tanh"
    return "relu" if type(layer) is ReLU else None


class Sequential(Module):
    """Layers one after another: `Sequential(a, b, c)(x) = c(b(a(x)))`.

    *Parameters* Modules, or one dict `{name: Module}`. Without names the layers are called "0",
    "1", ... Slices are again `Sequential`; layers can be replaced, deleted, appended."""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.add_module(name, _checked(module, "Sequential"))
        else:
            for i, module in enumerate(args):
                self.add_module(str(i), _checked(module, "Sequential"))

    def forward(self, input: Any) -> Any:
        layers = list(self)
        if not _DROPOUT.isdisjoint(map(type, layers)):
            return _with_dropout(layers, input)
        for module in layers:
            input = module(input)
        return input

    def __iter__(self) -> Iterator[Module]:
        return iter([v for v in self.__dict__.values() if isinstance(v, Module)])

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> list[str]:
        return [name for name, v in self.__dict__.items() if isinstance(v, Module)]

    @overload
    def __getitem__(self, idx: int) -> Module: ...
    @overload
    def __getitem__(self, idx: slice) -> Sequential: ...
    def __getitem__(self, idx: int | slice) -> Module:
        names = self._names()
        if isinstance(idx, slice):
            return Sequential({name: self.__dict__[name] for name in names[idx]})
        found: Module = self.__dict__[names[_position(idx, len(names), "Sequential")]]
        return found

    def __setitem__(self, idx: int, module: Module) -> None:
        names = self._names()
        name = names[_position(idx, len(names), "Sequential")]
        setattr(self, name, _checked(module, "Sequential"))

    def __delitem__(self, idx: int | slice) -> None:
        names = self._names()
        for name in [names[idx]] if isinstance(idx, int) else names[idx]:
            delattr(self, name)
        kept = list(self)
        for name in self._names():
            delattr(self, name)
        for i, module in enumerate(kept):
            self.add_module(str(i), module)

    def append(self, module: Module) -> Self:
        """Add a layer at the end."""
        self.add_module(str(len(self)), _checked(module, "Sequential"))
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add layers at the end."""
        for module in modules:
            self.append(module)
        return self

    def pop(self, key: int = -1) -> Module:
        """Remove a layer and return it; those after it move up."""
        module = self[key]
        del self[key]
        return module

    def __add__(self, other: Sequential) -> Sequential:
        return Sequential(*self, *other)

    def __iadd__(self, other: Iterable[Module]) -> Self:
        return self.extend(other)

    def insert(self, index: int, module: Module) -> Self:
        """Add a layer before position `index`."""
        layers = list(self)
        layers.insert(index, _checked(module, "Sequential"))
        for name in self._names():
            delattr(self, name)
        return self.extend(layers)

    def __mul__(self, other: int) -> Sequential:
        if not isinstance(other, int):
            return NotImplemented
        if other <= 0:
            raise ModuleError(f"Sequential: expected a factor of at least 1, got {other}")
        return Sequential(*list(self) * other)

    __rmul__ = __mul__

    def __imul__(self, other: int) -> Self:
        layers = list(self)
        for _ in range(len(self * other) // max(len(layers), 1) - 1):
            self.extend(layers)
        return self


class ModuleList(Module):
    """A list of Modules, with the methods of a list; it has no `forward` of its own."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def _layers(self) -> list[Module]:
        return [v for v in self.__dict__.values() if isinstance(v, Module)]

    def _replace(self, layers: list[Module]) -> None:
        for name in [n for n, v in self.__dict__.items() if isinstance(v, Module)]:
            delattr(self, name)
        for i, module in enumerate(layers):
            self.add_module(str(i), _checked(module, "ModuleList"))

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers())

    def __len__(self) -> int:
        return len(self._layers())

    @overload
    def __getitem__(self, idx: int) -> Module: ...
    @overload
    def __getitem__(self, idx: slice) -> ModuleList: ...
    def __getitem__(self, idx: int | slice) -> Module:
        layers = self._layers()
        if isinstance(idx, slice):
            return ModuleList(layers[idx])
        return layers[_position(idx, len(layers), "ModuleList")]

    def __setitem__(self, idx: int, module: Module) -> None:
        layers = self._layers()
        layers[_position(idx, len(layers), "ModuleList")] = module
        self._replace(layers)

    def __delitem__(self, idx: int | slice) -> None:
        layers = self._layers()
        del layers[idx]
        self._replace(layers)

    def append(self, module: Module) -> Self:
        """Add a Module at the end."""
        self.add_module(str(len(self)), _checked(module, "ModuleList"))
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add Modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __iadd__(self, other: Iterable[Module]) -> Self:
        return self.extend(other)

    def insert(self, index: int, module: Module) -> None:
        """Add a Module before position `index`."""
        layers = self._layers()
        layers.insert(index, module)
        self._replace(layers)

    def pop(self, key: int = -1) -> Module:
        """Remove a Module and return it."""
        module = self[key]
        del self[key]
        return module

    def __repr__(self) -> str:
        """Equal layers one after another are shown once: `(0-5): 6 x Linear(...)`."""
        runs: list[tuple[int, int, str]] = []
        for i, text in enumerate(map(repr, self)):
            if runs and runs[-1][2] == text:
                runs[-1] = (runs[-1][0], i, text)
            else:
                runs.append((i, i, text))
        lines = [
            f"({i}): {text}" if i == j else f"({i}-{j}): {j - i + 1} x {text}"
            for i, j, text in runs
        ]
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)" if lines else f"{type(self).__name__}()"


class ModuleDict(Module):
    """A dict of Modules, with the methods of a dict; it has no `forward` of its own."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def _layers(self) -> dict[str, Module]:
        return {k: v for k, v in self.__dict__.items() if isinstance(v, Module)}

    def __getitem__(self, key: str) -> Module:
        layers = self._layers()
        if key not in layers:
            raise KeyError(f"ModuleDict has no '{key}'; it has {list(layers)}")
        return layers[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, _checked(module, "ModuleDict"))

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._layers())

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers())

    def __contains__(self, key: object) -> bool:
        return key in self._layers()

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._layers().keys()

    def values(self) -> Iterable[Module]:
        """The Modules."""
        return self._layers().values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """The names with their Modules."""
        return self._layers().items()

    def pop(self, key: str) -> Module:
        """Remove a Module and return it."""
        module = self[key]
        del self[key]
        return module

    def clear(self) -> None:
        """Remove all."""
        for key in list(self._layers()):
            del self[key]

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add or replace Modules."""
        pairs = modules.items() if isinstance(modules, (Mapping, ModuleDict)) else modules
        for key, module in pairs:
            self[key] = module


class Residual(Module):
    """Layers with a way around them: `Residual(f)(x) = x + f(x)`; several layers run one after
    another.

    *Raises* a shape error of the addition if the layers change the shape of their input.

    *References* K. He et al. (2016), "Deep residual learning for image recognition", equation 1.
    """

    def __init__(self, *layers: Module) -> None:
        super().__init__()
        self.layers = layers[0] if len(layers) == 1 else Sequential(*layers)

    def forward(self, input: Any) -> Any:
        return self.layers(input) + input  # input last: not yet traced, if it is data


def _checked(module: Any, where: str) -> Module:
    if not isinstance(module, Module):
        hint = "; pass the layer itself, not its class" if isinstance(module, type) else ""
        name = module.__name__ if isinstance(module, type) else type(module).__name__
        raise ModuleError(f"{where}: expected a Module, got {name}{hint}")
    return module


def _position(idx: int, length: int, where: str) -> int:
    if not -length <= idx < length:
        raise IndexError(f"{where}: index {idx} is out of range, there are {length} layers")
    return idx % length
