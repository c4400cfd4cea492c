"""Files: checkpoints and weights, in the safetensors format."""

from bpgpu.io.loading import load
from bpgpu.io.saving import save

__all__ = ["load", "save"]
