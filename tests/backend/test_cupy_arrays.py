"""What bpgpu puts right of CuPy: on a simulated CuPy, over the real array-api-compat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import cupy_on_numpy as fake
from bpgpu.backend import backend_of, cupy_arrays

rng = np.random.default_rng(0)


@pytest.fixture
def cp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield from fake.installed(monkeypatch, devices=2)


@pytest.fixture
def xp(cp: Any) -> Any:
    return cupy_arrays.namespace()


def test_its_arrays_and_its_device_have_the_namespace(cp: Any, xp: Any) -> None:
    assert bp.array_namespace(cp.asarray([1.0])) is xp
    assert bp.device("cuda").xp is xp
    assert xp.__name__ == "array_api_compat.cupy"
    assert xp.__array_api_version__ >= "2024.12"


# ---- where arrays are made

MADE = {
    "zeros": lambda xp, d: xp.zeros((2,), device=d),
    "ones": lambda xp, d: xp.ones((2,), device=d),
    "empty": lambda xp, d: xp.empty((2,), device=d),
    "full": lambda xp, d: xp.full((2,), 3.0, device=d),
    "arange": lambda xp, d: xp.arange(3, device=d),
    "eye": lambda xp, d: xp.eye(3, device=d),
    "linspace": lambda xp, d: xp.linspace(0, 1, 3, device=d),
    "asarray": lambda xp, d: xp.asarray([1.0], device=d),
}


@pytest.mark.parametrize("name", MADE)
def test_arrays_are_made_on_the_device_that_is_asked_for(name: str, cp: Any, xp: Any) -> None:
    second = cp.cuda.Device(1)
    assert MADE[name](xp, second).device == second
    assert MADE[name](xp, None).device == cp.cuda.Device(0)


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "empty_like"])
def test_arrays_like_another_are_made_beside_it(name: str, cp: Any, xp: Any) -> None:
    x = xp.zeros((2,), device=cp.cuda.Device(1))
    assert getattr(xp, name)(x).device == x.device
    assert getattr(xp, name)(x, device=cp.cuda.Device(0)).device == cp.cuda.Device(0)
    assert xp.full_like(x, 2.0).device == x.device


# ---- nothing waits for the device


def captured(cp: Any, f: Any) -> Any:
    """The result of a function that ran in a captured stream, and then as a graph."""
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        try:
            result = f()
        finally:
            graph = stream.end_capture()
    graph.launch()
    return result.get()


def test_clip_is_captured_and_keeps_nan(cp: Any, xp: Any) -> None:
    x = cp.asarray(np.asarray([-2.0, np.nan, 0.5, 3.0]))
    np.testing.assert_array_equal(captured(cp, lambda: xp.clip(x, -1, 1)), [-1, np.nan, 0.5, 1])
    np.testing.assert_array_equal(captured(cp, lambda: xp.clip(x, None, 1)), [-2, np.nan, 0.5, 1])
    low = cp.asarray(np.asarray([0.0]))
    np.testing.assert_array_equal(captured(cp, lambda: xp.clip(x, low)), [0, np.nan, 0.5, 3])
    y = xp.clip(x)
    assert y is not x
    np.testing.assert_array_equal(y.get(), x.get())


def test_many_arrays_are_joined_in_a_capture(cp: Any, xp: Any) -> None:
    values = [rng.normal(size=(2, 3)) for _ in range(12)]
    arrays = [cp.asarray(v) for v in values]
    for axis in (0, 1, 2, -1):
        joined = captured(cp, lambda a=axis: xp.stack(arrays, axis=a))
        np.testing.assert_array_equal(joined, np.stack(values, axis=axis))
    for axis in (0, 1, -2, None):
        joined = captured(cp, lambda a=axis: xp.concat(arrays, axis=a))
        np.testing.assert_array_equal(joined, np.concatenate(values, axis=axis))
    with pytest.raises(RuntimeError, match="stack of 12 arrays"):
        captured(cp, lambda: cp.stack(arrays))
    with pytest.raises(ValueError, match="concat: all but axis 0 must agree"):
        xp.concat([*arrays, cp.asarray(np.ones((2, 2)))])
    halves = [cp.asarray(np.ones(1, "float16"))] * 9
    assert xp.concat([*halves, cp.asarray(np.ones(1, "float32"))]).dtype == np.float32


def test_numbers_to_look_for_are_no_constants_of_the_host(cp: Any, xp: Any) -> None:
    x = cp.asarray(np.asarray([1.0, 2.0, 4.0]))
    assert captured(cp, lambda: xp.searchsorted(x, 3.0)) == 2
    np.testing.assert_array_equal(
        captured(cp, lambda: xp.isin(xp.astype(x, xp.int64), 2)), [False, True, False]
    )


# ---- values


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_places_of_extrema_among_infinities_and_nan(
    name: str, axis: Any, keepdims: bool, cp: Any, xp: Any
) -> None:
    inf, nan = np.inf, np.nan
    for rows in (
        [[inf, inf], [inf, 1.0]],
        [[-inf, -inf], [-inf, -inf]],
        [[1.0, nan], [inf, nan]],
        [[3.0, 2.0], [2.0, 3.0]],
    ):
        x = np.asarray(rows)
        expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
        found = getattr(xp, name)(cp.asarray(x), axis=axis, keepdims=keepdims)
        np.testing.assert_array_equal(found.get(), expected)
    found = getattr(xp, name)(cp.asarray(np.asarray([3, 1, 2])))
    assert found.get() == getattr(np, name)([3, 1, 2])


def test_of_values_assigned_to_one_position_the_last_stays(cp: Any) -> None:
    x, key = rng.normal(size=(4, 3)), np.asarray([1, 3, 1, 1])
    values = rng.normal(size=(4, 3))
    expected = x.copy()
    expected[key] = values
    given = cp.asarray(x)
    backend = backend_of(bp.array_namespace(given))
    found = backend.assign(given, cp.asarray(key), cp.asarray(values))
    np.testing.assert_array_equal(found.get(), expected)
    np.testing.assert_array_equal(given.get(), x)
    last = backend.last_written((4, 3), (cp.asarray(key),), cp.asarray(values))
    np.testing.assert_array_equal(last.get()[:, 0], [False, True, False, True])
    found = backend.assign(given, (slice(None), 1), 7.0)
    np.testing.assert_array_equal(found.get()[:, 1], np.full(4, 7.0))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "complex64", "int8"])
@pytest.mark.parametrize("dense", [0, cupy_arrays.DENSE])
def test_rows_are_added_up_in_every_dtype(
    dtype: str, dense: int, cp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cupy_arrays, "DENSE", dense)
    places, rows = np.asarray([2, 0, 2, 2]), np.asarray([[1, -2], [3, 4], [-5, 6], [7, 8]], dtype)
    expected = np.zeros((4, 2), dtype)
    np.add.at(expected, places, rows)
    given = cp.asarray(rows)
    backend = backend_of(bp.array_namespace(given))
    found = backend.scatter_add((4, 2), (cp.asarray(places), slice(None)), given)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.get(), expected)


def test_traced_integers_index_where_the_library_has_no_index_method(cp: Any) -> None:
    x = cp.asarray(np.asarray([1.0, 4.0, 2.0]))
    g = bp.grad(lambda x: x[bp.array_namespace(x).argmax(x) :][0] * 3)(x)
    np.testing.assert_array_equal(bp.to_numpy(g), [0, 3, 0])


def test_an_average_follows_a_model_to_the_cpu(cp: Any) -> None:
    bp.seed(0)
    model = bp.nn.Linear(2, 1)
    average = bp.optim.EMA(model, 0.5)
    assert type(model.weight) is fake.ndarray
    model.to("cpu")
    average.step()
    model.weight[...] = 0
    average.step()
    assert all(type(a) is np.ndarray for a in average.state["average"].values())
