"""The gelu on CUDA, exact and by a tanh. Only its input is kept for the way back."""

from __future__ import annotations

from typing import Any

from bpgpu.kernels.cuda.launching import (
    CUPY,
    LARGEST,
    THREADS,
    blocks,
    empty_as,
    in_order_of,
    is_dense,
    is_ours,
    name_of,
    pack,
    runner,
)
from bpgpu.kernels.registry import kernel

run = runner("gelu.cu")


def accepts(x: Any) -> bool:
    return is_ours(x) and 0 < x.size < LARGEST and is_dense(x)


@kernel("gelu", CUPY, accepts)
def gelu(x: Any) -> Any:
    """`x P(x)`, and the pull."""
    return _computed(x, "Exact")


@kernel("gelu_tanh", CUPY, accepts)
def gelu_tanh(x: Any) -> Any:
    """`x (1 + tanh(k (x + c x^3))) / 2`, and the pull."""
    return _computed(x, "ByTanh")


def _computed(x: Any, form: str) -> Any:
    y = empty_as(x)
    n = pack(x.size, x, y)
    run(f"gelu<{name_of(x)}, {n}, {form}>", blocks(x.size // n), THREADS, x, y, x.size)

    def pull(g: Any) -> Any:
        g = in_order_of(x, g)
        gx = empty_as(x)
        n = pack(x.size, x, g, gx)
        name = f"gelu_back<{name_of(x)}, {n}, {form}>"
        run(name, blocks(x.size // n), THREADS, x, g, gx, x.size)
        return gx

    return y, pull
