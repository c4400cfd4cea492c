"""Recurrent layers over whole sequences: RNN, LSTM and GRU, each with its own way back through time.

All three are arranged alike. What does not depend on the state is one matrix product for the whole sequence, `W_ih
x_t + b_ih + b_hh` for all `t` at once. The loop over time then does what must wait for the state. The way back runs
the loop in reverse and collects `dz_t`, the gradient of what went into the nonlinearities; from them the gradient of
each weight is again one product for the whole sequence (P. Werbos, 1990, "Backpropagation through time").

Sequences of different length are padded to `(T, N, ...)` and marked by `mask` of shape `(T, N)`: where it is false
the state stays as it was and the output is 0. With `reverse` time runs backwards."""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.array import raw
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import joint, rule
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional.arguments import Array, floating, same_dtype
from bpgpu.kernels import find, multiplication


@rule(arrays=6)
def _rnn(
    xp: Any,
    x: Any,
    h: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any,
    b_hh: Any,
    /,
    relu: bool,
    mask: Any,
    reverse: bool,
) -> Any:
    """`h_t = tanh(W_ih x_t + b_ih + W_hh h + b_hh)`: `(T, N, I), (N, H) -> (T, N, H), (N, H)`."""
    times, multiply = _times(x, reverse), multiplication(xp)
    zx = _inputs(xp, x, w_ih, b_ih, b_hh)  # (T, N, H)
    hs: list[Any] = []  # the state before each step
    news: list[Any] = []
    for t in times:
        z = zx[t, ...] + multiply(h, w_hh.T)
        new = xp.maximum(z, xp.zeros_like(z)) if relu else xp.tanh(z)
        hs.append(h)
        news.append(new)
        h = _held(xp, mask, t, new, h)
    y = _outputs(xp, news, mask, times)

    def pull(gs: Any, wanted: tuple[bool, ...]) -> Any:
        gy, gh = gs
        gh = xp.zeros_like(h) if gh is None else gh
        dz: list[Any] = []
        for step in reversed(range(len(times))):
            t, new = times[step], news[step]
            g, stays = _arriving(xp, mask, t, gh, gy)
            d = g * xp.astype(new > 0, g.dtype) if relu else g * (1 - new * new)
            dz.append(d)
            gh = multiply(d, w_hh) + stays
        return _gradients(xp, dz, dz, hs, times, wanted, x, w_ih, w_hh, b_ih, b_hh, [gh])

    return (y, h), joint(pull)


@rule(arrays=8)
def _lstm(
    xp: Any,
    x: Any,
    h: Any,
    c: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any,
    b_hh: Any,
    w_hr: Any,
    /,
    mask: Any,
    reverse: bool,
) -> Any:
    """Gates `i, f, g, o`; `c_t = f c + i g`, `h_t = o tanh(c_t)`, times `W_hr` if there is a projection.

    `(T, N, I), (N, P), (N, H) -> (T, N, P), (N, P), (N, H)`.
    """
    if (run := find("lstm", xp, x, h, c, w_ih, w_hh, b_ih, b_hh, w_hr, mask, reverse)) is not None:
        values, fast_pull = run(x, h, c, w_ih, w_hh, b_ih, b_hh, w_hr, mask, reverse)
        return values, joint(fast_pull)
    times, multiply = _times(x, reverse), multiplication(xp)
    size = c.shape[-1]
    zx = _inputs(xp, x, w_ih, b_ih, b_hh)  # (T, N, 4 H)
    saved: list[Any] = []
    hs: list[Any] = []
    news: list[Any] = []
    for t in times:
        z = zx[t, ...] + multiply(h, w_hh.T)
        i, f = _sigmoid(xp, z[:, :size]), _sigmoid(xp, z[:, size : 2 * size])
        g, o = xp.tanh(z[:, 2 * size : 3 * size]), _sigmoid(xp, z[:, 3 * size :])
        c_new = f * c + i * g
        tanh_c = xp.tanh(c_new)
        full = o * tanh_c
        new = full if w_hr is None else multiply(full, w_hr.T)
        hs.append(h)
        saved.append((i, f, g, o, c, tanh_c, full))
        news.append(new)
        h, c = _held(xp, mask, t, new, h), _held(xp, mask, t, c_new, c)
    y = _outputs(xp, news, mask, times)

    def pull(gs: Any, wanted: tuple[bool, ...]) -> Any:
        gy, gh, gc = gs
        gh = xp.zeros_like(h) if gh is None else gh
        gc = xp.zeros_like(c) if gc is None else gc
        dz: list[Any] = []
        projected: list[Any] = []
        for step in reversed(range(len(times))):
            t, (i, f, g, o, c_old, tanh_c, _) = times[step], saved[step]
            d, stays = _arriving(xp, mask, t, gh, gy)
            projected.append(d)
            d = d if w_hr is None else multiply(d, w_hr)
            dc, c_stays = _arriving(xp, mask, t, gc, None)
            dc = dc + d * o * (1 - tanh_c * tanh_c)
            gates = (
                dc * g * i * (1 - i),
                dc * c_old * f * (1 - f),
                dc * i * (1 - g * g),
                d * tanh_c * o * (1 - o),
            )
            dz.append(xp.concat(gates, axis=-1))  # (N, 4 H)
            gh = multiply(dz[-1], w_hh) + stays
            gc = dc * f + c_stays
        found = _gradients(xp, dz, dz, hs, times, wanted, x, w_ih, w_hh, b_ih, b_hh, [gh, gc])
        gw_hr = None
        if wanted[7]:
            fulls = xp.concat([s[-1] for s in reversed(saved)], axis=0)
            gw_hr = multiply(xp.concat(projected, axis=0).T, fulls)
        return *found, gw_hr

    return (y, h, c), joint(pull)


