"""Every optimizer makes torch's steps: in place, in the pure form, and compiled by JAX."""

from __future__ import annotations

import functools
import inspect
import itertools
import warnings
from typing import Any

import numpy as np
import pytest

import bpgpu.optim as ours
from conftest import load
from optim.against_torch import (
    CASES,
    EVERY,
    STEPS,
    by_torch,
    close,
    gradients,
    in_place,
    pure,
    start,
)

reference = functools.cache(lambda i: by_torch(*EVERY[i]))


def some(every: int) -> Any:
    """Parametrise over the settings, or over one in so many where another library is only to be tried."""
    chosen = [i for i in range(len(EVERY)) if i % every == 0 or EVERY[i][1] == {}]
    return pytest.mark.parametrize("i", chosen, ids=[f"{EVERY[i][0]}-{i}" for i in chosen])


@some(1)
def test_fifty_steps_in_place_are_those_of_torch(i: int) -> None:
    close(in_place(load("numpy"), *EVERY[i]), reference(i))


@some(7)
@pytest.mark.parametrize(
    "library", ["strict", "torch", pytest.param("cupy", marks=pytest.mark.gpu)]
)
def test_other_libraries_make_the_same_steps_in_place(library: str, i: int) -> None:
    close(in_place(load(library), *EVERY[i]), reference(i))


@some(3)
def test_fifty_steps_of_the_pure_form_are_those_of_torch(i: int) -> None:
    close(pure(load("numpy"), *EVERY[i]), reference(i))


@some(11)
@pytest.mark.parametrize(
    "library", ["strict", "torch", pytest.param("cupy", marks=pytest.mark.gpu)]
)
def test_other_libraries_make_the_same_steps_in_the_pure_form(library: str, i: int) -> None:
    close(pure(load(library), *EVERY[i]), reference(i))


@pytest.mark.parametrize("name", CASES)
def test_steps_compiled_by_jax_are_those_of_torch(name: str) -> None:
    jax = pytest.importorskip("jax")
    options = CASES[name][-1]
    params = start(name)
    arrays = {k: jax.numpy.asarray(p) for k, p in params.items()}
    optimizer = getattr(ours, name)(arrays, **options)
    state = jax.jit(optimizer.init)(arrays)
    update = jax.jit(optimizer.update)
    for step in range(STEPS):
        grads = {k: jax.numpy.asarray(g) for k, g in gradients(params, step, gaps=False).items()}
        arrays, state = update(grads, state, arrays)
    assert update._cache_size() == 1
    close(arrays, by_torch(name, options, gaps=False))


@pytest.mark.parametrize("name", ["SGD", "AdamW", "Adafactor"])
def test_immutable_arrays_are_replaced_by_step(name: str) -> None:
    jax = pytest.importorskip("jax")
    params = start(name)
    given = {k: jax.numpy.asarray(p) for k, p in params.items()}
    optimizer = getattr(ours, name)(given)
    for step in range(3):
        grads = {
            k: jax.numpy.asarray(g)
            for k, g in gradients(params, step, gaps=True).items()
            if g is not None
        }
        new = optimizer.step(grads)
    assert new is not given
    assert all(np.array_equal(given[k], p) for k, p in params.items())
    close(new, by_torch(name, {}, steps=3))


@pytest.mark.parametrize("name", CASES)
def test_float32_parameters_stay_float32_and_near_torch(xp: Any, name: str) -> None:
    params = {k: p.astype(np.float32) for k, p in start(name).items()}
    arrays = {k: xp.asarray(p.copy()) for k, p in params.items()}
    optimizer = getattr(ours, name)(arrays)
    for step in range(5):
        grads = gradients(params, step, gaps=False)
        optimizer.step({k: xp.asarray(g.astype(np.float32)) for k, g in grads.items()})
    for k, wanted in by_torch(name, {}, gaps=False, steps=5).items():
        got = np.asarray(arrays[k])
        assert got.dtype == np.float32
        # Muon's iteration turns a difference of rounding into one unit in 256 of a step
        tolerance = 2e-4 if name == "Muon" else 2e-6
        np.testing.assert_allclose(got, _in_float32(wanted, params[k]), atol=tolerance, rtol=1e-5)
    for s in optimizer.state.values():
        assert all("float32" in str(v.dtype) for v in s.values())


