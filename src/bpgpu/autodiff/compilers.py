"""Ready for `torch.compile`: what it looks up while it reads our code must stand there before it comes.

Tables that are filled on first use (the namespace of a class, the functions of a namespace) would change while the
compiler reads them, and what it has compiled would be thrown away at the next call.
"""

from __future__ import annotations

from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.array import Array
from bpgpu.autodiff.rules import COMPOSED, INSPECT, PLAIN, RULES, UNDEFINED
from bpgpu.backend import compiling

VALUES = (
    *("e", "inf", "nan", "newaxis", "pi", "bool", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "float32", "float64", "complex64", "complex128"),
)
"""Names in a namespace that are no functions."""


@compiling.answered_once
def ready() -> None:
    """Fill all tables for torch's tensors if its compiler is reading; else nothing."""
    if not compiling.is_reading():
        return
    from bpgpu.autodiff.namespace import traced_namespace

    compiling.teach_matmul()
    for x in compiling.examples():
        namespace = traced_namespace(x)
        namespace.types.add(type(x))  # as is done for each array that enters
        structures: tuple[Any, ...] = (x, Array(x), {}, [], (), None, True, 1, 1.0, 1j, "")
        for structure in structures:
            trees.container(structure)
        _complete(namespace)


def _complete(namespace: Any) -> None:
    """Make all functions of the standard in a namespace."""
    for path in (*RULES, *COMPOSED, *PLAIN, *INSPECT, *UNDEFINED, *VALUES):
        extension, _, name = path.rpartition(".")
        getattr(getattr(namespace, extension) if extension else namespace, name, None)
