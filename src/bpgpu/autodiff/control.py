"""Where the gradient goes: `stop_gradient` cuts it, `checkpoint` recomputes on its way,
`custom_vjp` redirects it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.array import Array, raw
from bpgpu.autodiff.dtypes import is_floating
from bpgpu.autodiff.rule import Rule, apply, innermost, joint
from bpgpu.autodiff.state import recording
from bpgpu.autodiff.tape import DROPPED, Checkpoint, Tape, here
from bpgpu.errors import NotDifferentiableError, ShapeError, TreeError


def stop_gradient(tree: Any) -> Any:
    """The same values as constants: no gradient goes back through them, of any order.

    Outside of a trace, arrays are returned as they are.

    >>> import numpy as np, bpgpu as bp
    >>> bp.grad(lambda x: x * bp.stop_gradient(x))(np.asarray(3.0))
    np.float64(3.0)
    """
    return trees.map(lambda x: Array(raw(x)) if type(x) is Array else x, tree)


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, computed again on the way back instead of keeping what it would have
    saved.

    Between the two passes only the arguments of `f` and its results are kept. `f` must give the
    same result when it is called a second time; traced arrays that it closes over get their
    gradients too. State that it changes (running statistics, random keys) is changed once: the
    second run meets what the first one met.

    *Notes* With several traces open, the innermost one saves memory; the outer ones record as
    usual.

    *References* A. Griewank and A. Walther (2000), "Algorithm 799: revolve"; T. Chen et al. (2016),
    "Training deep nets with sublinear memory cost".

    >>> import numpy as np, bpgpu as bp
    >>> bp.grad(bp.checkpoint(lambda x: x**3))(np.asarray(2.0))
    np.float64(12.0)
    """

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        tape = here.tape
        if tape is None:
            return f(*args, **kwargs)
        # the function may bind its handles to other values, so both runs get handles of their own
        args, kwargs = _handles(args), _handles(kwargs)
        start = len(tape.nodes)
        with recording() as changes:
            out = f(*_handles(args), **_handles(kwargs))
        stretch = range(start, len(tape.nodes))
        made = [i for i, x in enumerate(trees.leaves(out)) if _stands_on(x, tape, start)]
        if not made:
            return out

        def again() -> list[Any]:
            after = changes.restore()  # the state of the first run, random keys included
            try:
                results = trees.leaves(f(*_handles(args), **_handles(kwargs)))
            finally:
                after.restore()
            return [results[i] for i in made]

        for i in stretch:
            tape.nodes[i] = DROPPED
        tape.nodes.append(Checkpoint(again, len(made)))

        def one(x: Any) -> Any:
            if not _stands_on(x, tape, start):
                return x
            tape.nodes.append(None)
            return Array(x.value, tape, len(tape.nodes) - 1)

        return trees.map(one, out)

    return run


def _handles(tree: Any) -> Any:
    """The same tree with new handles of its traced arrays."""
    how = trees.container(tree)
    if how is None:
        return Array(tree.value, tree.tape, tree.index) if type(tree) is Array else tree
    if how.identity is not None:
        return tree
    return how.rebuild(tree, [_handles(v) for v in how.values(tree)])


def _stands_on(x: Any, tape: Tape, start: int) -> bool:
    return type(x) is Array and x.tape is tape and x.index >= start


