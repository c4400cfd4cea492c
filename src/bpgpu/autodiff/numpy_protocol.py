"""NumPy's functions and operators given traced arrays go to the same rules, or raise.

NumPy asks an array of another kind what to do: for a ufunc (`np.tanh(x)`, `ndarray * x`) by `__array_ufunc__`, for its
other functions (`np.concatenate`, `np.linalg.norm`) by `__array_function__`. CuPy asks for its own ufuncs and
reductions in a similar way. The answer depends on the name of a function only.

A function that has no rule is computed on plain values if no gradient can come back through it, and refused otherwise.
"""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.array import Array, namespace_of
from bpgpu.autodiff.rule import SCALARS
from bpgpu.autodiff.rules import OPERATORS

_OPERATORS = {**OPERATORS, "power": OPERATORS["pow"]}


def array_ufunc(self: Array, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """What NumPy does for `ufunc(*inputs)`, or for a method of a ufunc, if one of the inputs is traced."""
    if method == "__call__" and not options:
        op = _OPERATORS.get(ufunc.__name__)
        if op is not None:
            a, b = inputs
            return op(operand(self, a), operand(self, b))
    from bpgpu.autodiff.numpy_functions import dispatch

    inputs = tuple([operand(self, x) for x in inputs])
    return dispatch.ufunc(namespace_of(self), ufunc, method, inputs, options)


def operand(like: Array, x: Any) -> Any:
    """What NumPy takes for an operand, as rules take it."""
    if type(x) is Array or type(x) in SCALARS:
        return x
    xp = namespace_of(like)
    if isinstance(x, (list, tuple)):
        return xp.asarray(x)
    if getattr(x, "shape", None) == () and "numpy" not in xp.xp.__name__ and hasattr(x, "item"):
        return x.item()  # a scalar of NumPy beside an array of another library
    return x


def array_function(self: Array, function: Any, types: Any, args: Any, options: Any) -> Any:
    """What NumPy does for any other of its functions."""
    from bpgpu.autodiff.numpy_functions import dispatch

    module = function.__module__.partition(".")[2]
    name = f"{module}.{function.__name__}" if module in ("linalg", "fft") else function.__name__
    return dispatch.function(namespace_of(self), function, name, args, options)


def cupy_kernel(self: Array, kernel: Any, *args: Any, **options: Any) -> Any:
    """What CuPy does for a ufunc or an elementwise kernel."""
    from bpgpu.autodiff.numpy_functions import dispatch

    return dispatch.cupy_kernel(namespace_of(self), kernel, args, options)


def cupy_reduction(
    self: Array, kernel: Any, axis: Any, dtype: Any, out: Any, keepdims: bool
) -> Any:
    """What CuPy does for a reduction."""
    from bpgpu.autodiff.numpy_functions import dispatch

    options = {"axis": axis, "dtype": dtype, "out": out, "keepdims": keepdims}
    options = {k: v for k, v in options.items() if v is not None}
    return dispatch.cupy_kernel(namespace_of(self), kernel, (self,), options)


Array.__array_ufunc__ = array_ufunc  # type: ignore[attr-defined]
Array.__array_function__ = array_function  # type: ignore[attr-defined]
Array.__cupy_override_elementwise_kernel__ = cupy_kernel  # type: ignore[attr-defined]
Array.__cupy_override_reduction_kernel__ = cupy_reduction  # type: ignore[attr-defined]
