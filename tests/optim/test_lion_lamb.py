"""Lion and LAMB, which torch lacks, follow their papers: against plain NumPy, and by their properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bpgpu import optim
from optim.against_torch import array, close, gradients, in_place, pure, settings, start

LION = settings(
    lr=[1e-3, 0.1], betas=[(0.9, 0.99), (0.0, 0.0)], weight_decay=[0, 0.1], maximize=[False, True]
)
LAMB = settings(
    lr=[1e-3, 0.1],
    betas=[(0.9, 0.999), (0.0, 0.5)],
    eps=[1e-6, 1e-2],
    weight_decay=[0, 0.1],
    maximize=[False, True],
)


def lion(
    p: np.ndarray,
    grads: list[np.ndarray],
    lr: float,
    betas: Any,
    weight_decay: float,
    maximize: bool,
) -> np.ndarray:
    m = np.zeros_like(p)
    sign = -1 if maximize else 1
    for g in (sign * g for g in grads):
        update = np.sign(betas[0] * m + (1 - betas[0]) * g)
        p = p - lr * (update + weight_decay * p)
        m = betas[1] * m + (1 - betas[1]) * g
    return p


def lamb(
    p: np.ndarray,
    grads: list[np.ndarray],
    lr: float,
    betas: Any,
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> np.ndarray:
    m, v = np.zeros_like(p), np.zeros_like(p)
    sign = -1 if maximize else 1
    for t, g in enumerate((sign * g for g in grads), 1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        r = (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps) + weight_decay * p
        length, step = np.linalg.norm(p.ravel()), np.linalg.norm(r.ravel())
        ratio = length / step if length > 0 and step > 0 else 1.0
        p = p - lr * ratio * r
    return p


def by_paper(name: str, options: dict[str, Any]) -> dict[str, np.ndarray]:
    update = {"Lion": lion, "LAMB": lamb}[name]
    params = start(name)
    found = {}
    for k, p in params.items():
        given = [gradients(params, step, gaps=True)[k] for step in range(50)]
        found[k] = np.asarray(update(p, [g for g in given if g is not None], **options))
    return found


CASES = [("Lion", o) for o in LION] + [("LAMB", o) for o in LAMB]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_fifty_steps_are_those_of_the_paper(xp: Any, name: str, options: dict[str, Any]) -> None:
    close(in_place(xp, name, options), by_paper(name, options))


@pytest.mark.parametrize(("name", "options"), CASES[::3])
def test_the_pure_form_makes_the_same_steps(xp: Any, name: str, options: dict[str, Any]) -> None:
    close(pure(xp, name, options), by_paper(name, options))


@pytest.mark.parametrize("name", ["Lion", "LAMB"])
def test_they_compile(name: str) -> None:
    jax = pytest.importorskip("jax")
    params = start(name)
    arrays = {k: jax.numpy.asarray(p) for k, p in params.items()}
    optimizer = getattr(optim, name)(arrays, weight_decay=0.1)
    state, update = optimizer.init(arrays), jax.jit(optimizer.update)
    mine = {k: p.copy() for k, p in params.items()}
    other = getattr(optim, name)(mine, weight_decay=0.1)
    for step in range(10):
        grads = gradients(params, step, gaps=False)
        arrays, state = update({k: jax.numpy.asarray(g) for k, g in grads.items()}, state, arrays)
        other.step(grads)
    close(arrays, mine)


def test_lamb_moves_each_array_by_its_own_length(xp: Any) -> None:
    p = array(xp, np.asarray([3.0, 4.0]))
    optim.LAMB([p], lr=0.1, weight_decay=0).step([array(xp, np.asarray([1e-3, -7.0]))])
    assert np.linalg.norm(np.asarray(p) - [3, 4]) == pytest.approx(0.5)


def test_lamb_starts_from_zero_weights(xp: Any) -> None:
    p = array(xp, np.zeros(2))
    optim.LAMB([p], lr=0.1).step([array(xp, np.asarray([5.0, 0.0]))])
    np.testing.assert_allclose(np.asarray(p), [-0.1, 0.0], atol=1e-6)
    optim.LAMB([p], lr=0.1, weight_decay=0).step([array(xp, np.zeros(2))])
    np.testing.assert_allclose(np.asarray(p), [-0.1, 0.0], atol=1e-6)


def test_lion_moves_every_entry_by_lr(xp: Any) -> None:
    p = array(xp, np.zeros(3))
    optim.Lion([p], lr=0.25).step([array(xp, np.asarray([1e-9, -1e9, 0.0]))])
    assert np.asarray(p).tolist() == [-0.25, 0.25, 0.0]
