"""LSTM and GRU over whole sequences on CUDA: a product and one kernel for each step.

What does not wait for the state is one product for all times, before the loop and after the way back.
The states of all times stand in one array with one place more than there are times, so that the state
before a step and the state after it are two views of it.
"""

from __future__ import annotations

from typing import Any

import cupy

from bpgpu.kernels.cuda.launching import (
    CUPY,
    LARGEST,
    THREADS,
    blocks,
    is_here,
    is_ours,
    name_of,
    runner,
)
from bpgpu.kernels.cuda.products import product, sums
from bpgpu.kernels.registry import kernel

run = runner("recurrent.cu")


def multiply(x: Any, y: Any, out: Any = None) -> Any:
    made = product(x, y, out)
    if made is None:
        made = cupy.matmul(x, y, out=out).astype(x.dtype, copy=False)
    return made


def _usual(mask: Any, x: Any, *others: Any) -> bool:
    return (
        is_ours(x)
        and 0 not in x.shape
        and all(
            a is None
            or (is_ours(a) and a.dtype == x.dtype and 0 not in a.shape and a.size < LARGEST)
            for a in others
        )
        and (mask is None or (is_here(mask) and mask.dtype.char == "?"))
    )


def accepts_lstm(*operands: Any) -> bool:
    *arrays, w_hr, mask, _ = operands
    return w_hr is None and _usual(mask, *arrays)


def accepts_gru(*operands: Any) -> bool:
    *arrays, mask, _ = operands
    return _usual(mask, *arrays)


@kernel("lstm", CUPY, accepts_lstm)
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
    """Gates `i, f, g, o`; `c_t = f c + i g`, `h_t = o tanh(c_t)`; the values, and the pull of all
    operands."""
    name, n, size = name_of(x), x.shape[1], c.shape[1]
    mask = _packed(mask)
    times = range(x.shape[0])[:: -1 if reverse else 1]
    gates, biases = _inputs(x, w_ih), (_packed(b_ih), _packed(b_hh))  # (T, N, 4 H)
    hs, h_old, h_new = _states(x, h, reverse)
    cs, c_old, c_new = _states(x, c, reverse)
    y = h_new if mask is None else cupy.empty_like(h_new)
    recurrent, turned = cupy.empty_like(gates[0]), w_hh.T
    grid = blocks(n * size)
    for t in times:
        multiply(h_old[t], turned, out=recurrent)
        seen, out = (None, None) if mask is None else (mask[t], y[t])
        run(
            f"lstm_step<{name}>", grid, THREADS,
            gates[t], recurrent, *biases, h_old[t], c_old[t], h_new[t], c_new[t], out, seen, n, size,
        )  # fmt: skip

    def pull(gs: Any, wanted: tuple[bool, ...]) -> Any:
        gy, gh, gc = gs
        gy = None if gy is None else cupy.ascontiguousarray(gy)
        d_gates, dh, dc = cupy.empty_like(gates), _begun(gh, h), _begun(gc, c)
        through = None
        for t in reversed(times):
            seen = None if mask is None else mask[t]
            run(
                f"lstm_step_back<{name}>", grid, THREADS,
                gates[t], c_old[t], through, None if gy is None else gy[t], dh, dc, d_gates[t], seen,
                n, size,
            )  # fmt: skip
            through = multiply(d_gates[t], w_hh, out=through)
        found = _gradients(d_gates, d_gates, x, w_ih, h_old, wanted[0], wanted[3:])
        return found[0], dh + through, dc, *found[1:], None

    last = 0 if reverse else -1
    return (y, hs[last].copy(), cs[last].copy()), pull


@kernel("gru", CUPY, accepts_gru)
def gru(
    x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, mask: Any, reverse: bool
) -> Any:
    """Gates `r, z`; `n = tanh(a_n + r b_n)`, `h_t = (1 - z) n + z h`; the values, and the pull of all
    operands."""
    name, n, size = name_of(x), x.shape[1], h.shape[1]
    mask = _packed(mask)
    times = range(x.shape[0])[:: -1 if reverse else 1]
    gates, biases = _inputs(x, w_ih), (_packed(b_ih), _packed(b_hh))  # (T, N, 3 H): r, z, n
    hs, h_old, h_new = _states(x, h, reverse)
    y = h_new if mask is None else cupy.empty_like(h_new)
    inner = cupy.empty_like(h_new)  # what r lets through
    recurrent, turned = cupy.empty_like(gates[0]), w_hh.T
    grid = blocks(n * size)
    for t in times:
        multiply(h_old[t], turned, out=recurrent)
        seen, out = (None, None) if mask is None else (mask[t], y[t])
        run(
            f"gru_step<{name}>", grid, THREADS,
            gates[t], recurrent, *biases, inner[t], h_old[t], h_new[t], out, seen, n, size,
        )  # fmt: skip

    def pull(gs: Any, wanted: tuple[bool, ...]) -> Any:
        gy, gh = gs
        gy = None if gy is None else cupy.ascontiguousarray(gy)
        by_x, by_h, dh = cupy.empty_like(gates), cupy.empty_like(gates), _begun(gh, h)
        through = None
        for t in reversed(times):
            seen = None if mask is None else mask[t]
            run(
                f"gru_step_back<{name}>", grid, THREADS,
                gates[t], inner[t], h_old[t], through, None if gy is None else gy[t], dh, by_x[t],
                by_h[t], seen, n, size,
            )  # fmt: skip
            through = multiply(by_h[t], w_hh, out=through)
        found = _gradients(by_x, by_h, x, w_ih, h_old, wanted[0], wanted[2:])
        return found[0], dh + through, *found[1:]

    return (y, hs[0 if reverse else -1].copy()), pull


# ---- what both have in common


def _inputs(x: Any, w: Any) -> Any:
    """What the inputs contribute, for all times in one product: `(T, N, gates)`."""
    z = multiply(_packed(x).reshape(-1, x.shape[-1]), w.T)
    return z.reshape(*x.shape[:2], -1)


def _packed(x: Any) -> Any:
    return None if x is None else cupy.ascontiguousarray(x)


def _states(x: Any, first: Any, reverse: bool) -> tuple[Any, Any, Any]:
    """Room for the states of all times, and two views of it: the states before each time, and after
    it."""
    states = cupy.empty((x.shape[0] + 1, *first.shape), first.dtype)
    states[-1 if reverse else 0] = first
    early, late = states[:-1], states[1:]
    return (states, late, early) if reverse else (states, early, late)


def _begun(g: Any, state: Any) -> Any:
    """A gradient of the last state that may be written to."""
    new = cupy.empty(state.shape, state.dtype)
    new[...] = 0 if g is None else g
    return new


def _gradients(
    dx: Any, dh: Any, x: Any, w_ih: Any, h_old: Any, want_x: bool, want: tuple[bool, ...]
) -> list[Any]:
    """The gradients of the input, the weights and the biases from those of the gates."""
    by_x, by_h = (d.reshape(-1, d.shape[-1]) for d in (dx, dh))
    flat, states = _packed(x).reshape(-1, x.shape[-1]), h_old.reshape(-1, h_old.shape[-1])
    return [
        multiply(by_x, w_ih).reshape(x.shape) if want_x else None,
        multiply(by_x.T, flat) if want[0] else None,
        multiply(by_h.T, states) if want[1] else None,
        sums(by_x).astype(x.dtype, copy=False) if want[2] else None,
        sums(by_h).astype(x.dtype, copy=False) if want[3] else None,
    ]
