"""Dispatch against a backend that is fast in name only: a simulated CuPy, and kernels that note their calls."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import cupy_on_numpy as fake
from bpgpu.functional import layer_norm, softmax
from bpgpu.kernels import registry, switched_off

CUPY = "array_api_compat.cupy"
rng = np.random.default_rng(0)


@pytest.fixture
def cp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield from fake.installed(monkeypatch)


@pytest.fixture
def calls(cp: Any) -> list[str]:
    return []


def negated(calls: list[str], accepts: Any, name: str = "fake") -> None:
    """A kernel for the function "negate"."""

    @registry.kernel("negate", CUPY, accepts)
    def run(x: Any) -> Any:
        calls.append(name)
        return -x


def own(xp: Any, x: Any) -> Any:
    return 0 - x


def negate(x: Any) -> Any:
    return registry.compute("negate", own, bp.array_namespace(x), x)


def test_a_kernel_is_used_for_arrays_of_its_library(cp: Any, calls: list[str]) -> None:
    negated(calls, lambda x: True)
    x = cp.asarray(np.ones(3))
    np.testing.assert_array_equal(bp.to_numpy(negate(x)), -np.ones(3))
    assert calls == ["fake"]
    np.testing.assert_array_equal(negate(np.ones(3)), -np.ones(3))
    assert calls == ["fake"]


PREDICATES = {
    "dtype": (lambda x: x.dtype == np.float32, np.float32, np.float64),
    "size": (lambda x: x.size > 2, np.ones(3), np.ones(2)),
    "axes": (lambda x: x.ndim == 2, np.ones((2, 2)), np.ones(4)),
    "layout": (lambda x: x.flags.c_contiguous, np.ones((2, 3)), np.ones((3, 2)).T),
}


@pytest.mark.parametrize("what", PREDICATES)
def test_what_a_predicate_refuses_is_computed_by_the_functions_own_code(
    what: str, cp: Any, calls: list[str]
) -> None:
    accepts, taken, refused = PREDICATES[what]
    negated(calls, accepts)
    for given, expected in ((taken, ["fake"]), (refused, [])):
        x = cp.asarray(np.ones(3, given) if isinstance(given, type) else given)
        del calls[:]
        np.testing.assert_array_equal(bp.to_numpy(negate(x)), -bp.to_numpy(x))
        assert calls == expected


def test_the_kernel_that_came_last_is_asked_first(cp: Any, calls: list[str]) -> None:
    negated(calls, lambda x: True, "general")
    negated(calls, lambda x: x.size == 3, "special")
    negate(cp.asarray(np.ones(3)))
    negate(cp.asarray(np.ones(4)))
    assert calls == ["special", "general"]


def test_kernels_can_be_switched_off(cp: Any, calls: list[str]) -> None:
    negated(calls, lambda x: True)
    with switched_off():
        negate(cp.asarray(np.ones(3)))
    assert calls == []
    negate(cp.asarray(np.ones(3)))
    assert calls == ["fake"]


def test_an_error_of_a_kernel_is_not_hidden(cp: Any) -> None:
    @registry.kernel("negate", CUPY, lambda x: True)
    def run(x: Any) -> Any:
        raise RuntimeError("the kernel is broken")

    with pytest.raises(RuntimeError, match="the kernel is broken"):
        negate(cp.asarray(np.ones(3)))


def test_the_variable_switches_all_off_for_a_process() -> None:
    code = (
        "from bpgpu.kernels import registry\n"
        "import array_api_compat.numpy as xp\n"
        "registry.kernel('negate', xp.__name__, lambda x: True)(lambda x: -x)\n"
        "print(registry.find('negate', xp, xp.ones(3)) is None)"
    )
    for value, expected in (("0", "True"), ("1", "False")):
        environment = {
            **os.environ,
            "BPGPU_ACCEL": value,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected


def test_without_a_kernel_every_function_falls_back_and_gives_the_same(cp: Any) -> None:
    x = rng.normal(size=(4, 6))
    for f in (lambda x: softmax(x, dim=1), lambda x: layer_norm(x, (6,))):
        g = bp.grad(lambda x, f=f: (f(x) ** 3).sum())
        np.testing.assert_allclose(bp.to_numpy(g(cp.asarray(x))), g(x), rtol=1e-10)


def test_a_kernel_is_captured_in_a_graph_as_its_launches(cp: Any) -> None:
    registry.kernel("negate", CUPY, lambda x: True)(lambda x: -x)
    step = bp.compile(negate)
    for i in range(8):
        x = np.full(3, float(i))
        np.testing.assert_array_equal(bp.to_numpy(step(cp.asarray(x))), -x)
    assert step.reason is None
    assert step.replays >= 3
