"""What torch makes of a traced array: its operators work, its functions say what to use in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bpgpu.autodiff.array import Array, is_live, raw
from bpgpu.autodiff.dtypes import is_floating
from bpgpu.errors import LibraryError


def torch_function(
    cls: type, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
) -> Any:
    """torch asks this whenever it is given a traced array: for `tensor + x`, or for `torch.exp(x)`.

    A function of constants is computed on their values.
    """
    from bpgpu.backend.torch_operators import OPERATORS, REFLECTED

    dunder = OPERATORS.get(function)
    if dunder is not None:
        return getattr(Array, dunder)(*args)
    name = function.__name__
    dunder = REFLECTED.get(name)
    if dunder is not None:
        b, a = args
        return getattr(Array, dunder)(a, b)
    if any(_would_lose(x) for x in (*args, *(kwargs or {}).values())):
        raise LibraryError(
            f"torch.{name} was given a traced array, which is no tensor. Use the functions of the Array API "
            "standard, "
            f"xp.{name} with xp = bpgpu.array_namespace(x), if it is one of them; where no gradient is wanted, pass "
            "bpgpu.stop_gradient(x)"
        )
    return function(*_values(args), **{k: _value(v) for k, v in (kwargs or {}).items()})


def _value(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return type(x)(_values(x))
    return raw(x)


def _values(xs: Sequence[Any]) -> list[Any]:
    return [_value(x) for x in xs]


def _would_lose(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(_would_lose(v) for v in x)
    return type(x) is Array and is_floating(x) and is_live(x)


Array.__torch_function__ = classmethod(torch_function)  # type: ignore[attr-defined]