@rule(arrays=6)
def _gru(
    xp: Any,
    x: Any,
    h: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any,
    b_hh: Any,
    /,
    mask: Any,
    reverse: bool,
) -> Any:
    """Gates `r, z`; `n = tanh(W_in x + b_in + r (W_hn h + b_hn))`, `h_t = (1 - z) n + z h`.

    `(T, N, I), (N, H) -> (T, N, H), (N, H)`.
    """
    if (run := find("gru", xp, x, h, w_ih, w_hh, b_ih, b_hh, mask, reverse)) is not None:
        values, fast_pull = run(x, h, w_ih, w_hh, b_ih, b_hh, mask, reverse)
        return values, joint(fast_pull)
    times, multiply = _times(x, reverse), multiplication(xp)
    size = h.shape[-1]
    zx = _inputs(xp, x, w_ih, b_ih, None)  # (T, N, 3 H)
    saved: list[Any] = []
    hs: list[Any] = []
    news: list[Any] = []
    for t in times:
        zh = multiply(h, w_hh.T)
        zh = zh if b_hh is None else zh + b_hh
        zt = zx[t, ...]
        r = _sigmoid(xp, zt[:, :size] + zh[:, :size])
        z = _sigmoid(xp, zt[:, size : 2 * size] + zh[:, size : 2 * size])
        inner = zh[:, 2 * size :]
        n = xp.tanh(zt[:, 2 * size :] + r * inner)
        new = n + z * (h - n)
        hs.append(h)
        saved.append((r, z, n, inner))
        news.append(new)
        h = _held(xp, mask, t, new, h)
    y = _outputs(xp, news, mask, times)

    def pull(gs: Any, wanted: tuple[bool, ...]) -> Any:
        gy, gh = gs
        gh = xp.zeros_like(h) if gh is None else gh
        dx: list[Any] = []
        dh: list[Any] = []
        for step in reversed(range(len(times))):
            t, (r, z, n, inner), h_old = times[step], saved[step], hs[step]
            d, stays = _arriving(xp, mask, t, gh, gy)
            dn = d * (1 - z) * (1 - n * n)
            dr = dn * inner * r * (1 - r)
            dz = d * (h_old - n) * z * (1 - z)
            dx.append(xp.concat((dr, dz, dn), axis=-1))
            dh.append(xp.concat((dr, dz, dn * r), axis=-1))
            gh = multiply(dh[-1], w_hh) + d * z + stays
        return _gradients(xp, dx, dh, hs, times, wanted, x, w_ih, w_hh, b_ih, b_hh, [gh])

    return (y, h), joint(pull)


# ---- what the three have in common


