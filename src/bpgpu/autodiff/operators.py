"""The operators of the traced array, from the rules of the same names."""

from __future__ import annotations

import operator as symbols
from collections.abc import Callable
from typing import Any

from bpgpu.autodiff.array import Array, raw
from bpgpu.autodiff.rule import SCALARS, is_operand
from bpgpu.autodiff.rules import OPERATORS, RULES
from bpgpu.autodiff.rules.indexing import assigned, fitted_into, unwrapped_key

_DIFFERENTIABLE = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "pow": "pow",
    "matmul": "matmul",
    "mod": "remainder",
    "floordiv": "floor_divide",
}
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_BITWISE = ("and", "or", "xor", "lshift", "rshift")


def _reflected(op: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: op(b, a)


def _constant(symbol: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """An operator whose result carries no gradient."""

    def op(a: Any, b: Any) -> Any:
        if type(b) is not Array and type(b) not in SCALARS and not is_operand(b):
            return NotImplemented
        return Array(symbol(raw(a), raw(b)))

    return op


def _getitem(x: Array, key: Any) -> Any:
    key = unwrapped_key(key)
    if x.tape is None:
        return Array(x.value[key])
    return RULES["getitem"](x, key)


def _setitem(x: Array, key: Any, value: Any) -> None:
    _bind(x, assigned(x, value, unwrapped_key(key)))


def _bind(x: Array, new: Array) -> None:
    """Bind the handle to a new value; arrays made from it earlier keep the old one."""
    x.value, x.tape, x.index = new.value, new.tape, new.index


def _augmented(dunder: str, op: Callable[[Any, Any], Any]) -> Callable[[Array, Any], Any]:
    """`x += y` binds the handle, so that all names of it see the change, as all names of a plain array would.

    Where plain values cannot change (JAX's arrays, NumPy's scalars), Python makes it `x = x + y`.
    """

    def in_place(x: Array, y: Any) -> Any:
        if not hasattr(raw(x), f"__i{dunder}__"):
            return NotImplemented
        new = op(x, y)
        if new is not NotImplemented:
            _bind(x, fitted_into(x, new))
            return x
        return new

    return in_place


def _unary(name: str, symbol: Callable[[Any], Any]) -> Callable[[Array], Any]:
    def op(x: Array) -> Any:
        if x.tape is None:
            return Array(symbol(x.value))
        return RULES[name](x)

    return op


def attach() -> None:
    """Give `Array` its operators."""
    for dunder, name in _DIFFERENTIABLE.items():
        op = OPERATORS[name]
        setattr(Array, f"__{dunder}__", op)
        setattr(Array, f"__r{dunder}__", _reflected(op))
        setattr(Array, f"__i{dunder}__", _augmented(dunder, op))
    for dunder in _COMPARISONS:
        setattr(Array, f"__{dunder}__", _constant(getattr(symbols, f"__{dunder}__")))
    for dunder in _BITWISE:
        op = _constant(getattr(symbols, f"__{dunder}__"))
        setattr(Array, f"__{dunder}__", op)
        setattr(Array, f"__r{dunder}__", _reflected(op))
        setattr(Array, f"__i{dunder}__", _augmented(dunder, op))
    for dunder, name, symbol in (
        ("neg", "negative", symbols.neg),
        ("pos", "positive", symbols.pos),
        ("abs", "abs", abs),
    ):
        setattr(Array, f"__{dunder}__", _unary(name, symbol))
    for dunder, method in (
        ("invert", lambda x: Array(~raw(x))),
        ("getitem", _getitem),
        ("setitem", _setitem),
    ):
        setattr(Array, f"__{dunder}__", method)


attach()
