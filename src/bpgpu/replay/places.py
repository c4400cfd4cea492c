"""What a step can read: every place from its arguments, its closure and its globals down to arrays and numbers.

A place is where a value is kept: an entry of a dict or a list, an attribute, a cell of a closure. Arrays become inputs
of the program. Everything else is part of its key: a program runs only where all of it is as it was recorded. What
keeps its state out of sight (an iterator, a file, a generator of random numbers) makes a step one that is not replayed.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bpgpu.autodiff.array import Array as Traced
from bpgpu.backend import precision
from bpgpu.backend.libraries import library_of
from bpgpu.backend.recording import plain_of
from bpgpu.kernels.registry import are_on
from bpgpu.optim import Optimizer
from bpgpu.tree import is_array

MOST = 20_000
"""So many places are looked at; a step that reaches more is not replayed."""

DYNAMIC = frozenset(
    (
        *("__dict__", "vars", "getattr", "setattr", "hasattr", "__getattr__", "attrgetter", "dir"),
        *("__getattribute__", "__setattr__", "globals"),
    )
)
"""Code with one of these names may reach any attribute."""

_LOOPS = ("bpgpu.train", "bpgpu.data", "bpgpu.io")
OWN: set[str] = set()
"""Packages of the steps themselves: the user's, wherever they are installed."""

SIMPLE = (type(None), bool, int, float, complex, str, bytes)
FIXED = (
    *(range, slice, type(Ellipsis), type(NotImplemented), type, types.ModuleType),
    *(types.BuiltinFunctionType, types.CodeType, types.WrapperDescriptorType),
    *(types.MethodDescriptorType, types.MethodWrapperType, types.GetSetDescriptorType),
    *(types.ClassMethodDescriptorType, types.MemberDescriptorType, types.GenericAlias),
)
"""Classes whose objects stay what they are."""

ARRAYS = frozenset(
    ("bpgpu", "numpy", "cupy", "cupyx", "cupy_backends", "array_api_compat", "array_api_extra")
)
"""Packages that compute with arrays and with what they are given."""
TRUSTED = ARRAYS | frozenset(
    (
        *("builtins", "math", "operator"),
        *("_operator", "functools", "contextlib", "collections", "typing", "dataclasses", "abc"),
        *("enum", "types", "copy", "copyreg", "weakref", "inspect", "importlib", "__future__"),
        *("_frozen_importlib", "_collections_abc", "itertools", "numbers", "_abc", "re"),
    )
)
"""Packages whose functions keep nothing from call to call but what is written here as state."""


_OPAQUE = ("_lru_cache_wrapper", "cython_function_or_method", "fused_cython_function")


SETTINGS: dict[str, Callable[[], Any]] = {
    "whether kernels are used": are_on,
    "the precision of products": precision.current,
}
"""What functions ask of the thread, out of sight of the code that calls them: numbers, texts and flags."""


class Refused(Exception):  # noqa: N818 - a reason, and not a fault
    """The step cannot be replayed; the message says why."""


class Place(NamedTuple):
    """Where a value was found. `how` says how it is read: an item, an attribute, or the content of a cell."""

    path: str
    owner: Any
    how: str
    key: Any
    value: Any

    def read(self) -> Any:
        if self.how == "item":
            return self.owner[self.key]
        return getattr(self.owner, self.key)

    def write(self, value: Any) -> None:
        if self.how == "item":
            self.owner[self.key] = value
        elif isinstance(self.owner, type) or self.how == "cell":
            setattr(self.owner, self.key, value)
        else:
            object.__setattr__(self.owner, self.key, value)


