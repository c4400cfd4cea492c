"""Recurrent layers against torch: sequences, masks as packed lengths, both directions, second order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bpgpu import functional as ours
from bpgpu.errors import ShapeError
from gradients import to
from torch_compare import compare

R = np.random.default_rng(0)
T, N, I, H, P = 4, 3, 2, 5, 2  # noqa: E741 - the letters of the formulas


def draw(*shape: int) -> np.ndarray:
    return R.normal(size=shape) * 0.5


def weights(gates: int, width: int = H) -> list[np.ndarray]:
    return [draw(gates * H, I), draw(gates * H, width), draw(gates * H), draw(gates * H)]


def flat(result: Any) -> tuple[Any, ...]:
    y, state = result
    return (y, *state) if isinstance(state, tuple) else (y, state)


def torch_layer(cls: Any, projection: int = 0, lengths: Any = None, **settings: Any) -> Any:
    """A torch layer as a function of its weights."""
    more = {"proj_size": projection} if projection else {}

    def run(x: Any, *rest: Any) -> Any:
        states, ws = (
            rest[: 2 if cls is torch.nn.LSTM else 1],
            rest[2 if cls is torch.nn.LSTM else 1 :],
        )
        layer = cls(I, H, dtype=torch.float64, **settings, **more)
        names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hr_l0"]
        given = dict(zip(names, ws, strict=False))
        hx = tuple(s[None] for s in states)
        hx = hx if len(hx) == 2 else hx[0]
        if lengths is not None:
            x = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, state = torch.func.functional_call(layer, given, (x, hx))
        if lengths is not None:
            y = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=T)[0]
        state = tuple(s[0] for s in state) if isinstance(state, tuple) else (state[0],)
        return (y, *state)

    return run


def our_lstm(**settings: Any) -> Any:
    return lambda x, h, c, *ws: flat(ours.lstm(x, (h, c), *ws, **settings))


def our(f: Any, **settings: Any) -> Any:
    return lambda x, h, *ws: flat(f(x, h, *ws, **settings))


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_rnn(xp: Any, nonlinearity: str) -> None:
    theirs = torch_layer(torch.nn.RNN, nonlinearity=nonlinearity)
    compare(
        xp, our(ours.rnn, nonlinearity=nonlinearity), theirs, draw(T, N, I), draw(N, H), *weights(1)
    )


def test_gru(xp: Any) -> None:
    compare(xp, our(ours.gru), torch_layer(torch.nn.GRU), draw(T, N, I), draw(N, H), *weights(3))


def test_lstm(xp: Any) -> None:
    arrays = draw(T, N, I), draw(N, H), draw(N, H), *weights(4)
    compare(xp, our_lstm(), torch_layer(torch.nn.LSTM), *arrays)


def test_lstm_with_projection(xp: Any) -> None:
    arrays = draw(T, N, I), draw(N, P), draw(N, H), *weights(4, P), draw(P, H)
    compare(xp, our_lstm(), torch_layer(torch.nn.LSTM, P), *arrays)


def test_a_mask_is_torchs_packed_sequence(xp: Any) -> None:
    lengths = [2, 4, 1]
    mask = to(xp, np.arange(T)[:, None] < np.asarray(lengths))
    theirs = torch_layer(torch.nn.LSTM, lengths=lengths)
    arrays = draw(T, N, I), draw(N, H), draw(N, H), *weights(4)
    compare(xp, our_lstm(mask=mask), theirs, *arrays)
    for gates, f, cls in ((1, ours.rnn, torch.nn.RNN), (3, ours.gru, torch.nn.GRU)):
        theirs = torch_layer(cls, lengths=lengths)
        compare(xp, our(f, mask=mask), theirs, draw(T, N, I), draw(N, H), *weights(gates))


@pytest.mark.parametrize("masked", [False, True])
def test_time_can_run_backwards(xp: Any, masked: bool) -> None:
    """As the second half of a bidirectional layer does, packed sequences included."""
    lengths = [2, 4, 1] if masked else [T] * N
    mask = np.arange(T)[:, None] < np.asarray(lengths) if masked else None
    for gates, f, cls in ((3, ours.gru, torch.nn.GRU), (4, ours.lstm, torch.nn.LSTM)):
        x, h, c, ws = draw(T, N, I), draw(N, H), draw(N, H), weights(gates)
        layer = cls(I, H, bidirectional=True, dtype=torch.float64)
        names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
        given = {f"{k}_l0_reverse": torch.tensor(w) for k, w in zip(names, ws, strict=True)}
        hx = torch.stack([torch.zeros(N, H, dtype=torch.float64), torch.tensor(h)])
        cx = torch.stack([torch.zeros(N, H, dtype=torch.float64), torch.tensor(c)])
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            torch.tensor(x), lengths, enforce_sorted=False
        )
        state = (hx, cx) if gates == 4 else hx
        y, _ = torch.func.functional_call(layer, given, (packed, state))
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=T)
        mine, _ = f(x, (h, c) if gates == 4 else h, *ws, mask=mask, reverse=True)
        np.testing.assert_allclose(mine, y[..., H:].detach(), rtol=1e-12, atol=1e-12)
        if gates == 4:
            compare(
                xp,
                lambda x, h, c, *ws: ours.lstm(x, (h, c), *ws, reverse=True)[0],
                lambda x, h, c, *ws: torch_layer(torch.nn.LSTM)(x.flip(0), h, c, *ws)[0].flip(0),
                x,
                h,
                c,
                *ws,
            )


def test_without_biases_and_without_examples(xp: Any) -> None:
    compare(
        xp,
        our(ours.gru),
        torch_layer(torch.nn.GRU, bias=False),
        draw(T, N, I),
        draw(N, H),
        *weights(3)[:2],
    )
    arrays = draw(T, 0, I), draw(0, H), draw(0, H), *weights(4)
    compare(xp, our_lstm(), torch_layer(torch.nn.LSTM), *arrays, order=1)


def test_shapes_that_do_not_belong_together_are_told() -> None:
    ws = weights(3)
    with pytest.raises(ShapeError, match=r"gru: expected input \(T, N, I\), got \(4, 2\)"):
        ours.gru(draw(T, I), draw(N, H), *ws)
    with pytest.raises(ShapeError, match=r"expected the state of shape \(3, 5\).*got \(3, 4\)"):
        ours.gru(draw(T, N, I), draw(N, 4), *ws)
    with pytest.raises(ShapeError, match=r"expected w_ih of shape \(15, 7\).*got \(15, 2\)"):
        ours.gru(draw(T, N, 7), draw(N, H), *ws)
    with pytest.raises(ShapeError, match="at least one step"):
        ours.gru(draw(0, N, I), draw(N, H), *ws)
    with pytest.raises(ValueError, match="nonlinearity must be 'tanh' or 'relu'"):
        ours.rnn(draw(T, N, I), draw(N, H), *weights(1), nonlinearity="sine")
