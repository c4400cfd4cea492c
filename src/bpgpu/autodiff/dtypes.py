"""Which dtypes can carry a gradient, whatever library they come from."""

from __future__ import annotations

from typing import Any, Literal

from bpgpu.backend.compiling import answered_once

Kind = Literal["real", "complex", "other"]

_kinds: dict[
    type, dict[Any, Kind]
] = {}  # by class of dtype, since dtypes of two libraries may not be compared


@answered_once
def kind(dtype: Any) -> Kind:
    """`"real"` or `"complex"` for floating dtypes, else `"other"`. Told from the name, which all
    libraries share."""
    try:
        return _kinds[type(dtype)][dtype]
    except KeyError:
        found = _kinds.setdefault(type(dtype), {})[dtype] = _kind(dtype)
        return found


def _kind(dtype: Any) -> Kind:
    name = str(getattr(dtype, "name", None) or dtype).rpartition(".")[2].lower()
    if name.startswith(("float", "bfloat")):
        return "real"
    return "complex" if name.startswith("complex") else "other"


def is_floating(x: Any) -> bool:
    """True for an array that can carry a gradient."""
    return hasattr(x, "dtype") and kind(x.dtype) != "other"


def real_dtypes(xp: Any) -> frozenset[Any]:
    """The real floating dtypes of a library, for the hot paths."""
    names = ("float16", "bfloat16", "float32", "float64")
    return frozenset(xp.zeros((0,), dtype=getattr(xp, n)).dtype for n in names if hasattr(xp, n))
