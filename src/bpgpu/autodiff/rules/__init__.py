"""The derivatives of the Array API: one file for each chapter of the standard.

The tables here say of every function of the standard what the traced namespace makes of it.
"""

from __future__ import annotations

import operator as symbols
from collections.abc import Callable
from types import ModuleType
from typing import Any

from bpgpu.autodiff.rule import Rule, operator
from bpgpu.autodiff.rules import (
    arithmetic,
    creation,
    cumulative,
    decompositions,
    determinants,
    elementwise,
    fft,
    indexing,
    linalg,
    manipulation,
    products,
    reductions,
    searching,
)


def _collect(module: ModuleType, prefix: str = "") -> dict[str, Rule]:
    rules = [r for r in vars(module).values() if isinstance(r, Rule)]
    return {prefix + r.name: r for r in rules if not r.name.startswith("_")}


RULES: dict[str, Rule] = {
    **_collect(elementwise),
    **_collect(arithmetic),
    **_collect(reductions),
    **_collect(cumulative),
    **_collect(manipulation),
    **_collect(creation),
    **_collect(indexing),
    **_collect(searching),
    **{
        name: getattr(products, name)
        for name in ("matmul", "matrix_transpose", "tensordot", "vecdot")
    },
    **_collect(products, "linalg."),
    **_collect(linalg, "linalg."),
    **_collect(determinants, "linalg."),
    **_collect(decompositions, "linalg."),
    **_collect(fft, "fft."),
}
"""Functions with a derivative of their own, by path."""

LISTED = frozenset(("concat", "stack"))
"""Those of them whose operands come in a list."""

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    name: operator(RULES[name], symbol)
    for name, symbol in {
        "add": symbols.add,
        "subtract": symbols.sub,
        "multiply": symbols.mul,
        "divide": symbols.truediv,
        "pow": symbols.pow,
        "matmul": symbols.matmul,
        "remainder": symbols.mod,
        "floor_divide": symbols.floordiv,
    }.items()
}
"""Those of them that are operators of Python too."""

COMPOSED: dict[str, Callable[..., Any]] = {
    name: f
    for module in (
        elementwise,
        arithmetic,
        reductions,
        cumulative,
        manipulation,
        creation,
        indexing,
        searching,
        linalg,
        fft,
    )
    for name, f in getattr(module, "COMPOSED", {}).items()
}
"""Functions written in terms of others: `f(xp, ...)` with the traced namespace."""

HANDLES = frozenset(("asarray", "from_dlpack"))
"""Those of them that also look at constants, since they may have to return the same object."""

INSPECT = frozenset(
    (
        "__array_namespace_info__",
        "broadcast_shapes",
        "can_cast",
        "finfo",
        "iinfo",
        "isdtype",
        "result_type",
    )
)
"""Questions about dtypes and shapes."""

PLAIN: dict[str, str] = {
    **dict.fromkeys(
        (
            *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
            *("logical_and", "logical_or", "logical_xor", "logical_not"),
            *("isfinite", "isinf", "isnan", "signbit", "all", "any", "isin"),
        ),
        "truth values",
    ),
    **dict.fromkeys(
        (
            *("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert"),
            *("bitwise_left_shift", "bitwise_right_shift"),
        ),
        "defined for integers only",
    ),
    **dict.fromkeys(
        (
            *("argmax", "argmin", "argsort", "nonzero", "count_nonzero", "searchsorted"),
            "linalg.matrix_rank",
        ),
        "integers: positions and counts",
    ),
    **dict.fromkeys(
        (
            *("empty", "empty_like", "eye", "ones", "ones_like", "zeros", "zeros_like"),
            *("fft.fftfreq", "fft.rfftfreq"),
        ),
        "new arrays that depend on no value",
    ),
}
"""Functions whose results carry no gradient by nature, and why."""

UNDEFINED: dict[str, str] = {
    "nextafter": "it steps through the floating-point numbers, of which the real line knows nothing",
    **dict.fromkeys(
        ("unique_all", "unique_counts", "unique_inverse", "unique_values"),
        "how many values come back depends on which of them are equal. Use sort, which has a derivative",
    ),
}
"""Functions that give floating values but have no derivative: they raise if a gradient comes back."""
