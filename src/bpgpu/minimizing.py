"""`minimize`: a loss of a whole tree or Module, handed to SciPy with exact derivatives.

SciPy's methods know one vector of float64 numbers on the host. The leaves of the tree are laid one behind the other in
it, and each evaluation takes them back to their own dtypes and devices.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.array import Array, raw
from bpgpu.autodiff.derived import hvp as exact_hvp
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.lift import check_function, is_input
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.state import copied
from bpgpu.autodiff.transform import like_gradient, value_and_grad, vjp
from bpgpu.backend import storage
from bpgpu.device import device, to_numpy
from bpgpu.errors import (
    ArgumentError,
    ConversionError,
    DtypeError,
    MissingPackageError,
    NonFiniteError,
    ShapeError,
)
from bpgpu.minimizing_bounds import limits_of, shape_of
from bpgpu.minimizing_constraints import Function, OnVectors, for_scipy
from bpgpu.nn.module import Module

METHODS = {
    "CG": "",
    "BFGS": "",
    "L-BFGS-B": "bounds",
    "TNC": "bounds",
    "SLSQP": "bounds constraints",
    "Newton-CG": "product",
    "trust-ncg": "product",
    "trust-krylov": "product",
    "trust-constr": "bounds constraints product",
    "dogleg": "matrix",
    "trust-exact": "matrix",
    "Nelder-Mead": "bounds values",
    "Powell": "bounds values",
    "COBYLA": "bounds constraints values",
    "COBYQA": "bounds constraints values",
}
"""SciPy's methods, and what each takes: bounds, constraints, Hessian-vector products, the Hessian matrix; or values of
the loss only, and no gradients."""

Vector = Any
"""A NumPy array of float64 numbers of shape `(n,)`."""


def minimize(
    loss: Callable[..., Any],
    params: Any,
    args: Any = (),
    *,
    method: str | None = "L-BFGS-B",
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    options: dict[str, Any] | None = None,
    callback: Callable[[Any], Any] | None = None,
    hvp: Callable[..., Any] | None = None,
) -> Any:
    """The parameters at which a loss has a minimum, found by a method of `scipy.optimize.minimize`.

    `minimize(loss, params, args).params = argmin_p loss(p, *args)`, with exact gradients, and with exact
    Hessian-vector products for the methods that take them.

    *Parameters*

    - `loss`: a function `loss(params, *args)` that returns a real scalar; written to the Array API, as for `grad`.
    - `params`: where to start: an array, a tree of arrays and Python floats, a Module (its parameters that are not
      frozen), or a tree with Modules in it.
    - `args`: the further arguments of `loss`: data, settings. One that is no tuple is the only one.
    - `method`: `"L-BFGS-B"`, `"BFGS"`, `"CG"`, `"TNC"`, `"SLSQP"`; with Hessian-vector products `"Newton-CG"`,
      `"trust-ncg"`, `"trust-krylov"`, `"trust-constr"`; with the Hessian, for few parameters, `"dogleg"` and
      `"trust-exact"`; without gradients, for a loss that has none, `"Nelder-Mead"`, `"Powell"`, `"COBYLA"`,
      `"COBYQA"`. `None` is SciPy's choice: L-BFGS-B, or SLSQP with constraints.
    - `bounds`: a tuple `(low, high)`, each a number, `None` or a tree like `params`; or, for a dict, list or Module, a
      tree with a pair `(low, high)` for each leaf (paths for a Module, where what is left out is free). SciPy's forms
      go too: `Bounds`, and for an array a list with a pair for each of its numbers. For L-BFGS-B, TNC, SLSQP,
      trust-constr and the methods without gradients.
    - `constraints`: for SLSQP, trust-constr, COBYLA and COBYQA, one or a list: `{"type": "ineq", "fun": f}` asks for
      `f(params) >= 0` and `"eq"` for `f(params) = 0`, in each number of the array that `f` returns; or SciPy's
      `NonlinearConstraint(f, low, high)`. Their Jacobians are exact. `LinearConstraint` is meant for all numbers of
      `params` in one vector.
    - `tol`, `options`: as SciPy takes them, `options={"maxiter": 100}`.
    - `callback`: called as `callback(params)` after each iteration; it may raise `StopIteration` to end.
    - `hvp`: `hvp(params, tangents, *args)`, a product with the Hessian of your own, in place of `bpgpu.hvp`; the
      tangents and the result have the structure of the gradient.

    *Returns* SciPy's `OptimizeResult` (`x`, `fun`, `jac`, `nit`, `message`, `success`) with `params` added: the tree
    of `params` at the minimum, each leaf in its own library, dtype and device. A Module in it is the one that was
    given, with the new weights; arrays that were given are not changed.

    *Raises* `ArgumentError` for methods, bounds and constraints that do not fit, `DtypeError` for complex and
    integer parameters, `NonFiniteError` for a loss or gradient that is NaN, `MissingPackageError` without SciPy, and
    what `value_and_grad` raises. A Module then has the weights that it had before.

    *Notes* SciPy computes in float64 on the host; the loss is computed in the dtype of its parameters. In float32 its
    rounding limits how far a line search gets, so use float64 for tight tolerances. Each evaluation meets the state of
    the first: running statistics stay, and dropout draws the same mask. A loss that is `inf` at a trial point is
    passed to SciPy, whose line searches step back from it; NaN is an error.

    *References* J. Nocedal, S. Wright (2006), "Numerical Optimization", for the methods.

    >>> import numpy as np
    >>> result = minimize(lambda p: (p["a"] - 3) ** 2 + (p["b"] + 1) ** 2, {"a": 0.0, "b": np.asarray(0.0)})
    >>> round(result.params["a"], 4), round(float(result.params["b"]), 4)
    (3.0, -1.0)
    """
    check_function("minimize", loss)
    name = _method(("SLSQP" if constraints else "L-BFGS-B") if method is None else method)
    takes = METHODS[name]
    args = args if isinstance(args, tuple) else (args,)
    problem = Problem(loss, params, args, hvp)
    limits = None
    if bounds is not None:
        if "bounds" not in takes:
            able = [m for m, what in METHODS.items() if "bounds" in what]
            raise ArgumentError(
                f"minimize: {name} takes no bounds; those that do are {', '.join(able)}"
            )
        limits = limits_of(problem, bounds)
    if constraints and "constraints" not in takes:
        able = [m for m, what in METHODS.items() if "constraints" in what]
        raise ArgumentError(
            f"minimize: {name} takes no constraints; those that do are {', '.join(able)}"
        )
    if hvp is not None and not ("product" in takes or "matrix" in takes):
        able = [m for m, what in METHODS.items() if "product" in what or "matrix" in what]
        raise ArgumentError(
            f"minimize: {name} uses no Hessian-vector products; those that do are {', '.join(able)}"
        )
    try:
        import scipy.optimize
    except ImportError as error:
        raise MissingPackageError(
            f'minimize needs the package scipy: pip install "bpgpu[scipy]" ({error})'
        ) from error
    start = problem.start
    with_gradient = "values" not in takes
    derivatives: dict[str, Any] = {"jac": True} if with_gradient else {}
    if "product" in takes:
        derivatives["hessp"] = problem.product
    elif "matrix" in takes:
        derivatives["hess"] = problem.matrix
    if limits is not None:
        xp = problem.xp
        start = xp.minimum(xp.maximum(start, limits[0]), limits[1])
        derivatives["bounds"] = scipy.optimize.Bounds(*limits)
    if constraints:
        derivatives["constraints"] = for_scipy(constraints, problem.constraint, name)
    if callback is not None:
        derivatives["callback"] = lambda x, *_: callback(problem.filled(x))
    try:
        result = scipy.optimize.minimize(
            problem.value_and_gradient if with_gradient else problem.value,
            start,
            method=name,
            tol=tol,
            options=options,
            **derivatives,
        )
        result.params = problem.filled(result.x)
    except BaseException:
        problem.filled(problem.start)  # back into the Modules
        raise
    return result


def _method(method: Any) -> str:
    """The name of a method as SciPy spells it."""
    known = {m.lower(): m for m in METHODS}
    name = known.get(method.lower()) if isinstance(method, str) else None
    if name is not None:
        return name
    raise ArgumentError(f"minimize: there is no method {method!r}; there are {', '.join(METHODS)}")


class Problem:
    """The loss as SciPy sees it, a function of one vector."""

    def __init__(
        self,
        loss: Callable[..., Any],
        params: Any,
        args: tuple[Any, ...],
        hvp: Callable[..., Any] | None,
    ) -> None:
        self.loss, self.params, self.args, self.own_hvp = loss, params, args, hvp
        self.both = value_and_grad(loss)
        self.xp = device("cpu").xp
        self.items = list(trees.items(like_gradient(params), is_input))
        _check(params, self.items)
        self.shapes = [shape_of(leaf) for _, leaf in self.items]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        if not sum(self.sizes):
            raise ArgumentError("minimize: there is no number in params to be found")
        self.start = self.vector(leaf for _, leaf in self.items)
        self.count = 0
        self.buffers = [
            (owner.__dict__, name, owner.__dict__[name])
            for module in _modules(params)
            for owner in module.modules()
            for name in owner._buffers
        ]

    # ---- between trees and vectors

    def vector(self, leaves: Iterator[Any]) -> Vector:
        """The numbers of the leaves, one behind the other."""
        parts = [
            self.host(0.0 if g is None else g, shape)
            for g, shape in zip(leaves, self.shapes, strict=True)
        ]
        return self.xp.concat(parts)

    def host(self, leaf: Any, shape: tuple[int, ...]) -> Vector:
        values = device("cpu").asarray(leaf, "float64")
        return self.xp.reshape(self.xp.broadcast_to(values, shape), (-1,))

    def leaves(self, x: Vector) -> Iterator[Any]:
        """The numbers of a vector in the shapes, dtypes and devices of the leaves."""
        begin = 0
        for (_, leaf), shape, size in zip(self.items, self.shapes, self.sizes, strict=True):
            part = self.xp.reshape(x[begin : begin + size], shape)
            begin += size
            yield storage.like(leaf, part) if trees.is_array(leaf) else float(part)

    def filled(self, x: Vector) -> Any:
        """The parameters with the numbers of a vector; Modules are written over."""
        return _filled(self.params, self.leaves(self.xp.asarray(x, copy=True)))

    # ---- what SciPy calls

    @contextlib.contextmanager
    def same_state(self) -> Iterator[None]:
        """Let the Modules change copies of their buffers inside, and have their own again after."""
        for fields, name, value in self.buffers:
            fields[name] = copied(value)
        try:
            yield
        finally:
            for fields, name, value in self.buffers:
                fields[name] = value

    def value_and_gradient(self, x: Vector) -> tuple[float, Vector]:
        params = self.filled(x)
        with self.same_state():
            loss, gradient = self.both(params, *self.args)
        value = float(to_numpy(loss))
        self.count += 1
        vector = self.vector(self.parts(gradient))
        self._check_finite(value, vector)
        return value, vector

    def value(self, x: Vector) -> float:
        """The loss alone, for methods that use no gradient."""
        with self.same_state():
            found = to_numpy(self.loss(self.filled(x), *self.args))
        if self.xp.shape(found) != ():
            raise ShapeError(
                f"minimize: the loss must return a scalar, got shape {found.shape}; reduce it (xp.sum, xp.mean)"
            )
        self.count += 1
        self._check_finite(float(found), self.start)
        return float(found)

    def constraint(self, function: Function) -> OnVectors:
        """A function of the parameters as one of a vector, with its derivatives."""

        def values(x: Vector) -> Vector:
            with self.same_state():
                found = function(self.filled(x))
            return self.host(found, self.xp.shape(to_numpy(found)))

        def jacobian(x: Vector) -> Any:
            with self.same_state():
                found, pull = vjp(function, self.filled(x))
            flat = to_numpy(found).reshape(-1)
            rows = []
            for k in range(flat.shape[0]):
                unit = self.xp.zeros_like(flat)
                unit[k] = 1
                (gradient,) = pull(storage.like(found, unit.reshape(found.shape)))
                rows.append(self.vector(self.parts(gradient)))
            return self.xp.stack(rows)

        def product(x: Vector, weights: Vector, v: Vector) -> Vector:
            def weighted(params: Any) -> Any:
                found = function(params)
                xp = array_namespace(found)
                w = storage.like(raw(found), self.xp.reshape(weights, found.shape))
                return xp.sum(xp.multiply(found, w))

            return self._product(weighted, x, v)

        return OnVectors(values, jacobian, product)

    def product(self, x: Vector, v: Vector) -> Vector:
        """The Hessian at `x` times `v`."""
        own = self.own_hvp
        if own is None:
            return self._product(lambda p: self.loss(p, *self.args), x, v)
        params = self.filled(x)
        with self.same_state():
            found = own(params, self._tangents(params, v), *self.args)
        return self.vector(self.parts(found))

    def _product(self, function: Function, x: Vector, v: Vector) -> Vector:
        params = self.filled(x)
        with self.same_state():
            found = exact_hvp(function, (params,), (self._tangents(params, v),))[0]
        return self.vector(self.parts(found))

    def _tangents(self, params: Any, v: Vector) -> Any:
        leaves = self.leaves(self.xp.asarray(v, dtype=self.start.dtype))
        return trees.map(lambda _: next(leaves), like_gradient(params), leaf=is_input)

    def matrix(self, x: Vector) -> Any:
        """The Hessian at `x`, a product for each of its columns."""
        unit = self.xp.eye(self.start.shape[0], dtype=self.start.dtype)
        columns = [self.product(x, unit[:, k]) for k in range(unit.shape[0])]
        return self.xp.stack(columns, axis=1)

    def parts(self, gradient: Any) -> Iterator[Any]:
        """The leaves of a gradient, `None` where the loss does not depend on a parameter."""
        found: list[Any] = []
        trees.map(lambda _, g: found.append(g), like_gradient(self.params), gradient, leaf=is_input)
        return iter(found)

    def _check_finite(self, value: float, gradient: Vector) -> None:
        where = f"at evaluation {self.count}" if self.count > 1 else "at the start"
        if math.isnan(value) or (self.count == 1 and math.isinf(value)):
            remedy = (
                "start elsewhere"
                if self.count == 1
                else "set bounds, or return inf where the loss is not defined"
            )
            raise NonFiniteError(f"minimize: the loss is {value} {where}; {remedy}")
        if math.isfinite(value) and not self.xp.all(self.xp.isfinite(gradient)):
            path = next(
                path
                for (path, _), g in zip(self.items, self.split(gradient), strict=True)
                if not self.xp.all(self.xp.isfinite(g))
            )
            name = f"with respect to '{path}' " if path else ""
            raise NonFiniteError(
                f"minimize: the gradient {name}is not finite {where}, where the loss is {value}"
            )

    def split(self, x: Vector) -> Iterator[Vector]:
        begin = 0
        for size in self.sizes:
            yield x[begin : begin + size]
            begin += size


def _check(params: Any, items: list[tuple[str, Any]]) -> None:
    """Raise unless every leaf is real and floating."""
    numbers = list(trees.items(like_gradient(params), lambda x: is_input(x) or type(x) is int))
    for path, leaf in numbers:
        where = f"'{path}' in params" if path else "params"
        if type(leaf) is Array:
            raise ConversionError(
                f"minimize: {where} is being traced; call minimize outside of the function that is "
                "differentiated"
            )
        what = "complex" if type(leaf) is complex else "other" if type(leaf) is int else ""
        what = what or (kind(leaf.dtype) if trees.is_array(leaf) else "real")
        if what == "complex":
            raise DtypeError(
                f"minimize: {where} is complex, and SciPy minimizes over real numbers; give its "
                "real and its imaginary part as two leaves"
            )
        if what == "other":
            got = leaf.dtype if trees.is_array(leaf) else "a Python int"
            raise DtypeError(
                f"minimize: {where} is {got}, which has no gradient; expected floating numbers"
            )
    if not items:
        raise ArgumentError(
            f"minimize: there is no array in params, got {type(params).__name__}; pass an array, a "
            "tree of them or a Module with parameters that are not frozen"
        )


def _modules(tree: Any) -> Iterator[Module]:
    """The Modules in a tree."""
    how = trees.container(tree)
    if isinstance(tree, Module):
        yield tree
    elif how is not None:
        for branch in how.values(tree):
            yield from _modules(branch)


def _filled(tree: Any, leaves: Iterator[Any]) -> Any:
    """The tree with other leaves; a Module stays itself and gets them as weights."""
    how = trees.container(tree)
    if how is None:
        return next(leaves) if is_input(tree) else tree
    if how.identity is not None:
        names = [name for name, _ in how.identity.branches(tree)]
        tree.load_state_dict({name: next(leaves) for name in names}, strict=False)
        return tree
    return how.rebuild(tree, [_filled(branch, leaves) for branch in how.values(tree)])
