"""The only place that names an array library: what the standard lacks, one small file for each library."""

from __future__ import annotations

from typing import Any

from bpgpu.backend.generic import Backend, StridedBackend

__all__ = ["Backend", "backend_of", "default_namespace"]

_backends: dict[str, Backend] = {}


def backend_of(xp: Any) -> Backend:
    """The services of the library behind an array-api-compat namespace."""
    name = xp.__name__
    try:
        return _backends[name]
    except KeyError:
        found = _backends[name] = _load(name, xp)
        return found


def _load(name: str, xp: Any) -> Backend:
    library = name.removeprefix("array_api_compat.")  # but jax.numpy is not NumPy
    if library == "numpy":
        from bpgpu.backend.numpy import NumpyBackend

        return NumpyBackend(xp)
    if library == "torch":
        from bpgpu.backend.torch import TorchBackend

        return TorchBackend(xp)
    if library == "jax.numpy":
        from bpgpu.backend.jax import JaxBackend

        return JaxBackend(xp)
    if library == "cupy":
        from bpgpu.backend.cupy_arrays import CupyBackend

        return CupyBackend(xp)
    return StridedBackend(xp) if library == "bpgpu.capture_lint" else Backend(xp)


def default_namespace() -> Any:
    """The namespace of arrays made from Python numbers: NumPy's."""
    import array_api_compat.numpy as xp

    return xp
