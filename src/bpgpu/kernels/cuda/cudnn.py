"""Convolution on CUDA by cuDNN, where the extra `cudnn13` or `cudnn12` is installed.

CuPy itself has no convolution any more. cuDNN, through nvidia-cudnn-frontend, takes a graph of
operations: here a convolution, one of its two gradients, or a convolution with its bias. A graph is
planned once for each shape, dtype and precision, outside of captures, and then run on addresses.
Whatever cuDNN does not take, and all of it where cuDNN is missing or fails, goes the way of
`conv.py`.

Arrays are channels last in memory, which is what tensor cores read; plans that may give other bits
from one run to the next are left out.
"""

from __future__ import annotations

import functools
import importlib
import logging
import math
import threading
from typing import Any, NamedTuple

import cupy

from bpgpu.backend.windows import window_counts
from bpgpu.errors import DeviceError
from bpgpu.kernels.cuda import conv
from bpgpu.kernels.cuda.launching import CUPY, VECTOR, is_ours
from bpgpu.kernels.cuda.products import precision
from bpgpu.kernels.registry import kernel

DTYPES = {"f": "FLOAT", "e": "HALF", "E": "BFLOAT16"}
"""What cuDNN calls the dtypes, by their characters; float64 is left to matrix products."""

ROUNDING = {
    "fp32": ("TENSOR_CORE", "DOWN_CONVERT_INPUTS"),
    "tf32": ("DOWN_CONVERT_INPUTS",),
    "bf16": (),
    "fp16": (),
}
"""The notes of plans that round float32 more than a precision allows."""

log = logging.getLogger("bpgpu")


class Planned(NamedTuple):
    """A graph that can be run."""

    graph: Any
    operands: tuple[Any, ...]
    """Its tensors: what it reads, then what it writes."""
    workspace: int


_planned: dict[Any, Planned | None] = {}


class _Handles(threading.local):
    """A handle is told its stream, and so is not shared by threads."""

    def __init__(self) -> None:
        self.of: dict[int, list[Any]] = {}
        """For each device cuDNN's handle, and the stream that it was told last."""


_handles = _Handles()


@functools.cache
def library() -> Any:
    """The module `cudnn`, or `None` with one logged reason."""
    try:
        found = importlib.import_module("cudnn")
        found.backend_version()
    except ModuleNotFoundError as error:
        log.info(
            "convolutions are matrix products: %s; for cuDNN, pip install bpgpu[cudnn13] or "
            "bpgpu[cudnn12]",
            error,
        )
        return None
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        log.warning("convolutions are matrix products, since cuDNN does not load: %s", error)
        return None
    return found


@functools.cache
def works(device: int) -> bool:
    """Whether cuDNN can be used on a device; if not, the reason is logged once."""
    cudnn = library()
    if cudnn is None:
        return False
    try:
        _handle(device)
    except RuntimeError as error:
        log.warning("convolutions are matrix products, since cuDNN does not start: %s", error)
        return False
    return True


def accepts(a: Any, b: Any, *rest: Any) -> bool:
    geometry = rest[-1]
    around = tuple(s + p + q for s, (p, q) in zip(geometry.sizes, geometry.pads, strict=True))
    return (
        conv.accepts(a, b, *rest)
        and a.dtype.char in DTYPES
        and works(cupy.cuda.runtime.getDevice())
        and geometry.counts
        == window_counts(around, geometry.kernel, geometry.stride, geometry.dilation)
    )


@kernel("convolve", CUPY, accepts)
def convolve(x: Any, w: Any, b: Any, geometry: Any) -> Any:
    """`(N, C, *S), (O, C / G, *K), (O,) -> (N, O, *L)`."""
    shape = (x.shape[0], w.shape[0], *geometry.counts)
    if is_ours(b) and b.dtype == x.dtype:
        fused = _run("convolve with bias", shape, (x, w, b), geometry)
        if fused is not None:
            return fused
    y = _run("convolve", shape, (x, w), geometry)
    if y is None:
        return conv.convolve(x, w, b, geometry)
    if b is not None:
        y += b.reshape(-1, *(1,) * len(geometry.sizes))
    return y


@kernel("spread", CUPY, accepts)
def spread(g: Any, w: Any, geometry: Any) -> Any:
    """`(N, O, *L), (O, C / G, *K) -> (N, C, *S)`: what of each result reaches each input."""
    shape = (g.shape[0], w.shape[1] * geometry.groups, *geometry.sizes)
    x = _run("spread", shape, (g, w), geometry)
    return conv.spread(g, w, geometry) if x is None else x


