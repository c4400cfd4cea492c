"""bpgpu: backpropagation on the arrays that you already have.

What differentiates is here; the folders `data`, `functional`, `nn`, `optim`, `random`, `testing` and `train` are
imported when they are first named.
"""

import importlib
from typing import TYPE_CHECKING, Any

from bpgpu import errors
from bpgpu.autodiff import methods as _methods  # noqa: F401 - completes the traced array
from bpgpu.autodiff import numpy_protocol as _numpy_protocol  # noqa: F401 - completes the traced array
from bpgpu.autodiff import operators as _operators  # noqa: F401 - completes the traced array
from bpgpu.autodiff import torch_protocol as _torch_protocol  # noqa: F401 - completes the traced array
from bpgpu.autodiff.check import check_grads
from bpgpu.autodiff.control import checkpoint, custom_vjp, stop_gradient
from bpgpu.autodiff.derived import hessian, hvp, jacobian, jvp
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.transform import grad, value_and_grad, vjp
from bpgpu.device import Device, device, devices, show_config, to_device, to_numpy

if TYPE_CHECKING:
    from bpgpu import data, functional, interop, io, memory, nn, optim, random, testing, train, tree
    from bpgpu.checking import check
    from bpgpu.explaining import explain
    from bpgpu.io import load, save
    from bpgpu.minimizing import minimize
    from bpgpu.mixed import precision
    from bpgpu.optim import clip_grad_norm, clip_grad_value
    from bpgpu.overview import summary
    from bpgpu.random import seed
    from bpgpu.replay import compile
    from bpgpu.train.fit import fit
    from bpgpu.train.predict import evaluate, predict

__version__ = "0.1.0"
__all__ = [
    "Device",
    "array_namespace",
    "check",
    "check_grads",
    "checkpoint",
    "clip_grad_norm",
    "clip_grad_value",
    "compile",
    "custom_vjp",
    "data",
    "device",
    "devices",
    "errors",
    "evaluate",
    "explain",
    "fit",
    "functional",
    "grad",
    "hessian",
    "hvp",
    "interop",
    "io",
    "jacobian",
    "jvp",
    "load",
    "memory",
    "minimize",
    "nn",
    "optim",
    "precision",
    "predict",
    "random",
    "save",
    "seed",
    "show_config",
    "stop_gradient",
    "summary",
    "testing",
    "to_device",
    "to_numpy",
    "train",
    "tree",
    "value_and_grad",
    "vjp",
]

_FOLDERS = (
    "data",
    "functional",
    "interop",
    "io",
    "memory",
    "nn",
    "optim",
    "random",
    "sklearn",
    "testing",
    "train",
    "tree",
)
_ELSEWHERE = {
    "check": "bpgpu.checking",
    "clip_grad_norm": "bpgpu.optim",
    "clip_grad_value": "bpgpu.optim",
    "compile": "bpgpu.replay",
    "evaluate": "bpgpu.train",
    "explain": "bpgpu.explaining",
    "fit": "bpgpu.train",
    "load": "bpgpu.io",
    "minimize": "bpgpu.minimizing",
    "precision": "bpgpu.mixed",
    "predict": "bpgpu.train",
    "save": "bpgpu.io",
    "seed": "bpgpu.random",
    "summary": "bpgpu.overview",
}


def __getattr__(name: str) -> Any:
    """Import a folder when it is first named, so that `import bpgpu` stays quick."""
    if name in _FOLDERS:
        return importlib.import_module(f"bpgpu.{name}")
    if name in _ELSEWHERE:
        value = getattr(importlib.import_module(_ELSEWHERE[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'bpgpu' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
