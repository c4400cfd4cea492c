"""LSTM and GRU over whole sequences in NumPy: one array for all times of each quantity, written in place.

The states of all times stand in one array with one place more than there are times, so that the
state before a step and the state after it are two views of it. The sigmoid is a tanh,
`sigmoid(a) = tanh(a / 2) / 2 + 1 / 2`, so that all gates take one call.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bpgpu.kernels.cpu.conv import NUMPY
from bpgpu.kernels.registry import kernel


def _usual(mask: Any, x: Any, *others: Any) -> bool:
    return (
        mask is None
        and type(x) is np.ndarray
        and x.dtype.char in "fd"
        and 0 not in x.shape
        and all(a is None or (a.dtype == x.dtype and 0 not in a.shape) for a in others)
    )


def accepts_lstm(*operands: Any) -> bool:
    *arrays, w_hr, mask, _ = operands
    return w_hr is None and _usual(mask, *arrays)


def accepts_gru(*operands: Any) -> bool:
    *arrays, mask, _ = operands
    return _usual(mask, *arrays)


@kernel("lstm", NUMPY, accepts_lstm)
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
    """Gates `i, f, g, o`; `c_t = f c + i g`, `h_t = o tanh(c_t)`; the values, and the pull of all operands."""
    return lstm_by(LSTMCell(c), x, h, c, w_ih, w_hh, b_ih, b_hh, reverse)


class LSTMCell:
    """One step of an LSTM forward and backward, in place."""

    def __init__(self, c: Any) -> None:
        self.half = np.repeat(np.asarray([0.5, 0.5, 1, 0.5], c.dtype), c.shape[-1])
        self.shift = np.repeat(np.asarray([0.5, 0.5, 0, 0.5], c.dtype), c.shape[-1])
        self.work = np.empty_like(c)

    def forward(
        self, gate: Any, recurrent: Any, c_old: Any, c_new: Any, tanh_c: Any, h_new: Any
    ) -> None:
        gate += recurrent
        gate *= self.half
        np.tanh(gate, out=gate)
        gate *= self.half
        gate += self.shift
        i, f, g, o = parts(gate, 4)
        np.multiply(f, c_old, out=c_new)
        c_new += np.multiply(i, g, out=self.work)
        np.tanh(c_new, out=tanh_c)
        np.multiply(o, tanh_c, out=h_new)

    def backward(self, gate: Any, d_gate: Any, c_old: Any, tanh_c: Any, dh: Any, dc: Any) -> None:
        """`d_gate` from `dh` and `dc`, which becomes that of the step before."""
        i, f, g, o = parts(gate, 4)
        di, df, dg, do = parts(d_gate, 4)
        work = np.multiply(tanh_c, tanh_c, out=self.work)
        np.subtract(1, work, out=work)
        work *= o
        work *= dh
        dc += work
        np.multiply(gate, gate, out=d_gate)
        np.subtract(gate, d_gate, out=d_gate)  # s (1 - s) for the sigmoids
        np.multiply(g, g, out=dg)
        np.subtract(1, dg, out=dg)
        di *= np.multiply(dc, g, out=work)
        df *= np.multiply(dc, c_old, out=work)
        dg *= np.multiply(dc, i, out=work)
        do *= np.multiply(dh, tanh_c, out=work)
        dc *= f


def lstm_by(
    cell: Any, x: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, reverse: bool
) -> Any:
    """The layer, its steps by a cell."""
    time = x.shape[0]
    gates = inputs(x, w_ih, b_ih, b_hh)  # (T, N, 4 H)
    hs, h_old, h_new = states(time, h, reverse)
    cs, c_old, c_new = states(time, c, reverse)
    tanh_c = np.empty_like(c_new)
    recurrent, turned = np.empty_like(gates[0]), w_hh.T
    times = range(time)[:: -1 if reverse else 1]
    for t in times:
        np.matmul(h_old[t], turned, out=recurrent)
        cell.forward(gates[t], recurrent, c_old[t], c_new[t], tanh_c[t], h_new[t])

    def pull(gs: Any, wanted: tuple[bool, ...]) -> Any:
        gy, gh, gc = gs
        d_gates = np.empty_like(gates)
        dh = np.zeros_like(h) if gh is None else gh.copy()
        dc = np.zeros_like(c) if gc is None else gc.copy()
        for t in reversed(times):
            if gy is not None:
                dh += gy[t]
            cell.backward(gates[t], d_gates[t], c_old[t], tanh_c[t], dh, dc)
            np.matmul(d_gates[t], w_hh, out=dh)
        found = gradients(d_gates, d_gates, x, w_ih, h_old, wanted[0], wanted[3:])
        return found[0], dh, dc, *found[1:], None

    return (h_new, hs[0 if reverse else -1].copy(), cs[0 if reverse else -1].copy()), pull


@kernel("gru", NUMPY, accepts_gru)
def gru(
    x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, mask: Any, reverse: bool
) -> Any:
    """Gates `r, z`; `n = tanh(a_n + r b_n)`, `h_t = (1 - z) n + z h`; the values, and the pull of all operands."""
    return gru_by(GRUCell, x, h, w_ih, w_hh, b_ih, b_hh, reverse)


class GRUCell:
    """One step of a GRU forward and backward, in place."""

    @staticmethod
    def forward(gate: Any, recurrent: Any, inner: Any, h_old: Any, h_new: Any) -> None:
        size = h_old.shape[-1]
        inner[...] = recurrent[:, 2 * size :]
        rz = gate[:, : 2 * size]
        rz += recurrent[:, : 2 * size]
        rz *= 0.5
        np.tanh(rz, out=rz)
        rz *= 0.5
        rz += 0.5
        r, z, new = parts(gate, 3)
        new += r * inner
        np.tanh(new, out=new)
        state = np.subtract(h_old, new, out=h_new)
        state *= z
        state += new

    @staticmethod
    def backward(gate: Any, inner: Any, h_old: Any, by_x: Any, by_h: Any, dh: Any) -> None:
        """What reaches the gates from the input and from the state; `dh` becomes `z dh`."""
        r, z, new = parts(gate, 3)
        dr, dz, dn = parts(by_x, 3)
        np.multiply(new, new, out=dn)
        np.subtract(1, dn, out=dn)
        dn *= dh
        np.subtract(h_old, new, out=dz)
        dz *= dh
        np.subtract(1, z, out=dr)
        dn *= dr
        dz *= dr
        dz *= z
        np.subtract(1, r, out=dr)
        dr *= r
        dr *= inner
        dr *= dn
        by_h[...] = by_x
        parts(by_h, 3)[2][...] *= r
        dh *= z


def gru_by(
    cell: Any, x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, reverse: bool
) -> Any:
    """The layer, its steps by a cell."""
    time = x.shape[0]
    gates = inputs(x, w_ih, b_ih, None)  # (T, N, 3 H): r, z, n
    hs, h_old, h_new = states(time, h, reverse)
    inner = np.empty_like(h_new)  # what r lets through
    recurrent, turned = np.empty_like(gates[0]), w_hh.T
    times = range(time)[:: -1 if reverse else 1]
    for t in times:
        np.matmul(h_old[t], turned, out=recurrent)
        if b_hh is not None:
            recurrent += b_hh
        cell.forward(gates[t], recurrent, inner[t], h_old[t], h_new[t])

    def pull(gs: Any, wanted: tuple[bool, ...]) -> Any:
        gy, gh = gs
        by_x, by_h = np.empty_like(gates), np.empty_like(gates)
        dh = np.zeros_like(h) if gh is None else gh.copy()
        for t in reversed(times):
            if gy is not None:
                dh += gy[t]
            cell.backward(gates[t], inner[t], h_old[t], by_x[t], by_h[t], dh)
            dh += by_h[t] @ w_hh
        found = gradients(by_x, by_h, x, w_ih, h_old, wanted[0], wanted[2:])
        return found[0], dh, *found[1:]

    return (h_new, hs[0 if reverse else -1].copy()), pull


def parts(x: Any, count: int) -> list[Any]:
    """The gates of one step, `(N, H)` each: views."""
    size = x.shape[-1] // count
    return [x[:, k * size : (k + 1) * size] for k in range(count)]


def inputs(x: Any, w: Any, *biases: Any) -> Any:
    """What the inputs contribute, for all times in one product: `(T, N, gates)`."""
    z = x.reshape(-1, x.shape[-1]) @ w.T
    given = [b for b in biases if b is not None]
    if given:
        z += sum(given[1:], given[0])
    return z.reshape(*x.shape[:2], -1)


def states(time: int, first: Any, reverse: bool) -> tuple[Any, Any, Any]:
    """Room for the states of all times, and two views of it: the states before each time, and after it."""
    every = np.empty((time + 1, *first.shape), first.dtype)
    every[-1 if reverse else 0] = first
    early, late = every[:-1], every[1:]
    return (every, late, early) if reverse else (every, early, late)


def gradients(
    dx: Any, dh: Any, x: Any, w_ih: Any, h_old: Any, want_x: bool, want: tuple[bool, ...]
) -> list[Any]:
    """The gradients of the input, the weights and the biases from those of the gates."""
    by_x, by_h = (d.reshape(-1, d.shape[-1]) for d in (dx, dh))
    ones = np.ones(len(by_x), x.dtype)
    of_bias = ones @ by_x if any(want[2:]) else None
    return [
        (by_x @ w_ih).reshape(x.shape) if want_x else None,
        by_x.T @ x.reshape(-1, x.shape[-1]) if want[0] else None,
        by_h.T @ h_old.reshape(-1, h_old.shape[-1]) if want[1] else None,
        of_bias if want[2] else None,
        (ones @ by_h if dh is not dx else of_bias) if want[3] else None,
    ]
