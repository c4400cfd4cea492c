"""For people who test what they build on bpgpu, and for its own tests."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import Any

from bpgpu.autodiff.array import Array
from bpgpu.autodiff.dtypes import is_floating
from bpgpu.autodiff.namespace import Namespace
from bpgpu.autodiff.tape import Tape
from bpgpu.backend.libraries import namespace_of
from bpgpu.replay.lint import capture_lint

__all__ = ["capture_lint", "recording_namespace"]

CREATION = frozenset(
    (
        *("arange", "asarray", "empty", "empty_like", "eye", "from_dlpack", "full", "full_like"),
        *("linspace", "meshgrid", "ones", "ones_like", "tril", "triu", "zeros", "zeros_like"),
        *("astype", "fft.fftfreq", "fft.rfftfreq"),
    )
)
"""The functions of the standard that make floating arrays out of what is none."""

MEMORY = 1000
"""How many operations a recording namespace remembers."""


def recording_namespace(xp: Any) -> Any:
    """A namespace over `xp` whose creation functions put every floating array on a live tape.

    Whatever is computed from such arrays is recorded as it is inside `bpgpu.grad`. So code that tests an array library,
    above all the public conformance suite of the Array API standard, can be run on traced arrays as they are. Two
    things are different from a gradient: conversions (`float(x)`, `numpy.asarray(x)`) are let through, since tests
    compare values, and the tape forgets its oldest entries, so that it may stay open for as long as one likes.

    *Parameters*
    `xp`: an array library (`numpy`, `array_api_strict`) or its namespace in array-api-compat.

    *Raises* `LibraryError` if `xp` is no array library.

    *Notes* The suite takes it by an environment variable (see docs/conformance.md)::

        ARRAY_API_TESTS_MODULE="exec('import numpy, bpgpu.testing; xp = bpgpu.testing.recording_namespace(numpy)')"

    >>> import numpy as np
    >>> xp = recording_namespace(np)
    >>> x = xp.linspace(0, 1, 3)
    >>> xp.sum(x * x), float(x[1])
    (Array(np.float64(1.25)), 0.5)
    """
    return _RecordingNamespace(namespace_of(_an_array(xp)))


def _an_array(xp: Any) -> Any:
    from bpgpu.errors import LibraryError

    try:
        return xp.empty((0,))
    except (AttributeError, TypeError) as error:
        raise LibraryError(
            f"recording_namespace: expected an array library such as numpy, got {xp!r}; pass the module itself"
        ) from error


class _RecordingNamespace(Namespace):
    """The traced namespace, with a tape of its own on which new arrays are put."""

    def __init__(self, xp: Any, root: _RecordingNamespace | None = None, prefix: str = "") -> None:
        super().__init__(xp, root, prefix)
        self._tape: _EndlessTape = root._tape if root is not None else _EndlessTape(self)
        self.__name__ = self.__name__.replace("traced", "recording")

    def __repr__(self) -> str:
        return f"<recording namespace over {self._base.__name__}>"

    def _make(self, name: str) -> Any:
        made = super()._make(name)
        if isinstance(made, Namespace):
            return _RecordingNamespace(self.xp, self, made._prefix)
        return self._recorded(made) if self._prefix + name in CREATION else made

    def _recorded(self, f: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(f)
        def create(*args: Any, **kwargs: Any) -> Any:
            return self._put(f(*args, **kwargs))

        return create

    def _put(self, x: Any) -> Any:
        """Make constants among the results inputs of the tape. The handle stays the same, as `asarray` promises."""
        if isinstance(x, (list, tuple)):
            return type(x)([self._put(v) for v in x])
        if type(x) is Array and x.tape is None and is_floating(x):
            x.tape, x.index = self._tape, self._tape.input()
        return x


class _EndlessTape(Tape):
    """A tape that belongs to no call: always open, in every thread, never walked back, and so free to forget."""

    __slots__ = ()

    def __init__(self, namespace: Namespace) -> None:
        # without super().__init__(), which would make the tape the parent of every gradient that is yet to come
        self.parent = None
        self.level = 0
        self.nested = False
        self.namespace = namespace
        self.xp = namespace.xp
        self.reals = namespace.reals
        self.nodes = deque(maxlen=MEMORY)  # type: ignore[assignment]
        self.open = True
        self.convertible = True

    def check(self) -> None:
        """Operations may always be recorded here."""
