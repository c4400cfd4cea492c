"""The mark of what trains."""

from __future__ import annotations

from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.dtypes import is_floating
from bpgpu.device import device
from bpgpu.errors import DtypeError


class Parameter:
    """Marks an array as a parameter when it is assigned to a Module: `self.scale =
    nn.Parameter(array)`.

    After that, `self.scale` is the plain array; the Module remembers that it trains.

    *Parameters* `data`: an array, or nested lists of numbers. `requires_grad=False`: a parameter
    that is frozen.

    *Raises* `DtypeError` for a parameter that is to train and is not floating.
    """

    __slots__ = ("data", "requires_grad")

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        data = raw(data) if trees.is_array(data) else device().asarray(data)
        if requires_grad and not is_floating(data):
            raise DtypeError(
                f"Parameter: only floating arrays can train, got dtype {data.dtype}. Cast it "
                "first, or pass "
                "requires_grad=False"
            )
        self.data = data
        self.requires_grad = requires_grad

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    def __repr__(self) -> str:
        return f"Parameter({self.data!r})"


class Buffer:
    """Marks an array as a buffer when it is assigned to a Module: `self.mean = nn.Buffer(array)`.

    The same as `self.register_buffer("mean", array, persistent)`.

    *Parameters* `data`: an array, or nested lists of numbers. `persistent`: whether it is part of
    `state_dict()`.
    """

    __slots__ = ("data", "persistent")

    def __init__(self, data: Any, *, persistent: bool = True) -> None:
        self.data = raw(data) if trees.is_array(data) else device().asarray(data)
        self.persistent = persistent

    def __repr__(self) -> str:
        return f"Buffer({self.data!r})"