class State:
    """All places that were found, the arrays among them, and the key of everything else."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.args: tuple[Any, ...] = ()
        self.options: dict[str, Any] = {}
        self.places: list[Place] = []
        """Of arrays and of what is compared by identity."""
        self.sizes: list[tuple[Any, int]] = []
        """Dicts and lists with their lengths."""
        self.arrays: list[Any] = []
        self.slots: list[tuple[Place, int]] = []
        """Places of arrays, with the number of the array."""
        self.rates: list[Place] = []
        """Places of learning rates, which are inputs too."""
        self.key: list[Any] = []
        self.paths: list[str] = []
        """What each entry of the key is about."""
        self.codes: set[types.CodeType] = set()
        self.given: list[Any] = []
        """The containers among the arguments, made anew for each call."""
        self._seen: dict[int, int] = {}
        self._keep: list[Any] = []
        self.library = ""
        """Whose arrays they are."""
        self.device = -1
        """The number of the CUDA device that they are on."""
        self.pinned: list[Any] = []
        """What the key tells by its identity, to be kept alive."""
        self._numbers: dict[int, int] = {}

    def note(self, path: str, *entry: Any) -> None:
        self.key.append(entry)
        self.paths.append(path)

    def is_given(self, place: Place) -> bool:
        """True for a place among the arguments."""
        return any(place.owner is x for x in self.given)

    # ---- values

    def visit(self, place: Place, *, named: bool = True) -> None:
        """Take in a value and all that can be reached from it."""
        path, value = place.path, place.value
        cls = type(value)
        if len(self.places) > MOST:
            raise Refused(f"it can reach more than {MOST} values; pass what it needs as arguments")
        if cls in SIMPLE:
            self.places.append(place)
            self.note(path, cls, repr(value) if cls in (float, complex) else value)
        elif is_array(value):
            self._array(place)
        elif cls in (dict, list, tuple, set, frozenset) or isinstance(value, (dict, list, tuple)):
            self.places.append(place)
            self._container(path, value)
        else:
            self.places.append(place)
            self._object(path, value, named=named)

    def _array(self, place: Place) -> None:
        value = plain_of(place.value)
        if type(value) is Traced:
            raise Refused(f"{place.path} is a traced array: a compiled step is no part of a trace")
        library = library_of(value)
        if library == "numpy" and type(value).__module__.partition(".")[0] != "numpy":
            library = type(value).__module__
        if type(value).__name__ in ("MaskedArray", "matrix", "recarray", "chararray"):
            library = type(value).__name__
        if library not in ("numpy", "cupy"):
            raise Refused(
                f"{place.path} is an array of {library}; steps of NumPy and CuPy are replayed"
            )
        if self.library not in ("", library):
            raise Refused(f"{place.path} is an array of {library}, others are of {self.library}")
        self.library = library
        number = self._numbers.setdefault(id(value), len(self.arrays))
        if number == len(self.arrays):
            self.arrays.append(value)
        self.slots.append((place, number))
        looks = (type(value), value.shape, value.dtype.str, value.strides)
        if library == "numpy":
            self.note(place.path, "array", number, *looks, value.flags.writeable)
            return
        if self.device not in (-1, value.device.id):
            raise Refused(
                f"{place.path} is on cuda:{value.device.id}, others on cuda:{self.device}"
            )
        self.device = value.device.id
        # a graph belongs to the arrays themselves, which the arguments alone may change
        identity = 0 if self.is_given(place) else id(value)
        self.note(place.path, "array", number, *looks, identity)

    def _again(self, path: str, value: Any) -> bool:
        """True if the object was met before: then only the place is part of the key."""
        number = self._seen.setdefault(id(value), len(self._keep))
        if number < len(self._keep):
            self.note(path, "the same as", number)
            return True
        self._keep.append(value)
        return False

    def _container(self, path: str, value: Any) -> None:
        cls = type(value)
        if self._again(path, value):
            return
        if issubclass(cls, dict):
            keys = list(value)
            if not all(type(k) in SIMPLE for k in keys):
                keys = [k for k in keys if type(k) in SIMPLE or _refuse_key(path, k)]
            self.sizes.append((value, len(value)))
            self.note(path, cls, tuple(keys))
            for k in keys:
                self.visit(Place(f"{path}[{k!r}]", value, "item", k, value[k]))
        elif cls in (set, frozenset):
            if not all(type(k) in SIMPLE for k in value):
                raise Refused(f"{path} is a set of objects")
            self.note(path, cls, frozenset(value))
            if cls is set:
                self.sizes.append((value, len(value)))
        else:
            self.note(path, cls, len(value))
            if isinstance(value, list):
                self.sizes.append((value, len(value)))
            for i, v in enumerate(value):
                self.visit(Place(f"{path}[{i}]", value, "item", i, v))
        if cls.__module__.partition(".")[0] not in TRUSTED:
            self._fields(path, value)

    # ---- objects

    def _object(self, path: str, value: Any, *, named: bool) -> None:
        cls = type(value)
        if cls is types.FunctionType:
            return self._function(path, value)
        if self._again(path, value):
            return None
        if cls is types.MethodType:
            self.visit(Place(f"{path}.__self__", value, "attribute", "__self__", value.__self__))
            return self._function(path, value.__func__)
        if cls is functools.partial:
            self.note(path, cls)
            for name in ("func", "args", "keywords"):
                found = getattr(value, name)
                self.visit(Place(f"{path}.{name}", value, "attribute", name, found))
            return None
        if isinstance(value, types.ModuleType):
            return self._module(path, value)
        if isinstance(value, type):
            return self._class(path, value)
        if isinstance(value, (staticmethod, classmethod)):
            return self._function(path, value.__func__)
        if cls in FIXED or cls in (property, object):
            return self._by_identity(path, value)
        if hasattr(cls, "_bpgpu_compiled"):
            self.note(path, cls)
            return self.visit(Place(f"{path}.step", value, "attribute", "step", value.step))
        if cls.__name__ in _OPAQUE:
            raise Refused(f"{path} is a {cls.__name__}, which is not followed")
        package = cls.__module__.partition(".")[0]
        ours = ("ufunc", "_ArrayFunctionDispatcher")
        if package == "numpy" and (hasattr(cls, "num") or cls.__name__ in ours):
            return self._by_identity(path, value)  # a dtype or a function
        if package in ("cupy", "cupyx") and (callable(value) or cls.__name__ == "Device"):
            return self._by_identity(path, value)
        if package == "_thread" and cls.__name__ in ("lock", "RLock"):
            return self.note(path, cls)
        hidden = _is_foreign(cls.__module__) and package not in TRUSTED
        hidden = hidden or not (hasattr(value, "__dict__") or _slots(cls))
        if hidden or hasattr(cls, "__next__"):
            if not named:  # nobody asks for it
                return self._by_identity(path, value)
            if hasattr(cls, "__next__"):
                raise Refused(f"{path} is an iterator, which gives something new at each call")
            raise Refused(f"{path} is a {cls.__module__}.{cls.__qualname__}, whose state is hidden")
        self.note(path, cls)
        self._class(f"{path}.__class__", cls)
        self._fields(path, value)
        return None

    def _by_identity(self, path: str, value: Any) -> None:
        self.pinned.append(value)
        self.note(path, type(value), id(value))

    def _fields(self, path: str, value: Any) -> None:
        """The attributes of an object: all of one of ours, of others those that the code names."""
        ours = any(c.__module__.startswith("bpgpu.") for c in type(value).__mro__)
        fields = getattr(value, "__dict__", None)
        if fields is not None:
            keys = [k for k in fields if ours or k in self.names]
            if ours or not DYNAMIC.isdisjoint(self.names):
                keys = list(fields)
            self.sizes.append((fields, len(fields)))
            self.note(path, "fields", tuple(keys))
            for k in keys:
                place = Place(f"{path}.{k}", fields, "item", k, fields[k])
                if isinstance(value, Optimizer) and k == "param_groups":
                    self._groups(place)
                else:
                    self.visit(place, named=k in self.names)
        for name in _slots(type(value)):
            if hasattr(value, name) and name not in ("__dict__", "__weakref__"):
                found = getattr(value, name)
                self.visit(Place(f"{path}.{name}", value, "attribute", name, found))

    def _groups(self, place: Place) -> None:
        """The groups of an optimizer: their learning rates are inputs, not part of the key."""
        self.places.append(place)
        groups = place.value
        if self._again(place.path, groups):
            return
        self.sizes.append((groups, len(groups)))
        self.note(place.path, "groups", len(groups))
        for i, h in enumerate(groups):
            path = f"{place.path}[{i}]"
            self.places.append(Place(path, groups, "item", i, h))
            if self._again(path, h):
                continue
            self.sizes.append((h, len(h)))
            self.note(path, tuple(h))
            for k, v in h.items():
                found = Place(f"{path}[{k!r}]", h, "item", k, v)
                if k == "lr" and type(v) is float:
                    self.rates.append(found)
                    self.note(found.path, float)
                else:
                    self.visit(found)

    # ---- code

    def _function(self, path: str, f: Any) -> None:
        if not isinstance(f, types.FunctionType):
            return self.visit(Place(path, f, "attribute", "__class__", f))
        if self._again(path, f):
            return None
        self.note(path, "function", id(f.__code__))
        self.pinned.append(f.__code__)
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            try:
                found = cell.cell_contents
            except ValueError:  # a name that has no value yet
                continue
            self.visit(Place(f"{path}: {name}", cell, "cell", "cell_contents", found))
        if is_trusted(str(f.__globals__.get("__name__", ""))):
            return None
        for name in ("__defaults__", "__kwdefaults__"):
            if getattr(f, name):
                self.visit(Place(f"{path}.{name}", f, "attribute", name, getattr(f, name)))
        if _is_foreign(str(f.__globals__.get("__name__", ""))):
            return None  # whether it runs is seen while it runs
        for code in codes_in(f.__code__):
            if {"type", "ndarray"} <= {*code.co_names}:
                raise Refused(
                    f"{code.co_name} asks for the type of arrays; isinstance can be answered"
                )
            self.codes.add(code)
            self.names.update(code.co_names, code.co_freevars)
            self.names.update(c for c in code.co_consts if type(c) is str)
            for name in code.co_names:
                if name in f.__globals__:
                    found = f.__globals__[name]
                    self.visit(Place(name, f.__globals__, "item", name, found))
        return None

    def _module(self, path: str, module: Any) -> None:
        """A module of the user's: the names that the code asks of modules."""
        self.note(path, "module", module.__name__)
        if module.__name__.partition(".")[0] in TRUSTED or _is_foreign(module.__name__):
            return
        for name in sorted(self.names & vars(module).keys()):
            place = Place(f"{path}.{name}", vars(module), "item", name, vars(module)[name])
            self.visit(place)

    def _class(self, path: str, cls: type) -> None:
        """The attributes of a class of the user's that the code names, and its methods."""
        for c in cls.__mro__:
            if is_trusted(c.__module__) or _is_foreign(c.__module__):
                continue
            if self._again(path, c):
                continue
            self.note(path, "class", c)
            self.sizes.append((vars(c), len(vars(c))))
            for name, found in list(vars(c).items()):
                found = getattr(found, "__func__", found)
                if isinstance(found, property):
                    found = found.fget
                if isinstance(found, types.FunctionType):
                    if name in self.names or name in ("__call__", "forward"):
                        self._function(f"{c.__name__}.{name}", found)
                elif name in self.names and not name.startswith("__"):
                    self.visit(Place(f"{c.__name__}.{name}", c, "attribute", name, found))


