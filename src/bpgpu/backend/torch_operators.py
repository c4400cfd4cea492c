"""How torch names the operators of its tensors when it asks another class what to do."""

from __future__ import annotations

from typing import Any

from torch import Tensor

OPERATORS: dict[Any, str] = {
    Tensor.add: "__add__",
    Tensor.sub: "__sub__",
    Tensor.mul: "__mul__",
    Tensor.div: "__truediv__",
    Tensor.pow: "__pow__",
    Tensor.matmul: "__matmul__",
    Tensor.remainder: "__mod__",
    Tensor.__floordiv__: "__floordiv__",
    Tensor.eq: "__eq__",
    Tensor.__eq__: "__eq__",
    Tensor.ne: "__ne__",
    Tensor.lt: "__lt__",
    Tensor.le: "__le__",
    Tensor.gt: "__gt__",
    Tensor.ge: "__ge__",
    Tensor.add_: "__add__",
    Tensor.sub_: "__sub__",
    Tensor.mul_: "__mul__",
    Tensor.div_: "__truediv__",
    Tensor.pow_: "__pow__",
    Tensor.remainder_: "__mod__",
    Tensor.floor_divide_: "__floordiv__",
}
"""`tensor + x` asks for `Tensor.add`. Those that end in `_` are `tensor += x`, which binds the name to a new value."""

REFLECTED: dict[str, str] = {
    "__rsub__": "__sub__",
    "__rdiv__": "__truediv__",
    "__rpow__": "__pow__",
    "__rmatmul__": "__matmul__",
    "__rmod__": "__mod__",
    "__rfloordiv__": "__floordiv__",
}
"""`x - tensor`, as the compiler asks for it: the operands come in the order `tensor, x`."""
