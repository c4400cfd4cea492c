"""Every error that bpgpu raises on purpose: one family, so that callers can catch it as a whole.

Each class is also a `ValueError` or a `TypeError`, because that is what a user of the standard
library expects. A message says where, what was expected, what came, and what to do about it."""

from collections.abc import Callable
from typing import Any


class BpgpuError(Exception):
    """Base of all errors of bpgpu.

    An error that arises inside a model is told with the layer: `Conv2d 'encoder.2': ...`.
    """

    _layer: str = ""
    _path: tuple[str, ...] = ()
    _inner: Any = None

    def passed_through(self, module: Any, name_of: Callable[[Any], str | None]) -> None:
        """Note, on the way out, a Module whose `forward` the error has left."""
        if not self._layer:
            self._layer = type(module).__name__
        else:
            name = name_of(self._inner)
            if name is not None:
                self._path = (name, *self._path)
        self._inner = module

    def __str__(self) -> str:
        text = super().__str__()
        if not self._layer:
            return text
        path = f" '{'.'.join(self._path)}'" if self._path else ""
        return f"{self._layer}{path}: {text}"


class ArgumentError(BpgpuError, TypeError, ValueError):
    """An argument that is no array is not what the function can take."""


class ShapeError(BpgpuError, ValueError):
    """An array has the wrong shape, or an axis that does not exist was named."""


class DataError(BpgpuError, ValueError):
    """A data set, or a file that should hold one, is not as it has to be."""


class DtypeError(BpgpuError, TypeError):
    """An array has a dtype that the operation cannot take."""


class DeviceError(BpgpuError, ValueError):
    """A device is missing, unusable, or arrays live on different devices."""


class OutOfMemoryError(DeviceError, MemoryError):
    """A device has no memory left for an array."""


class LibraryError(BpgpuError, TypeError):
    """Arrays of different array libraries were mixed."""


class NotDifferentiableError(BpgpuError, TypeError):
    """A gradient reached a function that has no derivative, or an argument that cannot carry
    one."""


class ConversionError(BpgpuError, TypeError):
    """A traced array was about to be converted, and its gradient would have been lost in
    silence."""


class MissingAttributeError(BpgpuError, AttributeError):
    """A traced array has no attribute of this name; the message says what to write instead."""


class TraceError(BpgpuError, ValueError):
    """A traced array was used outside of its trace: after it ended, or in another thread."""


class TreeError(BpgpuError, ValueError):
    """Two trees that should have the same structure differ, or one array stands at two places."""


class ModuleError(BpgpuError, ValueError):
    """A Module was built, changed or loaded in a way that cannot work."""


class GradientError(BpgpuError, ValueError):
    """A gradient check found a gradient that is wrong."""


class NonFiniteError(BpgpuError, ValueError):
    """A value that should be finite is NaN or infinite."""


class CheckpointError(BpgpuError, ValueError):
    """A file is no checkpoint, is damaged, or does not belong to what it was to be loaded into."""


class CaptureError(BpgpuError, TypeError):
    """A step does what a CUDA graph cannot hold: it waits for a value, or copies from the host."""


class ExportError(BpgpuError, ValueError):
    """A model or a function cannot be written in the form that was asked for, such as ONNX."""


class StorageError(BpgpuError, OSError):
    """A file could not be read or written: a full disk, a folder without the right to write."""


class MissingFileError(StorageError, FileNotFoundError):
    """There is no file, or no folder, at a path."""


class MissingPackageError(BpgpuError, ImportError):
    """A package that is not part of the plain install is needed; the message says how to install it."""
