"""The cells of LSTM and GRU, compiled: one loop over the numbers of a step in place of some fifteen."""

from __future__ import annotations

from typing import Any

from numpy import float32

from bpgpu.kernels.cpu import recurrent as in_numpy
from bpgpu.kernels.cpu.conv import NUMPY
from bpgpu.kernels.cpu.fast.compiling import compiled
from bpgpu.kernels.cpu.fast.scalars import sigmoid, tanh
from bpgpu.kernels.registry import kernel

ONE = float32(1)


def _accepts_lstm(x: Any, h: Any, c: Any, *rest: Any) -> bool:
    return _plain(x, h, c) and in_numpy.accepts_lstm(x, h, c, *rest)


def _accepts_gru(x: Any, h: Any, *rest: Any) -> bool:
    return _plain(x, h) and in_numpy.accepts_gru(x, h, *rest)


def _plain(x: Any, *states: Any) -> bool:
    return x.dtype == float32 and all(s.flags.c_contiguous for s in states)


@kernel("lstm", NUMPY, _accepts_lstm)
def lstm(
    x: Any,
    h: Any,
    c: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any,
    b_hh: Any,
    w_hr: Any,
    mask: Any,
    reverse: bool,
) -> Any:
    """As `cpu.recurrent` has it."""
    return in_numpy.lstm_by(_LSTMCell, x, h, c, w_ih, w_hh, b_ih, b_hh, reverse)


@kernel("gru", NUMPY, _accepts_gru)
def gru(
    x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, mask: Any, reverse: bool
) -> Any:
    """As `cpu.recurrent` has it."""
    return in_numpy.gru_by(_GRUCell, x, h, w_ih, w_hh, b_ih, b_hh, reverse)


@compiled
def _lstm_forward(
    gates: Any, recurrent: Any, c_old: Any, c_new: Any, tanh_c: Any, h_new: Any
) -> None:
    n, size = c_old.shape
    for k in range(n):
        row, more = gates[k], recurrent[k]
        for j in range(4 * size):
            row[j] += more[j]
        i, f, g, o = row[:size], row[size : 2 * size], row[2 * size : 3 * size], row[3 * size :]
        old, new, squashed, h = c_old[k], c_new[k], tanh_c[k], h_new[k]
        for j in range(size):
            i[j] = sigmoid(i[j])
        for j in range(size):
            f[j] = sigmoid(f[j])
        for j in range(size):
            g[j] = tanh(g[j])
        for j in range(size):
            o[j] = sigmoid(o[j])
        for j in range(size):
            new[j] = f[j] * old[j] + i[j] * g[j]
        for j in range(size):
            squashed[j] = tanh(new[j])
        for j in range(size):
            h[j] = o[j] * squashed[j]


@compiled
def _lstm_backward(gates: Any, d_gates: Any, c_old: Any, tanh_c: Any, dh: Any, dc: Any) -> None:
    n, size = c_old.shape
    for k in range(n):
        row, to = gates[k], d_gates[k]
        i, f, g, o = row[:size], row[size : 2 * size], row[2 * size : 3 * size], row[3 * size :]
        di, df, dg, do = to[:size], to[size : 2 * size], to[2 * size : 3 * size], to[3 * size :]
        old, squashed, a, b = c_old[k], tanh_c[k], dh[k], dc[k]
        for j in range(size):
            th = squashed[j]
            b[j] += a[j] * o[j] * (ONE - th * th)
            do[j] = a[j] * th * o[j] * (ONE - o[j])
        for j in range(size):
            d = b[j]
            di[j] = d * g[j] * i[j] * (ONE - i[j])
            df[j] = d * old[j] * f[j] * (ONE - f[j])
            dg[j] = d * i[j] * (ONE - g[j] * g[j])
            b[j] = d * f[j]


@compiled
def _gru_forward(gates: Any, recurrent: Any, inner: Any, h_old: Any, h_new: Any) -> None:
    n, size = h_old.shape
    for k in range(n):
        row, more = gates[k], recurrent[k]
        r, z, new = row[:size], row[size : 2 * size], row[2 * size :]
        more_r, more_z, more_n = more[:size], more[size : 2 * size], more[2 * size :]
        through, old, state = inner[k], h_old[k], h_new[k]
        for j in range(size):
            r[j] = sigmoid(r[j] + more_r[j])
        for j in range(size):
            z[j] = sigmoid(z[j] + more_z[j])
        for j in range(size):
            through[j] = more_n[j]
            new[j] = tanh(new[j] + r[j] * more_n[j])
        for j in range(size):
            state[j] = (old[j] - new[j]) * z[j] + new[j]


@compiled
def _gru_backward(gates: Any, inner: Any, h_old: Any, by_x: Any, by_h: Any, dh: Any) -> None:
    n, size = h_old.shape
    for k in range(n):
        row, to, other = gates[k], by_x[k], by_h[k]
        r, z, new = row[:size], row[size : 2 * size], row[2 * size :]
        dr, dz, dn = to[:size], to[size : 2 * size], to[2 * size :]
        r_too, z_too, dn_h = other[:size], other[size : 2 * size], other[2 * size :]
        through, old, d = inner[k], h_old[k], dh[k]
        for j in range(size):
            a = d[j] * (ONE - z[j])
            dn[j] = a * (ONE - new[j] * new[j])
            dz[j] = a * z[j] * (old[j] - new[j])
            z_too[j] = dz[j]
        for j in range(size):
            dr[j] = dn[j] * through[j] * r[j] * (ONE - r[j])
            r_too[j] = dr[j]
            dn_h[j] = dn[j] * r[j]
            d[j] *= z[j]


class _LSTMCell:
    forward = staticmethod(_lstm_forward)
    backward = staticmethod(_lstm_backward)


class _GRUCell:
    forward = staticmethod(_gru_forward)
    backward = staticmethod(_gru_backward)
