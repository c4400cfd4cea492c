"""Arrays that write down what is done with them: one more array library, below the traced namespace.

A handle stands for a NumPy array. What is called on it is computed at once, on the array itself, and noted as a line of
a program. NumPy's own protocols bring its functions here (`__array_ufunc__`, `__array_function__`); the functions of
the namespace come by `RecordingNamespace`. So a recorded run gives what any other run gives.

What cannot be repeated is never guessed: a conversion to a number or to a NumPy array, a function whose result has a
shape that depends on values, or one that is not known here, gives its true result too, and marks the recording as
failed, with the reason.
"""

from bpgpu.backend.recording.handles import Recorded, RecordedScalar, Thing
from bpgpu.backend.recording.lines import Constant, Handle, Line, Ref, plain_of
from bpgpu.backend.recording.namespace import namespace
from bpgpu.backend.recording.recorder import Recorder, now

__all__ = [
    "Constant",
    "Handle",
    "Line",
    "Recorded",
    "RecordedScalar",
    "Recorder",
    "Ref",
    "Thing",
    "namespace",
    "now",
    "plain_of",
]
