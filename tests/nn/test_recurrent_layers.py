"""Recurrent modules from torch's state_dict: outputs, states and gradients, in every arrangement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import bpgpu as bp
from bpgpu.errors import ShapeError
from bpgpu.nn import recurrent as ours

R = np.random.default_rng(0)
T, N, I, H = 4, 3, 2, 5  # noqa: E741 - the letters of the formulas


def load(mine: Any, theirs: Any) -> Any:
    state = {k: v.detach().numpy() for k, v in theirs.state_dict().items()}
    mine.to(dtype="float64").load_state_dict(state)
    return mine


def leaves(x: Any) -> list[Any]:
    return [v for part in x for v in leaves(part)] if isinstance(x, tuple) else [x]


def agree(mine: Any, theirs: Any, x: np.ndarray, *states: Any) -> None:
    """Outputs, and gradients of input and all parameters."""
    theirs.zero_grad()
    tx = torch.tensor(x, requires_grad=True)
    tstates = [
        tuple(map(torch.tensor, s)) if isinstance(s, tuple) else torch.tensor(s) for s in states
    ]
    expected = leaves(theirs(tx, *tstates))
    cts = [R.normal(size=y.shape) for y in expected]
    sum((y * torch.tensor(c)).sum() for y, c in zip(expected, cts, strict=True)).backward()

    def loss(m: Any, x: Any) -> Any:
        found = leaves(m(x, *states))
        xp = bp.array_namespace(found[0])
        return sum(xp.sum(y * c) for y, c in zip(found, cts, strict=True))

    for y, e in zip(leaves(mine(x, *states)), expected, strict=True):
        np.testing.assert_allclose(y, e.detach(), rtol=1e-10, atol=1e-12)
    grads, gx = bp.grad(loss, (0, 1))(mine, x)
    np.testing.assert_allclose(gx, tx.grad, rtol=1e-9, atol=1e-11)
    for name, p in theirs.named_parameters():
        np.testing.assert_allclose(grads[name], p.grad, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_stacks_of_layers(name: str, layers: int, bidirectional: bool, batch_first: bool) -> None:
    settings = {"num_layers": layers, "bidirectional": bidirectional, "batch_first": batch_first}
    theirs = getattr(torch.nn, name)(I, H, dtype=torch.float64, **settings)
    mine = load(getattr(ours, name)(I, H, **settings), theirs)
    x = R.normal(size=(N, T, I) if batch_first else (T, N, I))
    agree(mine, theirs, x)
    state = R.normal(size=(layers * (1 + bidirectional), N, H))
    agree(mine, theirs, x, (state, state + 1) if name == "LSTM" else state)
    assert repr(mine) == repr(theirs)


def test_options_of_single_kinds() -> None:
    for name, settings in (
        ("RNN", {"nonlinearity": "relu"}),
        ("LSTM", {"proj_size": 3}),
        ("LSTM", {"proj_size": 3, "bidirectional": True, "num_layers": 2, "bias": False}),
        ("GRU", {"bias": False}),
    ):
        theirs = getattr(torch.nn, name)(I, H, dtype=torch.float64, **settings)
        agree(load(getattr(ours, name)(I, H, **settings), theirs), theirs, R.normal(size=(T, N, I)))


def test_a_sequence_without_an_axis_of_examples() -> None:
    theirs = torch.nn.LSTM(I, H, num_layers=2, batch_first=True, dtype=torch.float64)
    agree(
        load(ours.LSTM(I, H, num_layers=2, batch_first=True), theirs), theirs, R.normal(size=(T, I))
    )


def test_lengths_are_torchs_packed_sequences() -> None:
    lengths = [2, 4, 1]
    theirs = torch.nn.GRU(I, H, num_layers=2, bidirectional=True, dtype=torch.float64)
    mine = load(ours.GRU(I, H, num_layers=2, bidirectional=True), theirs)
    x = R.normal(size=(T, N, I))
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(x), lengths, enforce_sorted=False)
    y, h = theirs(packed)
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=T)
    mine_y, mine_h = mine(x, lengths=lengths)
    np.testing.assert_allclose(mine_y, y.detach(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(mine_h, h.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell"])
@pytest.mark.parametrize("bias", [True, False])
def test_cells(name: str, bias: bool) -> None:
    theirs = getattr(torch.nn, name)(I, H, bias=bias, dtype=torch.float64)
    mine = load(getattr(ours, name)(I, H, bias=bias), theirs)
    agree(mine, theirs, R.normal(size=(N, I)))
    agree(mine, theirs, R.normal(size=(I,)))
    state = R.normal(size=(N, H))
    agree(mine, theirs, R.normal(size=(N, I)), (state, state + 1) if name == "LSTMCell" else state)
    assert repr(mine) == repr(theirs)


def test_dropout_between_layers_differs_from_call_to_call() -> None:
    model = ours.GRU(I, H, num_layers=2, dropout=0.5)
    x = R.normal(size=(T, N, I)).astype("f4")
    assert not np.array_equal(model(x)[0], model(x)[0])
    model.eval()
    assert np.array_equal(model(x)[0], model(x)[0])
    bp.grad(lambda m, x: bp.array_namespace(x).sum(m(x)[0]))(model.train(), x)


def test_bad_settings_and_shapes_are_told() -> None:
    with pytest.raises(ValueError, match="proj_size must be smaller than hidden_size=5"):
        ours.LSTM(I, H, proj_size=5)
    with pytest.raises(
        ShapeError, match=r"LSTM: expected input \(T, N, 2\) or \(T, 2\), got \(4, 3, 7\)"
    ):
        ours.LSTM(I, H)(np.ones((T, N, 7), "f4"))
    with pytest.raises(ShapeError, match=r"expected a state of shape \(1, 3, 5\), got \(2, 3, 5\)"):
        ours.GRU(I, H)(np.ones((T, N, I), "f4"), np.ones((2, N, H), "f4"))
    with pytest.raises(ShapeError, match=r"expected lengths of shape \(3,\)"):
        ours.GRU(I, H)(np.ones((T, N, I), "f4"), lengths=[1, 2])
    with pytest.warns(UserWarning, match="there is only one"):
        ours.GRU(I, H, dropout=0.5)
