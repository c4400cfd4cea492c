"""Saving and loading the state of an optimizer: all or nothing, into the arrays that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpgpu.autodiff.namespace import array_namespace
from bpgpu.errors import ShapeError
from bpgpu.optim.arrays import Array, fitted, store
from bpgpu.optim.checks import TORCH_ONLY
from bpgpu.optim.parameters import some

if TYPE_CHECKING:
    from bpgpu.optim.groups import State
    from bpgpu.optim.optimizer import Optimizer

_INTERNAL = ("params", "param_names")


def saved(opt: Optimizer, copies: bool = True) -> dict[str, Any]:
    """State and options, copied unless they are written to a file at once."""
    copy = _copy if copies else lambda v: v
    return {
        "state": {path: {k: copy(v) for k, v in s.items()} for path, s in opt.state.items()},
        "param_groups": [
            {
                **{k: copy(v) for k, v in h.items() if k not in _INTERNAL},
                "params": list(h["param_names"]),
            }
            for h in opt.param_groups
        ],
    }


def _copy(x: Any) -> Any:
    return array_namespace(x).asarray(x, copy=True) if hasattr(x, "dtype") else x


def load(opt: Optimizer, saved: Any) -> None:
    """Check everything, then take it over."""
    who = f"{type(opt).__name__}.load_state_dict"
    if not isinstance(saved, dict) or {"state", "param_groups"} - set(saved):
        raise ValueError(
            f"{who}: expected a dict with 'state' and 'param_groups', as state_dict() returns it"
        )
    groups = saved["param_groups"]
    if len(groups) != len(opt.param_groups):
        raise ValueError(
            f"{who}: the saved state has {len(groups)} parameter groups, the optimizer has {len(opt.param_groups)}"
        )
    names = _names(who, opt, groups)
    unknown = [str(k) for k in saved["state"] if k not in names]
    if unknown:
        raise ValueError(
            f"{who}: the saved state has entries for {some(unknown)}, which belong to no group of it"
        )
    options = [
        _options(who, opt, h, given) for h, given in zip(opt.param_groups, groups, strict=True)
    ]
    arrays = opt._adopted()
    states = {}
    for k, s in saved["state"].items():
        path = names[k]
        states[path] = _state(who, opt, path, s, arrays[path], options[opt.group_of[path]])
    for h, new in zip(opt.param_groups, options, strict=True):
        for k, v in new.items():
            old = h.get(k)
            h[k] = store(old, v) if hasattr(old, "dtype") and hasattr(v, "dtype") else v
    opt._packs.load(opt, arrays, states)


def moved(opt: Optimizer, states: dict[str, State], arrays: dict[str, Array]) -> dict[str, State]:
    """States of parameters whose arrays were replaced, for the library, dtype and device of the new ones."""
    who = f"{type(opt).__name__}.step"
    return {
        path: _state(who, opt, path, s, arrays[path], opt.param_groups[opt.group_of[path]])
        for path, s in states.items()
    }


def _names(who: str, opt: Optimizer, groups: list[dict[str, Any]]) -> dict[Any, str]:
    """From the names of parameters in the saved state to those of the optimizer.

    They are the same paths; numbers, as torch writes them, are taken in order.
    """
    names: dict[Any, str] = {}
    for i, (h, given) in enumerate(zip(opt.param_groups, groups, strict=True)):
        theirs, ours = list(given["params"]), h["param_names"]
        numbered = all(isinstance(n, int) for n in theirs)
        if numbered and len(theirs) == len(ours):
            names.update(zip(theirs, ours, strict=True))
            continue
        missing, unexpected = (
            [n for n in ours if n not in theirs],
            [n for n in theirs if n not in ours],
        )
        if numbered or missing or unexpected:
            detail = (
                f"{len(theirs)} parameters, expected {len(ours)}"
                if numbered
                else f"missing {some(missing) or 'none'}; unexpected {some(unexpected) or 'none'}"
            )
            raise ValueError(f"{who}: group {i} of the saved state has other parameters: {detail}")
        names.update((n, n) for n in ours)
    return names


def _options(who: str, opt: Optimizer, h: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The options of a saved group, checked; schedulers may have added some of their own."""
    new = {k: v for k, v in given.items() if k not in _INTERNAL and k not in TORCH_ONLY}
    missing = [k for k in opt.defaults if k not in new]
    new.update((k, h[k]) for k in missing)
    rate = new["lr"]
    ended = isinstance(rate, float) and -1e-12 < rate < 0  # a schedule to 0, but for rounding
    opt._check({**new, "lr": 0.0} if ended else new)
    for k, v in new.items():
        old = h.get(k)
        if hasattr(v, "dtype"):
            new[k] = fitted(old, v) if hasattr(old, "dtype") else _copy(v)
        elif hasattr(old, "dtype"):
            new[k] = fitted(old, v)
        elif isinstance(v, list):
            new[k] = tuple(v) if isinstance(old, tuple) else list(v)
    return new


def _state(
    who: str, opt: Optimizer, path: str, given: dict[str, Any], p: Array, h: dict[str, Any]
) -> State:
    """The saved state of one parameter, in the arrays that a new state would have."""
    fresh = opt.fresh(p, h)
    given = opt.completed({k: v for k, v in given.items() if v is not None}, fresh)
    missing, unexpected = [k for k in fresh if k not in given], [k for k in given if k not in fresh]
    if missing or unexpected:
        raise ValueError(
            f"{who}: the state of '{path}' does not belong to {type(opt).__name__} with these options: missing "
            f"{missing or 'none'}, unexpected {unexpected or 'none'}"
        )
    for k, template in fresh.items():
        shape = tuple(getattr(given[k], "shape", ()))
        if shape != tuple(template.shape):
            raise ShapeError(
                f"{who}: '{k}' of '{path}' has shape {shape}, expected {tuple(template.shape)}"
            )
    return {k: fitted(template, given[k]) for k, template in fresh.items()}
