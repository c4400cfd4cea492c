"""Lists and dicts of parameters, for layers that have a number of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from bpgpu import tree as trees
from bpgpu.errors import ModuleError
from bpgpu.nn.module import Module
from bpgpu.nn.parameter import Parameter


class ParameterList(Module):
    """A list of parameters. Arrays that are put into it become parameters; other things stay what
    they are.

    >>> import numpy as np
    >>> weights = ParameterList([np.ones(2), np.zeros(3)])
    >>> weights.append(np.ones(4)).state_dict().keys()
    dict_keys(['0', '1', '2'])
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self.size = 0
        self.extend(values or ())

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Any]:
        return iter([self.__dict__[str(i)] for i in range(self.size)])

    def __getitem__(self, idx: int | slice) -> Any:
        if isinstance(idx, slice):
            return ParameterList([_entry(self, str(i)) for i in range(self.size)[idx]])
        return self.__dict__[self._name(idx)]

    def __setitem__(self, idx: int, param: Any) -> None:
        _put(self, self._name(idx), param)

    def _name(self, idx: int) -> str:
        if not -self.size <= idx < self.size:
            raise IndexError(f"ParameterList: index {idx} is out of range, there are {self.size}")
        return str(idx % self.size)

    def append(self, value: Any) -> Self:
        """Add a parameter at the end."""
        _put(self, str(self.size), value)
        self.size += 1
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add parameters at the end."""
        if trees.is_array(values) or not hasattr(values, "__iter__"):
            raise ModuleError(
                f"ParameterList: expected parameters in a list, got {type(values).__name__}"
            )
        entries = values._entries() if isinstance(values, ParameterList) else values
        for value in list(entries):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def _entries(self) -> list[Any]:
        return [_entry(self, str(i)) for i in range(self.size)]

    def extra_repr(self) -> str:
        return "\n".join(f"({i}): {_described(v)}" for i, v in enumerate(self))

    def __repr__(self) -> str:
        return _listed(self)


class ParameterDict(Module):
    """A dict of parameters. Arrays that are put into it become parameters; other things stay what
    they are.

    >>> import numpy as np
    >>> list(ParameterDict({"scale": np.ones(2), "shift": np.zeros(2)}))
    ['scale', 'shift']
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self.names: tuple[str, ...] = ()
        self.update(parameters or {})

    def __getitem__(self, key: str) -> Any:
        if key not in self.names:
            raise KeyError(f"ParameterDict has no '{key}'; it has {list(self.names)}")
        return self.__dict__[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise ModuleError(f"ParameterDict: expected a string as key, got {key!r}")
        if key in self.names:
            delattr(self, key)
        else:
            self._check_name(key)
            self.names = (*self.names, key)
        _put(self, key, value)

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)
        self.names = tuple(k for k in self.names if k != key)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self.names)

    def __contains__(self, key: object) -> bool:
        return key in self.names

    def keys(self) -> Iterable[str]:
        """The names."""
        return dict.fromkeys(self.names).keys()

    def values(self) -> Iterable[Any]:
        """The parameters."""
        return dict(self.items()).values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """The names with their parameters."""
        return {k: self.__dict__[k] for k in self.names}.items()

    def get(self, key: str, default: Any = None) -> Any:
        """The parameter of a name, or the default."""
        return self[key] if key in self.names else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The parameter of a name, which becomes the default if there is none."""
        if key not in self.names:
            self[key] = default
        return self[key]

    def pop(self, key: str) -> Any:
        """Remove a parameter and return it."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the last pair of name and parameter and return it."""
        if not self.names:
            raise KeyError("ParameterDict is empty")
        key = self.names[-1]
        return key, self.pop(key)

    def clear(self) -> None:
        """Remove all."""
        for key in self.names:
            del self[key]

    def copy(self) -> ParameterDict:
        """A dict of the same parameters."""
        return ParameterDict(self)

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A dict of other names, each with the default."""
        return ParameterDict((k, default) for k in keys)

    def update(self, parameters: Any) -> None:
        """Add or replace parameters, from a dict or pairs of name and parameter."""
        if isinstance(parameters, ParameterDict):
            pairs: Iterable[Any] = [(k, _entry(parameters, k)) for k in parameters]
        elif isinstance(parameters, Mapping):
            pairs = parameters.items()
        elif isinstance(parameters, Iterable) and not isinstance(parameters, str):
            pairs = parameters
        else:
            raise ModuleError(
                f"ParameterDict: expected a dict of parameters, got {type(parameters).__name__}"
            )
        for key, value in pairs:
            self[key] = value

    def __or__(self, other: Any) -> ParameterDict:
        found = self.copy()
        found.update(other)
        return found

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    def extra_repr(self) -> str:
        return "\n".join(f"({k}): {_described(v)}" for k, v in self.items())

    def __repr__(self) -> str:
        return _listed(self)


def _put(module: Module, name: str, value: Any) -> None:
    if isinstance(value, Parameter) or trees.is_array(value):
        module.register_parameter(name, value)
    else:
        setattr(module, name, value)


def _entry(module: Module, name: str) -> Any:
    """What stands there, with its mark if it is a frozen parameter."""
    value = module.__dict__[name]
    if value is None or not module._parameters.get(name, True):
        return Parameter(value, requires_grad=False) if value is not None else None
    return value


def _described(value: Any) -> str:
    if not trees.is_array(value):
        return f"Object of type: {type(value).__name__}"
    size = "x".join(map(str, value.shape))
    return f"Parameter containing: [{value.dtype} of size {size}]"


def _listed(module: Module) -> str:
    name = type(module).__name__
    extra = module.extra_repr().replace("\n", "\n  ")
    return f"{name}(\n  {extra}\n)" if extra else f"{name}()"
