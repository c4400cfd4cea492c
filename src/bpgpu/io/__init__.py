"""Files: checkpoints and weights in the safetensors format, torch's checkpoints, models in the ONNX format."""

from bpgpu.io import onnx, torch
from bpgpu.io.loading import load
from bpgpu.io.saving import save

__all__ = ["load", "onnx", "save", "torch"]