class custom_vjp:  # noqa: N801 - used as a decorator
    """A function with a derivative of your own.

    `fwd(*args) -> (out, saved)` computes the value and what the way back needs; `bwd(saved, ct) ->
    cotangents`, a tuple with one entry for each argument (`None` for zero), takes the cotangent of
    the output back. Without a trace, the function itself runs.

    *Parameters* `nondiff_argnums`: positions of arguments that are settings; `bwd` then gets them
    first.

    *Raises* `NotDifferentiableError` if the function closes over a traced array, whose gradient
    would be lost; `TreeError` and `ShapeError` if `bwd` returns the wrong number of cotangents or a
    wrong shape.

    *Notes* `fwd` and `bwd` see plain arrays, or, inside several gradients, traced ones: write them
    to the Array API and they can be differentiated again.

    >>> import numpy as np, bpgpu as bp
    >>> @bp.custom_vjp
    ... def clipped(x):
    ...     return x * x
    >>> clipped.defvjp(lambda x: (x * x, x), lambda x, ct: (ct * 2 * x * (x < 1),))
    >>> bp.grad(clipped)(np.asarray(3.0))
    np.float64(0.0)
    """

    def __init__(self, f: Callable[..., Any], nondiff_argnums: tuple[int, ...] = ()) -> None:
        functools.update_wrapper(self, f)
        self.f, self.nondiff_argnums = f, nondiff_argnums
        self.fwd: Callable[..., Any] | None = None
        self.bwd: Callable[..., Any] | None = None

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Give the derivative: `fwd(*args) -> (out, saved)` and `bwd(saved, ct) -> cotangents`."""
        self.fwd, self.bwd = fwd, bwd

    def __call__(self, *args: Any) -> Any:
        diff = tuple(i for i in range(len(args)) if i not in self.nondiff_argnums)
        operands, rebuild = trees.flatten([args[i] for i in diff], _is_operand)
        tape = innermost(operands)
        if tape is None:
            return self.f(*args)
        if self.fwd is None or self.bwd is None:
            raise NotDifferentiableError(
                f"custom_vjp: {self._name()} has no derivative yet; call "
                f"{self._name()}.defvjp(fwd, bwd)"
            )
        structure: list[Callable[[list[Any]], Any]] = []

        def forward(xp: Any, *values: Any) -> Any:
            full = list(args)
            for i, x in zip(diff, rebuild(list(values)), strict=True):
                full[i] = x
            count = len(tape.nodes)
            out, saved = self._run_fwd(full)
            if len(tape.nodes) != count:
                raise NotDifferentiableError(
                    f"custom_vjp: {self._name()} closes over a traced array, whose gradient "
                    "would be lost; pass it as an "
                    "argument"
                )
            results, structured = trees.flatten(out, _is_operand)
            structure.append(structured)
            single = trees.container(out) is None

            def pull(g: Any, wanted: tuple[bool, ...]) -> list[Any]:
                ct = g if single else structured(_filled(xp, results, g))
                return self._cotangents(args, diff, values, saved, ct)

            return (results[0] if single else tuple(results)), joint(pull)

        rule = Rule(forward, arrays=None, conjugate=False)
        rule.name = self._name()
        out = apply(rule, operands)
        return structure[0](list(out)) if isinstance(out, tuple) else out

    def _name(self) -> str:
        return getattr(self.f, "__name__", "function")

    def _run_fwd(self, args: list[Any]) -> tuple[Any, Any]:
        assert self.fwd is not None
        pair = self.fwd(*args)
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TreeError(
                f"custom_vjp: fwd of {self._name()} must return a pair (out, saved), got "
                f"{type(pair).__name__}"
            )
        return pair

    def _cotangents(
        self, args: tuple[Any, ...], diff: tuple[int, ...], values: Any, saved: Any, ct: Any
    ) -> list[Any]:
        """The cotangents of all operands, in order."""
        assert self.bwd is not None
        settings = [args[i] for i in self.nondiff_argnums]
        given = self.bwd(*settings, saved, ct)
        if not isinstance(given, (tuple, list)) or len(given) != len(diff):
            count = len(given) if isinstance(given, (tuple, list)) else type(given).__name__
            raise TreeError(
                f"custom_vjp: bwd of {self._name()} must return a tuple of {len(diff)} "
                "cotangents, one for each "
                f"argument, got {count}"
            )
        found: list[Any] = []
        for i, g in zip(diff, given, strict=True):
            if g is None:
                found.extend(None for _ in trees.leaves(args[i], _is_operand))
            else:
                trees.map(lambda _, part: found.append(part), args[i], g, leaf=_is_operand)
        for value, g in zip(values, found, strict=True):
            if g is not None and is_floating(value) and g.shape != value.shape:
                raise ShapeError(
                    f"custom_vjp: bwd of {self._name()} returned a cotangent of shape {g.shape} "
                    "for an argument of shape "
                    f"{value.shape}; they must be equal"
                )
        return found


def _is_operand(x: Any) -> bool:
    return trees.is_array(x)


def _filled(xp: Any, results: list[Any], gs: tuple[Any, ...]) -> list[Any]:
    """Zeros in place of the gradients of unused results."""
    return [xp.zeros_like(y) if g is None else g for y, g in zip(results, gs, strict=True)]
