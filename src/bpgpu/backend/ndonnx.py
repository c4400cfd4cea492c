"""ndonnx, whose arrays write down an ONNX graph: its namespace with the functions of the standard that it lacks."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any


def completed(xp: ModuleType) -> ModuleType:
    """The namespace of ndonnx with `linalg.vector_norm`, the products that stand in `linalg` too, and indices of any
    integers."""
    full = ModuleType("ndonnx")
    full.__dict__.update({name: getattr(xp, name) for name in dir(xp) if not name.startswith("__")})

    def vector_norm(
        x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2
    ) -> Any:  # the standard's own names
        size = xp.abs(x)
        over = {"axis": axis, "keepdims": keepdims}
        if ord == float("inf"):
            return xp.max(size, **over)
        if ord == -float("inf"):
            return xp.min(size, **over)
        if ord == 0:
            return xp.sum(xp.astype(size != 0, x.dtype), **over)
        if ord == 1:
            return xp.sum(size, **over)
        if ord == 2:
            return xp.sqrt(xp.sum(x * x, **over))
        return xp.sum(size**ord, **over) ** (1 / ord)

    def take(x: Any, indices: Any, /, *, axis: Any = None) -> Any:
        return xp.take(x, xp.astype(indices, xp.int64), axis=axis)

    def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Any:
        return xp.take_along_axis(x, xp.astype(indices, xp.int64), axis=axis)

    full.__dict__.update(take=take, take_along_axis=take_along_axis)
    full.__dict__["linalg"] = SimpleNamespace(
        vector_norm=vector_norm,
        matmul=xp.matmul,
        matrix_transpose=xp.matrix_transpose,
        tensordot=xp.tensordot,
        vecdot=xp.vecdot,
    )
    return full
