"""The sources of our CUDA kernels: where they are found, and that they are shipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bpgpu
import cuda_instances
from bpgpu.kernels.cuda.sources import code_of

ROOT = Path(__file__).parent.parent.parent
SOURCES = Path(bpgpu.__file__).parent / "kernels" / "cuda" / "source"


def test_a_wheel_has_the_sources() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheels")
    shipped = {f.distribution_path for f in wheel.WheelBuilder(str(ROOT)).recurse_project_files()}
    for path in SOURCES.iterdir():
        if path.suffix in (".cu", ".cuh"):
            assert f"bpgpu/kernels/cuda/source/{path.name}" in shipped


def test_every_kernel_is_compiled_in_tests() -> None:
    for path in SOURCES.glob("*.cu"):
        kernels = re.findall(r"__global__ void (\w+)\(", path.read_text())
        assert kernels
        instances = "\n".join(cuda_instances.FILES[path.name]("float"))
        for name in kernels:
            assert re.search(rf"\b{name}\b", instances), f"{path.name}: {name}"


@pytest.mark.parametrize("file", cuda_instances.FILES)
def test_what_all_kernels_use_stands_in_front(file: str) -> None:
    assert code_of(file).startswith((SOURCES / "common.cuh").read_text())
