"""Steps that are recorded once and replayed: `bpgpu.compile`.

`backend.recording` notes the calls, `places` finds what a step can read, `watch` sees what runs, `program` writes the
source, `guard` asks whether it still holds, and `step` decides.
"""

from bpgpu.replay.step import Compiled, compile

__all__ = ["Compiled", "compile"]
