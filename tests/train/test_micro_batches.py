"""Batches that do not fit into memory: taken in pieces, with the same result, or told."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

import bpgpu as bp

f = bp.functional


class Narrow(bp.nn.Module):
    """A layer for which the memory is enough for so many rows."""

    def __init__(self, room: int, back: bool = False) -> None:
        super().__init__()
        self.room, self.back = room, back
        self.seen: list[int] = []

    def forward(self, x: Any) -> Any:
        self.seen.append(x.shape[0])
        if not self.back:
            if x.shape[0] > self.room:
                raise MemoryError("no room")
            return x
        room = self.room

        @bp.custom_vjp
        def same(x: Any) -> Any:
            return x * 1.0

        def forward(x: Any) -> Any:
            return x * 1.0, None

        def backward(_: Any, g: Any) -> Any:
            if g.shape[0] > room:
                raise MemoryError("no room on the way back")
            return (g,)

        same.defvjp(forward, backward)
        return same(x)


def data(rows: int = 53) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 6))
    return x, (x @ rng.normal(size=(6, 3))).argmax(1)


def trained(room: int | None, micro: Any, back: bool = False, **options: Any) -> tuple[Any, Any]:
    bp.seed(0)
    layers = [bp.nn.Linear(6, 8), bp.nn.Tanh(), bp.nn.Linear(8, 3)]
    if room is not None:
        layers.insert(1, Narrow(room, back))
    model = bp.nn.Sequential(*layers).to(dtype="float64")
    result = bp.fit(
        model,
        data(),
        loss=f.cross_entropy,
        optimizer=bp.optim.Adam(model, lr=0.05),
        epochs=3,
        batch_size=20,
        metrics=["accuracy"],
        validation=data(31),
        progress=False,
        micro_batch=micro,
        **options,
    )
    return result, list(model.parameters().values())


def same(found: Any, expected: Any, rtol: float = 1e-9) -> None:
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)
    for name, values in expected[0].history.items():
        np.testing.assert_allclose(found[0].history[name], values, rtol=rtol)


@pytest.mark.parametrize("compiled", [False, "auto"])
@pytest.mark.parametrize("size", [1, 7, 20, 64])
def test_pieces_of_any_size_give_the_same_training(size: int, compiled: Any) -> None:
    found = trained(None, size, compile=compiled)
    same(found, trained(None, None, compile=False))
    assert found[0].micro_batch == size


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"class_weight": [1.0, 2.0, 0.5]}])
@pytest.mark.parametrize("back", [False, True])
def test_auto_halves_until_it_fits(back: bool, options: Any, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, logger="bpgpu"):
        found = trained(6, "auto", back, **options)
    same(found, trained(None, None, **options), 1e-6 if "class_weight" in options else 1e-9)
    assert found[0].micro_batch == 5
    told = [r.getMessage() for r in caplog.records if "do not fit into memory" in r.getMessage()]
    assert len(told) == 2
    assert told[-1].startswith(
        "fit: 10 rows do not fit into memory; batches are taken in pieces of 5 rows"
    )


def test_auto_takes_whole_batches_that_fit() -> None:
    result, _ = trained(100, "auto")
    assert result.micro_batch is None


def test_nothing_of_a_failed_attempt_is_left() -> None:
    """Random keys and running statistics are those of the pieces alone."""

    def model_of(room: int) -> Any:
        bp.seed(0)
        return bp.nn.Sequential(
            *(bp.nn.Linear(6, 8), bp.nn.BatchNorm1d(8), bp.nn.Dropout(0.5)),
            *(Narrow(room), bp.nn.Linear(8, 3)),
        )

    states = []
    for room, micro in ((5, "auto"), (100, 5)):
        model = model_of(room)
        x, y = data(20)
        bp.fit(
            model,
            (x.astype(np.float32), y),
            loss=f.cross_entropy,
            optimizer=bp.optim.SGD(model, lr=0.1),
            epochs=2,
            batch_size=20,
            progress=False,
            micro_batch=micro,
        )
        states.append(model.state_dict())
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name], err_msg=name)


def test_a_row_that_does_not_fit_is_told_and_nothing_has_changed() -> None:
    bp.seed(0)
    model = bp.nn.Sequential(bp.nn.Linear(6, 3), Narrow(2), bp.nn.Linear(3, 3))
    optimizer = bp.optim.SGD(model, lr=0.1)
    before = {k: v.copy() for k, v in model.parameters().items()}
    model[1].room = 2

    def fit() -> None:
        x, y = data(8)
        bp.fit(
            model,
            (x.astype(np.float32), y),
            loss=lambda p, y: Refusing()(p) if p.shape[0] else None,
            optimizer=optimizer,
            epochs=1,
            progress=False,
            micro_batch="auto",
        )

    class Refusing:
        calls = 0

        def __call__(self, p: Any) -> Any:
            type(self).calls += 1
            if type(self).calls > 1:
                raise MemoryError("none at all")
            return bp.array_namespace(p).sum(p)

    with pytest.raises(bp.errors.DeviceError, match="this machine has no memory left: none at all"):
        fit()
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, before[name])


def test_out_of_memory_is_told_with_the_layer_and_what_to_do() -> None:
    class Large(bp.nn.Module):
        def forward(self, x: Any) -> Any:
            return np.ones((1 << 44, 8), np.float32)

    model = bp.nn.Sequential(bp.nn.Identity(), Large())
    with pytest.raises(bp.errors.OutOfMemoryError) as raised:
        model(np.ones(3))
    text = str(raised.value)
    assert text.startswith("Large '1': ")
    assert "an array of shape (17592186044416, 8) and dtype float32 takes" in text
    for word in ("free of", "batch_size", "bpgpu.checkpoint", "accumulate"):
        assert word in text
    assert isinstance(raised.value, MemoryError)
    assert isinstance(raised.value, bp.errors.DeviceError)


def test_wrong_sizes() -> None:
    with pytest.raises(ValueError, match="micro_batch"):
        trained(None, 0)
    with pytest.raises(ValueError, match="micro_batch"):
        trained(None, "some")
