"""L-BFGS: Newton's method with the curvature of the last few steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

from bpgpu.autodiff.dtypes import kind
from bpgpu.backend.libraries import namespace_of
from bpgpu.optim.arrays import Array, from_pairs, store, working
from bpgpu.optim.checks import Options
from bpgpu.optim.curvature import Memory
from bpgpu.optim.groups import Group, State
from bpgpu.optim.line_search import Point, divided, strong_wolfe
from bpgpu.optim.optimizer import Optimizer

Closure = Callable[[], tuple[Any, Any]]


class LBFGS(Optimizer):
    """Limited-memory BFGS on all parameters as one vector x; for full batches and few parameters.

    One call of `step` makes up to `max_iter` iterations, with the gradient g at x::

        d <- -H g                     (H from the last history_size pairs s, y, by the two-loop recursion; first d = -g)
        t <- lr, or a step of the line search    (at the very first iteration lr min(1, 1 / sum |g|))
        s <- t d,  x <- x + s,  y <- the change of g
        keep (s, y) if y.s > 1e-10;  H starts from the scale (y.s) / (y.y)

    It ends when max |g| <= tolerance_grad, when the directional derivative, the largest change of x or the change of
    the value is below tolerance_change, or after max_iter iterations or max_eval evaluations. The memory is kept for
    the next call.

    *Parameters*
    `params`: what to train, in one group; see `Optimizer`.
    `lr`: the step length, or the first that the line search tries, >= 0.
    `max_iter`, `max_eval`: the most iterations and evaluations of one call; `max_eval` is `max_iter * 5 // 4` if it is
    not given.
    `tolerance_grad`, `tolerance_change`: see above.
    `history_size`: how many pairs are kept; memory takes twice as many copies of the parameters.
    `line_search_fn`: `"strong_wolfe"`, which is advised, or `None` for steps of length lr.

    *Notes* It decides by values, so it waits for the device at each evaluation, and has no pure form. Complex
    parameters count as pairs of real ones. A parameter without a gradient counts as one whose gradient is 0.

    *References* J. Nocedal, Updating quasi-Newton matrices with limited storage (1980); J. Nocedal, S. Wright,
    Numerical optimization (2006), algorithm 7.5.

    >>> import numpy as np, bpgpu as bp
    >>> x = np.asarray([-1.0, 2.0])
    >>> def rosenbrock(x):
    ...     return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
    >>> opt = LBFGS(x, max_iter=100, line_search_fn="strong_wolfe")
    >>> opt.step(lambda: bp.value_and_grad(rosenbrock)(x)).round(4)
    array([1., 1.])
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        super().__init__(
            params,
            None,
            lr=lr,
            max_iter=max_iter,
            max_eval=max(1, max_iter * 5 // 4) if max_eval is None else max_eval,
            tolerance_grad=tolerance_grad,
            tolerance_change=tolerance_change,
            history_size=history_size,
            line_search_fn=line_search_fn,
        )
        if len(self.param_groups) != 1:
            raise ValueError(
                "LBFGS: there can be one group only, since all parameters are one vector; give each group an LBFGS of "
                "its own, or another optimizer"
            )
        self.memory = Memory()

    def check_options(self, check: Options) -> None:
        check("max_iter", low=0)
        check("max_eval", low=1)
        check("tolerance_grad")
        check("tolerance_change")
        check("history_size", low=1)
        check.one_of("line_search_fn", (None, "strong_wolfe"))

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        """Minimise for a while, and return the parameters as `Optimizer.step` does.

        *Parameters* `closure`: takes nothing and returns `(value, gradients)` at the parameters as they are, for
        instance `lambda: bpgpu.value_and_grad(loss)(model, x, y)`; for a tree of immutable arrays, at `opt.params`.
        It is called several times.

        If it raises, the parameters are put back to the last good point.
        """
        if not callable(closure) or hasattr(closure, "named_parameters"):
            raise TypeError(
                "LBFGS.step: expected a function that returns (value, gradients), since the loss is evaluated several "
                f"times a step: optimizer.step(lambda: bpgpu.value_and_grad(loss)(model, x, y)); got {closure!r}"
            )
        h, memory = self.param_groups[0], self.memory
        x = self._gathered(self._adopted())
        memory.fit(x)
        if x.shape[0] == 0:
            return self._updated(self._known)
        value, g = self._evaluate(closure, x)
        evaluations = 1
        memory.evaluations += 1
        if _largest(g) <= h["tolerance_grad"]:
            return self._updated(self._known)
        for i in range(1, h["max_iter"] + 1):
            d = memory.direction(g, h["history_size"])
            memory.gradient, memory.value = g, value
            lr = float(h["lr"])
            t = lr if memory.iterations > 1 else min(1.0, divided(1.0, _total(g))) * lr
            memory.step = t
            slope = float(g @ d)
            if slope > -h["tolerance_change"]:
                break
            used, last = 0, i == h["max_iter"]
            if h["line_search_fn"] is not None:
                point, used = self._search(
                    closure, x, d, t, Point(0.0, value, g, slope), h["max_eval"] - evaluations
                )
                t, value, g = point.t, point.value, point.gradient
                x = x + t * d
                self._place(x)
            else:
                x = x + t * d
                if last:
                    self._place(x)
                else:
                    value, g = self._evaluate(closure, x)
                    used = 1
            memory.step = t
            evaluations += used
            memory.evaluations += used
            if (
                last
                or evaluations >= h["max_eval"]
                or _largest(g) <= h["tolerance_grad"]
                or _largest(t * d) <= h["tolerance_change"]
                or abs(value - memory.value) < h["tolerance_change"]
            ):
                break
        return self._updated(self._known)

    def _search(
        self, closure: Closure, x: Array, d: Array, t: float, start: Point, most: int
    ) -> tuple[Point, int]:
        def at(t: float) -> Point:
            value, g = self._evaluate(closure, x + t * d, back=x)
            return Point(t, value, g, float(g @ d))

        return strong_wolfe(at, t, start, _largest(d), most=most)

    def _evaluate(
        self, closure: Closure, x: Array, back: Array | None = None
    ) -> tuple[float, Array]:
        """Value and gradient at the vector `x`."""
        before = self._gathered(self._known) if back is None else back
        self._place(x)
        try:
            result: Any = closure()
            if not isinstance(result, tuple) or len(result) != 2:
                raise TypeError(
                    "LBFGS.step: the function must return (value, gradients), as bpgpu.value_and_grad does; got "
                    f"{type(result).__name__}"
                )
            value, grads = result
            found = self._match("step", grads, self._known)
            missing = {
                path: namespace_of(p).zeros_like(p)
                for path, p in self._known.items()
                if path not in found
            }
            return _number(value), self._gathered({**missing, **found})
        except BaseException:
            self._place(before)
            raise

    # ---- parameters as one vector

    def _gathered(self, arrays: dict[str, Array]) -> Array:
        """Arrays of the parameters' shapes as one vector."""
        first = next(iter(self._known.values()))
        xp = namespace_of(first)
        parts = [working(xp, arrays[path], p) for path, p in self._known.items()]
        dtype = xp.result_type(*parts)
        return xp.concat([xp.reshape(xp.astype(v, dtype), (-1,)) for v in parts])

    def _place(self, x: Array) -> None:
        """Put a vector into the parameters."""
        xp = namespace_of(x)
        at = 0
        new = {}
        for path, p in self._known.items():
            pair = (2,) if kind(p.dtype) == "complex" else ()
            shape = (*p.shape, *pair)
            count = math.prod(shape)
            v = xp.reshape(x[at : at + count], shape)
            v = from_pairs(xp, v, p.dtype) if pair else xp.astype(v, p.dtype)
            new[path] = store(p, v)
            at += count
        self._put(new)

    # ---- saving and loading

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        first = self.param_groups[0]["param_names"][0]
        return {**state, "state": {first: self.memory.saved()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        memory = Memory()
        given: Any = state_dict
        if isinstance(given, dict) and given.get("state"):
            (saved,) = state_dict["state"].values()
            memory = Memory.loaded(saved, self._gathered(self._adopted()))
            state_dict = {**state_dict, "state": {}}
        super().load_state_dict(state_dict)
        self.memory = memory

    # ---- what has no meaning here

    def init(self, params: Any) -> NoReturn:
        raise _no_pure_form()

    def update(self, grads: Any, state: Any, params: Any, *, only_if: Any = None) -> NoReturn:
        raise _no_pure_form()

    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        raise _no_pure_form()

    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        raise _no_pure_form()


def _no_pure_form() -> TypeError:
    return TypeError(
        "LBFGS has no pure form: it decides by values how often to evaluate the loss. Use step(closure)"
    )


def _number(value: Any) -> float:
    """The loss as a number; as in torch it may be an array of one entry, whatever its shape."""
    return float(namespace_of(value).reshape(value, ()) if hasattr(value, "dtype") else value)


def _largest(x: Array) -> float:
    xp = namespace_of(x)
    return float(xp.max(xp.abs(x)))


def _total(x: Array) -> float:
    xp = namespace_of(x)
    return float(xp.sum(xp.abs(x)))
