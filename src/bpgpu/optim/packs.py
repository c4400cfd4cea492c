"""The state of the parameters, and their updates: small ones together, as one vector, since calls cost more there.

Where a kernel steps many parameters at once, all of them are together, of any size, and nothing else is needed.
Otherwise:
The parameters themselves stay where they are. Before an update their values are gathered into a vector that belongs to
the optimizer, and afterwards they are written back, so a model may be loaded, moved, copied, or assigned to as one
likes. Only the state lives in vectors for good, and nobody else holds it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.backend.libraries import namespace_of
from bpgpu.backend.precision import overflow_expected
from bpgpu.kernels import LISTED
from bpgpu.optim.arrays import Array, copied, device_of, store, working_dtype, writable

if TYPE_CHECKING:
    from bpgpu.optim.groups import Group, State
    from bpgpu.optim.optimizer import Optimizer

SMALL = 2**14
"""Parameters of up to so many entries are packed,"""
FULL = 2**16
"""into vectors of up to so many: what is computed with larger ones does not stay in the cache."""


class Pack:
    """Parameters of one group that have been stepped together from the start, so that they share their scalars."""

    def __init__(self, group: int, arrays: dict[str, Array]) -> None:
        self.group = group
        self.names = list(arrays)
        self.alone = len(arrays) == 1
        self.state: State = {}
        """Of one parameter, as it is; of several, their arrays as one vector each, and the common scalars."""
        first = arrays[self.names[0]]
        self.place = place_of(first)
        self.shapes = {name: tuple(p.shape) for name, p in arrays.items()}
        if not self.alone and self.place[0] not in LISTED:
            self._gather(first)

    def vector(self, like: Array) -> Array:
        """Room for a number for each entry of the parameters."""
        size = sum(math.prod(shape) for shape in self.shapes.values())
        return array_namespace(like).zeros((size,), dtype=like.dtype, device=device_of(like))

    def _gather(self, like: Array) -> None:
        """Make room for values and gradients, and views of it."""
        self.values = self.vector(like)
        self._look()

    def _look(self) -> None:
        self.grads = array_namespace(self.values).zeros_like(self.values)
        views = zip(self.names, self.views(self.values), self.views(self.grads), strict=True)
        self.places = list(views)

    def __getstate__(self) -> dict[str, Any]:
        """Without the views: copies of views look at nothing."""
        return {k: v for k, v in vars(self).items() if k not in ("grads", "places")}

    def __setstate__(self, fields: dict[str, Any]) -> None:
        vars(self).update(fields)
        if "values" in fields:
            self._look()

    def step(
        self,
        opt: Optimizer,
        arrays: dict[str, Array],
        grads: dict[str, Array],
        h: Group,
        only_if: Array | None,
    ) -> dict[str, Array]:
        """Update the parameters; returns their arrays, which are the old ones where the library can write to them.

        Where `only_if` is false, nothing changes; nobody looks at it.
        """
        if self.place[0] in LISTED and opt.has_kernel:
            values = [arrays[name] for name in self.names]
            gs = [grads[name] for name in self.names]
            if opt.update_many(values, gs, self.state, h, only_if):
                return {name: arrays[name] for name in self.names}
        if only_if is None:
            return self._stepped(opt, arrays, grads, h)
        xp = array_namespace(arrays[self.names[0]], only_if)
        before = {name: copied(xp, arrays[name]) for name in self.names}
        state = {k: copied(xp, v) for k, v in self.state.items()}
        with overflow_expected(xp):
            new = self._stepped(opt, arrays, grads, h)
        self.keep(kept(xp, only_if, self.state, state))
        return {n: store(p, xp.where(only_if, p, before[n])) for n, p in new.items()}

    def _stepped(
        self, opt: Optimizer, arrays: dict[str, Array], grads: dict[str, Array], h: Group
    ) -> dict[str, Array]:
        if not self.alone and "places" not in vars(self):
            self._gather(arrays[self.names[0]])
        if self.alone:
            (name,) = self.names
            p, changed = opt.advance(arrays[name], grads[name], self.state, h)
            new = {name: store(arrays[name], p)}
        else:
            for name, value, g in self.places:
                value[...] = arrays[name]
                g[...] = grads[name]
            p, changed = opt.advance(self.values, self.grads, self.state, h)
            store(self.values, p)
            new = {}
            for name, value, _ in self.places:
                new[name] = arrays[name]
                new[name][...] = value
        self.keep(changed)
        return new

    def views(self, vector: Array) -> list[Array]:
        """The parts of a vector that belong to the parameters, in their shapes."""
        xp, found, end = array_namespace(vector), [], 0
        for shape in self.shapes.values():
            start, end = end, end + math.prod(shape)
            found.append(xp.reshape(vector[start:end], shape))
        return found

    def keep(self, changed: State) -> None:
        """Take over a new state, in place where the library can."""
        old = self.state
        self.state = {k: store(old[k], v) if k in old else v for k, v in changed.items()}

    def state_of(self, name: str) -> State:
        """The state of one parameter; where there are several, views."""
        if self.alone:
            return self.state
        i = self.names.index(name)
        return {k: v if v.ndim == 0 else self.views(v)[i] for k, v in self.state.items()}

    def fill(self, states: dict[str, State]) -> None:
        """Take over states of the parameters, whose scalars agree."""
        if self.alone:
            self.keep(states[self.names[0]])
            return
        for k, v in self.state.items():
            if v.ndim == 0:
                self.state[k] = store(v, states[self.names[0]][k])
                continue
            for name, view in zip(self.names, self.views(v), strict=True):
                view[...] = states[name][k]


def kept(xp: Any, only_if: Array, new: State, old: State) -> State:
    """The new state where a step was made, else the old one. What an option has just turned on begins at 0."""
    return {
        k: xp.where(only_if, v, old[k] if k in old else xp.zeros_like(v)) for k, v in new.items()
    }


class Packs:
    """The packs of an optimizer: made when parameters get their first gradient, and split where they part."""

    def __init__(self) -> None:
        self.all: list[Pack] = []
        self._names: set[str] = set()

    def step(
        self,
        opt: Optimizer,
        arrays: dict[str, Array],
        grads: dict[str, Array],
        only_if: Array | None = None,
    ) -> dict[str, Array]:
        """Update every parameter that has a gradient; their new arrays."""
        self._split(opt, arrays, grads)
        if not self._names.issuperset(grads):
            fresh = {n: arrays[n] for n in opt.group_of if n in grads and n not in self._names}
            self._add(opt, fresh)
        new: dict[str, Array] = {}
        for pack in self.all:
            if pack.names[0] in grads:
                h = opt.param_groups[pack.group]
                new.update(pack.step(opt, arrays, grads, h, only_if))
        return new

    def states(self) -> dict[str, State]:
        """The state of each parameter that was stepped."""
        return {name: pack.state_of(name) for pack in self.all for name in pack.names}

    def load(self, opt: Optimizer, arrays: dict[str, Array], states: dict[str, State]) -> None:
        """Replace everything by these states: in place where parameters share their scalars as before."""
        self.all = [pack for pack in self.all if _fits(pack, arrays, states)]
        for pack in self.all:
            pack.fill(states)
        self._names = {name for pack in self.all for name in pack.names}
        alike: dict[Any, dict[str, Array]] = {}
        for name, state in states.items():
            if name not in self._names:
                alike.setdefault(_scalars(state), {})[name] = arrays[name]
        for some in alike.values():
            for pack in self._add(opt, some):
                pack.fill(states)

    def _add(self, opt: Optimizer, arrays: dict[str, Array]) -> list[Pack]:
        """Packs for parameters that had none, with a new state."""
        made = [_made(opt, portion) for portion in _portions(opt, arrays)]
        self.all += made
        self._names.update(arrays)
        return made

    def _split(self, opt: Optimizer, arrays: dict[str, Array], grads: dict[str, Array]) -> None:
        """Part those that have a gradient from those that do not: from now on their scalars differ."""
        for i, pack in reversed(list(enumerate(self.all))):
            present = [name for name in pack.names if name in grads]
            if not present or len(present) == len(pack.names):
                continue
            absent = [name for name in pack.names if name not in grads]
            states = {name: pack.state_of(name) for name in pack.names}
            parts = [_made(opt, {n: arrays[n] for n in names}) for names in (present, absent)]
            for part in parts:
                part.fill(states)
            self.all[i : i + 1] = parts


def _made(opt: Optimizer, arrays: dict[str, Array]) -> Pack:
    group = opt.group_of[next(iter(arrays))]
    pack = Pack(group, arrays)
    first = arrays[pack.names[0]]
    like = first if pack.alone else pack.vector(first)
    pack.state = opt.fresh(like, opt.param_groups[group])
    return pack


def _portions(opt: Optimizer, arrays: dict[str, Array]) -> Iterable[dict[str, Array]]:
    """The parameters as they can be packed."""
    filling: dict[Any, dict[str, Array]] = {}
    sizes: dict[Any, int] = {}
    for name, p in arrays.items():
        size, place = math.prod(p.shape), place_of(p)
        listed = opt.has_kernel and place[0] in LISTED
        fits = _can_be_listed(p) if listed else size <= SMALL and _can_be_packed(p)
        if not (opt.elementwise and fits):
            yield {name: p}
            continue
        key = (opt.group_of[name], place)
        if key in filling and sizes[key] + size > FULL and not listed:
            yield filling.pop(key)
        if key not in filling:
            filling[key], sizes[key] = {}, 0
        filling[key][name] = p
        sizes[key] += size
    yield from filling.values()


def place_of(p: Array) -> tuple[str, str, str]:
    """Library, device and dtype of an array: what must be equal in a pack."""
    return namespace_of(p).__name__, str(device_of(p)), str(p.dtype)


def _can_be_packed(p: Array) -> bool:
    """True for what is updated in its own dtype, and of a library whose arrays can be views of others."""
    strided = hasattr(p, "strides") or hasattr(p, "stride")
    real = kind(p.dtype) == "real" and working_dtype(namespace_of(p), p) == p.dtype
    return strided and real and writable(p)


def _can_be_listed(p: Array) -> bool:
    """True for what a kernel for many parameters takes."""
    return kind(p.dtype) == "real" and p.flags.c_contiguous


def _scalars(state: State, names: Iterable[str] | None = None) -> tuple[tuple[str, float], ...]:
    """The scalars of a state as numbers. This reads values, which is no loss where a state is loaded."""
    names = [k for k, v in state.items() if v.ndim == 0] if names is None else names
    return tuple((k, float(state[k])) for k in names)


def _fits(pack: Pack, arrays: dict[str, Array], states: dict[str, State]) -> bool:
    """True if a pack can hold these states as it is."""
    if not all(n in states and place_of(arrays[n]) == pack.place for n in pack.names):
        return False
    if any(set(states[n]) != set(pack.state) for n in pack.names):
        return False
    common = [k for k, v in pack.state.items() if v.ndim == 0]
    return pack.alone or len({_scalars(states[n], common) for n in pack.names}) == 1
