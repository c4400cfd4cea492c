"""Every kernel against its function: the same values and gradients, whatever the shapes and the order in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import array_api_compat.numpy as compat
import numpy as np
import pytest

import bpgpu as bp
import kernel_examples as examples
from bpgpu import kernels
from bpgpu.kernels import registry

BOUND = {"float32": 2e-5, "float64": 1e-12}
"""The largest difference, by the largest number of the result."""


def of_numpy() -> list[registry.Kernel]:
    """Those for CUDA have tests of their own."""
    return [k for library, k in registry.registered() if library.endswith("numpy")]


def names() -> list[str]:
    return sorted({k.function for k in of_numpy()})


def cases() -> list[Any]:
    return [
        pytest.param(name, case, id=f"{name}-{i}")
        for name in names()
        for i, case in enumerate(examples.of(name))
    ]


def test_every_kernel_has_examples() -> None:
    for name in names():
        assert list(examples.of(name)), f"add examples of {name} to {examples.__file__}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "case"), cases())
def test_a_kernel_gives_what_its_function_gives(
    name: str, case: examples.Case, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kernels.switched_off():
        plain = run(case, case.arrays(np.dtype(dtype)))
    tried = 0
    for kernel in [k for k in of_numpy() if k.function == name]:
        used: list[str] = []
        monkeypatch.setattr(registry, "_of", alone(kernel, used))
        arrays = case.arrays(np.dtype(dtype))
        before = [a.copy() for a in arrays]
        fast = run(case, arrays)
        tried += bool(used)
        if not case.updated:
            for a, b in zip(arrays, before, strict=True):
                np.testing.assert_array_equal(a, b)  # operands stay as they are
        for a, b in zip(fast, plain, strict=True):
            assert a.dtype == b.dtype
            assert a.shape == b.shape
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
            np.testing.assert_array_equal(np.isinf(a), np.isinf(b))
            a, b = (np.nan_to_num(v, posinf=1, neginf=-1) for v in (a, b))
            difference = np.max(np.abs(a - b), initial=0)
            assert difference <= BOUND[dtype] * max(1, np.max(np.abs(b), initial=0))
    assert tried or (name == "gelu" and dtype == "float64")


def test_every_kernel_takes_some_example(monkeypatch: pytest.MonkeyPatch) -> None:
    for kernel in of_numpy():
        used: list[str] = []
        monkeypatch.setattr(registry, "_of", alone(kernel, used))
        for case in reversed(list(examples.of(kernel.function))):
            run(case, case.arrays(np.dtype("float32")))
            if used:
                break
        assert used, f"no example of {kernel.function} is for {kernel.run.__module__}"


def alone(kernel: registry.Kernel, used: list[str]) -> Any:
    """A registry of this kernel only, which notes when it is used."""

    def run(*args: Any) -> Any:
        used.append(kernel.function)
        return kernel.run(*args)

    return lambda library: {kernel.function: [kernel._replace(run=run)]}


@np.errstate(invalid="ignore")  # infinities, which both ways warn of
def run(case: examples.Case, arrays: list[Any]) -> list[Any]:
    """The result and its gradients for a fixed cotangent; or what an update makes of its operands."""
    if case.updated:
        return [np.asarray(a) for a in case.function(compat, *arrays)]
    y, pull = bp.vjp(case.function, *arrays)
    ct = np.random.default_rng(1).normal(size=y.shape).astype(y.dtype)
    first = pull(ct)
    for a, b in zip(first, pull(ct), strict=True):  # a second walk gives the same
        np.testing.assert_array_equal(a, b)
    return [np.asarray(y), *map(np.asarray, first)]


def test_one_variable_switches_all_kernels_off() -> None:
    code = (
        "import array_api_compat.numpy as xp, numpy as np\n"
        "from bpgpu.kernels import registry\n"
        "assert registry.registered()\n"
        "assert registry.find(registry.registered()[0][1].function, xp) is None\n"
    )
    path = str(Path(bp.__file__).parents[1])
    environment = {**os.environ, "BPGPU_ACCEL": "0", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