def is_trusted(module: str) -> bool:
    """True for code that need not be watched. Our own loop of training is watched as a user's is."""
    return module.partition(".")[0] in TRUSTED and not module.startswith(_LOOPS)


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of a function, and of all that it defines inside."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from codes_in(inner)


def _slots(cls: type) -> list[str]:
    found: list[str] = []
    for c in cls.__mro__:
        names = c.__dict__.get("__slots__", ())
        found += [names] if isinstance(names, str) else list(names)
    return found


def _refuse_key(path: str, key: Any) -> bool:
    if type(key) is tuple and all(type(k) in SIMPLE for k in key):
        return True
    raise Refused(f"{path} has the key {type(key).__name__}, which is no number or text")


@functools.cache
def _is_foreign(module: str) -> bool:
    """True for what is neither the user's own code nor bpgpu: the standard library, and installed packages."""
    package = module.partition(".")[0]
    if package in OWN:
        return False
    if package in sys.stdlib_module_names:
        return package != "__main__"
    found = sys.modules.get(module) or sys.modules.get(package)
    where = str(getattr(found, "__file__", "") or "")
    return "site-packages" in where or "dist-packages" in where


def belongs_to_user(f: Any) -> None:
    """Count the package of a step as the user's own, also if it was installed."""
    package = str(getattr(f, "__module__", None) or "").partition(".")[0]
    if package and package not in TRUSTED | OWN and package not in sys.stdlib_module_names:
        OWN.add(package)
        _is_foreign.cache_clear()


