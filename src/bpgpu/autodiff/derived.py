"""Derivatives made of other derivatives: forward mode, Jacobians, Hessians and products with
them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.array import device_of
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.lift import Call, find_namespace, is_input, lift_constants
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.transform import Argnums, Pullback, grad, like_gradient, positions
from bpgpu.errors import ShapeError


def jvp(f: Callable[..., Any], primals: Any, tangents: Any) -> tuple[Any, Any]:
    """The value of `f` and its derivative along a direction: `out, tangent = jvp(f, primals,
    tangents)`.

    `tangent = J @ tangents` for the Jacobian `J` of `f` at `primals`. Both are tuples with one
    entry for each argument; anything else is taken as the only argument.

    *Notes* The pullback `ct -> ct * J` is linear in `ct`, so its own pullback is `J`: two reverse
    passes give forward mode (Townsend, 2017, "A new trick for calculating Jacobian vector
    products"). The cost is about three evaluations of `f`.

    *Raises* `TreeError` or `ShapeError` if `tangents` is not like `primals`.

    >>> import numpy as np
    >>> jvp(lambda x: x**2, np.asarray([1.0, 3.0]), np.asarray([1.0, 10.0]))
    (array([1., 9.]), array([ 2., 60.]))
    """
    primals, tangents = _arguments("jvp", primals, tangents)
    pull = Pullback(Call("jvp", f), f, primals, nested=True)
    zeros = trees.map(_zeros_like, pull.out, leaf=is_input)
    if not trees.leaves(zeros, is_input):
        return pull.out, zeros
    push = Pullback(Call("jvp", f), pull, (zeros,), nested=False)
    (tangent,) = push(tangents)
    return pull.out, tangent


def hvp(f: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """The product of the Hessian of the scalar function `f` with a vector: `hvp(f, x, v) = H(x) @
    v`.

    The matrix is never formed: the cost is a small multiple of one gradient. With tuples, `f` takes
    several arguments and the product runs over all of them; the result has the structure of
    `primals`.

    *References* B. Pearlmutter (1994), "Fast exact multiplication by the Hessian".

    >>> import numpy as np
    >>> hvp(lambda x: x[0] * x[1] ** 2, np.asarray([1.0, 2.0]), np.asarray([1.0, 0.0]))
    array([0., 4.])
    """
    many = isinstance(primals, tuple) and not hasattr(primals, "_fields")
    primals, tangents = _arguments("hvp", primals, tangents)
    gradient = grad(f, tuple(range(len(primals))))
    product = jvp(gradient, primals, tangents)[1]
    return product if many else product[0]


def jacobian(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that gives the Jacobian of `f`, the derivative of every output by every input.

    For an output of shape `S` and an argument of shape `T` it is an array of shape `S + T`. Trees
    of outputs and arguments give trees of such arrays: the structure of the output, with the
    structure of the argument at each leaf.

    *Notes* One walk back for each entry of the output. Of a holomorphic function of complex numbers
    it gives the complex derivative; of a real function of complex numbers, the conjugate of the
    gradient.

    >>> import numpy as np
    >>> jacobian(lambda x: x**2)(np.asarray([1.0, 3.0]))
    array([[2., 0.],
           [0., 6.]])
    """

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        call = Call("jacobian", f)
        chosen = positions(call, argnums, len(args))
        namespace = find_namespace([args[n] for n in chosen], args)

        def of_chosen(*xs: Any) -> Any:
            full = [lift_constants(call, n, x, namespace) for n, x in enumerate(args)]
            for n, x in zip(chosen, xs, strict=True):
                full[n] = x
            constants = {k: lift_constants(call, k, v, namespace) for k, v in kwargs.items()}
            return f(*full, **constants)

        primals = tuple(args[n] for n in chosen)
        pull = Pullback(call, of_chosen, primals, nested=False)
        outs = trees.leaves(pull.out, is_input)

        def rows(k: int, y: Any) -> Any:
            found = _rows(pull, outs, k)
            return found if isinstance(argnums, tuple) else found[0]

        counter = iter(range(len(outs)))
        return trees.map(lambda y: rows(next(counter), y), pull.out, leaf=is_input)

    return run


def hessian(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that gives the Hessian of the scalar function `f`: the Jacobian of its gradient.

    For an argument of shape `T` it is an array of shape `T + T`.

    >>> import numpy as np
    >>> hessian(lambda x: x[0] * x[1] ** 2)(np.asarray([1.0, 2.0]))
    array([[0., 4.],
           [4., 2.]])
    """
    return jacobian(grad(f, argnums), argnums)


def _arguments(name: str, primals: Any, tangents: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Both as tuples of arguments, checked against each other."""
    if not isinstance(primals, tuple) or hasattr(primals, "_fields"):
        primals, tangents = (primals,), (tangents,)

    def one(x: Any, v: Any) -> None:
        shape = getattr(v, "shape", ())
        if shape != getattr(x, "shape", ()):
            raise ShapeError(
                f"{name}: a tangent has shape {shape}, its primal has shape "
                f"{getattr(x, 'shape', ())}; they must be equal"
            )

    trees.map(one, like_gradient(primals), tangents, leaf=is_input)
    return primals, tuple(tangents)


def _zeros_like(y: Any) -> Any:
    """A zero cotangent; `None` where no gradient can be."""
    if not trees.is_array(y):
        return 0.0
    return None if kind(y.dtype) == "other" else array_namespace(y).zeros_like(y)


def _rows(pull: Pullback, outs: list[Any], k: int) -> tuple[Any, ...]:
    """The Jacobian of output `k`, one tree for each argument: a walk back for each entry,
    stacked."""
    y = outs[k]
    xp = array_namespace(y)
    size = math.prod(y.shape)
    parts = []
    for i in range(size):
        basis = xp.reshape(_one_hot(xp, y, size, i), y.shape)
        row = pull.along(k, basis)
        if kind(y.dtype) == "complex":
            turned = pull.along(k, basis * 1j)
            row = trees.map(_complex_row, row, turned)
        else:
            row = trees.map(_conjugated, row)
        parts.append(row)
    if not parts:
        return trees.map(  # type: ignore[no-any-return]
            lambda x: array_namespace(x).zeros((*y.shape, *x.shape), dtype=x.dtype),
            like_gradient(pull.primals),
        )

    def stacked(*rows: Any) -> Any:
        ns = array_namespace(*rows)
        return ns.reshape(ns.stack(rows), (*y.shape, *rows[0].shape))

    return trees.map(stacked, *parts)  # type: ignore[no-any-return]


def _one_hot(xp: Any, y: Any, size: int, i: int) -> Any:
    return xp.astype(xp.arange(size, device=device_of(y)) == i, y.dtype)


def _conjugated(g: Any) -> Any:
    return array_namespace(g).conj(g) if kind(g.dtype) == "complex" else g


def _complex_row(along_one: Any, along_i: Any) -> Any:
    """The derivative of a complex output, from the gradients of its real and its imaginary part."""
    if kind(along_one.dtype) == "complex":
        return _conjugated(along_one)
    return along_one + 1j * along_i
