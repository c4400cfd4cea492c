"""A process that was forked after CUDA was used is told so; a stand-in plays CuPy."""

from __future__ import annotations

import multiprocessing
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

import bpgpu as bp
import fake_cupy
from bpgpu.backend import cupy as cuda
from bpgpu.backend import forked
from bpgpu.errors import DeviceError

pytestmark = [
    pytest.mark.skipif(
        "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
    ),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),  # JAX's, where it is imported
]


@pytest.fixture(autouse=True)
def two_devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy.make())
    monkeypatch.setitem(
        sys.modules, "array_api_compat.cupy", types.ModuleType("array_api_compat.cupy")
    )
    monkeypatch.delenv("BPGPU_DEVICE", raising=False)
    monkeypatch.setattr(forked._State, "found", ())
    found = (cuda.survey, cuda.trial, cuda.name)
    for each in found:
        each.cache_clear()
    yield
    for each in found:
        each.cache_clear()


def in_fork(work: Any) -> str:
    """What a forked process answers, or the error that it meets."""

    def child() -> None:
        try:
            out.put(str(work()))
        except DeviceError as error:
            out.put(f"DeviceError: {error}")

    fork = multiprocessing.get_context("fork")
    out = fork.SimpleQueue()
    process = fork.Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    return str(out.get())


def test_a_device_by_name_is_refused_in_a_fork() -> None:
    bp.device("cuda")
    for name in ("cuda", "cuda:1"):
        answer = in_fork(lambda name=name: bp.device(name))
        assert answer.startswith(f"DeviceError: device '{name}': this process was forked")
        assert 'multiprocessing.get_context("spawn")' in answer
    assert bp.device("cuda:1").type == "cuda"  # the parent goes on


def test_a_device_that_the_fork_has_inherited_is_refused() -> None:
    cuda0 = bp.device("cuda")
    for work in (lambda: cuda0.asarray([1.0]), cuda0.synchronize, cuda0.memory, cuda0.__enter__):
        answer = in_fork(work)
        assert answer.startswith("DeviceError: CUDA: this process was forked")
        assert "spawn" in answer


def test_auto_is_the_cpu_in_a_fork_and_says_why() -> None:
    assert bp.device("auto").type == "cuda"
    answer = in_fork(lambda: bp.device("auto").reason)
    assert answer.startswith("CPU: this process was forked from one that had used CUDA")


def test_a_fork_before_cuda_is_used_may_use_it() -> None:
    assert in_fork(lambda: bp.device("cuda")) == "cuda:0"


def test_a_fork_of_a_fork_is_refused_too() -> None:
    bp.device("cuda")
    answer = in_fork(lambda: in_fork(lambda: bp.device("cuda")))
    assert "DeviceError: device 'cuda': this process was forked" in answer
