"""Where the trained arrays are: in a Module, in a tree, in a list of groups. To the optimizer they are dotted paths."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.dtypes import is_floating, kind
from bpgpu.errors import DtypeError, TreeError
from bpgpu.optim.arrays import Array


def is_module(x: Any) -> bool:
    """True for what names its parameters and holds them itself."""
    return callable(getattr(x, "named_parameters", None))


class Parameters:
    """The arrays of one tree by path, and the way back into the tree.

    The arrays of a Module are read from it and written to it: it may be loaded, moved or assigned to between two
    steps. The arrays of a plain tree are kept here, since a tuple of immutable arrays could not be written to.
    """

    def __init__(self, who: str, tree: Any) -> None:
        self.who = who
        self.tree = _named(tree)
        self._own: dict[str, Array] = {}
        self._order: list[tuple[str, Any]] = []  # (path, Module or None), as they stand in the tree
        self._stale = False  # True if the tree has other arrays than are kept here
        self.find()

    def find(self) -> None:
        """Look for the arrays of the tree, again if it has changed."""
        self._order.clear()
        for path, found in _walk(self.tree):
            if is_module(found):
                self._order.append((path, found))
                continue
            if any(known == path for known, _ in self._order):
                raise TreeError(
                    f"{self.who}: two parameters have the path '{path}'; rename a branch"
                )
            self._own.setdefault(path, found)
            self._order.append((path, None))

    def read(self) -> dict[str, Array]:
        """All arrays by path, in order; of Modules, the floating ones."""
        found: dict[str, Array] = {}
        for path, module in self._order:
            if module is None:
                found[path] = self._own[path]
            else:
                for name, p in module.named_parameters():
                    if is_floating(p):
                        found[joined(path, name)] = p
        return found

    def write(self, old: dict[str, Array], new: dict[str, Array]) -> None:
        """Put new arrays at the paths of old ones; what is tied in a Module stays tied."""
        own = {path: array for path, array in new.items() if path in self._own}
        self._own.update(own)
        self._stale = self._stale or bool(own)
        tied = {id(old[path]): array for path, array in new.items() if path not in self._own}
        if tied:
            for _, module in self._order:
                if module is not None:
                    _rebind(module, tied)

    def current(self) -> Any:
        """The tree with the arrays of now: the very tree that was given while all its arrays are still the same."""
        if self._stale:
            self.tree = replaced(self.tree, self._own)
            self._stale = False
        return self.tree


def _rebind(module: Any, new: dict[int, Array]) -> None:
    """Replace parameters wherever they stand in a Module; `new` goes by the identity of the old ones."""
    for owner in list(module.modules()):
        fields = list(owner.named_parameters(recurse=False, remove_duplicate=False))
        for name, p in fields:
            if id(p) in new:
                setattr(owner, name, new[id(p)])


def replaced(tree: Any, arrays: dict[str, Array], path: str = "") -> Any:
    """A tree with other arrays at the given paths; Modules in it stay as they are."""
    if path in arrays and trees.is_array(tree):
        return arrays[path]
    how = trees.container(tree)
    if how is None or is_module(tree):
        return tree
    return how.rebuild(tree, [replaced(v, arrays, joined(path, k)) for k, v in branches(tree, how)])


def plain(tree: Any) -> Any:
    """The tree with `{path: array}` in place of each Module, as the pure form has it."""
    if is_module(tree):
        return Parameters("plain", tree).read()
    how = trees.container(tree)
    return tree if how is None else how.rebuild(tree, [plain(v) for v in how.values(tree)])


def branches(tree: Any, how: trees.Container) -> Iterator[tuple[str, Any]]:
    """The branches of a container with the names that stand in paths."""
    return ((str(key), v) for key, v in zip(how.keys(tree), how.values(tree), strict=True))


def _named(tree: Any) -> Any:
    """Iterators as lists, and lists of `(name, array)`, as `named_parameters()` gives them, as dicts."""
    if isinstance(tree, Iterator):
        tree = list(tree)
    if isinstance(tree, (list, tuple)) and tree and all(_is_pair(x) for x in tree):
        return dict(tree)
    return tree


def _is_pair(x: Any) -> bool:
    return type(x) is tuple and len(x) == 2 and isinstance(x[0], str) and trees.is_array(x[1])


def joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _walk(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays, Modules, and numbers of a tree with their paths."""
    if is_module(tree):
        yield path, tree
        return
    how = trees.container(tree)
    if how is not None:
        for name, branch in branches(tree, how):
            yield from _walk(branch, joined(path, name))
    elif trees.is_array(tree) or isinstance(tree, (float, complex)):
        yield path, tree


