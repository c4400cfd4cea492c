"""Methods and attributes of a traced array beyond the standard's: those of NumPy's arrays, and advice for the others.

They are found by `__getattr__`, after everything that the array has itself. Libraries probe arrays for attributes
(`hasattr(x, "toarray")`), so whatever is not listed here raises an `AttributeError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpgpu.autodiff.array import Array, namespace_of
from bpgpu.autodiff.rules import COMPOSED, PLAIN, RULES
from bpgpu.errors import ArgumentError, MissingAttributeError

METHODS = {
    **{
        name: name
        for name in (
            *("all", "any", "argmax", "argmin", "argsort", "astype", "clip", "copy", "cumprod"),
            *("cumsum", "diagonal", "dot", "max", "mean", "min", "nonzero", "prod", "ravel"),
            *("repeat", "round", "searchsorted", "squeeze", "std", "sum", "swapaxes", "take"),
            *("trace", "var"),
        )
    },
    "conj": "conjugate",
    "conjugate": "conjugate",
}
"""Methods of NumPy's arrays, and the function of NumPy that each is."""

HABITS = {
    **{
        name: f"assignment binds to a new value: {form}"
        for name, form in {
            "add_": "x += y",
            "copy_": "x[...] = y",
            "div_": "x /= y",
            "fill_": "x[...] = value",
            "masked_fill_": "x[mask] = value",
            "mul_": "x *= y",
            "sub_": "x -= y",
            "zero_": "x[...] = 0",
        }.items()
    },
    **dict.fromkeys(
        ("bool", "double", "float", "half", "int", "long", "type_as"),
        "use xp.astype(x, xp.float64), or another dtype",
    ),
    **{
        name: f"use bpgpu.functional.{name}"
        for name in ("log_softmax", "logsumexp", "relu", "sigmoid", "softmax", "tanh")
    },
    "addmm": "use y + x @ z",
    "backward": "gradients are a function of a function: grads = bpgpu.grad(loss)(params)",
    "contiguous": "leave it out: memory is laid out by the array library",
    "clone": "leave it out: assignment changes no other array; or xp.asarray(x, copy=True)",
    "cpu": "name the device: bpgpu.to_device(x, bpgpu.device('cpu'))",
    "cuda": "name the device: bpgpu.to_device(x, bpgpu.device('cuda'))",
    "data": "use bpgpu.stop_gradient(x)",
    "detach": "use bpgpu.stop_gradient(x)",
    "detach_": "use x = bpgpu.stop_gradient(x)",
    "fill": "use x[...] = value",
    "flat": "use xp.reshape(x, (-1,))",
    "grad": "gradients are returned, not stored: grads = bpgpu.grad(loss)(params)",
    "item": "use float(bpgpu.stop_gradient(x)), since a Python number has no gradient",
    "numpy": "use bpgpu.to_numpy(bpgpu.stop_gradient(x)), since a plain array has no gradient",
    "permute": "use xp.permute_dims(x, axes)",
    "requires_grad": "what is differentiated is an argument of bpgpu.grad; stop_gradient(x) makes a constant",
    "requires_grad_": "what is differentiated is an argument of bpgpu.grad; stop_gradient(x) makes a constant",
    "sort": "use xp.sort(x), which returns a new array",
    "to": "use x.to_device(device) or xp.astype(x, dtype)",
    "tolist": "use bpgpu.to_numpy(bpgpu.stop_gradient(x)).tolist(), since Python numbers have no gradient",
    "unsqueeze": "use xp.expand_dims(x, axis=axis)",
    "view": "use xp.reshape(x, shape)",
    "bmm": "use x @ y",
    "mm": "use x @ y",
    "chunk": "use slices: x[:n, ...], x[n:, ...]",
    "split": "use slices: x[:n, ...], x[n:, ...]",
    "clamp": "use xp.clip(x, low, high)",
    "dim": "use x.ndim",
    "expand": "use xp.broadcast_to(x, shape)",
    "expand_as": "use xp.broadcast_to(x, y.shape)",
    "gather": "use xp.take_along_axis(x, indices, axis=axis)",
    "grad_fn": "a trace is no part of the array; gradients are a function of a function: bpgpu.grad(loss)(params)",
    "is_leaf": "a trace is no part of the array; gradients are a function of a function: bpgpu.grad(loss)(params)",
    "retain_grad": "make it an argument: bpgpu.vjp gives the gradient of each argument of a function",
    "register_hook": "use bpgpu.custom_vjp to see or change a gradient",
    "squeeze_": "use x = xp.squeeze(x, axis=axis)",
    "unsqueeze_": "use x = xp.expand_dims(x, axis=axis)",
    "index_select": "use xp.take(x, indices, axis=axis)",
    "masked_fill": "use xp.where(mask, value, x)",
    "norm": "use xp.linalg.vector_norm(x)",
    "numel": "use x.size",
    "repeat_interleave": "use xp.repeat(x, n, axis=axis)",
    "reshape_as": "use xp.reshape(x, y.shape)",
    "t": "use x.T",
    "unbind": "use xp.unstack(x, axis=axis)",
    "view_as": "use xp.reshape(x, y.shape)",
    "type": "use xp.astype(x, dtype)",
    "zero_grad": "gradients are returned, not stored, so there is nothing to zero",
}
"""Attributes of torch's and NumPy's arrays that cannot work here, and what to write instead."""


