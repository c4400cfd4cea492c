"""Every instance of our CUDA kernels is compiled for GPUs, and none of them needs more registers than there are."""

from __future__ import annotations

import pytest

import cuda_instances
import nvrtc
from bpgpu.kernels.cuda import sources

ARCHITECTURES = ("sm_80", "sm_90", "sm_100", "sm_120")
REGISTERS = 128
"""With as many, blocks of 512 threads still run on every GPU."""


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("file", cuda_instances.FILES)
def test_kernels_compile_without_spills(file: str, arch: str) -> None:
    instances = cuda_instances.FILES[file]
    expressions = tuple(e for t in cuda_instances.LOADED for e in instances(t))
    code, uses = nvrtc.compiled(sources.code_of(file), expressions, arch)
    assert code[:4] == b"\x7fELF"
    assert len(uses) == len(set(expressions))
    assert max(use.spilled for use in uses) == 0
    assert max(use.stack for use in uses) == 0
    assert max(use.registers for use in uses) <= REGISTERS
