"""Products of matrices on CUDA, by cuBLASLt.

What a product needs (descriptors, an algorithm) is decided when shapes, strides and dtype are first
seen, and then found by one look into a dictionary; the product itself is one call of the library.
Transposed operands and stacks with any step are taken as they are; what the library cannot read, a
last axis with gaps for example, is copied first.

In float32 `bp.precision` says how the numbers may be rounded before they are multiplied; sums are
made in float32 whatever the operands, and in float64 for these.
"""

from __future__ import annotations

import functools
import logging
import math
from typing import Any, NamedTuple

import cupy

from bpgpu.backend.precision import current
from bpgpu.errors import DeviceError
from bpgpu.kernels.cuda.columns import can_sum, column_sums
from bpgpu.kernels.cuda.cublaslt import (
    ALIGNED,
    WORKSPACE,
    Plan,
    Spec,
    UnsupportedError,
    library,
)
from bpgpu.kernels.cuda.cublaslt_values import VALUES
from bpgpu.kernels.cuda.launching import CUPY, is_here
from bpgpu.kernels.cuda.layouts import Misfit, Problem, View, line, packed, problem, product_shape
from bpgpu.kernels.registry import kernel

KINDS = {
    "e": VALUES["CUDA_R_16F"],
    "E": VALUES["CUDA_R_16BF"],  # bfloat16, of ml_dtypes
    "f": VALUES["CUDA_R_32F"],
    "d": VALUES["CUDA_R_64F"],
}
"""By the character of a dtype."""

ROUNDED = {
    "fp32": VALUES["CUBLAS_COMPUTE_32F"],
    "tf32": VALUES["CUBLAS_COMPUTE_32F_FAST_TF32"],
    "bf16": VALUES["CUBLAS_COMPUTE_32F_FAST_16BF"],
    "fp16": VALUES["CUBLAS_COMPUTE_32F_FAST_16F"],
}
"""How float32 may be rounded before it is multiplied, by the precision that was asked for."""

MANY = 4096
"""Products of so many shapes are remembered; then all are forgotten."""


class Decision(NamedTuple):
    """What was found for operands of certain shapes, strides and dtypes."""

    plan: Plan | None
    """`None` if cuBLASLt has no algorithm, or if operands are copied first."""
    shape: tuple[int, ...]
    copied: Misfit | None


current_device = cupy.cuda.runtime.getDevice
current_stream = cupy.cuda.get_current_stream

_decisions: dict[Any, Decision] = {}
_workspaces: dict[tuple[int, int], Any] = {}


def product(
    x: Any,
    y: Any,
    out: Any = None,
    *,
    dtype: Any = None,
    alpha: float = 1.0,
    add: bool = False,
    epilogue: str = "DEFAULT",
    vector: Any = None,
    aux: Any = None,
) -> Any:
    """`alpha x @ y` for operands of two or more axes.

    The result is written to `out`, whose last axis has no gaps, or is added to what stands there;
    else it is a new array of `dtype`, by default that of the operands. An epilogue is one of
    cuBLASLt's; what it reads or writes besides is in `vector` and `aux` (see `aux_for`). Gives
    `None` for what cuBLASLt does not compute: other dtypes, nothing at all, or an epilogue that
    it has no algorithm for."""
    at_x, at_y = x.data, y.data
    char, char_y = x.dtype.char, y.dtype.char
    low = at_x.ptr | at_y.ptr | ALIGNED
    strides = char_out = None
    if out is not None:
        low |= out.data.ptr
        strides, char_out = out.strides, out.dtype.char
    elif dtype is not None:
        char_out = dtype.char
    for more in (vector, aux):
        if more is not None:
            low |= more.data.ptr
    device = current_device()
    key = (
        x.shape, x.strides, y.shape, y.strides, char, char_y, char_out, strides,
        precision() if char == "f" else None, device, at_x.device_id, at_y.device_id,
        low & -low, alpha, add, epilogue,
    )  # fmt: skip
    found = _decisions.get(key)
    if found is None:
        found = _decide(key, x, y, out)
    plan = found.plan
    if plan is None:
        if found.copied is None:
            return None
        x, y = _copied(x, y, found)
        return product(
            x, y, out, dtype=dtype, alpha=alpha, add=add, epilogue=epilogue, vector=vector, aux=aux
        )
    if out is None:
        out = cupy.empty(found.shape, x.dtype if dtype is None else dtype)
    stream = current_stream().ptr
    workspace = _workspaces.get((device, stream))
    if workspace is None:
        workspace = _workspaces[device, stream] = cupy.empty(WORKSPACE, "uint8")
    if vector is None and aux is None:
        plan.run(at_y.ptr, at_x.ptr, out.data.ptr, workspace.data.ptr, stream)
    else:
        plan.run_with(
            0 if vector is None else vector.data.ptr,
            0 if aux is None else aux.data.ptr,
            at_y.ptr, at_x.ptr, out.data.ptr, workspace.data.ptr, stream,
        )  # fmt: skip
    return out


