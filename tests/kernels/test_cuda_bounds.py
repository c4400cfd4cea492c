"""What CUDA's kernels leave to others: arrays of another device, and more than their numbers can count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import cuda_on_cpu
import cupy_on_numpy
import fake_cublaslt
from bpgpu.functional.conv import Geometry
from bpgpu.kernels import find


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """CuPy on NumPy with the kernels compiled for the CPU, and a stand-in for cuBLASLt."""
    for cupy in cuda_on_cpu.installed(monkeypatch):
        fake_cublaslt.installed(monkeypatch, launch=cupy_on_numpy.launch)
        yield cupy


def square(cupy: Any) -> Any:
    return cupy.asarray(np.ones((4, 4), "f4"))


def words(cupy: Any) -> Any:
    return cupy.asarray(np.asarray([1, 2], "int32"))


def labels(cupy: Any) -> Any:
    return cupy.asarray(np.zeros(4, "int64"))


def yes(cupy: Any) -> Any:
    return cupy.asarray(np.ones((4, 4), "bool"))


CALLS: dict[str, tuple[Callable[..., tuple[Any, ...]], int]] = {
    "gelu": (lambda x, k, t, m: (x,), 1),
    "relu": (lambda x, k, t, m: (x,), 1),
    "softmax": (lambda x, k, t, m: (x, 1), 1),
    "dropped": (lambda x, k, t, m: (x, k, 16, 0.5), 2),
    "gelu_dropped": (lambda x, k, t, m: (x, k, 16, 0.5), 2),
    "key_after": (lambda x, k, t, m: (k,), 2),
    "take_rows": (lambda x, k, t, m: (x, t), 3),
    "cross_entropy": (lambda x, k, t, m: (x, t, None, -100, "mean", 0.0, (4,)), 3),
    "attend": (lambda x, k, t, m: (x, x, x, None, m, None, 1.0), 4),
    "norm_of_many": (lambda x, k, t, m: ([x, x],), 1),
}
"""The operands of functions, and the last of the arrays below that is among them, counted from 1."""

MADE = (square, words, labels, yes)


@pytest.mark.parametrize("name", CALLS)
def test_kernels_run_where_their_arrays_are(cupy: Any, name: str) -> None:
    """A kernel is started on the device of now, so arrays of another one are left to CuPy, which knows what to do."""
    operands, last = CALLS[name]

    def found(*devices: int) -> bool:
        arrays = []
        for make, device in zip(MADE, devices, strict=True):
            with cupy.cuda.Device(device):
                arrays.append(make(cupy))
        xp = bp.array_namespace(arrays[0])
        return find(name, xp, *operands(*arrays)) is not None

    assert found(0, 0, 0, 0)
    assert not found(1, 1, 1, 1)
    assert not found(*(int(i == last - 1) for i in range(4)))
    with cupy.cuda.Device(1):
        assert found(1, 1, 1, 1)
        assert not found(0, 0, 0, 0)


def test_the_bias_of_a_product_is_on_its_device(cupy: Any) -> None:
    x = square(cupy)
    with cupy.cuda.Device(1):
        b = cupy.asarray(np.ones(4, "f4"))
    assert find("linear", bp.array_namespace(x), x, x, x[0]) is not None
    assert find("linear", bp.array_namespace(x), x, x, b) is None


def test_more_groups_than_a_grid_has_blocks_along_an_axis_are_left_out(cupy: Any) -> None:
    for groups, taken in ((2**16 - 1, True), (2**16, False)):
        x = cupy.broadcast_to(cupy.zeros((1, 1, 1), "f4"), (1, groups, 3))
        w = cupy.broadcast_to(cupy.zeros((1, 1, 1), "f4"), (groups, 1, 2))
        geometry = Geometry((3,), (2,), (1,), ((0, 0),), (1,), groups, (2,))
        assert (find("convolve", bp.array_namespace(x), x, w, None, geometry) is not None) == taken


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_states_of_more_numbers_than_an_int_counts_are_left_out(cupy: Any, name: str) -> None:
    def seen(*shape: int) -> Any:
        return cupy.broadcast_to(cupy.zeros((1,) * len(shape), "f4"), shape)

    for n, taken in ((3, True), (2**31, False)):
        gates = 3 if name == "gru" else 4
        states = (seen(n, 2),) if name == "gru" else (seen(n, 2), seen(n, 2))
        rest = (None, False) if name == "gru" else (None, None, False)
        operands = (
            seen(5, n, 2),
            *states,
            seen(gates * 2, 2),
            seen(gates * 2, 2),
            None,
            None,
            *rest,
        )
        assert (find(name, bp.array_namespace(operands[0]), *operands) is not None) == taken


def test_a_mask_whose_rows_are_far_apart_is_left_out(cupy: Any) -> None:
    """It may be a part of something large: steps are 32 bits."""
    x = cupy.asarray(np.ones((1, 1, 2, 4), "f4"))
    mask = cupy.asarray(np.ones((2, 2), "bool"))
    far = cupy.lib.stride_tricks.as_strided(mask, (2, 2), (2**31, 1))  # nobody reads it
    xp = bp.array_namespace(x)
    q = x[:, :, :, :2]
    taken = [find("attend", xp, q, q, q, None, m, None, 1.0) is not None for m in (mask, far)]
    assert taken == [True, False]


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_a_learning_rate_in_sixteen_bits_is_left_to_the_formula(cupy: Any, name: str) -> None:
    """C++ knows several ways from a half to a double, and so takes none."""
    found = []
    for put in (np.asarray, cupy.asarray):
        rate = put(np.asarray(0.5, "f2"))
        p, g = put(np.ones(3)), put(np.asarray([1.0, -2.0, 0.5]))
        stepped = getattr(bp.optim, name)({"p": p}, lr=rate).step({"p": g})["p"]
        found.append(stepped if put is np.asarray else stepped.get())
    np.testing.assert_allclose(*found, rtol=1e-6)
