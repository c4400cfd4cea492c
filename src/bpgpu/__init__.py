"""bpgpu: backpropagation on the arrays that you already have."""

from bpgpu import errors
from bpgpu.autodiff import operators as _operators
from bpgpu.autodiff.check import check_grads
from bpgpu.autodiff.control import checkpoint, custom_vjp, stop_gradient
from bpgpu.autodiff.derived import hessian, hvp, jacobian, jvp
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.transform import grad, value_and_grad, vjp

__version__ = "0.1.0"
__all__ = [
    "array_namespace",
    "check_grads",
    "checkpoint",
    "custom_vjp",
    "errors",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "stop_gradient",
    "value_and_grad",
    "vjp",
]
