"""Every kernel against its function: the same values and gradients, whatever the shapes and the order in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import kernel_examples as examples
from bpgpu import kernels
from bpgpu.kernels import registry

BOUND = {"float32": 2e-5, "float64": 1e-12}
"""The largest difference, by the largest number of the result."""


def names() -> list[str]:
    return sorted({k.function for _, k in registry.registered()})


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
    arrays = case.arrays(np.dtype(dtype))
    used: list[str] = []
    find = registry.find

    def spy(function: str, xp: Any, *args: Any) -> Any:
        found = find(function, xp, *args)
        used.extend([function] if found is not None else [])
        return found

    monkeypatch.setattr(registry, "find", spy)
    for module in list(sys.modules.values()):
        if getattr(module, "find", None) is find:
            monkeypatch.setattr(module, "find", spy)
    fast = run(case, arrays)
    assert name in used
    with kernels.switched_off():
        used.clear()
        plain = run(case, arrays)
        assert not used
    for a, b in zip(fast, plain, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        difference = np.max(np.abs(np.nan_to_num(a - b)), initial=0)
        assert difference <= BOUND[dtype] * max(1, np.max(np.abs(np.nan_to_num(b)), initial=0))


def run(case: examples.Case, arrays: list[Any]) -> list[Any]:
    """The result and its gradients for a fixed cotangent."""
    y, pull = bp.vjp(case.function, *arrays)
    ct = np.random.default_rng(1).normal(size=y.shape).astype(y.dtype)
    return [np.asarray(y), *map(np.asarray, pull(ct))]


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
