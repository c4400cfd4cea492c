"""Steps that are recorded once and replayed: `bpgpu.compile`.

`backend.recording` notes the calls, `places` finds what a step can read, `watch` sees what runs, `program` writes the
source, `guard` asks whether it still holds, and `step` decides. `capture` makes CUDA graphs of steps over CuPy's
arrays, and `lint` tells on the CPU what stands in the way of one.
"""

from bpgpu.replay.step import Compiled, compile

__all__ = ["Compiled", "compile"]
