"""Gradients of small batches add up to that of the large one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import optim
from optim.against_torch import array


def test_the_mean_over_small_batches_is_that_of_the_large_one(xp: Any) -> None:
    rng = np.random.default_rng(0)
    x, w = array(xp, rng.normal(size=(12, 3))), {"w": array(xp, rng.normal(size=3))}

    def loss(p: Any, x: Any) -> Any:
        return bp.array_namespace(x).mean((x @ p["w"] - 1) ** 2)

    whole = bp.grad(loss)(w, x)["w"]
    total = optim.GradientAccumulator(every=3)
    for start, stop in ((0, 3), (3, 8), (8, 12)):
        found = total.add(bp.grad(loss)(w, x[start:stop, ...]), weight=stop - start)
        assert (found is None) == (stop < 12)
    np.testing.assert_allclose(np.asarray(found["w"]), np.asarray(whole), rtol=1e-12)


def test_sums_and_what_is_left_over(xp: Any) -> None:
    g = array(xp, np.asarray([1.0, 2.0]))
    total = optim.GradientAccumulator(every=3, reduction="sum")
    assert total.take() is None
    assert total.add([g]) is None
    assert total.add([g], weight=0.5) is None
    assert np.asarray(total.take()[0]).tolist() == [1.5, 3.0]
    assert total.count == 0
    assert np.asarray(g).tolist() == [1, 2]


def test_gradients_that_are_missing_in_some_batches_count_as_zero() -> None:
    total = optim.GradientAccumulator(every=2)
    total.add({"a": np.asarray([2.0]), "b": None})
    found = total.add({"a": None, "c": np.asarray([4.0])})
    assert found == {"a": [1.0], "b": None, "c": [2.0]}
    optimizer = optim.SGD({k: np.asarray([0.0]) for k in "abc"}, lr=1.0)
    optimizer.step(found)
    assert {k: p.tolist() for k, p in optimizer.params.items()} == {"a": [-1], "b": [0], "c": [-2]}


def test_half_precision_is_summed_in_float32() -> None:
    torch = pytest.importorskip("torch")
    total = optim.GradientAccumulator(every=300, reduction="sum")
    for _ in range(300):
        found = total.add([torch.full((2,), 1.0, dtype=torch.bfloat16)])
    assert found[0].dtype == torch.float32
    assert found[0].tolist() == [300, 300]


def test_it_works_on_immutable_arrays_and_tuples() -> None:
    jnp = pytest.importorskip("jax").numpy
    total = optim.GradientAccumulator(every=2)
    total.add((jnp.asarray([1.0]), [jnp.asarray(2.0)]))
    found = total.add((jnp.asarray([3.0]), [None]))
    assert found[0].tolist() == [2]
    assert found[1][0] == 1


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="expected every >= 1, got 0"):
        optim.GradientAccumulator(0)
    with pytest.raises(ValueError, match=r"reduction must be one of \['mean', 'sum'\], got 'max'"):
        optim.GradientAccumulator(2, "max")
    total = optim.GradientAccumulator(3)
    total.add({"w": [np.ones(2)]})
    with pytest.raises(
        ValueError, match=r"the gradient at 'w.0' has shape \(3,\), but those before had \(2,\)"
    ):
        total.add({"w": [np.ones(3)]})
    with pytest.raises(
        ValueError, match="the gradients at 'w' differ in structure from those before"
    ):
        total.add({"w": [np.ones(2), np.ones(2)]})
    assert total.count == 1
    assert total.take()["w"][0].tolist() == [1, 1]
