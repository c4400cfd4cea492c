"""`torch.compile`, which reads bytecode: what it must be told to follow traced arrays.

Imported without torch; all of it does nothing until torch compiles.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def answered_once(look_up: F) -> F:
    """Mark a look-up whose answer depends on nothing but its arguments: compilers run it instead of reading it."""
    look_up._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return look_up


def is_reading() -> bool:
    """True if called by `torch.compile` while it reads the code of a function."""
    guards = sys.modules.get("torch._guards")
    return guards is not None and guards.TracingContext.try_get() is not None


def examples() -> list[Any]:
    """Arrays of the classes that torch's users meet. The compiler watches the tables for any class that is added."""
    import numpy as np
    import torch

    x = torch.zeros(())
    scalars = [np.dtype(code).type(0) for code in np.typecodes["AllInteger"] + "efdFD?"]
    return [x, torch.nn.Parameter(x), np.zeros(1), *scalars]


def teach_matmul() -> None:
    """Let the compiler follow `@` of classes that are no tensors, as it follows their other operators.

    Its tables of operators leave this one out (torch 2.13), and swap the operands of `array @ tensor`. Where the
    tables are not as expected, nothing is changed, and the compiler refuses `@` in its own words.
    """
    try:
        from torch import Tensor
        from torch._dynamo.variables import builtin

        builtin.populate_builtin_to_tensor_fn_map()
        reflected = builtin.BUILTIN_TO_TENSOR_RFN_MAP
        symbols, handlers = (
            builtin.BuiltinVariable._binops(),
            builtin.BuiltinVariable._binop_handlers,
        )
        names = ["__matmul__", "__rmatmul__", "__imatmul__"], operator.imatmul
        if operator.matmul not in symbols:
            reflected.setdefault(operator.matmul, Tensor.__rmatmul__)
            symbols[operator.matmul] = names
            handlers.cache_clear()
    except (ImportError, AttributeError):
        return
