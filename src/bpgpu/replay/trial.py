"""The first run of a program: on trial, beside a run of the step itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpgpu.replay.places import State
from bpgpu.replay.program import Deviation, assembled

if TYPE_CHECKING:
    from bpgpu.replay.step import Binding


class Snapshot:
    """The arrays and containers that a step can reach, as they are now."""

    def __init__(self, state: State, arrays: bool = True) -> None:
        found = state.arrays if arrays else []
        self.arrays = [(x, x.copy()) for x in found if getattr(x, "ndim", None) is not None]
        self.containers = [
            (x, x.copy()) for x, _ in state.sizes if isinstance(x, (dict, list, set))
        ]

    def restore(self) -> None:
        """Put everything back."""
        for x, values in self.arrays:
            if hasattr(x, "__setitem__") and x.flags.writeable:
                x[...] = values
        for x, content in self.containers:
            if isinstance(x, list):
                x[:] = content
            elif isinstance(x, set):
                x.clear()
                x.update(content)
            else:
                for key in [k for k in x if k not in content]:
                    del x[key]
                x.update(content)


class Trial:
    """What a program makes of the arrays, noted and undone."""

    def __init__(self, binding: Binding, inputs: tuple[Any, ...]) -> None:
        self.binding = binding
        self.deviated = False
        arrays = binding.state.arrays
        before = [x.copy() for x in arrays]
        try:
            leaves, changed = binding.program(*inputs)
        except Deviation:
            self.deviated = True
            return
        self.result = bits(assembled(binding.template, iter(leaves)))
        self.changed = [bits(x) for x in changed]
        self.after = [bits(x) for x in arrays]
        for x, values in zip(arrays, before, strict=True):
            if hasattr(x, "__setitem__") and x.flags.writeable:
                x[...] = values

    def difference(self, result: Any) -> str | None:
        """What a run of the step has given or changed otherwise than the program; `None` if nothing."""
        if self.deviated:
            return None
        if bits(result) != self.result:
            return "its replay gives another result than the step"
        if [bits(x) for x in self.binding.state.arrays] != self.after:
            return "its replay leaves arrays otherwise than the step"
        if [bits(place.read()) for place, _ in self.binding.effects] != self.changed:
            return "its replay puts other arrays in their places than the step"
        return None


def bits(x: Any) -> Any:
    """What `==` compares bit for bit."""
    cls = type(x)
    if hasattr(x, "tobytes"):
        return cls, x.dtype.str, x.shape, x.tobytes()
    if cls is dict:
        return [(k, bits(v)) for k, v in x.items()]
    if isinstance(x, (list, tuple)):
        return cls, [bits(v) for v in x]
    return (cls, repr(x)) if cls in (float, complex) else (cls, x)