def _sigmoid(xp: Any, z: Any) -> Any:
    """`1 / (1 + exp(-z))`, without an exponential that could overflow."""
    return 0.5 * xp.tanh(0.5 * z) + 0.5


def _times(x: Any, reverse: bool) -> list[int]:
    times = list(range(x.shape[0]))
    return times[::-1] if reverse else times


def _inputs(xp: Any, x: Any, w_ih: Any, b_ih: Any, b_hh: Any) -> Any:
    """What the inputs contribute, for all times in one product: `(T, N, gates)`."""
    t, n, size = x.shape
    z = multiplication(xp)(xp.reshape(x, (t * n, size)), w_ih.T)
    z = z if b_ih is None else z + b_ih
    z = z if b_hh is None else z + b_hh
    return xp.reshape(z, (t, n, w_ih.shape[0]))


def _held(xp: Any, mask: Any, t: int, new: Any, old: Any) -> Any:
    """The new state, or the old one where the sequence is not there."""
    return new if mask is None else xp.where(mask[t, :, None], new, old)


def _outputs(xp: Any, news: list[Any], mask: Any, times: list[int]) -> Any:
    """The states in the order of time; 0 where the sequence is not there."""
    ordered = news if times[0] == 0 else news[::-1]
    y = xp.stack(ordered, axis=0)
    return y if mask is None else xp.where(mask[:, :, None], y, xp.zeros_like(y))


def _arriving(xp: Any, mask: Any, t: int, g_state: Any, gy: Any) -> tuple[Any, Any]:
    """What arrives at the new state of time `t`, and what passes by to the old one where nothing happened."""
    g = g_state if gy is None else g_state + gy[t, ...]
    if mask is None:
        return g, 0
    zero = xp.zeros_like(g_state)
    here = mask[t, :, None]
    return xp.where(here, g, zero), xp.where(here, zero, g_state)


def _gradients(
    xp: Any,
    dx: list[Any],
    dh: list[Any],
    hs: list[Any],
    times: list[int],
    wanted: tuple[bool, ...],
    x: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any,
    b_hh: Any,
    states: list[Any],
) -> list[Any]:
    """The gradients of input, states, weights and biases from those of the gates, which are listed from the last step
    to the first."""
    multiply, (t, n, size) = multiplication(xp), x.shape
    want_x, want_w = wanted[0], wanted[1 + len(states) :]
    dx = dx[::-1] if times[0] == 0 else dx
    flat = xp.concat(dx, axis=0)  # (T N, gates), in the order of time
    gx = xp.reshape(multiply(flat, w_ih), (t, n, size)) if want_x else None
    gw_ih = multiply(flat.T, xp.reshape(x, (t * n, size))) if want_w[0] else None
    steps = xp.concat(dh[::-1], axis=0)  # in the order of steps, as the states are
    gw_hh = multiply(steps.T, xp.concat(hs, axis=0)) if want_w[1] else None
    gb_ih = xp.sum(flat, axis=0) if want_w[2] else None
    gb_hh = xp.sum(steps, axis=0) if want_w[3] else None
    return [gx, *states, gw_ih, gw_hh, gb_ih, gb_hh]


# ---- the functions


