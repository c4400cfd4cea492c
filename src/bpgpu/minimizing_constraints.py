"""Constraints of `minimize`: functions of the parameters, given to SciPy as functions of one vector."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from bpgpu.errors import ArgumentError

Vector = Any
Function = Callable[..., Any]

WITHOUT_GRADIENTS = ("COBYLA", "COBYQA")


class OnVectors(NamedTuple):
    """A function of the parameters as one of a vector `x`."""

    values: Callable[[Vector], Vector]
    jacobian: Callable[[Vector], Any]
    """`(outputs, n)`."""
    product: Callable[[Vector, Vector, Vector], Vector]
    """`(x, w, v)`: the Hessian of `sum(w * values)` at `x`, times `v`."""


def for_scipy(
    constraints: Any, on_vectors: Callable[[Function], OnVectors], method: str
) -> list[Any]:
    """Constraints as a method of SciPy takes them, from the same kinds with functions of the parameters.

    *Raises* `ArgumentError` for what is no constraint.
    """
    from scipy.optimize import LinearConstraint, NonlinearConstraint

    given = constraints if isinstance(constraints, (list, tuple)) else [constraints]
    found: list[Any] = []
    for one in given:
        if isinstance(one, LinearConstraint):
            found.append(one)
        elif isinstance(one, NonlinearConstraint):
            known = on_vectors(one.fun)
            more = {"keep_feasible": one.keep_feasible, **_derivatives(known, method)}
            found.append(NonlinearConstraint(known.values, one.lb, one.ub, **more))
        elif isinstance(one, dict):
            kind, function = _checked(one)
            known = on_vectors(function)
            if method == "trust-constr":
                high = 0.0 if kind == "eq" else math.inf
                more = _derivatives(known, method)
                found.append(NonlinearConstraint(known.values, 0.0, high, **more))
            else:
                jac = {} if method in WITHOUT_GRADIENTS else {"jac": known.jacobian}
                found.append({"type": kind, "fun": known.values, **jac})
        else:
            raise ArgumentError(
                "minimize: constraints: expected dicts {'type': 'eq' or 'ineq', 'fun': function of params}, or SciPy's "
                f"LinearConstraint and NonlinearConstraint, got {one!r:.80}"
            )
    return found


def _derivatives(known: OnVectors, method: str) -> dict[str, Any]:
    """What a method takes of a constraint beside its values."""
    from scipy.sparse.linalg import LinearOperator

    if method in WITHOUT_GRADIENTS:
        return {}
    if method != "trust-constr":
        return {"jac": known.jacobian}

    def hessian(x: Vector, weights: Vector) -> Any:
        shape = (x.shape[0], x.shape[0])
        return LinearOperator(
            shape, matvec=lambda v: known.product(x, weights, v.reshape(-1)), dtype=x.dtype
        )

    return {"jac": known.jacobian, "hess": hessian}


def _checked(one: dict[str, Any]) -> tuple[str, Function]:
    """The kind of a constraint and its function of the parameters."""
    unknown = [key for key in one if key not in ("type", "fun", "args")]
    if one.get("type") not in ("eq", "ineq") or not callable(one.get("fun")) or unknown:
        raise ArgumentError(
            "minimize: constraints: expected {'type': 'eq' or 'ineq', 'fun': function of params, 'args': (...)}, got "
            f"{one!r:.80}; derivatives are found by bpgpu"
        )
    function, args = one["fun"], tuple(one.get("args", ()))
    return one["type"], lambda params: function(params, *args)