def precision() -> str:
    """How float32 is multiplied: a key of `ROUNDED`."""
    return current()


def forget() -> None:
    """Let go of all that was decided, and of the memory that products worked in: not while a graph
    with products is still to be launched."""
    _decisions.clear()
    _workspaces.clear()


def _decide(key: Any, x: Any, y: Any, out: Any) -> Decision:
    device = current_device()
    shape = product_shape(x.shape, y.shape)
    fits = (
        shape is not None
        and x.dtype == y.dtype
        and x.dtype.char in KINDS
        and 0 not in x.shape
        and 0 not in y.shape
        and x.data.device_id == y.data.device_id == device
        and usable(device)
    )
    if not fits or shape is None:
        return _remembered(key, Decision(None, (), None))
    found = problem(_view(x), _view(y), packed(shape) if out is None else _view(out))
    if isinstance(found, Misfit):
        return _remembered(key, Decision(None, shape, found))
    if current_stream().is_capturing():
        raise DeviceError(
            f"a product of matrices {tuple(x.shape)} and {tuple(y.shape)} is met for the first time "
            "while a CUDA graph is captured, when its algorithm cannot be chosen; run the step once "
            "before it is captured"
        )
    try:
        plan = Plan(library(), device, _spec(key, found))
    except UnsupportedError:
        plan = None
    return _remembered(key, Decision(plan, shape, None))


def _spec(key: Any, found: Problem) -> Spec:
    *_, char, _, char_out, _, mode, _, _, _, aligned, alpha, add, epilogue = key
    whole = VALUES["CUBLAS_COMPUTE_64F" if char == "d" else "CUBLAS_COMPUTE_32F"]
    x, y, out = range(3)
    return Spec(  # by rows, the operands change places: see cublaslt
        m=found.columns,
        n=found.rows,
        k=found.inner,
        kind=KINDS[char],
        kind_out=KINDS[char_out or char],
        compute=ROUNDED[mode] if mode else whole,
        turned=(found.turned[y], found.turned[x]),
        leading=(found.leading[y], found.leading[x], found.leading[out]),
        batch=found.batch,
        steps=(found.steps[y], found.steps[x], found.steps[out]),
        alpha=alpha,
        beta=float(add),
        epilogue=VALUES[f"CUBLASLT_EPILOGUE_{epilogue}"],
        aux_leading=aux_leading(epilogue, found.columns),
        aligned=aligned,
    )


def _remembered(key: Any, decision: Decision) -> Decision:
    if len(_decisions) >= MANY:
        _decisions.clear()
    _decisions[key] = decision
    return decision


@functools.cache
def usable(device: int) -> bool:
    """Whether cuBLASLt works on a device; if not, the reason is logged once."""
    try:
        library().handle(device)
    except DeviceError as error:
        logging.getLogger("bpgpu").warning("products are left to CuPy: %s", error)
        return False
    return True