@kernel("correlate", CUPY, accepts)
def correlate(x: Any, g: Any, geometry: Any) -> Any:
    """`(N, C, *S), (N, O, *L) -> (O, C / G, *K)`: what of each result reaches each weight."""
    shape = (g.shape[1], x.shape[1] // geometry.groups, *geometry.kernel)
    w = _run("correlate", shape, (x, g), geometry)
    return conv.correlate(x, g, geometry) if w is None else cupy.ascontiguousarray(w)


def _run(name: str, shape: tuple[int, ...], operands: tuple[Any, ...], geometry: Any) -> Any:
    """The result, channels last in memory; `None` if cuDNN does not compute this."""
    device = cupy.cuda.runtime.getDevice()
    char = operands[0].dtype.char
    mode = precision() if char == "f" else None
    key = (name, device, char, mode, geometry, *(a.shape for a in operands))
    if key not in _planned:
        _planned[key] = _plan(name, shape, operands, geometry, device, mode)
    planned = _planned[key]
    if planned is None:
        return None
    made = cupy.empty((shape[0], *shape[2:], shape[1]), operands[0].dtype)
    workspace = cupy.empty(max(planned.workspace, 1), "uint8")
    given = [_readable(a) for a in operands]
    addresses = [a.data.ptr for a in (*given, made)]
    planned.graph.execute(
        dict(zip(planned.operands, addresses, strict=True)),
        workspace.data.ptr,
        handle=_handle(device),
    )
    return cupy.moveaxis(made, -1, 1)


def _readable(a: Any) -> Any:
    """An operand without gaps, channels last, at an address where plans take it that 16 bytes can be loaded."""
    a = cupy.ascontiguousarray(a) if a.ndim == 1 else conv.channels_last(a)
    return a if a.data.ptr % VECTOR == 0 else a.copy()


def _handle(device: int) -> Any:
    """cuDNN's handle of a device for this thread, on the stream of now."""
    held = _handles.of.get(device)
    if held is None:
        held = _handles.of[device] = [library().create_handle(), None]
    stream = cupy.cuda.get_current_stream().ptr
    if held[1] != stream:
        library().set_stream(held[0], stream)
        held[1] = stream
    return held[0]


def _plan(
    name: str,
    shape: tuple[int, ...],
    operands: tuple[Any, ...],
    geometry: Any,
    device: int,
    mode: str | None,
) -> Planned | None:
    if cupy.cuda.get_current_stream().is_capturing():
        raise DeviceError(
            f"a convolution of {' and '.join(str(tuple(a.shape)) for a in operands[:2])} is met for "
            "the first time while a CUDA graph is captured, when it cannot be planned; run the step "
            "once before it is captured"
        )
    cudnn = library()
    dtype = DTYPES[operands[0].dtype.char]
    shapes = [a.shape for a in operands]
    graph, tensors = described(cudnn, name, dtype, shapes, shape, geometry, _handle(device))
    try:
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        notes = ("NONDETERMINISTIC", *(ROUNDING[mode] if mode else ()))
        graph.deselect_numeric_notes([getattr(cudnn.numerical_note, note) for note in notes])
        graph.check_support()
        graph.build_plans()
        return Planned(graph, tensors, graph.get_workspace_size())
    except (cudnn.cudnnGraphNotSupportedError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        log.info("cuDNN does not %s %s: %s", name, shapes, reason)
        return None


def described(
    cudnn: Any,
    name: str,
    dtype: str,
    shapes: list[tuple[int, ...]],
    out: tuple[int, ...],
    geometry: Any,
    handle: Any = None,
) -> tuple[Any, tuple[Any, ...]]:
    """The graph of an operation, and its tensors: operands first, then the result.

    cuDNN has no convolution over one axis: there is one of size 1 before it."""
    kind, single = getattr(cudnn.data_type, dtype), cudnn.data_type.FLOAT
    settings = {} if handle is None else {"handle": handle}
    graph = cudnn.pygraph(
        io_data_type=kind,
        intermediate_data_type=single,
        compute_data_type=single,
        **settings,
    )
    flat = len(geometry.sizes) == 1
    before, after = zip(*geometry.pads, strict=True)
    moves = {
        "pre_padding": _widened(before, 0, flat),
        "post_padding": _widened(after, 0, flat),
        "stride": _widened(geometry.stride, 1, flat),
        "dilation": _widened(geometry.dilation, 1, flat),
    }
    tensors = []
    for i, shape in enumerate(shapes):
        if len(shape) == 1:  # a bias
            shape = (1, *shape, *(1,) * len(geometry.sizes))
        dims = _dims(shape, flat)
        tensors.append(graph.tensor(name=f"operand {i}", dim=dims, stride=_steps(dims)))
    a, b = tensors[:2]
    if name == "spread":
        y = graph.conv_dgrad(loss=a, filter=b, **moves)
    elif name == "correlate":
        y = graph.conv_wgrad(image=a, loss=b, **moves)
    else:
        y = graph.conv_fprop(image=a, weight=b, **moves)
    if len(tensors) > 2:
        y = graph.bias(input=y, bias=tensors[2])
    dims = _dims(out, flat)
    y.set_output(True).set_data_type(kind)
    y.set_dim(dims)
    y.set_stride(_steps(dims))
    return graph, (*tensors, y)


def _widened(values: tuple[int, ...], with_: int, flat: bool) -> list[int]:
    return [with_, *values] if flat else list(values)


def _dims(shape: tuple[int, ...], flat: bool) -> list[int]:
    return [*shape[:2], 1, *shape[2:]] if flat else list(shape)


def _steps(dims: list[int]) -> list[int]:
    """Numbers from one entry to the next along each axis, channels last in memory."""
    c, *sizes = dims[1:]
    steps = [c * math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
    return [c * math.prod(sizes), 1, *steps]
