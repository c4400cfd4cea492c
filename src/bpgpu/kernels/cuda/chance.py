"""Random words, masks, dropout and relu on CUDA: one launch where the own code, in the words of the
standard, makes a hundred."""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from bpgpu.kernels.cuda.launching import (
    CUPY,
    LARGEST,
    THREADS,
    blocks,
    empty_as,
    in_order_of,
    is_dense,
    is_here,
    is_ours,
    name_of,
    pack,
    runner,
    wide_of,
)
from bpgpu.kernels.registry import kernel

run = runner("random.cu")


def is_key(key: Any) -> bool:
    return is_here(key) and key.dtype == np.int32 and key.flags.c_contiguous


def accepts_blocks(key: Any, count: int, start: int) -> bool:
    return is_key(key) and 0 < count < LARGEST


@kernel("blocks_of_key", CUPY, accepts_blocks)
def blocks_of_key(key: Any, count: int, start: int) -> Any:
    """Both words of the blocks `start` to `start + count`."""
    first, second = cupy.empty(count, "int32"), cupy.empty(count, "int32")
    run("blocks_of_key", blocks(count), THREADS, key, first, second, count, np.uint64(start))
    return first, second


def accepts_mask(key: Any, shape: tuple[int, ...], width: int, used: float) -> bool:
    return is_key(key) and 0 < math.prod(shape) < LARGEST


@kernel("mask_of_key", CUPY, accepts_mask)
def mask_of_key(key: Any, shape: tuple[int, ...], width: int, used: float) -> Any:
    """True with probability `used`, by `width` bits for each number."""
    mask = cupy.empty(shape, "bool")
    planes, count, limit = layout(mask.size, width, used)
    name = f"mask_of_key<{planes}>"
    run(name, blocks(count), THREADS, key, mask, mask.size, count, limit)
    return mask


@kernel("key_after", CUPY, is_key)
def key_after(key: Any) -> Any:
    """The next key of a sequence: the low word plus one."""
    made = cupy.empty(2, "int32")
    run("key_after", 1, 1, key, made)
    return made


def accepts_dropped(x: Any, key: Any, width: int, used: float) -> bool:
    return is_ours(x) and is_key(key) and x.flags.c_contiguous and 0 < x.size < LARGEST


@kernel("dropped", CUPY, accepts_dropped)
def dropped(x: Any, key: Any, width: int, used: float) -> Any:
    """`x / used` where `mask_of_key` is true, 0 elsewhere."""
    return _dropped(x, key, width, used, "Same")


@kernel("relu_dropped", CUPY, accepts_dropped)
def relu_dropped(x: Any, key: Any, width: int, used: float) -> Any:
    """The same of `max(0, x)`, and the pull, for which the result tells what is wanted."""
    y = _dropped(x, key, width, used, "Relu")
    return y, lambda g: through_relu(y, g, 1 / used)


@kernel("gelu_dropped", CUPY, accepts_dropped)
def gelu_dropped(x: Any, key: Any, width: int, used: float) -> Any:
    """The same of the exact gelu; the pull makes the mask anew and takes the derivative at `x`."""
    return _gelu_dropped(x, key, width, used, "Exact")


@kernel("gelu_tanh_dropped", CUPY, accepts_dropped)
def gelu_tanh_dropped(x: Any, key: Any, width: int, used: float) -> Any:
    """The same of the gelu by a tanh."""
    return _gelu_dropped(x, key, width, used, "ByTanh")


def _gelu_dropped(x: Any, key: Any, width: int, used: float, form: str) -> Any:
    key = key.copy()  # by the way back, its layer may have written the next one over it

    def pull(g: Any) -> Any:
        return _started("dropped_back", key, (x, in_order_of(x, g)), width, used, form)

    return _dropped(x, key, width, used, form), pull


def _dropped(x: Any, key: Any, width: int, used: float, form: str) -> Any:
    return _started("dropped", key, (x,), width, used, form)


def _started(
    name: str, key: Any, given: tuple[Any, ...], width: int, used: float, form: str
) -> Any:
    x = given[0]
    y = cupy.empty(x.shape, x.dtype)
    planes, count, limit = layout(x.size, width, used)
    n = pack(count, *given, y) if x.size == planes * count else 1  # each plane begins with a pack
    run(
        f"{name}<{name_of(x)}, {n}, {planes}, {form}>", blocks(count // n), THREADS,
        key, *given, y, x.size, count, limit, wide_of(x).type(1 / used),
    )  # fmt: skip
    return y


def accepts_relu(x: Any) -> bool:
    return is_ours(x) and is_dense(x) and 0 < x.size < LARGEST


@kernel("relu", CUPY, accepts_relu)
def relu(x: Any) -> Any:
    """`max(0, x)`, and the pull."""
    y = empty_as(x)
    n = pack(x.size, x, y)
    run(f"relu<{name_of(x)}, {n}>", blocks(x.size // n), THREADS, x, y, x.size)
    return y, lambda g: through_relu(y, g, 1.0)


def through_relu(y: Any, g: Any, scale: float) -> Any:
    """`g scale` where `y` is not 0."""
    g = in_order_of(y, g)
    gx = empty_as(y)
    n = pack(y.size, y, g, gx)
    name = f"relu_back<{name_of(y)}, {n}>"
    run(name, blocks(y.size // n), THREADS, y, g, gx, y.size, wide_of(y).type(scale))
    return gx


def layout(size: int, width: int, used: float) -> tuple[int, int, int]:
    """The planes of a mask, its blocks, and the signed word below which a number stays."""
    return 64 // width, -(-size * width // 64), int(used * 2.0**32) - (1 << 31)