def rnn(
    input: Array,
    hx: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    nonlinearity: str = "tanh",
    mask: Array | None = None,
    reverse: bool = False,
) -> tuple[Array, Array]:
    """One layer of an Elman network: `h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)`.

    *Shape* input `(T, N, I)`, `hx` `(N, H)`, `w_ih` `(H, I)`, `w_hh` `(H, H)`, biases `(H,)`; the result is all
    states `(T, N, H)` and the last one `(N, H)`.

    *Parameters* `nonlinearity`: "tanh" or "relu". `mask` of truth values, `(T, N)`: where a sequence is there.
    `reverse`: time runs backwards.

    *References* J. Elman (1990), "Finding structure in time".
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ArgumentError(f"rnn: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    _check("rnn", input, hx, w_ih, w_hh, b_ih, b_hh, mask, 1)
    relu = nonlinearity == "relu"
    return _rnn(input, hx, w_ih, w_hh, b_ih, b_hh, relu, _mask(input, mask), reverse)  # type: ignore[no-any-return]


def lstm(
    input: Array,
    hx: tuple[Array, Array],
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    w_hr: Array | None = None,
    *,
    mask: Array | None = None,
    reverse: bool = False,
) -> tuple[Array, tuple[Array, Array]]:
    """One layer of an LSTM.

    `i, f, o = sigmoid(...)`, `g = tanh(...)`, each of its rows of `W_ih x_t + b_ih + W_hh h_(t-1) + b_hh` in the
    order `i, f, g, o`; `c_t = f c_(t-1) + i g`; `h_t = o tanh(c_t)`, times `W_hr` if it is given.

    *Shape* input `(T, N, I)`, `hx` is `h` `(N, P)` and `c` `(N, H)`; `w_ih` `(4 H, I)`, `w_hh` `(4 H, P)`, biases
    `(4 H,)`, `w_hr` `(P, H)`; without projection `P = H`. The result is all `h_t` `(T, N, P)` and the last `(h, c)`.

    *Parameters* `mask`, `reverse` as for `rnn`.

    *References* S. Hochreiter and J. Schmidhuber (1997), "Long short-term memory"; F. Gers et al. (2000) for the gate
    `f`; H. Sak et al. (2014) for the projection.
    """
    h, c = hx
    _check("lstm", input, c, w_ih, w_hh, b_ih, b_hh, mask, 4, out=h, w_hr=w_hr)
    y, h, c = _lstm(input, h, c, w_ih, w_hh, b_ih, b_hh, w_hr, _mask(input, mask), reverse)
    return y, (h, c)


def gru(
    input: Array,
    hx: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    mask: Array | None = None,
    reverse: bool = False,
) -> tuple[Array, Array]:
    """One layer of a GRU.

    `r, z = sigmoid(...)` of their rows of `W_ih x_t + b_ih + W_hh h_(t-1) + b_hh`;
    `n = tanh(W_in x_t + b_in + r (W_hn h_(t-1) + b_hn))`; `h_t = (1 - z) n + z h_(t-1)`.

    *Shape* input `(T, N, I)`, `hx` `(N, H)`, `w_ih` `(3 H, I)`, `w_hh` `(3 H, H)`, biases `(3 H,)`, in the order
    `r, z, n`; the result is all states `(T, N, H)` and the last one `(N, H)`.

    *Parameters* `mask`, `reverse` as for `rnn`.

    *References* K. Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder"; the reset gate
    stands after the product, as in torch and cuDNN."""
    _check("gru", input, hx, w_ih, w_hh, b_ih, b_hh, mask, 3)
    return _gru(input, hx, w_ih, w_hh, b_ih, b_hh, _mask(input, mask), reverse)  # type: ignore[no-any-return]


def _mask(input: Array, mask: Array | None) -> Any:
    return None if mask is None else raw(array_namespace(input, mask).asarray(mask))


def _check(
    name: str,
    input: Array,
    hx: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    mask: Array | None,
    gates: int,
    out: Array | None = None,
    w_hr: Array | None = None,
) -> None:
    """Raise unless all shapes belong together."""
    floating(name, input=input, hx=hx, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh, w_hr=w_hr)
    same_dtype(name, hx=hx, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh, w_hr=w_hr, input=input)
    if input.ndim != 3:
        raise ShapeError(f"{name}: expected input (T, N, I), got {tuple(input.shape)}")
    t, n, size = input.shape
    if t == 0:
        raise ShapeError(
            f"{name}: expected a sequence of at least one step, got {tuple(input.shape)}"
        )
    hidden = w_ih.shape[0] // gates
    width = hidden if w_hr is None else w_hr.shape[0]
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "w_ih": (w_ih, (gates * hidden, size)),
        "w_hh": (w_hh, (gates * hidden, width)),
        "b_ih": (b_ih, (gates * hidden,)),
        "b_hh": (b_hh, (gates * hidden,)),
        "w_hr": (w_hr, (width, hidden)),
        "the state" if out is None else "the cell state": (hx, (n, hidden)),
        "the hidden state": (out, (n, width)),
        "mask": (mask, (t, n)),
    }
    for what, (x, shape) in expected.items():
        if x is not None and tuple(x.shape) != shape:
            raise ShapeError(
                f"{name}: expected {what} of shape {shape} for input {tuple(input.shape)}, got {tuple(x.shape)}"
            )
