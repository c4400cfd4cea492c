"""All kernels for CuPy's arrays, registered when this is imported."""

from bpgpu.kernels.cuda import embedding, gelu, norm, pool, products, recurrent, softmax

__all__ = ["embedding", "gelu", "norm", "pool", "products", "recurrent", "softmax"]
