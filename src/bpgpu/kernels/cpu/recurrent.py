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


def _accepts_lstm(*operands: Any) -> bool:
    *arrays, w_hr, mask, _ = operands
    return w_hr is None and _usual(mask, *arrays)


def _accepts_gru(*operands: Any) -> bool:
    *arrays, mask, _ = operands
    return _usual(mask, *arrays)


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
    """Gates `i, f, g, o`; `c_t = f c + i g`, `h_t = o tanh(c_t)`; the values, and the pull of all operands."""
    time = x.shape[0]
    size = c.shape[-1]
    gates = _inputs(x, w_ih, b_ih, b_hh)  # (T, N, 4 H)
    half = np.repeat(np.asarray([0.5, 0.5, 1, 0.5], x.dtype), size)
    shift = np.repeat(np.asarray([0.5, 0.5, 0, 0.5], x.dtype), size)
    hs, h_old, h_new = _states(time, h, reverse)
    cs, c_old, c_new = _states(time, c, reverse)
    tanh_c = np.empty_like(c_new)
    recurrent, product = np.empty_like(gates[0]), np.empty_like(c)
    times = range(time)[:: -1 if reverse else 1]
    for t in times:
        gate = gates[t]
        gate += np.matmul(h_old[t], w_hh.T, out=recurrent)
        gate *= half
        np.tanh(gate, out=gate)
        gate *= half
        gate += shift
        i, f, g, o = _parts(gate, 4)
        np.multiply(f, c_old[t], out=c_new[t])
        c_new[t] += np.multiply(i, g, out=product)
        np.tanh(c_new[t], out=tanh_c[t])
        np.multiply(o, tanh_c[t], out=h_new[t])

    def pull(gs: Any, wanted: tuple[bool, ...]) -> Any:
        gy, gh, gc = gs
        d_gates = np.empty_like(gates)
        dh = np.zeros_like(h) if gh is None else gh.copy()
        dc = np.zeros_like(c) if gc is None else gc.copy()
        work = np.empty_like(c)
        for t in reversed(times):
            i, f, g, o = _parts(gates[t], 4)
            di, df, dg, do = _parts(d_gates[t], 4)
            if gy is not None:
                dh += gy[t]
            np.multiply(tanh_c[t], tanh_c[t], out=work)
            np.subtract(1, work, out=work)
            work *= o
            work *= dh
            dc += work
            np.multiply(gates[t], gates[t], out=d_gates[t])
            np.subtract(gates[t], d_gates[t], out=d_gates[t])  # s (1 - s) for the sigmoids
            np.multiply(g, g, out=dg)
            np.subtract(1, dg, out=dg)
            di *= np.multiply(dc, g, out=work)
            df *= np.multiply(dc, c_old[t], out=work)
            dg *= np.multiply(dc, i, out=work)
            do *= np.multiply(dh, tanh_c[t], out=work)
            np.matmul(d_gates[t], w_hh, out=dh)
            dc *= f
        found = _gradients(d_gates, d_gates, x, w_ih, h_old, wanted[0], wanted[3:])
        return found[0], dh, dc, *found[1:], None

    return (h_new, hs[0 if reverse else -1].copy(), cs[0 if reverse else -1].copy()), pull


@kernel("gru", NUMPY, _accepts_gru)
def gru(
    x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, mask: Any, reverse: bool
) -> Any:
    """Gates `r, z`; `n = tanh(a_n + r b_n)`, `h_t = (1 - z) n + z h`; the values, and the pull of all operands."""
    time = x.shape[0]
    size = h.shape[-1]
    gates = _inputs(x, w_ih, b_ih, None)  # (T, N, 3 H): r, z, n
    hs, h_old, h_new = _states(time, h, reverse)
    inner = np.empty_like(h_new)  # what r lets through
    recurrent = np.empty_like(gates[0])
    times = range(time)[:: -1 if reverse else 1]
    for t in times:
        np.matmul(h_old[t], w_hh.T, out=recurrent)
        if b_hh is not None:
            recurrent += b_hh
        inner[t] = recurrent[:, 2 * size :]
        rz = gates[t][:, : 2 * size]
        rz += recurrent[:, : 2 * size]
        rz *= 0.5
        np.tanh(rz, out=rz)
        rz *= 0.5
        rz += 0.5
        r, z, new = _parts(gates[t], 3)
        new += r * inner[t]
        np.tanh(new, out=new)
        state = np.subtract(h_old[t], new, out=h_new[t])
        state *= z
        state += new

    def pull(gs: Any, wanted: tuple[bool, ...]) -> Any:
        gy, gh = gs
        dx, dh = np.empty_like(gates), np.empty_like(gates)
        d = np.zeros_like(h) if gh is None else gh.copy()
        for t in reversed(times):
            r, z, new = _parts(gates[t], 3)
            dr, dz, dn = _parts(dx[t], 3)
            if gy is not None:
                d += gy[t]
            np.multiply(new, new, out=dn)
            np.subtract(1, dn, out=dn)
            dn *= d
            np.subtract(h_old[t], new, out=dz)
            dz *= d
            np.subtract(1, z, out=dr)
            dn *= dr
            dz *= dr
            dz *= z
            np.subtract(1, r, out=dr)
            dr *= r
            dr *= inner[t]
            dr *= dn
            dh[t] = dx[t]
            _parts(dh[t], 3)[2][...] *= r
            d *= z
            d += dh[t] @ w_hh
        found = _gradients(dx, dh, x, w_ih, h_old, wanted[0], wanted[2:])
        return found[0], d, *found[1:]

    return (h_new, hs[0 if reverse else -1].copy()), pull


def _parts(x: Any, count: int) -> list[Any]:
    """The gates of one step, `(N, H)` each: views."""
    size = x.shape[-1] // count
    return [x[:, k * size : (k + 1) * size] for k in range(count)]


def _inputs(x: Any, w: Any, *biases: Any) -> Any:
    """What the inputs contribute, for all times in one product: `(T, N, gates)`."""
    z = x.reshape(-1, x.shape[-1]) @ w.T
    for b in biases:
        if b is not None:
            z += b
    return z.reshape(*x.shape[:2], -1)


def _states(time: int, first: Any, reverse: bool) -> tuple[Any, Any, Any]:
    """Room for the states of all times, and two views of it: the states before each time, and after it."""
    states = np.empty((time + 1, *first.shape), first.dtype)
    states[-1 if reverse else 0] = first
    early, late = states[:-1], states[1:]
    return (states, late, early) if reverse else (states, early, late)


def _gradients(
    dx: Any, dh: Any, x: Any, w_ih: Any, h_old: Any, want_x: bool, want: tuple[bool, ...]
) -> list[Any]:
    """The gradients of the input, the weights and the biases from those of the gates."""
    by_x, by_h = (d.reshape(-1, d.shape[-1]) for d in (dx, dh))
    ones = np.ones(len(by_x), x.dtype)
    return [
        (by_x @ w_ih).reshape(x.shape) if want_x else None,
        by_x.T @ x.reshape(-1, x.shape[-1]) if want[0] else None,
        by_h.T @ h_old.reshape(-1, h_old.shape[-1]) if want[1] else None,
        ones @ by_x if want[2] else None,
        ones @ by_h if want[3] else None,
    ]
