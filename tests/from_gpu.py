"""NumPy's functions as tests call them, on arrays that refuse to become NumPy's: CuPy's, and strict's elsewhere.

Only calls from tests are let through, so that a conversion in the library still fails.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import strict_device1

CONVERTED = (
    "asarray",
    "array",
    "asanyarray",
    "allclose",
    "array_equal",
    "isclose",
    "sort",
    "stack",
)
TESTING = (
    *("assert_allclose", "assert_array_equal", "assert_equal", "assert_array_max_ulp"),
    *("assert_array_almost_equal", "assert_array_less", "assert_almost_equal"),
)


def plain(x: Any) -> Any:
    """The argument with NumPy's arrays in place of CuPy's."""
    if type(x).__module__.partition(".")[0] == "cupy" and type(x).__name__ == "ndarray":
        return x.get()
    if type(x).__module__.startswith("array_api_strict") and strict_device1.is_there(x):
        return strict_device1.to_numpy(x)
    if type(x) in (list, tuple):
        return type(x)([plain(v) for v in x])
    if type(x) is dict:
        return {k: plain(v) for k, v in x.items()}
    return x


def from_tests(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which takes CuPy's arrays where a test calls it."""

    @functools.wraps(f)
    def call(*args: Any, **options: Any) -> Any:
        module = sys._getframe(1).f_globals.get("__name__", "")
        if module.partition(".")[0] in ("bpgpu", "numpy", "cupy", "array_api_compat"):
            return f(*args, **options)
        return f(*plain(args), **plain(options))

    return call


def let_through(monkeypatch: Any) -> None:
    """For the time of a test."""
    for name in CONVERTED:
        monkeypatch.setattr(np, name, from_tests(getattr(np, name)))
    for name in TESTING:
        monkeypatch.setattr(np.testing, name, from_tests(getattr(np.testing, name)))
