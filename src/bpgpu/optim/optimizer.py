"""What all optimizers share: parameters, groups, state, and the two ways to step.

An optimizer is three short methods, written on one array: `check_options` says which settings make sense,
`new_state` makes the state of one parameter, and `update_one` is the formula. The same formula serves `step`, which
changes arrays in place where their library can, and `update`, which takes and returns trees and changes nothing that
it was given.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, ClassVar

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.backend.precision import overflow_expected
from bpgpu.errors import ShapeError, TraceError
from bpgpu.optim import checkpoint
from bpgpu.optim.arrays import (
    Array,
    changeable,
    copied,
    from_pairs,
    scalar,
    working,
)
from bpgpu.optim.checks import as_python, check_condition, refuse_torch_only
from bpgpu.optim.gradients import match
from bpgpu.optim.groups import Group, Groups, State
from bpgpu.optim.packs import Packs, kept, place_of
from bpgpu.optim.parameters import Parameters, check_parameter, is_module, plain, replaced

_MISSING: Any = object()


class Optimizer(Groups):
    """Base of all optimizers.

    *Parameters*
    `params`: what to train: a Module, a tree of arrays (dict, list, tuple, nested), or groups as in torch: a list of
    dicts, each with a tree under `"params"` and options of its own.
    `groups`: groups by name over one Module or tree: a list of dicts, each with a pattern under `"params"`
    (`"*.bias"`, a list of patterns, or a function of path and array) and options of its own. The first pattern that
    fits takes a parameter; what none takes forms the last group, with the options of the call.

    *Raises* `ValueError` for options out of range, no parameters, or a pattern that takes none; `TypeError` for
    options of torch that could only be ignored here (`foreach`, `fused`, `capturable`, `differentiable`);
    `TreeError` for an array that stands at two places; `DtypeError` for parameters that are not floating.
    """

    elementwise: ClassVar[bool] = True
    """False if the update of an entry depends on others: parameters are not put together into one vector then."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        refuse_torch_only(cls.__name__, options)
        return super().__new__(cls)

    def __init__(
        self, params: Any, groups: Iterable[dict[str, Any]] | None, **defaults: Any
    ) -> None:
        super().__init__(params, groups, defaults)
        self._packs = Packs()
        self._known: dict[str, Array] = {}  # the arrays as of the last step
        self._adopted()

    # ---- what an optimizer defines

    @abstractmethod
    def new_state(self, xp: Any, p: Array, h: Group) -> State:
        """The state of a parameter before its first step."""

    @abstractmethod
    def update_one(self, xp: Any, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        """One step: the new parameter and the new state, for the gradient `g` and the options `h`.

        `p` and the arrays of `s` may be changed in place (`p -= ...`), `g` may not.
        """

    @property
    def has_kernel(self) -> bool:
        """True if `update_many` is there for this `update_one`, not for that of a class above."""
        return _defining(type(self), "update_many") is _defining(type(self), "update_one")

    def update_many(
        self, ps: list[Array], gs: list[Array], s: State, h: Group, only_if: Array | None
    ) -> bool:
        """The same step for several parameters, by one kernel and in place; False if none takes them.

        Where the 0-d array `only_if` is false, the kernel changes nothing. The arrays of `s` are vectors: the states of
        all parameters, one after the other.
        """
        return False

    def completed(self, given: State, fresh: State) -> State:
        """A saved state with what it may lack, by the example of a new one."""
        return given

    # ---- stepping

    def step(self, grads: Any = _MISSING, *, only_if: Array | None = None) -> Any:
        """Update the parameters and return them: the Module, or the tree with its new arrays.

        Arrays are changed in place where their library can; of JAX's, which cannot be, the returned tree has new ones.

        *Parameters* `grads`: gradients in the structure of the parameters, or by path (`{"0.weight": g}`), as
        `bpgpu.value_and_grad` gives them. `None`, or a path that is not there, skips a parameter and its state.
        `only_if`: a 0-d array of bool, as `GradScaler.unscale` gives it; where it is false, parameters and state stay
        as they are. It is not looked at, so nothing waits for it.

        *Raises* `TreeError` for a path that is no parameter, `ShapeError`, `DtypeError` or `LibraryError` for a
        gradient that does not fit its parameter: all before anything has changed.
        """
        if grads is _MISSING or grads is None or (callable(grads) and not is_module(grads)):
            raise TypeError(
                f"{self._who}.step: expected gradients, got {_described(grads)}. Here gradients are values: "
                "value, grads = bpgpu.value_and_grad(loss)(model, x, y), then optimizer.step(grads)"
            )
        check_condition(f"{self._who}.step", only_if)
        arrays = present = self._adopted()
        if arrays.keys() != self.group_of.keys():  # a layer was added or taken away
            arrays = {n: arrays.get(n, self._known[n]) for n in self.group_of}
        found = self._match("step", grads, arrays)
        for path, g in found.items():
            if type(g) is Traced or type(arrays[path]) is Traced:
                raise TraceError(
                    f"{self._who}.step: the gradient of '{path}' is being traced; step after the gradient is taken, or "
                    "use the pure form: state = opt.init(params), then params, state = opt.update(grads, state, params)"
                )
        self._put(self._packs.step(self, arrays, found, only_if))
        return self._updated(present)

    def init(self, params: Any) -> dict[str, Any]:
        """The state of the pure form for `params`: a tree of arrays, so that it may go through `jax.jit`.

        A Module stands for its parameters, `{path: array}`, in the pure form: that is what `update` returns for it.

        `{"lr": [one 0-d array a group], "state": {path: {name: array}}}`. The learning rates are part of it: change
        them there, since a compiled function would not see a change of `opt.lr`.
        """
        arrays = Parameters(self._who, plain(params)).read()
        self._check_arrays(arrays)
        widest = max(arrays.values(), key=lambda p: "64" in str(p.dtype) or "128" in str(p.dtype))
        xp = array_namespace(widest)
        like = working(xp, widest, widest)
        groups = self._numbers_of(arrays)
        return {
            "lr": [scalar(xp, like, h["lr"]) for h in self.param_groups],
            "state": {
                path: self.fresh(p, self.param_groups[groups[path]]) for path, p in arrays.items()
            },
        }

    def update(
        self,
        grads: Any,
        state: dict[str, Any],
        params: Any,
        *,
        only_if: Array | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """The pure form of a step: `params, state = opt.update(grads, state, params)`.

        Nothing that was given is changed, and nothing of the optimizer but its options is read. It can be compiled and
        differentiated. `only_if` is that of `step`.
        """
        check_condition(f"{self._who}.update", only_if)
        places = Parameters(self._who, plain(params))
        arrays = places.read()
        found = self._match("update", grads, arrays)
        groups = self._numbers_of(arrays)
        new, states = dict(arrays), dict(state["state"])
        for path, g in found.items():
            i = groups[path]
            xp = array_namespace(arrays[path], g)
            p = copied(xp, arrays[path])
            s = {k: copied(xp, v) for k, v in states[path].items()}
            with nullcontext() if only_if is None else overflow_expected(xp):
                p, s = self.advance(p, g, s, {**self.param_groups[i], "lr": state["lr"][i]})
            if only_if is not None:
                p = xp.where(only_if, p, arrays[path])
                s = kept(xp, only_if, s, states[path])
            new[path], states[path] = p, s
        return replaced(places.tree, new), {"lr": list(state["lr"]), "state": states}

    def advance(self, p: Array, g: Array, s: State, h: Group) -> tuple[Array, State]:
        """One step of one parameter: complex numbers as pairs, 16-bit ones in float32."""
        xp = array_namespace(p, g)
        dtype = p.dtype
        work, g = working(xp, p, p), working(xp, g, p)
        if h.get("maximize"):
            g = -g
        if hasattr(h["lr"], "dtype"):
            lr = as_python(h["lr"])
            h = {**h, "lr": xp.astype(lr, work.dtype) if hasattr(lr, "dtype") else lr}
        work, s = self.update_one(xp, work, g, s, h)
        if kind(dtype) == "complex":
            work = from_pairs(xp, work, dtype)
        return (work if work.dtype == dtype else xp.astype(work, dtype)), s

    def fresh(self, p: Array, h: Group) -> State:
        """The state of a parameter of any floating dtype before its first step."""
        xp = array_namespace(p)
        return self.new_state(xp, working(xp, p, p), h)

    # ---- the arrays

    @property
    def params(self) -> Any:
        """The Module or tree that is trained, with its arrays as they are now."""
        return self._parameters.current()

    @property
    def state(self) -> dict[str, State]:
        """The state of each parameter that was stepped, by path; arrays may be views of larger ones."""
        return self._packs.states()

    def _put(self, new: dict[str, Array]) -> None:
        """Put new arrays in the place of the known ones, where they are not the same."""
        changed = {path: x for path, x in new.items() if x is not self._known[path]}
        if changed:
            self._parameters.write(self._known, changed)
            self._known.update(changed)

    def _updated(self, present: Iterable[str]) -> Any:
        for h in self.param_groups:
            h["params"] = [self._known[path] for path in h["param_names"] if path in present]
        return self._parameters.current()

    def _adopted(self) -> dict[str, Array]:
        """The arrays of now; those that were replaced since the last step are checked, and their state follows them."""
        arrays = self._parameters.read()
        if all(self._known.get(path) is p for path, p in arrays.items()):
            return arrays
        states = self._packs.states()
        moved = False
        for path, p in arrays.items():
            before: Any = self._known.get(path)
            if p is before:
                continue
            check_parameter(f"{self._who}.step", path, p, takes_complex=self.takes_complex)
            self.check_array(path, p)
            if path in states and tuple(p.shape) != tuple(before.shape):
                raise ShapeError(
                    f"{self._who}.step: parameter '{path}' has shape {tuple(p.shape)} now, but its state was made for "
                    f"{tuple(before.shape)}; after changing a model's shapes, make a new optimizer"
                )
            moved = moved or (path in states and place_of(p) != place_of(before))
        for path, p in arrays.items():
            mine = p if type(p) is Traced else changeable(p)
            if mine is not p:
                self._parameters.write(arrays, {path: mine})
            arrays[path] = self._known[path] = mine
        if moved:
            self._packs.load(self, arrays, checkpoint.moved(self, states, arrays))
        return arrays

    def _match(self, method: str, grads: Any, arrays: dict[str, Array]) -> dict[str, Array]:
        return match(f"{self._who}.{method}", grads, arrays)

    # ---- saving and loading

    def state_dict(self) -> dict[str, Any]:
        """Everything but the parameters, copied: `{"state": {path: {name: array}}, "param_groups": [options]}`."""
        return checkpoint.saved(self)

    def _saving(self) -> dict[str, Any]:
        """For `bpgpu.save`: the same, not copied."""
        return checkpoint.saved(self, copies=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a saved state, or nothing of it: it is copied into the library, dtype and device that are there.

        States of torch's optimizers, with their numbered parameters, are understood too.

        *Raises* `ValueError`, `ShapeError` or `TypeError` if it does not fit, naming what is missing or unexpected.
        """
        checkpoint.load(self, state_dict)

    # ---- habits

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Not needed: raises with the form to use here."""
        raise TypeError(
            f"{self._who}.zero_grad: there is nothing to reset, since gradients are values and not attributes: "
            "value, grads = bpgpu.value_and_grad(loss)(model, x, y), then optimizer.step(grads). To add up gradients "
            "over several batches, see bpgpu.optim.GradientAccumulator"
        )

    def __repr__(self) -> str:
        lines = [f"{self._who} ("]
        for i, h in enumerate(self.param_groups):
            lines.append(f"Parameter group {i}: {len(h['param_names'])} parameters")
            lines += [f"    {k}: {v}" for k, v in h.items() if k not in ("params", "param_names")]
        return "\n".join([*lines, ")"])


def _described(grads: Any) -> str:
    if grads is _MISSING:
        return "nothing"
    return "None" if grads is None else f"the function {getattr(grads, '__name__', grads)!r}"


def _defining(cls: type, method: str) -> type:
    """The class from which a class has a method."""
    return next(c for c in cls.__mro__ if method in vars(c))
