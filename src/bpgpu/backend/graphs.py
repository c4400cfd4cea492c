"""A function over arrays of NumPy or CuPy as a node of torch's graph, or of JAX's."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from bpgpu.backend.host import to_numpy

Function = Callable[..., Any]
Vjp = Callable[..., tuple[Any, Callable[[Any], tuple[Any, ...]]]]


def torch_node(f: Function, vjp: Vjp) -> Function:
    """`f` on tensors; its gradient, of any order, is found by `vjp` and joins torch's own.

    The backward of a node is a node itself, of the function `(*xs, *cts) -> pull(cts)`: so it can be differentiated
    again. It runs `f` once more; where nobody asks for a second gradient, what the forward run kept is used instead.
    """
    torch: Any = importlib.import_module("torch")

    class Node(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            arrays = [_array(t) for t in tensors]
            ctx.save_for_backward(*tensors)
            ctx.places = tuple(i for i, needed in enumerate(ctx.needs_input_grad) if needed)
            if not ctx.places:
                ctx.pull, out = None, _result(f(*arrays))
            else:
                out, ctx.pull = vjp(_of(f, arrays, ctx.places), *(arrays[i] for i in ctx.places))
            ctx.many = isinstance(out, tuple)
            return tuple(_tensor(y) for y in out) if ctx.many else _tensor(out)

        @staticmethod
        def backward(ctx: Any, *cts: Any) -> Any:
            tensors, places = ctx.saved_tensors, ctx.places
            if torch.is_grad_enabled():
                found = torch_node(_pulled(f, vjp, len(tensors), places, ctx.many), vjp)(
                    *tensors, *cts
                )
            else:
                given = tuple(_array(ct) for ct in cts)
                found = tuple(_tensor(g) for g in ctx.pull(given if ctx.many else given[0]))
            grads: list[Any] = [None] * len(tensors)
            for i, g in zip(places, found, strict=True):
                grads[i] = g
            return tuple(grads)

    def run(*args: Any, **named: Any) -> Any:
        """The function on tensors; what is no tensor is handed to it as it is."""
        if named:
            return torch_node(_by_position(f, len(args), tuple(named)), vjp)(*args, *named.values())
        at = [i for i, a in enumerate(args) if isinstance(a, torch.Tensor)]
        node = Node
        if len(at) < len(args):
            return torch_node(_of(f, list(args), tuple(at)), vjp)(*(args[i] for i in at))
        return node.apply(*args)

    return run


def _of(f: Function, arrays: list[Any], places: tuple[int, ...]) -> Function:
    """`f` as a function of the arguments at `places`; the others are fixed."""

    def chosen(*xs: Any) -> Any:
        full = list(arrays)
        for i, x in zip(places, xs, strict=True):
            full[i] = x
        return _result(f(*full))

    return chosen


def _result(y: Any) -> Any:
    """Several results are a tuple."""
    return tuple(y) if isinstance(y, list) else y


def _by_position(f: Function, count: int, names: tuple[str, ...]) -> Function:
    """`f`, whose arguments after the first `count` are given by name, with all of them by position."""
    return lambda *given: f(*given[:count], **dict(zip(names, given[count:], strict=True)))


def _pulled(f: Function, vjp: Vjp, count: int, places: tuple[int, ...], many: bool) -> Function:
    """`(*xs, *cts) -> ` the gradients of the arguments at `places`."""

    def pulled(*given: Any) -> tuple[Any, ...]:
        xs, cts = list(given[:count]), given[count:]
        _, pull = vjp(_of(f, xs, places), *(xs[i] for i in places))
        return pull(cts if many else cts[0])

    return pulled


def _array(t: Any) -> Any:
    """A tensor as an array of NumPy or CuPy that shares its memory."""
    t = t.detach().resolve_conj().resolve_neg()
    if t.device.type == "cuda":
        import cupy

        return cupy.from_dlpack(t)
    return t.numpy()


def _tensor(x: Any) -> Any:
    """An array of NumPy or CuPy as a tensor that shares its memory where torch lets it."""
    torch: Any = importlib.import_module("torch")
    if hasattr(x, "__cuda_array_interface__"):
        return torch.from_dlpack(x)
    array = to_numpy(x)
    writable = array.flags.writeable and all(step >= 0 for step in array.strides)
    return torch.from_numpy(array if writable else array.copy())


def jax_node(f: Function, vjp: Vjp) -> Function:
    """`f` on arrays of JAX, under `jit`, `grad` and their kind: it is called back on the host with NumPy's arrays."""
    jax: Any = importlib.import_module("jax")

    def run(*args: Any) -> Any:
        """The function on arrays, numbers, and trees of them as JAX has them."""
        leaves, taken = jax.tree.flatten(args)
        given_back: list[Any] = []

        def flat(*xs: Any) -> tuple[Any, ...]:
            ys, how = jax.tree.flatten(f(*jax.tree.unflatten(taken, xs)))
            given_back.append(how)
            return tuple(ys)

        found = _jax_node(jax, flat, vjp)(*(jax.numpy.asarray(x) for x in leaves))
        return jax.tree.unflatten(given_back[-1], found)

    return run


def _jax_node(jax: Any, f: Function, vjp: Vjp) -> Any:
    """`f`, which takes arrays and returns a tuple of them."""

    def called(*xs: Any) -> Any:
        def host(*values: Any) -> Any:
            return tuple(np.asarray(y) for y in f(*(np.asarray(v) for v in values)))

        zeros = [np.zeros(x.shape, x.dtype) for x in xs]
        with np.errstate(all="ignore"):
            like = f(*zeros)  # NumPy has no shapes without numbers
        shapes = tuple(jax.ShapeDtypeStruct(np.shape(y), np.asarray(y).dtype) for y in like)
        return jax.pure_callback(host, shapes, *xs, vmap_method="sequential")

    node: Any = jax.custom_vjp(called)

    def forward(*xs: Any) -> Any:
        return node(*xs), xs  # itself, so that it can be differentiated again

    def backward(xs: Any, cts: Any) -> Any:
        places = tuple(i for i, x in enumerate(xs) if np.issubdtype(x.dtype, np.inexact))
        pulled = _jax_node(jax, _pulled(f, vjp, len(xs), places, True), vjp)
        found = iter(pulled(*xs, *cts))
        return tuple(
            next(found) if i in places else np.zeros(x.shape, jax.dtypes.float0)
            for i, x in enumerate(xs)
        )

    node.defvjp(forward, backward)
    return node
