"""Layers and models."""

from bpgpu.nn import twin as _twin  # noqa: F401 - makes a Module a tree
from bpgpu.nn.containers import ModuleDict, ModuleList, Residual, Sequential
from bpgpu.nn.module import Module
from bpgpu.nn.parameter import Parameter

__all__ = ["Module", "ModuleDict", "ModuleList", "Parameter", "Residual", "Sequential"]
