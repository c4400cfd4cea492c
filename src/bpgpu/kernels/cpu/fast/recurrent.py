"""LSTM and GRU, compiled. Examples do not see each other, so each thread takes some of them through
all times by itself.

The recurrent weights are brought into the order in which tiles read them once for all times; the
products are added to what the inputs contribute to the gates, and the cell follows while they are
in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import float32

from bpgpu.kernels.cpu import recurrent as in_numpy
from bpgpu.kernels.cpu.conv import NUMPY
from bpgpu.kernels.cpu.fast.compiling import compiled, inlined
from bpgpu.kernels.cpu.fast.products import add_product, packed, table
from bpgpu.kernels.cpu.fast.scalars import sigmoid, tanh
from bpgpu.kernels.cpu.fast.threads import cut, share
from bpgpu.kernels.cpu.fast.tile import ROWS, address
from bpgpu.kernels.cpu.recurrent import gradients, inputs, states
from bpgpu.kernels.registry import kernel

ONE = float32(1)


LARGE = 2**16
"""So many recurrent weights are read by one example as fast as memory gives them, whoever multiplies: NumPy does so
with several threads."""


def _accepts_lstm(x: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, *rest: Any) -> bool:
    ours = _plain(x, h, c) and not _is_lonely(h, w_hh)
    return ours and in_numpy.accepts_lstm(x, h, c, w_ih, w_hh, *rest)


def _accepts_gru(x: Any, h: Any, w_ih: Any, w_hh: Any, *rest: Any) -> bool:
    ours = _plain(x, h) and not _is_lonely(h, w_hh)
    return ours and in_numpy.accepts_gru(x, h, w_ih, w_hh, *rest)


def _is_lonely(h: Any, w_hh: Any) -> bool:
    return len(h) == 1 and w_hh.size >= LARGE


def _plain(x: Any, *first: Any) -> bool:
    return x.dtype == float32 and all(s.flags.c_contiguous for s in first)


# ---- LSTM


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
    gates = inputs(x, w_ih, b_ih, b_hh)  # (T, N, 4 H): i, f, g, o
    hs, h_old, h_new = states(len(x), h, reverse)
    cs, c_old, c_new = states(len(x), c, reverse)
    tanh_c = np.empty_like(c_new)
    times = _times(x, reverse)
    weights = _packed(w_hh.T)
    kept = (gates, h_old, h_new, c_old, c_new, tanh_c)
    share(_lstm, [(times, weights, *kept, *part) for part in _shares(h)])

    def pull(gs: Any, wanted: tuple[bool, ...]) -> Any:
        gy, gh, gc = gs
        d_gates, dh, dc = np.empty_like(gates), _start(h, gh), _start(c, gc)
        arrived, weights = _arrived(gy, x), _packed(w_hh)
        known = (gates, c_old, tanh_c, arrived, d_gates, dh, dc)
        share(_lstm_back, [(times[::-1], weights, *known, *part) for part in _shares(h)])
        found = gradients(d_gates, d_gates, x, w_ih, h_old, wanted[0], wanted[3:])
        return found[0], dh, dc, *found[1:], None

    return (h_new, hs[0 if reverse else -1].copy(), cs[0 if reverse else -1].copy()), pull


@compiled
def _lstm(
    times: Any,
    weights: Any,
    gates: Any,
    h_old: Any,
    h_new: Any,
    c_old: Any,
    c_new: Any,
    tanh_c: Any,
    first: int,
    last: int,
) -> None:
    """`c_t = f c + i g`, `h_t = o tanh(c_t)` for the examples from `first` to `last`."""
    n, size = last - first, h_old.shape[2]
    rows, places = table(n, size), table(n, 4 * size)
    for t in times:
        gate = gates[t, first:last]
        before, sums = address(h_old[t], first * size), address(gates[t], first * 4 * size)
        add_product(ONE, before, address(rows, 0), weights, sums, address(places, 0), n, 4 * size)
        old, new = c_old[t, first:last], c_new[t, first:last]
        squashed, h = tanh_c[t, first:last], h_new[t, first:last]
        for k in range(n):
            row = gate[k]
            i, f, g, o = _parts(row, size)
            for j in range(size):
                i[j] = sigmoid(i[j])
            for j in range(size):
                f[j] = sigmoid(f[j])
            for j in range(size):
                g[j] = tanh(g[j])
            for j in range(size):
                o[j] = sigmoid(o[j])
            for j in range(size):
                new[k, j] = f[j] * old[k, j] + i[j] * g[j]
            for j in range(size):
                squashed[k, j] = tanh(new[k, j])
            for j in range(size):
                h[k, j] = o[j] * squashed[k, j]


@compiled
def _lstm_back(
    times: Any,
    weights: Any,
    gates: Any,
    c_old: Any,
    tanh_c: Any,
    arrived: Any,
    d_gates: Any,
    dh: Any,
    dc: Any,
    first: int,
    last: int,
) -> None:
    """The gradients of the gates from those of the states, which become those of the step before."""
    n, size = last - first, dh.shape[1]
    rows, places = table(n, 4 * size), table(n, size)
    a, b = dh[first:last], dc[first:last]
    for t in times:
        gate, to = gates[t, first:last], d_gates[t, first:last]
        if len(arrived) > 0:
            _add(a, arrived[t, first:last])
        old, squashed = c_old[t, first:last], tanh_c[t, first:last]
        for k in range(n):
            i, f, g, o = _parts(gate[k], size)
            di, df, dg, do = _parts(to[k], size)
            for j in range(size):
                th = squashed[k, j]
                b[k, j] += a[k, j] * o[j] * (ONE - th * th)
                do[j] = a[k, j] * th * o[j] * (ONE - o[j])
            for j in range(size):
                d = b[k, j]
                di[j] = d * g[j] * i[j] * (ONE - i[j])
                df[j] = d * old[k, j] * f[j] * (ONE - f[j])
                dg[j] = d * i[j] * (ONE - g[j] * g[j])
                b[k, j] = d * f[j]
        a[:] = 0
        left = address(d_gates[t], first * 4 * size)
        to_h = address(dh, first * size)
        add_product(ONE, left, address(rows, 0), weights, to_h, address(places, 0), n, size)


# ---- GRU


@kernel("gru", NUMPY, _accepts_gru)
def gru(
    x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, mask: Any, reverse: bool
) -> Any:
    """As `cpu.recurrent` has it."""
    size = h.shape[-1]
    gates = inputs(x, w_ih, b_ih, None)  # (T, N, 3 H): r, z, n
    inner = np.zeros((len(x), *h.shape), h.dtype)  # what r lets through
    if b_hh is not None:
        gates[..., : 2 * size] += b_hh[: 2 * size]
        inner += b_hh[2 * size :]
    hs, h_old, h_new = states(len(x), h, reverse)
    times = _times(x, reverse)
    weights = (_packed(w_hh[: 2 * size].T), _packed(w_hh[2 * size :].T))
    kept = (gates, inner, h_old, h_new)
    share(_gru, [(times, *weights, *kept, *part) for part in _shares(h)])

    def pull(gs: Any, wanted: tuple[bool, ...]) -> Any:
        gy, gh = gs
        by_x, by_h, dh = np.empty_like(gates), np.empty_like(gates), _start(h, gh)
        arrived, weights = _arrived(gy, x), _packed(w_hh)
        known = (gates, inner, h_old, arrived, by_x, by_h, dh)
        share(_gru_back, [(times[::-1], weights, *known, *part) for part in _shares(h)])
        found = gradients(by_x, by_h, x, w_ih, h_old, wanted[0], wanted[2:])
        return found[0], dh, *found[1:]

    return (h_new, hs[0 if reverse else -1].copy()), pull


@compiled
def _gru(
    times: Any,
    weights: Any,
    weights_n: Any,
    gates: Any,
    inner: Any,
    h_old: Any,
    h_new: Any,
    first: int,
    last: int,
) -> None:
    """`n = tanh(a_n + r b_n)`, `h_t = (1 - z) n + z h` for the examples from `first` to `last`."""
    n, size = last - first, h_old.shape[2]
    rows, wide, narrow = table(n, size), table(n, 3 * size), table(n, size)
    for t in times:
        gate, through = gates[t, first:last], inner[t, first:last]
        old, state = h_old[t, first:last], h_new[t, first:last]
        before, left = address(h_old[t], first * size), address(rows, 0)
        sums, inner_sums = address(gates[t], first * 3 * size), address(inner[t], first * size)
        add_product(ONE, before, left, weights, sums, address(wide, 0), n, 2 * size)
        add_product(ONE, before, left, weights_n, inner_sums, address(narrow, 0), n, size)
        for k in range(n):
            r, z, new = gate[k, :size], gate[k, size : 2 * size], gate[k, 2 * size :]
            for j in range(size):
                r[j] = sigmoid(r[j])
            for j in range(size):
                z[j] = sigmoid(z[j])
            for j in range(size):
                new[j] = tanh(new[j] + r[j] * through[k, j])
            for j in range(size):
                state[k, j] = (old[k, j] - new[j]) * z[j] + new[j]


@compiled
def _gru_back(
    times: Any,
    weights: Any,
    gates: Any,
    inner: Any,
    h_old: Any,
    arrived: Any,
    by_x: Any,
    by_h: Any,
    dh: Any,
    first: int,
    last: int,
) -> None:
    """What reaches the gates from the input and from the state; `dh` becomes that of the step before."""
    n, size = last - first, dh.shape[1]
    rows, places = table(n, 3 * size), table(n, size)
    d = dh[first:last]
    for t in times:
        gate, to, other = gates[t, first:last], by_x[t, first:last], by_h[t, first:last]
        if len(arrived) > 0:
            _add(d, arrived[t, first:last])
        through, old = inner[t, first:last], h_old[t, first:last]
        for k in range(n):
            r, z, new = gate[k, :size], gate[k, size : 2 * size], gate[k, 2 * size :]
            dr, dz, dn = to[k, :size], to[k, size : 2 * size], to[k, 2 * size :]
            r_too, z_too = other[k, :size], other[k, size : 2 * size]
            dn_h = other[k, 2 * size :]
            for j in range(size):
                a = d[k, j] * (ONE - z[j])
                dn[j] = a * (ONE - new[j] * new[j])
                dz[j] = a * z[j] * (old[k, j] - new[j])
                z_too[j] = dz[j]
            for j in range(size):
                dr[j] = dn[j] * through[k, j] * r[j] * (ONE - r[j])
                r_too[j] = dr[j]
                dn_h[j] = dn[j] * r[j]
                d[k, j] *= z[j]
        left, to_h = address(by_h[t], first * 3 * size), address(dh, first * size)
        add_product(ONE, left, address(rows, 0), weights, to_h, address(places, 0), n, size)


# ---- both


def _times(x: Any, reverse: bool) -> Any:
    return np.arange(len(x))[:: -1 if reverse else 1]


def _shares(h: Any) -> list[tuple[int, int]]:
    """Examples for each thread, whole tiles of them."""
    return cut(len(h), ROWS, each=1)


def _packed(matrix: Any) -> Any:
    return packed(matrix, most=2)[0]


def _start(state: Any, g: Any) -> Any:
    """The gradient of the last state."""
    return np.zeros_like(state) if g is None else np.array(g, order="C")


def _arrived(g: Any, x: Any) -> Any:
    """The gradients of the outputs, if there are any."""
    return np.empty((0, 0, 0), x.dtype) if g is None else np.ascontiguousarray(g)


@inlined
def _parts(row: Any, size: int) -> Any:
    return row[:size], row[size : 2 * size], row[2 * size : 3 * size], row[3 * size :]


@inlined
def _add(a: Any, b: Any) -> None:
    n, size = a.shape
    for k in range(n):
        for j in range(size):
            a[k, j] += b[k, j]
