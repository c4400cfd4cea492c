"""What a bug report needs: the versions, the devices, and what was skipped and why.

No library is imported for it; versions are read from the packages' metadata.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import bpgpu.backend.cupy as cuda
from bpgpu.backend import malloc
from bpgpu.backend.host import blas

if TYPE_CHECKING:
    from bpgpu.device import Device

PACKAGES = (
    "numpy",
    "array-api-compat",
    "array-api-strict",
    "torch",
    "jax",
    "scipy",
    "scikit-learn",
    "numba",
)
"""Packages whose versions are told, after CuPy's; those that are not installed are left out."""

VARIABLES = (
    "BPGPU_DEVICE",
    malloc.VARIABLE,
    "BPGPU_ACCEL",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_PATH",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)
"""Environment variables that decide what is used; those that are not set are left out."""


def report(chosen: Device, usable: list[Device]) -> str:
    """The text that `show_config` prints."""
    sections = {
        f"bpgpu {_version('bpgpu') or '(from source)'}": _system(),
        "devices": ((str(d), f"{d.name}; {d.memory()}") for d in usable),
        "chosen by 'auto'": [(str(chosen), chosen.reason)],
        "skipped": _skipped(usable),
        "packages": _packages(),
        "environment": ((name, os.environ[name]) for name in VARIABLES if name in os.environ),
    }
    return "\n".join(_section(title, list(rows)) for title, rows in sections.items() if rows)


def _section(title: str, rows: list[tuple[str, str]]) -> str:
    width = max((len(name) for name, _ in rows), default=0)
    lines = [f"  {name:<{width}}  {value}" for name, value in rows]
    return "\n".join([title, *lines]) + "\n" if rows else ""


def _system() -> Iterator[tuple[str, str]]:
    yield "Python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "system", platform.platform()
    yield "BLAS", blas()
    yield "malloc", malloc.state()


def _skipped(usable: list[Device]) -> Iterator[tuple[str, str]]:
    obstacle = cuda.survey().obstacle
    if obstacle is not None:
        yield "cuda", obstacle.cause
        yield "", f"remedy: {obstacle.remedy}"
    for d in usable:
        if d.index is not None and (failed := cuda.trial(d.index)) is not None:
            yield str(d), failed.cause
            yield "", f"remedy: {failed.remedy}"


def _packages() -> Iterator[tuple[str, str]]:
    for name in (*cuda.installed(), *PACKAGES):
        found = _version(name)
        if found:
            yield name, found


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
