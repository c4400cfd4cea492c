"""A bpgpu function inside the graph of another library: torch or JAX differentiates through it.

Functions written to the Array API run on tensors and JAX arrays as they are, and those libraries differentiate them
themselves. What is here is for functions that compute with arrays of NumPy or CuPy: a Module, its weights, a
simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpgpu.autodiff.lift import check_function
from bpgpu.autodiff.transform import vjp
from bpgpu.backend import graphs
from bpgpu.errors import MissingPackageError

__all__ = ["jax_function", "torch_function"]


def torch_function(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, a function of arrays that `bpgpu.grad` can differentiate, as a function of torch tensors.

    It takes tensors, by position or by name, and hands `f` arrays that share their memory: NumPy's for tensors on the
    CPU, CuPy's for those on CUDA. Its result, one array or a tuple of them, becomes tensors in torch's graph, whose
    gradients bpgpu computes, of any order (`create_graph=True`).

    *Raises* `MissingPackageError` without torch.

    *Notes* Gradients go to the tensors that are passed, not to arrays that `f` holds. Arguments that are no tensors
    are handed on as they are.

    >>> import torch, bpgpu as bp
    >>> square = bp.interop.torch_function(lambda x: x * x)
    >>> x = torch.tensor([1.0, 3.0], requires_grad=True)
    >>> square(x).sum().backward()
    >>> x.grad
    tensor([2., 6.])
    """
    check_function("torch_function", f)
    try:
        return graphs.torch_node(f, vjp)
    except ImportError as error:
        raise MissingPackageError(
            f"torch_function needs the package torch: pip install torch ({error})"
        ) from error


def jax_function(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, a function of NumPy arrays that `bpgpu.grad` can differentiate, as a function of JAX arrays.

    It may stand under `jax.jit`, `jax.grad` (of any order) and `jax.vmap`; it runs on the host. Arguments and results
    may be trees as JAX has them. Forward mode (`jax.jvp`, `jax.jacfwd`) is not there; `jax.jacrev` is.

    *Raises* `MissingPackageError` without JAX.

    *Notes* `f` must give the same result for the same arguments: JAX may call it more often, or not at all. It is
    called once with zeros while JAX traces, to learn the shapes of its results.

    >>> import jax, bpgpu as bp
    >>> cube = bp.interop.jax_function(lambda x: x**3)
    >>> float(jax.jit(jax.grad(cube))(2.0))
    12.0
    """
    check_function("jax_function", f)
    try:
        node: Callable[..., Any] = graphs.jax_node(f, vjp)
        return node
    except ImportError as error:
        raise MissingPackageError(
            f"jax_function needs the package jax: pip install jax ({error})"
        ) from error
