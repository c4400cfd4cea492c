"""Every error that bpgpu raises on purpose: one family, so that callers can catch it as a whole.

Each class is also a `ValueError` or a `TypeError`, because that is what a user of the standard library expects. A
message says where, what was expected, what came, and what to do about it.
"""


class BpgpuError(Exception):
    """Base of all errors of bpgpu."""


class ShapeError(BpgpuError, ValueError):
    """An array has the wrong shape, or an axis that does not exist was named."""


class DtypeError(BpgpuError, TypeError):
    """An array has a dtype that the operation cannot take."""


class DeviceError(BpgpuError, ValueError):
    """A device is missing, unusable, or arrays live on different devices."""


class LibraryError(BpgpuError, TypeError):
    """Arrays of different array libraries were mixed."""


class NotDifferentiableError(BpgpuError, TypeError):
    """A gradient reached a function that has no derivative, or an argument that cannot carry one."""


class ConversionError(BpgpuError, TypeError):
    """A traced array was about to be converted, and its gradient would have been lost in silence."""


class TraceError(BpgpuError, ValueError):
    """A traced array was used outside of its trace: after it ended, or in another thread."""


class TreeError(BpgpuError, ValueError):
    """Two trees that should have the same structure differ, or one array stands at two places."""


class GradientError(BpgpuError, ValueError):
    """A gradient check found a gradient that is wrong."""


class NonFiniteError(BpgpuError, ValueError):
    """A value that should be finite is NaN or infinite."""
