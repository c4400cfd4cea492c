"""bpgpu: backpropagation on the arrays that you already have."""

from bpgpu import errors
from bpgpu.autodiff import operators as _operators
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.transform import grad, value_and_grad, vjp

__version__ = "0.1.0"
__all__ = ["array_namespace", "errors", "grad", "value_and_grad", "vjp"]