# ---- checks


def check_parameters(who: str, arrays: dict[str, Array], *, takes_complex: bool) -> None:
    """Raise for what cannot be trained, naming its path."""
    if not arrays:
        raise ValueError(
            f"{who}: there are no parameters to train; pass a Module, or a tree of floating arrays"
        )
    seen: dict[int, str] = {}
    for path, p in arrays.items():
        check_parameter(who, path, p, takes_complex=takes_complex)
        if seen.setdefault(id(p), path) != path:
            raise TreeError(
                f"{who}: the same array stands at '{seen[id(p)]}' and at '{path}', and would be updated twice. Each "
                "parameter belongs to one place and one group: name it once"
            )


def check_parameter(who: str, path: str, p: Any, *, takes_complex: bool) -> None:
    place = f"parameter '{path}'" if path else "the parameter"
    if not trees.is_array(p):
        raise TypeError(
            f"{who}: {place} is the Python number {p!r}, which cannot be updated; make it an array"
        )
    what = kind(p.dtype)
    if what == "other":
        raise DtypeError(
            f"{who}: {place} has dtype {p.dtype}, and only floating arrays can be trained. Leave it out, register it "
            "as a buffer, or cast it"
        )
    if what == "complex" and not takes_complex:
        raise DtypeError(
            f"{who}: {place} has dtype {p.dtype}, and {who} is defined for real numbers only"
        )
    if getattr(p, "requires_grad", False):
        raise TypeError(
            f"{who}: {place} is a torch tensor that requires a gradient of torch, so it may not be changed in place; "
            "pass p.detach()"
        )


# ---- groups


def is_group_list(params: Any) -> bool:
    """True for torch's form of groups: a list of dicts that all have "params"."""
    return (
        isinstance(params, (list, tuple))
        and bool(params)
        and all(isinstance(g, dict) and "params" in g for g in params)
    )


def by_pattern(who: str, patterns: list[Any], arrays: dict[str, Array]) -> list[list[str]]:
    """The paths that each pattern takes, and last those that none takes. The first pattern that fits wins."""
    taken: list[list[str]] = [[] for _ in patterns]
    rest: list[str] = []
    for path, p in arrays.items():
        fits = (i for i, pattern in enumerate(patterns) if _fits(pattern, path, p))
        i = next(fits, None)
        (rest if i is None else taken[i]).append(path)
    for pattern, paths in zip(patterns, taken, strict=True):
        if not paths:
            raise ValueError(
                f"{who}: the group {pattern!r} takes no parameter, or only such as an earlier group has taken. The "
                f"parameters are: {some(arrays)}"
            )
    return [*taken, rest]


def _fits(pattern: Any, path: str, p: Array) -> bool:
    if isinstance(pattern, str):
        return fnmatchcase(path, pattern)
    if callable(pattern):
        return bool(pattern(path, p))
    return any(_fits(one, path, p) for one in pattern)


def some(paths: Any, count: int = 8) -> str:
    """The first few paths, for messages."""
    names = [f"'{path}'" for path in paths]
    return ", ".join(names[:count]) + (
        f" and {len(names) - count} more" if len(names) > count else ""
    )


def closest(path: str, paths: Any) -> str:
    """A hint at the path that was meant, for messages."""
    near = difflib.get_close_matches(path, list(paths), n=1)
    return f"did you mean '{near[0]}'? " if near else ""
