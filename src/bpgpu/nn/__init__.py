"""Layers and models."""

from bpgpu.nn import twin as _twin  # noqa: F401 - makes a Module a tree
from bpgpu.nn.containers import ModuleDict, ModuleList, Residual, Sequential
from bpgpu.nn.module import Module
from bpgpu.nn.parameter import Parameter
from bpgpu.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "RNNCell",
    "Residual",
    "Sequential",
]