def _in_float32(after: np.ndarray, start: np.ndarray) -> np.ndarray:
    return after.astype(np.float32) + 0 * start


@pytest.mark.parametrize("name", ["SGD", "Adam", "NAdam", "Adafactor", "Muon"])
def test_half_precision_parameters_are_updated_in_float32(name: str) -> None:
    torch = pytest.importorskip("torch")
    p = torch.ones((2, 2), dtype=torch.bfloat16)
    optimizer = getattr(ours, name)([p], lr=0.25)
    assert optimizer.step([torch.ones((2, 2), dtype=torch.bfloat16)])[0] is p
    assert p.dtype == torch.bfloat16
    assert bool((p < 1).all())
    assert all(v.dtype == torch.float32 for s in optimizer.state.values() for v in s.values())


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("Muon", "Adafactor")])
def test_complex_parameters_are_updated_as_torch_updates_them(xp: Any, name: str) -> None:
    import torch

    rng = np.random.default_rng(3)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape))

    starts = [draw((3, 2)), draw(())]
    tensors = [torch.tensor(z, requires_grad=True) for z in starts]
    options = {"weight_decay": 0.1} if name != "Rprop" else {}
    theirs = getattr(torch.optim, name)(tensors, **options, foreach=False)
    arrays = [torch.tensor(z) if "torch" in xp.__name__ else xp.asarray(z.copy()) for z in starts]
    mine = getattr(ours, name)(arrays, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own complex support
        for _ in range(10):
            grads = [draw((3, 2)), draw(())]
            for t, g in zip(tensors, grads, strict=True):
                t.grad = torch.tensor(g)
            theirs.step()
            new = mine.step(
                [torch.tensor(g) if "torch" in xp.__name__ else xp.asarray(g) for g in grads]
            )
    for got, wanted in zip(new, tensors, strict=True):
        np.testing.assert_allclose(np.asarray(got), wanted.detach().numpy(), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", [*CASES, "LBFGS"])
def test_signatures_are_torchs_without_its_switches(name: str) -> None:
    import torch

    switches = {"foreach", "fused", "capturable", "differentiable"}
    theirs = list(inspect.signature(getattr(torch.optim, name)).parameters.values())
    mine = list(inspect.signature(getattr(ours, name)).parameters.values())
    wanted = [(p.name, p.default) for p in theirs if p.name not in switches]
    assert [(p.name, p.default) for p in mine if p.name != "groups"] == wanted
    # what follows a switch that could be given by position cannot be given so here
    before = list(itertools.takewhile(lambda p: p.name not in switches, theirs))
    kinds = {p.name: p.kind for p in mine}
    assert all(kinds[p.name] == p.kind for p in before)


@pytest.mark.parametrize("name", ["SGD", "AdamW", "RAdam", "Adafactor", "Muon"])
def test_torch_compiles_the_pure_form_in_one_piece(name: str) -> None:
    import torch

    params = {k: torch.tensor(p) for k, p in start(name).items() if 0 not in p.shape}
    optimizer = getattr(ours, name)(params)
    state = optimizer.init(params)
    torch._dynamo.reset()
    update = torch.compile(optimizer.update, fullgraph=True, backend="eager")
    mine = {k: p.clone() for k, p in params.items()}
    other = getattr(ours, name)(mine)
    for step in range(3):
        grads = gradients(start(name), step, gaps=False)
        grads = {k: torch.tensor(grads[k]) for k in params}
        params, state = update(grads, state, params)
        other.step(grads)
    close(params, {k: p.numpy() for k, p in mine.items()})
