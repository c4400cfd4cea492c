"""Fixtures for all tests: one `xp` over every array library at hand."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # read once, when SciPy is first imported
os.environ.setdefault("JAX_ENABLE_X64", "1")
# JAX is the reference: what one process has compiled for it serves the others, and the next run
cache = Path(__file__).parent.parent / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# a process runs thousands of tests: what one of them has freed goes back to the system
os.environ.setdefault("BPGPU_KEEP_MALLOC", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # a process for each core: threads would fight for them
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

import pytest  # noqa: E402 - after the environment is set

import absent  # noqa: E402
import from_gpu  # noqa: E402
import strict_device1  # noqa: E402

LIBRARIES = {
    "numpy": "array_api_compat.numpy",
    "strict": "array_api_strict",
    "torch": "array_api_compat.torch",
    "cupy": "array_api_compat.cupy",
}


if os.environ.get("BPGPU_BARE") == "1":  # see ci/gpu
    absent.stand_in_for_hypothesis()
    collect_ignore = absent.files(Path(__file__).parent)

STRICT_DEVICE = os.environ.get("BPGPU_TEST_STRICT_DEVICE", "")
"""`device1` runs the tests of array-api-strict on its second device: see ci/strict_device1."""


def load(name: str) -> Any:
    """The namespace of a library, or skip the test with the reason."""
    module = pytest.importorskip(LIBRARIES[name], reason=f"{name} is not installed")
    if name == "cupy" and not importlib.import_module("cupy").is_available():
        pytest.skip("CuPy is installed, but there is no CUDA device")
    if name == "strict" and STRICT_DEVICE == strict_device1.NAME:
        return strict_device1.namespace()
    if name == "cupy":  # with what it lacks put right
        return importlib.import_module("bpgpu.backend.cupy_arrays").namespace()
    return module


@pytest.fixture(params=["numpy", "strict", "torch", pytest.param("cupy", marks=pytest.mark.gpu)])
def xp(request: pytest.FixtureRequest) -> Any:
    """The namespace of each array library in turn."""
    return load(request.param)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a CUDA device where there is none."""
    if item.get_closest_marker("gpu") is None:
        return
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.is_available():
        pytest.skip("CuPy is installed, but there is no CUDA device")


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def cupy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """CuPy on NumPy with the kernels compiled for the CPU; and CuPy itself, where there is a GPU."""
    if request.param == "gpu":
        yield importlib.import_module("cupy")
    else:
        import cuda_on_cpu

        yield from cuda_on_cpu.installed(monkeypatch)


@pytest.fixture(autouse=True)
def _numpy_takes_arrays_of_the_gpu(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In tests that run on a GPU, NumPy's functions take CuPy's arrays where the test itself calls them."""
    if request.node.get_closest_marker("gpu") is not None or STRICT_DEVICE:
        from_gpu.let_through(monkeypatch)


@pytest.fixture(autouse=True, scope="module")
def _each_file_for_itself(request: pytest.FixtureRequest) -> Iterator[None]:
    """What JAX has compiled for a file of tests is let go after it, or a process would grow by gigabytes.

    Before tests of `bpgpu.compile` garbage is collected: a generator that other tests have left suspended is closed by
    the collector whenever it comes, and then runs once more, which `compile` sees, and does not replay."""
    if "replay" in request.path.parts:
        gc.collect()
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
