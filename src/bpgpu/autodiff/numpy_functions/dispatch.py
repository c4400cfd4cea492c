"""From a function of NumPy or CuPy to what is done in its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from bpgpu.autodiff.array import Array, carries_gradient, raw
from bpgpu.autodiff.namespace import unwrapped, wrapped
from bpgpu.autodiff.numpy_functions import (
    CONSTANTS,
    FUNCTIONS,
    MOVES,
    REDUCTIONS,
    REFUSED,
    RENAMED,
    RUNNING,
)
from bpgpu.autodiff.rules import PLAIN, RULES
from bpgpu.errors import ConversionError, NotDifferentiableError


def ufunc(xp: Any, f: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """`f(*inputs)`, or one of the methods of the ufunc `f`."""
    name = f.__name__
    out = options.pop("out", ())
    if any(v is not None for v in out):
        refuse_out(name, inputs, out)
    if method == "__call__":
        return called(xp, f, name, inputs, options)
    if method == "outer":
        a, b = (xp.asarray(x) for x in inputs)
        return called(xp, f, name, (xp.reshape(a, (*a.shape, *(1,) * b.ndim)), b), options)
    known = {"reduce": REDUCTIONS, "accumulate": RUNNING}.get(method, {})
    if name in known:
        return FUNCTIONS[known[name]](xp, *inputs, **{"axis": 0, **options})
    return on_values(xp, getattr(f, method), f"the ufunc {name}.{method}", inputs, options)


def called(xp: Any, f: Any, name: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    dtype = options.pop("dtype", None)
    if dtype is not None:
        inputs = tuple(xp.astype(xp.asarray(x), dtype) for x in inputs)
    if name in FUNCTIONS:
        return FUNCTIONS[name](xp, *inputs, **options)
    refuse_options(name, options)
    standard = RENAMED.get(name, name)
    if standard in RULES or standard in PLAIN:
        return getattr(xp, standard)(*inputs)
    return on_values(xp, f, f"the ufunc {name}", inputs, {})


def function(xp: Any, f: Any, name: str, args: Any, options: dict[str, Any]) -> Any:
    """`f(*args, **options)` for a function of NumPy that is no ufunc."""
    if options.get("out") is not None:
        refuse_out(name, (), ())
    if name in FUNCTIONS:
        return FUNCTIONS[name](xp, *args, **options)
    if name in RENAMED:
        return getattr(xp, RENAMED[name])(*args)
    if name in MOVES:
        return moved(xp, f, MOVES[name], args, options)
    if name in CONSTANTS:
        return on_plain(xp, f, args, options)
    return on_values(xp, f, f"numpy.{name}", args, options)


def moved(xp: Any, f: Any, place: int, args: Any, options: Any) -> Any:
    """Let NumPy move the numbers of the entries, and then the entries by these numbers; 0 stands for a zero."""
    from bpgpu.backend.numpy import numbered

    x = xp.asarray(args[place])
    args = [numbered(x.shape) if i == place else unwrapped(v) for i, v in enumerate(args)]
    numbers = f(*args, **unwrapped(options))
    origin = xp.asarray(numbers.reshape(-1), device=x.device)
    y = xp.take(xp.reshape(x, (-1,)), xp.where(origin > 0, origin - 1, xp.zeros_like(origin)))
    y = xp.where(origin > 0, y, xp.zeros_like(y))
    return xp.reshape(y, numbers.shape)


def cupy_kernel(xp: Any, kernel: Any, args: Any, options: dict[str, Any]) -> Any:
    """A ufunc, a reduction or an elementwise kernel of CuPy."""
    name = kernel.name.removeprefix("cupy_")
    if options.get("out") is not None:
        refuse_out(name, (), ())
    standard = RENAMED.get(name, name)
    if name in FUNCTIONS or standard in RULES or standard in PLAIN:
        return called(xp, kernel, name, args, options)
    if any(carries_gradient(x) for x in arrays_in((args, options))):
        refuse(f"cupy.{name}")
    return wrapped(kernel(*unwrapped(args), **unwrapped(options)))


# ---- what has no rule


def on_values(xp: Any, f: Any, name: str, args: Any, options: Any) -> Any:
    """A function without a rule: on plain values, unless a gradient would be lost."""
    if any(carries_gradient(x) for x in arrays_in((args, options))):
        refuse(name)
    return on_plain(xp, f, args, options)


def on_plain(xp: Any, f: Any, args: Any, options: Any) -> Any:
    """The function on NumPy's arrays; its results as arrays of the traced library."""
    y = f(*in_numpy(xp, tuple(args)), **in_numpy(xp, options))
    if not xp.backend.one_device and hasattr(y, "dtype") and hasattr(y, "shape"):
        y = xp.xp.asarray(y)
    return wrapped(y)


def in_numpy(xp: Any, x: Any) -> Any:
    """Nested arguments with plain arrays of NumPy in place of traced ones."""
    if type(x) is Array:
        return xp.backend.to_numpy(raw(x))
    if isinstance(x, dict):
        return {k: in_numpy(xp, v) for k, v in x.items()}
    return type(x)([in_numpy(xp, v) for v in x]) if type(x) in (list, tuple) else x


def arrays_in(x: Any) -> Iterator[Array]:
    """The traced arrays in nested arguments."""
    if type(x) is Array:
        yield x
    elif isinstance(x, (list, tuple)):
        for v in x:
            yield from arrays_in(v)
    elif isinstance(x, dict):
        yield from arrays_in(list(x.values()))


def refuse(name: str) -> NoReturn:
    why = REFUSED.get(name.removeprefix("the ufunc ").removeprefix("numpy."))
    raise NotDifferentiableError(
        f"{name} of a traced array has no derivative here{': ' + why if why else ''}. Use functions of "
        "xp = bpgpu.array_namespace(x) in its place; where no gradient is wanted, pass bpgpu.stop_gradient(x)"
    )


def refuse_options(name: str, options: dict[str, Any]) -> None:
    usual = {"where": True, "casting": "same_kind", "order": "K", "subok": True}
    given = [k for k, v in options.items() if k not in usual or usual[k] is not v]
    if given:
        raise NotDifferentiableError(
            f"numpy.{name} of a traced array does not take the option {', '.join(given)}. For a choice use "
            "xp.where(condition, x, y) with xp = bpgpu.array_namespace(x)"
        )


def refuse_out(name: str, inputs: tuple[Any, ...], out: tuple[Any, ...]) -> NoReturn:
    if inputs and out and out[0] is inputs[0]:
        raise ConversionError(
            f"a traced array was to be worked into a plain one in place ({name}: a += x and its like), where its "
            "gradient would be lost. Make a new array: a = a + x"
        )
    raise ConversionError(
        f"numpy.{name}: a traced array was to be written to out=, where its gradient would be lost. Use the result: "
        f"y = numpy.{name}(...)"
    )
