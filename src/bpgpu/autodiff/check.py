"""A gradient checker: reverse mode against differences, in float64, along random directions and
entry by entry."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.dtypes import is_floating, kind
from bpgpu.autodiff.lift import is_input
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.transform import grad
from bpgpu.backend import default_namespace
from bpgpu.errors import GradientError


def check_grads(
    f: Callable[..., Any],
    args: Any,
    order: int = 2,
    *,
    directions: int = 3,
    eps: float = 1e-3,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    seed: int = 0,
) -> None:
    """Raise unless the gradients of `f` at `args` are right, up to the given order.

    Each floating array is cast to float64 (complex128). The outputs of `f` are reduced to one
    number `h` by fixed random weights; along random directions `v`, `<grad h, v>` is compared with
    the difference quotient of sixth order `(45 (h(x+ev) - h(x-ev)) - 9 (h(x+2ev) - h(x-2ev)) +
    (h(x+3ev) - h(x-3ev))) / (60 e)`, whose error shrinks like `e^6`: it resolves a gradient that is
    wrong by one part in a million, where a plain central difference accepts one part in a thousand.
    For second order the same is done with the function `<grad h, u>`.

    *Parameters*
    `f`: a function written to the Array API; its outputs are any tree of arrays.
    `args`: a tuple of arguments (trees of arrays and numbers); anything else is the only argument.
    Integer arrays and other values are held fixed.
    `order`: 1 or 2. `directions`: how many random directions. `eps`: the step, relative to `1 +
    |x|` of the largest entry.
    `rtol`, `atol`: the allowed difference. `seed`: of directions and weights.

    *Raises* `GradientError` that names the order, the input, the entry that is furthest off and
    both values. Keep the point away from kinks, where a difference quotient means nothing.

    >>> import numpy as np, bpgpu as bp
    >>> bp.check_grads(lambda x: bp.array_namespace(x).tanh(x), np.asarray([0.3, -1.0]))
    """
    if order not in (1, 2):
        raise ValueError(f"check_grads: order must be 1 or 2, got {order!r}")
    if not isinstance(args, tuple) or hasattr(args, "_fields"):
        args = (args,)
    args = trees.map(_in_double, args, leaf=is_input)
    draw = random.Random(seed)
    problem = _Problem(f, args, draw)
    if not problem.inputs:
        raise GradientError(
            "check_grads: there is no floating array among the arguments; pass floats or "
            "floating arrays"
        )
    problem.check(problem.value, 1, directions, eps, rtol, atol)
    if order == 2:
        u = problem.direction()

        def slope(*xs: Any) -> Any:
            gradient = grad(problem.value, tuple(range(len(xs))))(*xs)
            return _dot(list(gradient), u)

        problem.check(slope, 2, directions, eps, rtol, atol)


class _Problem:
    """A real function of the floating leaves of some arguments."""

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], draw: random.Random) -> None:
        self.f, self.draw = f, draw
        leaves, self.rebuild = trees.flatten(args)
        self.leaves = leaves
        self.paths = [_place(path) for path, _ in trees.items(args)]
        self.inputs = [i for i, x in enumerate(leaves) if is_floating(x)]
        self.weights: list[Any] | None = None

    def value(self, *xs: Any) -> Any:
        """The outputs at these leaves, reduced to one number."""
        full = list(self.leaves)
        for i, x in zip(self.inputs, xs, strict=True):
            full[i] = x
        ys = [y for y in trees.leaves(self.f(*self.rebuild(full))) if is_floating(y)]
        if not ys:
            raise GradientError(
                "check_grads: the function returned no floating array to differentiate"
            )
        if self.weights is None:
            self.weights = [self._random_like(raw(y)) for y in ys]
        return _dot(ys, self.weights)

    def direction(self) -> list[Any]:
        return [self._random_like(self.leaves[i]) for i in self.inputs]

    def _random_like(self, x: Any) -> Any:
        count = math.prod(x.shape)
        complex_ = kind(x.dtype) == "complex"
        values = [
            complex(self.draw.gauss(0, 1), self.draw.gauss(0, 1))
            if complex_
            else self.draw.gauss(0, 1)
            for _ in range(count)
        ]
        return _like(x, values)

    def check(
        self,
        h: Callable[..., Any],
        order: int,
        directions: int,
        eps: float,
        rtol: float,
        atol: float,
    ) -> None:
        point = [self.leaves[i] for i in self.inputs]
        gradient = list(grad(h, tuple(range(len(point))))(*point))
        for _ in range(directions):
            v = self.direction()
            slope, expected = float(_dot(gradient, v)), quotient(h, point, v, eps)
            if not abs(slope - expected) <= atol + rtol * max(abs(slope), abs(expected), 1.0):
                raise GradientError(self._explain(h, order, point, gradient, eps, slope, expected))

    def _explain(
        self,
        h: Callable[..., Any],
        order: int,
        point: list[Any],
        gradient: list[Any],
        eps: float,
        slope: float,
        expected: float,
    ) -> str:
        """Which input and which entry is furthest off, found entry by entry."""
        worst: tuple[float, int, tuple[int, ...], Any, Any] | None = None
        for k, (x, g) in enumerate(zip(point, gradient, strict=True)):
            for place in _places(x.shape):
                found, wanted = _entry(g, place), _numeric_entry(h, point, k, place, eps)
                error = abs(found - wanted) / (1 + abs(wanted))
                error = math.inf if math.isnan(error) else error
                if worst is None or error > worst[0]:
                    worst = (error, k, place, found, wanted)
        assert worst is not None
        _, k, place, found, wanted = worst
        name = self.paths[self.inputs[k]]
        what = "the gradient" if order == 1 else "the second derivative"
        return (
            f"check_grads: {what} is wrong in order {order}. Along a random direction it gives "
            f"{slope:.10g}, differences "
            f"give {expected:.10g}. Furthest off: {name}, entry {place}: {found:.10g}, "
            f"differences give {wanted:.10g}. "
            "Check the pull of that argument"
        )


def quotient(h: Callable[..., Any], point: list[Any], v: list[Any], eps: float) -> float:
    """The derivative of `h` at `point` along `v`, by differences of sixth order."""
    scale = eps / max(1.0, max((_largest(d) for d in v), default=1.0))

    def at(t: float) -> float:
        return float(raw(h(*[x + t * scale * d for x, d in zip(point, v, strict=True)])))

    odd = [at(t) - at(-t) for t in (1, 2, 3)]
    return (45 * odd[0] - 9 * odd[1] + odd[2]) / (60 * scale)


def _in_double(x: Any) -> Any:
    if not trees.is_array(x):
        return default_namespace().asarray(x)
    if not is_floating(x):
        return x
    xp = array_namespace(x)
    return xp.astype(x, xp.complex128 if kind(x.dtype) == "complex" else xp.float64)


def _dot(xs: list[Any], ws: list[Any]) -> Any:
    """The real inner product of two lists of arrays."""
    total: Any = 0.0
    for x, w in zip(xs, ws, strict=True):
        xp = array_namespace(x, w)
        product = xp.conj(xp.asarray(w)) * x if kind(x.dtype) == "complex" else x * w
        term = xp.sum(product)
        total = total + (xp.real(term) if kind(x.dtype) == "complex" else term)
    return total


def _like(x: Any, values: list[Any]) -> Any:
    xp = array_namespace(x)
    return xp.reshape(xp.asarray(values, dtype=x.dtype, device=x.device), x.shape)


def _largest(x: Any) -> float:
    xp = array_namespace(x)
    return float(xp.max(xp.abs(x))) if math.prod(x.shape) else 0.0


def _places(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    places: list[tuple[int, ...]] = [()]
    for n in shape:
        places = [(*p, i) for p in places for i in range(n)]
    return places


def _entry(x: Any, place: tuple[int, ...]) -> Any:
    value = x[place]
    return complex(value) if kind(value.dtype) == "complex" else float(value)


def _numeric_entry(
    h: Callable[..., Any], point: list[Any], k: int, place: tuple[int, ...], eps: float
) -> Any:
    """The gradient at one entry by differences; for complex numbers along both axes."""
    xp = array_namespace(point[k])

    def along(unit: Any) -> float:
        v = [xp.zeros_like(x) for x in point]
        v[k][place] = unit
        return quotient(h, point, v, eps)

    if kind(point[k].dtype) == "complex":
        return complex(along(1.0), along(1.0j))
    return along(1.0)


def _place(path: str) -> str:
    position, _, rest = path.partition(".")
    return f"argument {position}" + (f" at '{rest}'" if rest else "")
