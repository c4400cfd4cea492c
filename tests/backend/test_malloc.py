"""Freed memory is kept for the next arrays: told by the page faults of a fresh process, not by its time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bpgpu
from bpgpu.backend import malloc

pytestmark = pytest.mark.skipif(malloc._glibc() is None, reason="malloc is not glibc's")

CHAIN = """
import resource
import numpy as np
import bpgpu as bp
{before}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
x = np.ones(2**18, np.float32)
def chain():
    (x + 1) * 2 - x
{use}
for _ in range(5):
    chain()
began = faults()
for _ in range(20):
    chain()
print(faults() - began)
"""


def run(code: str, **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != malloc.VARIABLE} | variables
    environment["PYTHONPATH"] = str(Path(bpgpu.__file__).parents[1])
    command = [sys.executable, "-c", code]
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return ran.stdout


def faults_of(
    before: str = "", use: str = "bp.grad(lambda x: x * x)(1.0)", **variables: str
) -> int:
    return int(run(CHAIN.format(before=before, use=use), **variables))


def test_after_the_first_gradient_large_temporaries_reuse_their_memory() -> None:
    assert faults_of() < 200
    assert faults_of(BPGPU_KEEP_MALLOC="0") < 200


def test_making_the_cpu_device_is_a_first_use_too() -> None:
    assert faults_of(use="bp.device('cpu')") < 200


def test_importing_bpgpu_changes_nothing() -> None:
    assert faults_of(use="") > 2000


def test_it_can_be_left_as_it_is_by_a_call_or_by_a_variable() -> None:
    assert faults_of(before="bp.memory.keep_malloc()") > 2000
    assert faults_of(BPGPU_KEEP_MALLOC="1") > 2000


def test_a_call_that_comes_too_late_says_so() -> None:
    code = (
        "import bpgpu as bp\nbp.grad(lambda x: x * x)(1.0)\n"
        "try:\n    bp.memory.keep_malloc()\n"
        "except RuntimeError as error:\n    print(error)\n"
    )
    assert "call it right after import bpgpu, or set BPGPU_KEEP_MALLOC=1" in run(code)


def test_memory_can_be_given_back_and_the_report_tells_what_was_done() -> None:
    code = (
        "import numpy as np, bpgpu as bp, resource\n"
        "bp.device('cpu')\n"
        "def resident():\n"
        "    return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize()\n"
        "x = np.ones(2**25, np.uint8) * 2\n"
        "del x\n"
        "kept = resident()\n"
        "assert bp.memory.trim()\n"
        "assert kept - resident() > 2**24\n"
        "bp.show_config()\n"
    )
    assert "freed memory is kept for the next arrays" in run(code)
