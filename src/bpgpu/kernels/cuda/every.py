"""All kernels for CuPy's arrays, registered when this is imported."""

from bpgpu.kernels.cuda import (
    attention,
    chance,
    conv,
    cudnn,
    embedding,
    gelu,
    loss,
    norm,
    pool,
    products,
    recurrent,
    softmax,
    update,
)

__all__ = [
    "attention",
    "chance",
    "conv",
    "cudnn",
    "embedding",
    "gelu",
    "loss",
    "norm",
    "pool",
    "products",
    "recurrent",
    "softmax",
    "update",
]
