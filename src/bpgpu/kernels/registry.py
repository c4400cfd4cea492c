"""Which kernel computes a function for these arrays, if any does.

A function calls `compute("convolve", own_code, xp, x, w, b, geometry)`: the kernel that takes these
arguments, else its own code. A kernel is registered with a predicate over the arguments: their
dtype, layout and size.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import operator
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from bpgpu.backend import precision

VARIABLE = "BPGPU_ACCEL"

_FOLDERS = {
    "array_api_compat.numpy": "bpgpu.kernels.cpu",
    "array_api_compat.cupy": "bpgpu.kernels.cuda.every",
}
"""The module with the kernels of a library: imported when one is first looked for."""

MULTIPLIED = frozenset({"array_api_compat.cupy"})
"""The libraries that have kernels for products of matrices. These are so many, and so quick on small
arrays, that asking for a kernel each time would be felt with the other libraries."""

LISTED = frozenset({"array_api_compat.cupy"})
"""The libraries that have kernels for lists of arrays, which cost as much as for one."""

PRODUCTS = frozenset(("attend", "convolve", "correlate", "gru", "linear", "lstm", "spread"))
"""Functions that are made of matrix products, which `bpgpu.precision` lets round."""

MIDDLE = range(2**18 + 1, 2**22 + 1)
"""Of so many products of numbers there may be a kernel for the linear map with any library."""

Run = TypeVar("Run", bound=Callable[..., Any])


class Kernel(NamedTuple):
    function: str
    """The function that it computes."""
    accepts: Callable[..., bool]
    """Whether it takes these arguments."""
    run: Callable[..., Any]
    changes: bool = False
    """Whether it writes to operands, which then are what it gives."""


_kernels: dict[str, dict[str, list[Kernel]]] = {}
"""By library and function, the last one registered first."""

_on: ContextVar[bool] = ContextVar("on", default=os.environ.get(VARIABLE, "") != "0")


def kernel(
    function: str, library: str, accepts: Callable[..., bool], *, changes: bool = False
) -> Callable[[Run], Run]:
    """Register the decorated function as a kernel for `function` over a library."""

    def register(run: Run) -> Run:
        found = _kernels.setdefault(library, {}).setdefault(function, [])
        found.insert(0, Kernel(function, accepts, run, changes))
        return run

    return register


def find(function: str, xp: Any, *args: Any) -> Callable[..., Any] | None:
    """The kernel that computes `function` for these arguments, or `None`."""
    library = xp.__name__
    if library not in _FOLDERS or not _on.get():
        return None
    if function in PRODUCTS and not precision.is_plain() and library not in MULTIPLIED:
        return None  # the function's own code rounds
    recorded = type(xp) is not ModuleType  # the arrays of a recording: see backend.recording
    seen = xp.plain_of(args) if recorded else args
    for candidate in _of(library).get(function, ()):
        if candidate.accepts(*seen):
            if not recorded:
                return candidate.run
            wrap = xp.writing if candidate.changes else xp.in_one_call
            run: Callable[..., Any] = wrap(candidate.run)
            return run
    return None


def compute(function: str, own: Callable[..., Any], xp: Any, *args: Any) -> Any:
    """`function` of these arguments by a kernel, or by its own code, `own(xp, *args)`."""
    run = find(function, xp, *args)
    return own(xp, *args) if run is None else run(*args)


def multiplication(xp: Any) -> Callable[[Any, Any], Any]:
    """What gives `x @ y` for arrays of a library, as precise as was asked for: a kernel where there is one."""
    if xp.__name__ in MULTIPLIED:
        return functools.partial(compute, "matmul", _product, xp)
    if precision.is_plain() or precision.is_traced(xp):
        return operator.matmul
    return precision.product(xp)


def _product(xp: Any, x: Any, y: Any) -> Any:
    return precision.product(xp)(x, y)


def are_on() -> bool:
    """Whether functions look for kernels, here and now."""
    return _on.get()


def contraction(xp: Any) -> Callable[..., Any]:
    """The same for `tensordot(x, y, axes=axes)`."""
    if xp.__name__ in MULTIPLIED:
        return lambda x, y, axes: compute("tensordot", _contraction, xp, x, y, axes)
    if precision.is_plain() or precision.is_traced(xp):
        return xp.tensordot  # type: ignore[no-any-return]
    return functools.partial(_contraction, xp)


def _contraction(xp: Any, x: Any, y: Any, axes: Any) -> Any:
    return xp.tensordot(precision.rounded(xp, x), precision.rounded(xp, y), axes=axes)


@contextlib.contextmanager
def switched_off() -> Iterator[None]:
    """Within this block there are no kernels: functions compute by their own code."""
    token = _on.set(False)
    try:
        yield
    finally:
        _on.reset(token)


def registered() -> list[tuple[str, Kernel]]:
    """All kernels for the libraries at hand: for the test that compares each with its function."""
    here = [library for library in _FOLDERS if _is_here(library.rpartition(".")[2])]
    return [(library, k) for library in here for ks in _of(library).values() for k in ks]


def _is_here(package: str) -> bool:
    return package in sys.modules or importlib.util.find_spec(package) is not None


def _of(library: str) -> dict[str, list[Kernel]]:
    found = _kernels.get(library)
    if found is None:
        importlib.import_module(_FOLDERS[library])
        found = _kernels.setdefault(library, {})
    return found