def state_of(
    f: Any, args: tuple[Any, ...], options: dict[str, Any], names: set[str], more: list[Any]
) -> State:
    """Everything that `f(*args, **options)` can read.

    *Parameters* `names`: what the code names, as far as it is known; it grows. `more`: functions that were seen to run.

    *Raises* `Refused` if some of it cannot be seen.
    """
    while True:
        known = len(names)
        state = State(names)
        for what, setting in SETTINGS.items():
            state.note(what, setting())
        state.visit(Place("the step", [f], "item", 0, f))
        for i, g in enumerate(more):
            state.visit(Place(getattr(g, "__name__", "function"), more, "item", i, g))
        state.args, state.options = args, options
        arguments(state, "argument", args)
        arguments(state, "argument", options)
        if len(names) == known:
            return state


def arguments(state: State, path: str, value: Any) -> None:
    """Arguments: their containers are new ones at each call, and so are compared by what is in them."""
    state.given.append(value)
    before = len(state.places), len(state.sizes)
    cls = type(value)
    if cls is dict and not all(type(k) in SIMPLE for k in value):
        raise Refused(f"{path} has keys that are no numbers or text")
    items = list(value.items()) if cls is dict else list(enumerate(value))
    state.note(path, cls, tuple(k for k, _ in items))
    del state.places[before[0] :], state.sizes[before[1] :]
    for k, v in items:
        inner = f"{path} {k}" if path == "argument" else f"{path}[{k!r}]"
        if type(v) in (dict, list, tuple) or (isinstance(v, tuple) and hasattr(v, "_fields")):
            arguments(state, inner, v)
        else:
            state.visit(Place(inner, value, "item", k, v))
