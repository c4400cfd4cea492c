"""A stand-in for `cudnn`, the frontend of cuDNN: it keeps to the calls that the real one was seen to take, and computes
convolutions with bpgpu's own code on NumPy, at the addresses that it is given."""

from __future__ import annotations

import ctypes
import math
import types
from typing import Any

import numpy as np

from bpgpu import kernels
from bpgpu.functional import conv

__name__ = "cupy.cudnn"  # code that bp.compile trusts, as it does that of the library

KINDS = {"FLOAT": "f4", "HALF": "f2"}


class cudnnGraphNotSupportedError(Exception):  # noqa: N801 - cuDNN's name
    pass


class Tensor:
    def __init__(self, graph: Any, dim: Any = None, stride: Any = None, kind: Any = None) -> None:
        self.graph, self.dim, self.stride, self.kind = graph, dim, stride, kind
        self.output = False

    def set_output(self, on: bool) -> Tensor:
        self.output = on
        return self

    def set_data_type(self, kind: Any) -> Tensor:
        self.kind = kind
        return self

    def set_dim(self, dim: Any) -> Tensor:
        self.dim = dim
        return self

    def set_stride(self, stride: Any) -> Tensor:
        self.stride = stride
        return self

    def at(self, address: int) -> Any:
        """The numbers, as an array over the memory there."""
        assert isinstance(self.dim, list)
        dtype = np.dtype(KINDS[self.kind])
        size = 1 + sum((n - 1) * s for n, s in zip(self.dim, self.stride, strict=True))
        memory = np.frombuffer(
            (ctypes.c_char * (size * dtype.itemsize)).from_address(address), dtype
        )
        steps = [s * dtype.itemsize for s in self.stride]
        return np.lib.stride_tricks.as_strided(memory, self.dim, steps, writeable=True)


def make(*, refuse: Any = lambda operations: False, starts: bool = True, launch: Any = None) -> Any:
    """The module. `refuse` tells for the operations of a graph whether cuDNN has no plan for it."""
    cudnn: Any = types.ModuleType("cudnn")
    cudnn.graphs, cudnn.runs, cudnn.streams = [], [], []

    class Graph:
        def __init__(self, *, io_data_type: Any, handle: Any = None, **types: Any) -> None:
            assert types == {"intermediate_data_type": "FLOAT", "compute_data_type": "FLOAT"}
            self.kind, self.operations, self.steps, self.notes = io_data_type, [], [], []
            cudnn.graphs.append(self)

        def tensor(self, *, name: str, dim: Any, stride: Any) -> Tensor:
            return Tensor(self, dim, stride, self.kind)

        def _operation(self, name: str, a: Tensor, b: Tensor, moves: Any) -> Tensor:
            y = Tensor(self)
            self.operations.append((name, a, b, moves, y))
            return y

        def conv_fprop(self, *, image: Tensor, weight: Tensor, **moves: Any) -> Tensor:
            return self._operation("fprop", image, weight, moves)

        def conv_dgrad(self, *, loss: Tensor, filter: Tensor, **moves: Any) -> Tensor:
            return self._operation("dgrad", loss, filter, moves)

        def conv_wgrad(self, *, image: Tensor, loss: Tensor, **moves: Any) -> Tensor:
            return self._operation("wgrad", image, loss, moves)

        def bias(self, *, input: Tensor, bias: Tensor) -> Tensor:
            return self._operation("bias", input, bias, None)

        def deselect_numeric_notes(self, notes: Any) -> None:
            self.steps.append("deselect_numeric_notes")
            self.notes = notes

        def check_support(self) -> None:
            self.steps.append("check_support")
            if refuse([o[0] for o in self.operations]):
                raise cudnnGraphNotSupportedError("no plan\nand more")

        def create_execution_plans(self, modes: Any) -> None:
            self.steps.append("create_execution_plans")

        def get_workspace_size(self) -> int:
            return 64

        def execute(self, tensors: Any, workspace: int, *, handle: Any) -> None:
            assert self.steps[-1] == "build_plans"
            assert all(address % 16 == 0 for address in tensors.values())  # as plans take it
            (ctypes.c_char * 64).from_address(workspace)[63] = b"x"
            cudnn.runs.append([o[0] for o in self.operations])
            (launch or (lambda run: run()))(lambda: _compute(self.operations, tensors))

    for step in ("validate", "build_operation_graph", "build_plans"):
        setattr(Graph, step, lambda self, step=step: self.steps.append(step))

    def create_handle() -> Any:
        if not starts:
            raise RuntimeError(
                "cudnnHandle Create failed cudaGetDeviceCount(&count) != cudaSuccess"
            )
        return "handle"

    cudnn.pygraph = Graph
    cudnn.cudnnGraphNotSupportedError = cudnnGraphNotSupportedError
    cudnn.data_type = types.SimpleNamespace(FLOAT="FLOAT", HALF="HALF", BFLOAT16="BFLOAT16")
    cudnn.heur_mode = types.SimpleNamespace(A="A", FALLBACK="FALLBACK")
    names = ("TENSOR_CORE", "DOWN_CONVERT_INPUTS", "NONDETERMINISTIC")
    cudnn.numerical_note = types.SimpleNamespace(**{name: name for name in names})
    cudnn.backend_version = lambda: 92801
    cudnn.create_handle = create_handle
    cudnn.set_stream = lambda handle, stream: cudnn.streams.append(stream)
    return cudnn


def _compute(operations: Any, tensors: Any) -> None:
    import array_api_compat.numpy as xp

    name, a, b, moves, _ = operations[0]
    result = operations[-1][-1]
    images = {"fprop": (a, result), "dgrad": (result, a), "wgrad": (a, b)}[name]
    kernel = (result if name == "wgrad" else b).dim
    geometry = conv.Geometry(
        tuple(images[0].dim[2:]),
        tuple(kernel[2:]),
        tuple(moves["stride"]),
        tuple(zip(moves["pre_padding"], moves["post_padding"], strict=True)),
        tuple(moves["dilation"]),
        images[0].dim[1] // kernel[1],
        tuple(images[1].dim[2:]),
    )
    own = {"fprop": conv._convolve, "dgrad": conv._spread, "wgrad": conv._correlate}[name]
    x, w = (t.at(tensors[t]).astype("f8") for t in (a, b))
    with kernels.switched_off():
        made = own(xp, x, w, None, geometry) if name == "fprop" else own(xp, x, w, geometry)
    if len(operations) > 1:
        bias = operations[1][2]
        assert math.prod(bias.dim) == bias.dim[1]
        made = made + bias.at(tensors[bias])
    assert result.output
    result.at(tensors[result])[...] = made