def aux_leading(epilogue: str, columns: int) -> int:
    """From one row of an epilogue's auxiliary numbers to the next, in bits for ReLU: the library
    wants multiples of 128 bits or of 8 numbers."""
    if epilogue.startswith(("RELU_AUX", "DRELU")):
        return -(-columns // 128) * 128
    if epilogue.startswith(("GELU_AUX", "DGELU")):
        return -(-columns // 8) * 8
    return 0


def aux_for(epilogue: str, like: Any) -> Any:
    """Where the forward epilogue of a product `like` writes what the backward epilogue reads: of
    ReLU a bit for each number, of GELU the number before it."""
    rows, columns = like.shape
    leading = aux_leading(epilogue, columns)
    if "RELU" in epilogue:
        return cupy.empty((rows, leading // 8), "uint8")
    return cupy.empty((rows, leading), like.dtype)


def _view(x: Any) -> View:
    size = x.dtype.itemsize
    return View(x.shape, tuple(s // size if s % size == 0 else -1 for s in x.strides))


def _copied(x: Any, y: Any, found: Decision) -> tuple[Any, Any]:
    """The operands, those that do not fit without gaps."""
    misfit, lead = found.copied, found.shape[:-2]
    assert misfit is not None
    if misfit.whole:
        x, y = (
            cupy.broadcast_to(v, (*lead, *v.shape[-2:])) if wrong else v
            for v, wrong in zip((x, y), misfit[:2], strict=True)
        )
    if misfit.x:
        x = cupy.array(x, order="C", copy=True)
    if misfit.y:
        y = cupy.array(y, order="C", copy=True)
    return x, y


# ---- the kernels


def accepts(x: Any, y: Any) -> bool:
    return type(x) is type(y) is cupy.ndarray and x.ndim > 0 < y.ndim


@kernel("matmul", CUPY, accepts)
def matmul(x: Any, y: Any) -> Any:
    """`(..., M, K), (..., K, N) -> (..., M, N)`, or vectors in place of either."""
    nx, ny = x.ndim, y.ndim
    if nx > 1 < ny:
        return multiplied(x, y)
    out = multiplied(x[None, :] if nx == 1 else x, y[:, None] if ny == 1 else y)
    if nx == 1:
        out = out[..., 0, :]
    return out[..., 0] if ny == 1 else out


@kernel("tensordot", CUPY, lambda x, y, axes: type(x) is type(y) is cupy.ndarray)
def tensordot(x: Any, y: Any, axes: Any) -> Any:
    """One product of matrices, with the summed axes side by side."""
    if isinstance(axes, int):
        axes = range(x.ndim - axes, x.ndim), range(axes)
    of_x, of_y = ([a % v.ndim for a in own] for own, v in zip(axes, (x, y), strict=True))
    if x.dtype != y.dtype or [x.shape[a] for a in of_x] != [y.shape[a] for a in of_y]:
        return cupy.tensordot(x, y, axes=axes)
    free_x, free_y = ([a for a in range(v.ndim) if a not in of] for v, of in ((x, of_x), (y, of_y)))
    rows, columns = [x.shape[a] for a in free_x], [y.shape[a] for a in free_y]
    inner = math.prod(x.shape[a] for a in of_x)
    left = x.transpose(free_x + of_x).reshape(math.prod(rows), inner)
    right = y.transpose(of_y + free_y).reshape(inner, math.prod(columns))
    return multiplied(left, right).reshape(rows + columns)


def accepts_linear(x: Any, w: Any, b: Any) -> bool:
    return (
        accepts(x, w)
        and w.ndim == 2
        and x.dtype == w.dtype
        and x.dtype.char in KINDS
        and 0 not in x.shape
        and 0 not in w.shape
        and (
            b is None
            or (
                is_here(b)
                and b.dtype == w.dtype
                and b.shape == w.shape[:1]
                and (b.strides[0] == b.dtype.itemsize or b.size == 1)
            )
        )
    )


@kernel("linear", CUPY, accepts_linear)
def linear(x: Any, w: Any, b: Any) -> Any:
    """`(..., I), (O, I), (O,) -> (..., O)`, the bias added on the way out of the product; and the
    pull, where the gradient of the bias comes with that of the weight."""
    rows = math.prod(x.shape[:-1])
    flat = x.reshape(rows, x.shape[-1])
    y = with_bias(flat, w.T, b)

    def pull(g: Any, wanted: tuple[bool, ...]) -> Any:
        g = g.reshape(rows, g.shape[-1])
        gx = multiplied(g, w).reshape(x.shape) if wanted[0] else None
        if wanted[1] and wanted[2]:
            gw, gb = product_and_sums(g.T, flat)
        else:
            gw = multiplied(g.T, flat) if wanted[1] else None
            gb = sums(g) if wanted[2] else None
        return gx, gw, gb

    return y.reshape(*x.shape[:-1], y.shape[-1]), pull


def multiplied(x: Any, y: Any) -> Any:
    """`x @ y`."""
    out = product(x, y)
    return cupy.matmul(x, y) if out is None else out


def with_bias(x: Any, y: Any, b: Any) -> Any:
    """`x @ y + b`, for matrices."""
    if b is None:
        return multiplied(x, y)
    out = product(x, y, epilogue="BIAS", vector=b)
    if out is None:
        out = multiplied(x, y)
        out += b
    return out


def product_and_sums(x: Any, y: Any) -> tuple[Any, Any]:
    """`x @ y` for matrices, and the sum of each row of `x`."""
    if line(*x.shape, *_view(x).steps) is None:
        x = cupy.array(x, order="C", copy=True)
    totals = cupy.empty(x.shape[0], x.dtype)
    out = product(x, y, epilogue="BGRADB", vector=totals)
    if out is None:
        return multiplied(x, y), sums(x.T)
    return out, totals


def sums(g: Any) -> Any:
    """`(N, O) -> (O,)`."""
    if can_sum(g):
        return column_sums(g)
    return multiplied(cupy.ones((1, g.shape[0]), g.dtype), g)[0]
