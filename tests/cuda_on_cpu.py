"""Our CUDA kernels on the CPU: the sources that NVRTC compiles for a GPU, compiled by g++ over `cuda_shim/`.

`installed()` gives CuPy on NumPy (see `cupy_on_numpy`) with a `RawModule` that does this, and the kernels registered.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cuda_instances
import cupy_on_numpy

__name__ = "cupy.on_cpu"  # code that bp.compile trusts, as it does that of the library

SHIM = Path(__file__).parent / "cuda_shim"
BUILT = Path(__file__).parent.parent / ".pytest_cache" / "cuda_on_cpu"
COMPAT = "array_api_compat.cupy"

GUARD, HUGE = 512, 0x7F
"""Bytes behind each array, which no kernel may write to; who reads there reads huge numbers."""

ENTRY = (
    'extern "C" int entry{i}(const unsigned* grid, const unsigned* block, void** arguments) '
    "{{ return shim::run(&{expression}, grid, block, arguments); }}"
)


@functools.cache
def library(code: str, expressions: tuple[str, ...]) -> Any:
    """Instances of kernels, compiled: once for all processes."""
    lines = [f"#include <{SHIM / 'shim.h'}>", code]
    lines += [ENTRY.format(i=i, expression=e) for i, e in enumerate(expressions)]
    text = "\n".join(lines)
    shim = (SHIM / "shim.h").read_text()
    name = hashlib.sha256((text + shim).encode()).hexdigest()[:24]
    made = BUILT / f"{name}.so"
    if not made.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        own = BUILT / f"{name}.{os.getpid()}.so"
        command = ["g++", "-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-x", "c++", "-"]
        subprocess.run(
            [*command, f"-I{SHIM}", "-o", str(own)], input=text.encode(), check=True, timeout=300
        )
        own.replace(made)
    return ctypes.CDLL(str(made))


class RawModule:
    """`cupy.RawModule`, as far as kernels use it."""

    def __init__(self, code: str, options: Any, name_expressions: tuple[str, ...]) -> None:
        (self.expression,) = name_expressions
        self.instances = together(self.expression)
        self.library = library(code, self.instances)

    def get_function(self, name: str) -> Any:
        assert name == self.expression
        entry = getattr(self.library, f"entry{self.instances.index(name)}")
        return functools.partial(start, name, entry)


def together(expression: str) -> tuple[str, ...]:
    """The instances that are compiled with this one: those of the same file and type."""
    for of in cuda_instances.FILES.values():
        for t in cuda_instances.LOADED:
            found = tuple(of(t))
            if expression in found:
                return found
    raise AssertionError(f"add {expression} to {cuda_instances.__file__}, to be compiled for GPUs")


def start(name: str, entry: Any, grid: Any, block: Any, arguments: Any) -> None:
    sizes = [(ctypes.c_uint * 3)(*(*shape, 1, 1)[:3]) for shape in (grid, block)]
    assert min(n for shape in sizes for n in shape) > 0
    assert np.prod(block) <= 1024
    assert max(sizes[0][1:]) < 65536
    values = [np.atleast_1d(_value(x)) for x in arguments]
    memories = [x.memory for x in arguments if isinstance(x, cupy_on_numpy.ndarray)]
    guards = [m.block[m.size :] for m in memories]

    def run() -> None:
        before = [g.copy() for g in guards]  # in a graph, other arrays may have stood there since
        addresses = (ctypes.c_void_p * len(values))(*[x.ctypes.data for x in values])
        if entry(*sizes, addresses):
            raise RuntimeError(f"{name}: threads of a block wait for each other at several places")
        kept = all(np.array_equal(g, b) for g, b in zip(guards, before, strict=True))
        assert kept, f"{name} wrote beyond an array"

    cupy_on_numpy.launch(run)


def _value(x: Any) -> Any:
    """What is passed: an address, or the bytes of a number or a record. CuPy makes 64 bits of Python's integers."""
    if isinstance(x, cupy_on_numpy.ndarray):
        assert x.size == 0 or x.data.ptr % x.dtype.itemsize == 0
        return np.uint64(x.data.ptr)
    assert isinstance(x, (np.generic, np.ndarray)), f"{type(x)} as an argument"
    assert x.size == 1
    return x


def installed(monkeypatch: Any) -> Iterator[Any]:
    """For a fixture: CuPy on NumPy, with kernels."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    from bpgpu.kernels import registry

    _forget(monkeypatch)
    monkeypatch.setattr(
        cupy_on_numpy.MemoryPool, "malloc", _guarded(cupy_on_numpy.MemoryPool.malloc)
    )
    for cupy in cupy_on_numpy.installed(monkeypatch):
        cupy.RawModule = RawModule
        monkeypatch.delitem(registry._kernels, COMPAT)
        monkeypatch.setitem(registry._FOLDERS, COMPAT, "bpgpu.kernels.cuda.every")
        yield cupy
    registry._kernels.pop(COMPAT, None)
    _forget(monkeypatch)


def _guarded(malloc: Any) -> Any:
    """Memory with a stretch behind it that shows when it is written to."""

    def guarded(pool: Any, size: int) -> Any:
        memory = malloc(pool, size + GUARD)
        memory.size = size
        memory.block[size:] = HUGE
        return memory

    return guarded


def _forget(monkeypatch: Any) -> None:
    pattern = re.compile(r"bpgpu\.kernels\.cuda\b")
    for name in [n for n in sys.modules if pattern.match(n)]:
        monkeypatch.delitem(sys.modules, name)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: Any) -> None:
    """As a plugin behind another (`pytest -p cupy_on_numpy -p cuda_on_cpu -m gpu`): tests that need a GPU run on the
    CPU, through our kernels."""
    pool = cupy_on_numpy.MemoryPool
    pool.malloc = _guarded(pool.malloc)  # type: ignore[method-assign]
    cupy_on_numpy.state.allocator[:] = [cupy_on_numpy.state.default_pool.malloc]
    sys.modules["cupy"].RawModule = RawModule  # type: ignore[attr-defined]
