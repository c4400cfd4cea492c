"""Fifty steps of our optimizers beside torch's, on the same gradients."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch

import bpgpu.optim as ours

STEPS = 50
TOLERANCE = 1e-10

SHAPES = {
    "scalar": (),
    "vector": (5,),
    "matrix": (3, 4),
    "stack": (2, 3, 2),
    "one": (1, 1),
    "none": (0, 3),
}


def settings(**choices: list[Any]) -> list[dict[str, Any]]:
    """All combinations of options."""
    return [dict(zip(choices, c, strict=True)) for c in itertools.product(*choices.values())]


CASES: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        {},
        *settings(
            lr=[0.1],
            momentum=[0, 0.9],
            dampening=[0, 0.3],
            weight_decay=[0, 0.1],
            maximize=[False, True],
        ),
        *settings(
            lr=[0.1], momentum=[0.9], nesterov=[True], weight_decay=[0, 0.1], maximize=[False, True]
        ),
    ],
    "Adam": [
        {},
        *settings(
            lr=[0.01],
            betas=[(0.9, 0.999), (0.0, 0.0), (0.3, 0.7)],
            weight_decay=[0, 0.1],
            amsgrad=[False, True],
            maximize=[False, True],
            decoupled_weight_decay=[False, True],
        ),
        {"eps": 1e-2},
        {"eps": 0.0},
    ],
    "AdamW": [
        {},
        *settings(
            lr=[0.01],
            betas=[(0.8, 0.9)],
            eps=[1e-8, 1e-3],
            weight_decay=[0, 0.1],
            amsgrad=[False, True],
            maximize=[False, True],
        ),
    ],
    "Adamax": [
        {},
        *settings(
            lr=[0.01],
            betas=[(0.8, 0.9), (0.0, 0.0)],
            eps=[1e-8, 1e-2],
            weight_decay=[0, 0.1],
            maximize=[False, True],
        ),
    ],
    "NAdam": [
        {},
        *settings(
            lr=[0.01],
            betas=[(0.8, 0.9), (0.0, 0.5)],
            weight_decay=[0, 0.1],
            momentum_decay=[0, 4e-3, 0.1],
            decoupled_weight_decay=[False, True],
            maximize=[False, True],
        ),
    ],
    "RAdam": [
        {},
        *settings(
            lr=[0.01],
            betas=[(0.9, 0.999), (0.5, 0.9), (0.0, 0.0)],
            weight_decay=[0, 0.1],
            decoupled_weight_decay=[False, True],
            maximize=[False, True],
        ),
        {"eps": 1e-3},
    ],
    "RMSprop": [
        {},
        *settings(
            lr=[0.01],
            alpha=[0.99, 0.5],
            weight_decay=[0, 0.1],
            momentum=[0, 0.9],
            centered=[False, True],
            maximize=[False, True],
        ),
        {"eps": 1e-2},
    ],
    "Adagrad": [
        {},
        *settings(
            lr=[0.1],
            lr_decay=[0, 0.1],
            weight_decay=[0, 0.1],
            initial_accumulator_value=[0, 0.5],
            maximize=[False, True],
        ),
        {"eps": 1e-2},
    ],
    "Adadelta": [
        {},
        *settings(
            lr=[1.0, 0.5],
            rho=[0.9, 0.0, 1.0],
            eps=[1e-6, 1e-2],
            weight_decay=[0, 0.1],
            maximize=[False, True],
        ),
    ],
    "Adafactor": [
        {},
        *settings(
            lr=[0.01, 0.5],
            beta2_decay=[-0.8, -0.3],
            eps=[(None, 1e-3), (1e-2, 1e-1)],
            d=[1.0, 2.0],
            weight_decay=[0, 0.1],
            maximize=[False, True],
        ),
    ],
    "ASGD": [
        {},
        *settings(
            lr=[0.1],
            lambd=[1e-4, 0.1],
            alpha=[0.75, 0.0],
            t0=[1e6, 10, 0],
            weight_decay=[0, 0.1],
            maximize=[False, True],
        ),
    ],
    "Rprop": [
        {},
        *settings(
            lr=[0.1],
            etas=[(0.5, 1.2), (0.3, 2.0)],
            step_sizes=[(1e-6, 50), (0.05, 0.2)],
            maximize=[False, True],
        ),
    ],
    "Muon": [
        {},
        *settings(
            lr=[0.05],
            weight_decay=[0, 0.1],
            momentum=[0.0, 0.95],
            nesterov=[False, True],
            adjust_lr_fn=[None, "original", "match_rms_adamw"],
        ),
        {"ns_steps": 3, "eps": 1e-2, "ns_coefficients": (2.0, -1.5, 0.5)},
    ],
}
"""Options with which each optimizer is compared."""

EVERY = [(name, options) for name, cases in CASES.items() for options in cases]


def shapes_for(name: str) -> dict[str, tuple[int, ...]]:
    if name == "Muon":
        return {"wide": (3, 4), "tall": (5, 2), "square": (3, 3), "one": (1, 1), "row": (1, 6)}
    if name == "Adafactor":  # torch divides by the number of entries
        return {k: s for k, s in SHAPES.items() if 0 not in s}
    return SHAPES


def start(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {k: np.asarray(rng.normal(size=s)) for k, s in shapes_for(name).items()}


def gradients(
    params: dict[str, np.ndarray], step: int, *, gaps: bool
) -> dict[str, np.ndarray | None]:
    """Gradients of one step; with gaps, each parameter goes without one now and then."""
    rng = np.random.default_rng((1, step))
    found: dict[str, np.ndarray | None] = {}
    for i, (k, p) in enumerate(params.items()):
        g = np.asarray(rng.normal(size=p.shape) + 0.3)
        found[k] = None if gaps and (step + i) % 4 == 1 else g
    return found


def by_torch(
    name: str, options: dict[str, Any], *, gaps: bool = True, steps: int = STEPS
) -> dict[str, np.ndarray]:
    params = start(name)
    tensors = {k: torch.tensor(p, requires_grad=True) for k, p in params.items()}
    optimizer = getattr(torch.optim, name)(list(tensors.values()), **options, **slow(name))
    for step in range(steps):
        for k, g in gradients(params, step, gaps=gaps).items():
            tensors[k].grad = None if g is None else torch.tensor(g)
        optimizer.step()
    return {k: t.detach().numpy() for k, t in tensors.items()}


def slow(name: str) -> dict[str, Any]:
    """The plain loop of torch, one tensor after the other."""
    return {} if name == "Muon" else {"foreach": False}


def in_place(
    xp: Any, name: str, options: dict[str, Any], *, gaps: bool = True, steps: int = STEPS
) -> dict[str, Any]:
    params = start(name)
    arrays = {k: array(xp, p) for k, p in params.items()}
    optimizer = getattr(ours, name)(arrays, **options)
    for step in range(steps):
        new = optimizer.step(
            {
                k: None if g is None else array(xp, g)
                for k, g in gradients(params, step, gaps=gaps).items()
            }
        )
    assert new is arrays
    return new


def pure(
    xp: Any, name: str, options: dict[str, Any], *, gaps: bool = True, steps: int = STEPS
) -> dict[str, Any]:
    params = start(name)
    arrays = {k: array(xp, p) for k, p in params.items()}
    optimizer = getattr(ours, name)({k: array(xp, p) for k, p in params.items()}, **options)
    state = optimizer.init(arrays)
    for step in range(steps):
        grads = {
            k: None if g is None else array(xp, g)
            for k, g in gradients(params, step, gaps=gaps).items()
        }
        arrays, state = optimizer.update(grads, state, arrays)
    return arrays


def array(xp: Any, x: np.ndarray) -> Any:
    return torch.tensor(x) if "torch" in xp.__name__ else xp.asarray(np.array(x))


def close(got: dict[str, Any], wanted: dict[str, np.ndarray], tolerance: float = TOLERANCE) -> None:
    for k, w in wanted.items():
        g = np.asarray(got[k])
        assert g.dtype == w.dtype
        assert g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance, err_msg=k)
