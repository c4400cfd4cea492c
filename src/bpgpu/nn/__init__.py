"""Layers and models."""

import sys

from bpgpu import functional
from bpgpu.nn import init
from bpgpu.nn import twin as _twin  # noqa: F401 - makes a Module a tree
from bpgpu.nn.activation import (
    CELU,
    ELU,
    GELU,
    SELU,
    LogSigmoid,
    Mish,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
    Tanhshrink,
)
from bpgpu.nn.batchnorm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from bpgpu.nn.containers import ModuleDict, ModuleList, Residual, Sequential
from bpgpu.nn.dropout import (
    AlphaDropout,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    FeatureAlphaDropout,
)
from bpgpu.nn.embedding import Embedding
from bpgpu.nn.linear import Bilinear, Flatten, Identity, Linear, Unflatten
from bpgpu.nn.module import Module
from bpgpu.nn.norm import GroupNorm, LayerNorm, LocalResponseNorm, RMSNorm
from bpgpu.nn.parameter import Parameter
from bpgpu.nn.rectifier import (
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    PReLU,
    ReLU,
    ReLU6,
    RReLU,
    Softshrink,
    Threshold,
)
from bpgpu.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from bpgpu.nn.softmax import GLU, LogSoftmax, Softmax, Softmax2d, Softmin

sys.modules[f"{__name__}.functional"] = functional  # for `import bpgpu.nn.functional as F`

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "AlphaDropout",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "Embedding",
    "FeatureAlphaDropout",
    "Flatten",
    "GRUCell",
    "GroupNorm",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LSTMCell",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "PReLU",
    "Parameter",
    "RMSNorm",
    "RNNCell",
    "RReLU",
    "ReLU",
    "ReLU6",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "Unflatten",
    "functional",
    "init",
]
