"""Optimizers stepped by CUDA kernels: many parameters in one launch, as the formula has it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import cuda_on_cpu
from bpgpu import kernels

SHAPES = [(7,), (3, 5), (), (64, 70), (2, 3, 4), (0, 3), (5000,), (4096,), (1,)]

OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "adam": ("Adam", {}),
    "decayed": ("Adam", {"weight_decay": 0.1, "maximize": True, "betas": (0.0, 0.5)}),
    "amsgrad": ("AdamW", {"amsgrad": True, "weight_decay": 0.1, "eps": 1e-3}),
    "sgd": ("SGD", {"weight_decay": 0.1}),
    "momentum": ("SGD", {"momentum": 0.9, "dampening": 0.3}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True, "maximize": True}),
}


def launches(cupy: Any, f: Callable[[], Any]) -> int:
    """How many kernels a call starts; only the simulated CuPy counts them."""
    if hasattr(cupy, "RawKernel"):
        pytest.skip("launches are counted on the CPU")
    state = cuda_on_cpu.cupy_on_numpy.state
    before = state.launches
    f()
    return state.launches - before


def drawn(seed: int, dtype: str, shapes: Any = SHAPES) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {f"p{i}": rng.normal(size=shape).astype(dtype) for i, shape in enumerate(shapes)}


def on_gpu(cupy: Any, arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: cupy.asarray(x) for name, x in arrays.items()}


def made(name: str, params: Any, **more: Any) -> Any:
    kind, options = OPTIONS[name]
    return getattr(bp.optim, kind)(params, **{"lr": 0.05, **options, **more})


def stepped(optimizer: Any, gradients: Any) -> Any:
    for g in gradients:
        params = optimizer.step(g)
    return params


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", OPTIONS)
def test_steps_are_those_of_the_formula(cupy: Any, name: str, dtype: str) -> None:
    gradients = [drawn(i, dtype) for i in (1, 2, 3)]
    start = on_gpu(cupy, drawn(0, dtype))
    given = dict(start)
    fast = stepped(made(name, start), [on_gpu(cupy, g) for g in gradients])
    plain = stepped(made(name, drawn(0, dtype)), gradients)
    tolerance = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-13}[dtype]
    for path, x in plain.items():
        assert fast[path] is given[path]  # it was written to
        np.testing.assert_allclose(fast[path].get(), x, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "count"), [("adam", 2), ("sgd", 1), ("momentum", 2)])
def test_a_step_is_a_launch_or_two(cupy: Any, name: str, count: int) -> None:
    optimizer = made(name, on_gpu(cupy, drawn(0, "float32")))
    gradients = on_gpu(cupy, drawn(1, "float32"))
    optimizer.step(gradients)
    assert launches(cupy, lambda: optimizer.step(gradients)) == count


@pytest.mark.parametrize("name", OPTIONS)
def test_a_step_may_be_left_out(cupy: Any, name: str) -> None:
    """By the kernels themselves, in as many launches, and without a look at the condition."""
    start, g = on_gpu(cupy, drawn(0, "float32")), on_gpu(cupy, drawn(1, "float32"))
    bad = {path: x * np.nan for path, x in g.items()}
    optimizer, plain = made(name, start), made(name, {k: x.copy() for k, x in start.items()})
    yes, no = cupy.asarray(True), cupy.asarray(False)
    for gradient, condition in ((bad, no), (g, yes), (bad, no), (g, yes)):
        found = optimizer.step(gradient, only_if=condition)
        if gradient is g:
            wanted = plain.step(g)
            for path, x in wanted.items():
                np.testing.assert_array_equal(found[path].get(), x.get())
    for path, state in plain.state.items():
        for key, x in state.items():
            np.testing.assert_array_equal(optimizer.state[path][key].get(), x.get())


def test_a_step_that_may_be_left_out_is_no_more_launches(cupy: Any) -> None:
    for name, count in (("adam", 2), ("sgd", 1), ("momentum", 2)):
        optimizer, yes = made(name, on_gpu(cupy, drawn(0, "float32"))), cupy.asarray(True)
        gradients = on_gpu(cupy, drawn(1, "float32"))
        optimizer.step(gradients)
        assert launches(cupy, lambda: optimizer.step(gradients, only_if=yes)) == count  # noqa: B023


def test_more_parameters_than_one_launch_takes(cupy: Any) -> None:
    shapes = [(i % 7 + 1,) for i in range(150)]
    gradients = drawn(1, "float32", shapes)
    fast = made("adam", on_gpu(cupy, drawn(0, "float32", shapes))).step(on_gpu(cupy, gradients))
    plain = made("adam", drawn(0, "float32", shapes)).step(gradients)
    for path, x in plain.items():
        np.testing.assert_allclose(fast[path].get(), x, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_learning_rate_may_be_on_the_device(cupy: Any, dtype: str) -> None:
    for name in ("adam", "momentum"):
        rate = cupy.full((), 0.05, dtype)
        params, g = on_gpu(cupy, drawn(0, "float32")), on_gpu(cupy, drawn(1, "float32"))
        fast = made(name, params, lr=rate).step(g)
        plain = made(name, on_gpu(cupy, drawn(0, "float32"))).step(g)
        for path, x in plain.items():
            np.testing.assert_allclose(fast[path].get(), x.get(), rtol=1e-6)


@pytest.mark.parametrize("name", OPTIONS)
def test_kernels_may_be_switched_off_between_steps(cupy: Any, name: str) -> None:
    gradients = [on_gpu(cupy, drawn(i, "float32")) for i in (1, 2, 3)]
    fast = stepped(made(name, on_gpu(cupy, drawn(0, "float32"))), gradients)
    optimizer = made(name, on_gpu(cupy, drawn(0, "float32")))
    optimizer.step(gradients[0])
    with kernels.switched_off():
        optimizer.step(gradients[1])
    mixed = optimizer.step(gradients[2])
    for path, x in fast.items():
        np.testing.assert_allclose(mixed[path].get(), x.get(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("again", [copy.deepcopy, bp.to_numpy], ids=["copied", "saved"])
def test_a_saved_or_copied_optimizer_goes_on(cupy: Any, again: Any) -> None:
    gradients = [on_gpu(cupy, drawn(i, "float32")) for i in (1, 2)]
    optimizer = made("amsgrad", on_gpu(cupy, drawn(0, "float32")))
    optimizer.step(gradients[0])
    state = again(optimizer.state_dict())
    other = made("amsgrad", {k: x.copy() for k, x in optimizer.params.items()})
    other.load_state_dict(state)
    wanted = optimizer.step(gradients[1])
    for path, x in other.step(gradients[1]).items():
        np.testing.assert_array_equal(x.get(), wanted[path].get())


def test_a_copied_optimizer_goes_on_by_itself(cupy: Any) -> None:
    g = on_gpu(cupy, drawn(1, "float32"))
    optimizer = made("adam", on_gpu(cupy, drawn(0, "float32")))
    optimizer.step(g)
    other = copy.deepcopy(optimizer)
    wanted = {k: x.get() for k, x in optimizer.step(g).items()}
    optimizer.step(g)
    for path, x in other.step(g).items():
        np.testing.assert_array_equal(x.get(), wanted[path])


def test_a_parameter_without_a_gradient_is_left_alone(cupy: Any) -> None:
    params, g = on_gpu(cupy, drawn(0, "float32")), on_gpu(cupy, drawn(1, "float32"))
    optimizer = made("adam", params)
    optimizer.step(g)
    before = {name: x.get() for name, x in params.items()}
    optimizer.step({"p0": g["p0"], "p3": g["p3"]})
    for name, x in params.items():
        assert (x.get() == before[name]).all() == (name not in ("p0", "p3") or x.size == 0)
    plain = made("adam", drawn(0, "float32"))
    plain.step(drawn(1, "float32"))
    plain.step({k: v for k, v in drawn(1, "float32").items() if k in ("p0", "p3")})
    for name, x in plain.params.items():
        np.testing.assert_allclose(params[name].get(), x, rtol=1e-5, atol=1e-6)


def test_arrays_with_gaps_are_updated_by_the_formula(cupy: Any) -> None:
    wide = {"a": np.ones((6, 8), "f4"), "b": np.ones(5, "f4")}
    g = {"a": np.full((6, 8), 0.5, "f4"), "b": np.ones(5, "f4")}
    fast = made("adam", {"a": cupy.asarray(wide["a"]).T, "b": cupy.asarray(wide["b"])})
    plain = made("adam", {"a": wide["a"].T, "b": wide["b"]})
    for _ in range(2):
        ours = fast.step({"a": cupy.asarray(g["a"]).T, "b": cupy.asarray(g["b"])})
        wanted = plain.step({"a": g["a"].T, "b": g["b"]})
    for name, x in wanted.items():
        np.testing.assert_allclose(ours[name].get(), x, rtol=1e-6)


def test_a_formula_of_ones_own_is_not_passed_over(cupy: Any) -> None:
    class Signed(bp.optim.SGD):
        def update_one(self, xp: Any, p: Any, g: Any, s: Any, h: Any) -> Any:
            p -= h["lr"] * xp.sign(g)
            return p, s

    params = {"a": cupy.asarray(np.zeros(3, "f4")), "b": cupy.asarray(np.zeros(2, "f4"))}
    g = {"a": cupy.asarray(np.asarray([2, -3, 0], "f4")), "b": cupy.asarray(np.ones(2, "f4"))}
    stepped = Signed(params, lr=0.5).step(g)
    np.testing.assert_array_equal(stepped["a"].get(), [-0.5, 0.5, 0])


def test_a_captured_step_goes_on_from_the_state_on_the_device(cupy: Any) -> None:
    for name in ("adam", "momentum"):
        rate = cupy.full((), 0.05, "float64")
        params, g = on_gpu(cupy, drawn(0, "float32")), on_gpu(cupy, drawn(1, "float32"))
        optimizer = made(name, params, lr=rate)
        optimizer.step(g)
        stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
        with stream, cupy.cuda.using_allocator(pool.malloc):
            stream.begin_capture()
            optimizer.step(g)
            graph = stream.end_capture()
            graph.launch()
            rate[...] = 0.01
            graph.launch()
        plain = made(name, drawn(0, "float32"))
        for lr in (0.05, 0.05, 0.01):
            plain.lr = lr
            plain.step(drawn(1, "float32"))
        for path, x in plain.params.items():
            np.testing.assert_allclose(params[path].get(), x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_gradients_are_clipped_by_their_common_norm(cupy: Any, dtype: str) -> None:
    given = drawn(3, dtype)
    gradients = {**on_gpu(cupy, given), "none": None}
    clipped, norm = bp.optim.clip_grad_norm(gradients, 2.0)
    np.testing.assert_array_equal(
        bp.optim.clip_grad_norm(gradients, 1e3)[0]["p3"].get(), given["p3"]
    )
    wanted, expected = bp.optim.clip_grad_norm(given, 2.0)
    tolerance = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-13}[dtype]
    np.testing.assert_allclose(norm.get(), expected, rtol=tolerance)
    assert norm.dtype == expected.dtype
    assert clipped["none"] is None
    for name, x in wanted.items():
        np.testing.assert_array_equal(gradients[name].get(), given[name])
        np.testing.assert_allclose(clipped[name].get(), x, rtol=tolerance, atol=tolerance)
        assert clipped[name].dtype == x.dtype


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_gradients_are_unscaled(cupy: Any, dtype: str) -> None:
    """As the formula has it, with whatever entry is not finite; float16 comes back as float32."""
    given = {**drawn(1, dtype), "none": None}
    for bad in (None, np.inf, -np.inf, np.nan):
        for path, place in (("p3", (63, 69)), ("p2", ()), ("p6", (4999,))):
            arrays = {k: None if x is None else x.copy() for k, x in given.items()}
            if bad is not None:
                arrays[path][place] = bad
            gradients = bp.tree.map(cupy.asarray, arrays)
            found, finite = bp.optim.GradScaler(8.0).unscale(gradients)
            wanted, expected = bp.optim.GradScaler(8.0).unscale(arrays)
            assert bool(finite) == bool(expected) == (bad is None)
            assert finite.shape == ()
            assert found["none"] is None
            for name, x in wanted.items():
                if x is not None:
                    np.testing.assert_array_equal(found[name].get(), x)
                    assert found[name].dtype == x.dtype


def test_a_division_that_overflows_is_not_finite(cupy: Any) -> None:
    _, finite = bp.optim.GradScaler(2.0**-20).unscale([cupy.full(3, 1e38, "float32")])
    assert not finite


def test_unscaling_is_two_launches(cupy: Any) -> None:
    gradients, scaler = on_gpu(cupy, drawn(1, "float32")), bp.optim.GradScaler()
    scaler.unscale(gradients)
    assert launches(cupy, lambda: scaler.unscale(gradients)) <= 2


def test_clipping_is_three_launches(cupy: Any) -> None:
    gradients = on_gpu(cupy, drawn(3, "float32"))
    assert launches(cupy, lambda: bp.optim.clip_grad_norm(gradients, 2.0)) == 3
