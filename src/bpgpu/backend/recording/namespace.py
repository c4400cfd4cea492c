"""The functions of the Array API on handles."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import array_api_compat.numpy as plain
import numpy as np

from bpgpu.backend import backend_of, libraries
from bpgpu.backend.recording.handles import (
    CREATED,
    VARYING,
    Recorded,
    RecordedScalar,
    called,
)
from bpgpu.backend.recording.lines import Handle, plain_of
from bpgpu.backend.recording.recorder import Recorder, active


class RecordingNamespace:
    """`array_api_compat.numpy` on handles. It bears that name, since it computes the same."""

    _dunders: ClassVar[tuple[str, ...]] = ("__array_namespace_info__", "__array_api_version__")

    def __init__(self, base: Any) -> None:
        self._base = base
        self.__name__ = base.__name__

    def __repr__(self) -> str:
        return f"<recording namespace over {self._base.__name__}>"

    def __dir__(self) -> list[str]:
        return dir(self._base)

    def plain_of(self, args: Any) -> Any:
        """The arguments with arrays in place of handles."""
        return plain_of(args)

    def in_one_call(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """A function of plain arrays that is noted as one line."""

        def call(*args: Any) -> Any:
            recorder = _recorder_among(args)
            return run(*plain_of(args)) if recorder is None else recorder.whole(run, args)

        return call

    def writing(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """The same for one that writes to some of its operands, and gives these."""

        def call(*args: Any) -> Any:
            recorder = _recorder_among(args)
            return run(*plain_of(args)) if recorder is None else recorder.call(run, args, {})

        return call

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in self._dunders:
            raise AttributeError(f"{self!r} has no attribute {name!r}")
        found = getattr(self._base, name)
        if name in ("linalg", "fft"):
            found = RecordingNamespace(found)
        elif callable(found) and not isinstance(found, (type, np.ufunc)):
            found = _recording(found, name)
        self.__dict__[name] = found
        return found


def _recording(f: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(f)
    def call(*args: Any, **options: Any) -> Any:
        recorder = _recorder_among((*args, *options.values()))
        if recorder is None:
            recorder = active.recorder if name in CREATED else None
            if recorder is None:
                return f(*plain_of(args), **plain_of(options))
        elif name in CREATED and name in VARYING:
            recorder.fail(f"it calls {name} with an array, whose shape cannot be foreseen")
        if name == "asarray" and isinstance(args[0], (RecordedScalar, np.ndarray, np.generic)):
            if f(plain_of(args[0]), **plain_of(options)) is plain_of(args[0]):
                return args[0]
            if isinstance(args[0], RecordedScalar):
                return recorder.call(f, args, options)
            return f(*args, **plain_of(options))
        if name in CREATED:
            return recorder.call(f, args, options)
        return called(recorder, f, name, args, options)

    return call


def _recorder_among(args: Any) -> Recorder | None:
    for x in args:
        if isinstance(x, Handle):
            found: Recorder | None = x.recorder
            if found is not None and found.open:
                return found
        elif type(x) in (list, tuple):
            found = _recorder_among(x)
            if found is not None:
                return found
    return None


backend_of(plain)  # the services of NumPy, before a recording asks for its own under the same name
namespace = RecordingNamespace(plain)
for _cls in (Recorded, RecordedScalar):
    libraries._namespaces[_cls] = namespace
