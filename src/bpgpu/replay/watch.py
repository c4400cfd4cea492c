"""Which code runs while a step is recorded: evidence for what it does beside computing with arrays.

Python tells of every function that is entered and of every built-in that is called (`sys.setprofile`). The user's own
functions must be known, since their globals and closures are part of the key; built-ins must be such as give the same
again; functions of other packages are not followed.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Callable
from typing import Any, Literal

from bpgpu.backend.recording import Recorder
from bpgpu.replay.places import ARRAYS, TRUSTED, _is_foreign, is_trusted

Whose = Literal["trusted", "neutral", "user", "foreign"]
"""Neutral is what helps others to call: functools, contextlib."""

_PURE_BUILTINS = frozenset(
    (
        *("len", "isinstance", "issubclass", "getattr", "hasattr", "setattr", "delattr", "min"),
        *("max", "abs", "sum", "any", "all", "sorted", "repr", "divmod", "pow", "round"),
        *("callable", "locals", "anext", "aiter"),
        *("ord", "chr", "hex", "bin", "iter", "format", "ascii", "__build_class__", "__import__"),
    )
)
"""Built-in functions that give the same again. `next` is not among them: see `Watch`."""
_PURE_MODULES = frozenset(
    (
        *("math", "cmath", "_operator", "operator", "_functools", "itertools", "_collections"),
        *("numpy", "_struct", "_abc", "_bisect", "_heapq", "_sre", "_json", "_statistics"),
    )
)
_PURE_TYPES = frozenset(
    (
        *(str, bytes, int, float, complex, bool, list, tuple, dict, set, frozenset, slice),
        *(type({}.keys()), type({}.values()), type({}.items()), types.MappingProxyType, range),
    )
)
"""Classes whose methods give the same again for the same values."""
_UNSEEN = frozenset(
    (
        *("default_rng", "RandomState", "SeedSequence", "Random", "SystemRandom", "Generator"),
        *("errstate", "seterr", "seterrcall", "memmap", "catch_warnings", "environ"),
    )
)
"""Names of what works out of sight: sources of random numbers, and settings of the thread."""
_MAKERS = frozenset(("__new__", "__init__", "__init_subclass__", "__setattr__", "__getattribute__"))
_ALWAYS_NOTED = frozenset(("warn", "warn_explicit", "open", "fromfile"))


class Watch:
    """Looks on while the recorder's thread runs, and tells it what cannot be repeated.

    `found` are functions that ran without being known.
    """

    def __init__(self, recorder: Recorder, known: set[types.CodeType]) -> None:
        self.recorder = recorder
        self.known = known
        self.found: list[Callable[..., Any]] = []
        self._unknown: set[types.CodeType] = set()

    def __enter__(self) -> Watch:
        self._before = sys.getprofile()
        sys.setprofile(self._event)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(self._before)

    def _event(self, frame: types.FrameType, event: Any, arg: Any) -> None:
        if self._before is not None:
            self._before(frame, event, arg)
        if event == "call":
            self._entered(frame)
        elif event == "c_call":
            if getattr(arg, "__name__", "") in _ALWAYS_NOTED:
                self.recorder.fail("it warns, or reads a file")
            elif whose(frame) == "user":
                self._built_in(arg)

    def _entered(self, frame: types.FrameType) -> None:
        belongs = whose(frame)
        if belongs == "neutral":
            return
        if belongs == "trusted":
            if (
                frame.f_code.co_name in ("next_key", "_set")
                and frame.f_globals.get("__name__") == "bpgpu.random.stream"
            ):
                self.recorder.fail(
                    "it draws a key from the default stream; keep a key as an array, as Dropout does"
                )
            return
        code = frame.f_code
        if belongs == "user":
            if not _UNSEEN.isdisjoint(code.co_names):
                names = ", ".join(sorted(_UNSEEN & set(code.co_names)))
                self.recorder.fail(f"{code.co_name} uses {names}")
            if code not in self.known and code not in self._unknown:
                self._unknown.add(code)
                self._discover(code)
            return
        caller = frame.f_back
        while caller is not None and whose(caller) in ("foreign", "neutral"):
            caller = caller.f_back
        if caller is not None and whose(caller) == "user":
            name = f"{frame.f_globals.get('__name__', '?')}.{code.co_name}"
            self.recorder.fail(f"it calls {name}, which is not followed")

    def _discover(self, code: types.CodeType) -> None:
        found = [f for f in gc.get_referrers(code) if isinstance(f, types.FunctionType)]
        self.found += found
        if not found:
            self.recorder.fail(f"it runs {code.co_name}, of which no function is at hand")
        self.recorder.fail(f"it has called {code.co_name} for the first time")

    def _built_in(self, f: Any) -> None:
        owner = getattr(f, "__self__", None)
        name = getattr(f, "__name__", "?")
        if isinstance(owner, types.ModuleType):
            package = owner.__name__.partition(".")[0]
        elif owner is None:
            package = str(getattr(f, "__module__", None) or "").partition(".")[0]
        else:
            cls = owner if isinstance(owner, type) else type(owner)
            package = cls.__module__.partition(".")[0]
            mine = isinstance(owner, (dict, list, tuple, str, int, float))
            if (
                cls in _PURE_TYPES
                or package in ("bpgpu", "numpy")
                or name in _MAKERS
                or (mine and not _is_foreign(package))
            ):
                return
            name = f"{cls.__name__}.{name}"
        if package == "builtins" and name in _PURE_BUILTINS:
            return
        if package != "builtins" and (package in _PURE_MODULES or package in TRUSTED):
            return
        self.recorder.fail(f"it calls {package}.{name}")


_whose: dict[types.CodeType, Whose] = {}


def whose(frame: types.FrameType) -> Whose:
    """To whom the code of a frame belongs."""
    code = frame.f_code
    found = _whose.get(code)
    if found is None or found == "foreign":  # which may have become the user's
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("numpy.random"):
            found = "foreign"
        elif module.startswith("bpgpu.") and not is_trusted(module):
            found = "user"
        elif module.partition(".")[0] in ARRAYS or code.co_filename.startswith("<frozen"):
            found = "trusted"
        elif is_trusted(module) or module.startswith("namedtuple_"):
            found = "neutral"
        else:
            found = "foreign" if _is_foreign(module) else "user"
        _whose[code] = found
    return found