def attribute(x: Array, name: str) -> Any:
    """The attribute of a traced array that Python did not find on it."""
    if name in METHODS:
        return _method(x, METHODS[name])
    if name in SPECIAL:
        return SPECIAL[name](x)
    if name.startswith("__"):
        raise AttributeError(name)
    advice = HABITS.get(name)
    if advice is None:
        advice = "it has what the array object of the standard has"
        if name in RULES or name in PLAIN or name in COMPOSED:
            advice = f"functions are no methods in the standard; use xp.{name}(x)"
    if "xp." in advice:
        advice += " with xp = bpgpu.array_namespace(x)"
    raise MissingAttributeError(f"a traced array has no attribute '{name}': {advice}")


def _method(x: Array, name: str) -> Callable[..., Any]:
    from bpgpu.autodiff.numpy_functions import FUNCTIONS, RENAMED

    xp = namespace_of(x)
    if name in RENAMED:
        f = getattr(xp, RENAMED[name])
        return lambda: f(x)
    f = FUNCTIONS[name]

    def method(*args: Any, **options: Any) -> Any:
        for theirs, ours in TORCH_OPTIONS.items():
            if theirs in options:
                raise ArgumentError(
                    f"x.{name}({theirs}=...) of a traced array: the argument is called {ours} here, as in NumPy"
                )
        return f(xp, x, *args, **options)

    return method


def _flatten(x: Array) -> Callable[..., Any]:
    def flatten(order: str = "C", *rest: Any, **options: Any) -> Any:
        if rest or options or not isinstance(order, str):
            raise ArgumentError(
                "x.flatten(start) of a traced array: flatten joins all axes, as in NumPy; to keep the first, use "
                "nn.Flatten(), or xp.reshape(x, (x.shape[0], -1)) with xp = bpgpu.array_namespace(x)"
            )
        return _method(x, "ravel")(order)

    return flatten


def _reshape(x: Array) -> Callable[..., Any]:
    def reshape(*shape: Any, **options: Any) -> Any:
        return _method(x, "reshape")(shape[0] if len(shape) == 1 else shape, **options)

    return reshape


def _transpose(x: Array) -> Callable[..., Any]:
    def transpose(*axes: Any) -> Any:
        return _method(x, "transpose")(axes[0] if len(axes) == 1 else axes or None)

    return transpose


TORCH_OPTIONS = {"dim": "axis", "keepdim": "keepdims"}
"""Arguments of torch's methods, and their names here."""

SPECIAL: dict[str, Callable[[Array], Any]] = {
    "flatten": _flatten,
    "imag": lambda x: _method(x, "imag")(),
    "real": lambda x: _method(x, "real")(),
    "reshape": _reshape,
    "transpose": _transpose,
}
"""Attributes that are no method, and methods that take their arguments unpacked."""

Array.__getattr__ = attribute  # type: ignore[attr-defined]
