"""Examples for every kernel: calls of public functions that reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import bpgpu as bp

f = bp.functional

Shape = tuple[int, ...]


def plain(x: Any) -> Any:
    return x


def last(x: Any) -> Any:
    """The same array, its channels side by side in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def stepped(x: Any) -> Any:
    """The same array with gaps in memory."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def rounded(x: Any) -> Any:
    """Channels last, of few different numbers, so that there are ties."""
    return last(np.round(x))


def holed(x: Any) -> Any:
    """Channels last, some numbers NaN."""
    x = last(x).copy(order="K")
    x[np.abs(x) > 1.2] = np.nan
    return x


@dataclass(frozen=True)
class Case:
    function: Callable[..., Any]
    shapes: tuple[Shape, ...]
    order: Callable[[Any], Any] = plain
    """How the first array stands in memory."""
    updated: bool = False
    """Whether the function is an update of its operands, which has no gradient."""

    def arrays(self, dtype: Any) -> list[Any]:
        rng = np.random.default_rng(0)
        drawn = [rng.normal(size=shape).astype(dtype) for shape in self.shapes]
        return [self.order(drawn[0]), *drawn[1:]]


def of(kernel: str) -> Iterable[Case]:
    found: dict[str, Callable[[], Iterable[Case]]] = {
        "convolve": lambda: (*convolutions(), *products()),
        "spread": convolutions,
        "correlate": lambda: (*convolutions(), *products()),
        "channel_sums": biases,
        "standardize": norms,
        "affine": affine_maps,
        "linear": linear_maps,
        "lstm": lambda: recurrences(4),
        "gru": lambda: recurrences(3),
        "maxima": pools,
        "max_gradient": pools,
        "gelu": lambda: activations(f.gelu),
        "relu": lambda: (c for c in activations(f.relu) if c.order is not stepped),
        "attend": attentions,
        "adam": lambda: updates(4, adam),
        "momentum": lambda: updates(3, momentum),
    }
    return found[kernel]() if kernel in found else ()


def convolutions() -> Iterator[Case]:
    shapes: tuple[Shape, ...] = ((2, 3, 8, 7), (4, 3, 3, 2), (4,))
    for settings in (
        {},
        {"padding": 1},
        {"padding": (2, 0)},
        {"padding": "same"},
        {"stride": 2, "padding": 1},
        {"stride": (3, 1)},
        {"dilation": 2, "padding": 3},
        {"dilation": (1, 3), "stride": 2},
    ):
        for order in (plain, last, stepped):
            yield Case(bound(f.conv2d, settings), shapes, order)
    yield Case(bound(f.conv1d, {"padding": 2}), ((3, 2, 9), (5, 2, 3), (5,)))
    yield Case(bound(f.conv3d, {"stride": 2}), ((2, 2, 5, 4, 6), (3, 2, 2, 1, 3), (3,)))
    yield Case(
        f.conv2d, ((1, 16, 140, 130), (8, 16, 3, 3), (8,))
    )  # columns of one example in portions
    yield Case(bound(f.conv_transpose2d, {"stride": 2}), ((2, 3, 5, 4), (3, 4, 3, 2), (4,)))
    for settings in (
        {"stride": 3},  # some inputs are reached by nothing
        {"stride": 2, "padding": 1, "dilation": 2},
        {"padding": 4},  # more zeros than the kernel is wide
    ):
        yield Case(bound(f.conv2d, settings), ((3, 5, 9, 10), (7, 5, 2, 3), (7,)), last)
    yield Case(bound(f.conv1d, {"stride": 2, "padding": 1}), ((1, 2, 1), (3, 2, 1), (3,)))
    for settings in ({}, {"padding": 1}, {"padding": (2, 0)}):  # in squares
        yield Case(bound(f.conv2d, settings), ((31, 24, 9, 12), (25, 24, 3, 3), (25,)), last)
    yield Case(bound(f.conv2d, {"padding": 1}), ((2, 64, 33, 47), (40, 64, 3, 3), (40,)), last)
    for channels in (17, 40, 70, 100):  # of results: several vectors, the last not full
        shapes = ((5, 3, 6, 7), (channels, 3, 3, 3), (channels,))
        yield Case(bound(f.conv2d, {"padding": 1}), shapes, last)
    yield Case(bound(f.conv2d, {"padding": 1}), ((300, 8, 4, 4), (9, 8, 3, 3), (9,)), last)


def products() -> Iterator[Case]:
    yield Case(f.conv2d, ((2, 3, 4, 5), (6, 3, 1, 1), (6,)), last)
    yield Case(f.conv3d, ((2, 3, 4, 2, 5), (6, 3, 1, 1, 1), (6,)), last)


def biases() -> Iterator[Case]:
    """With a gradient whose channels stand side by side in memory."""

    def convolved(x: Any, w: Any, b: Any) -> Any:
        y = f.conv2d(x, w, b)
        return bp.array_namespace(y).permute_dims(y, (0, 2, 3, 1))

    yield Case(convolved, ((2, 3, 5, 4), (4, 3, 3, 2), (4,)))
    yield Case(convolved, ((9, 1, 40, 41), (5, 1, 1, 1), (5,)))


def norms() -> Iterator[Case]:
    def batch_norm(x: Any, w: Any, b: Any) -> Any:
        return f.batch_norm(x, None, None, w, b, training=True)

    yield Case(batch_norm, ((3, 4, 5, 2), (4,), (4,)), last)
    yield Case(batch_norm, ((3, 7), (7,), (7,)))
    yield Case(batch_norm, ((50, 300, 9), (300,), (300,)), last)  # in portions
    yield Case(lambda x: f.batch_norm(x, None, None, training=True), ((3, 4, 5),), last)
    yield Case(lambda x, w, b: f.layer_norm(x, (5,), w, b), ((3, 4, 5), (5,), (5,)))
    yield Case(lambda x, w, b: f.layer_norm(x, (4, 5), w, b), ((3, 4, 5), (4, 5), (4, 5)))
    yield Case(lambda x, w: f.layer_norm(x, (300,), w), ((900, 300), (300,)))
    yield Case(lambda x: f.layer_norm(x, (1,)), ((3, 1),))
    yield Case(lambda x, w: f.rms_norm(x, (6,), w, 1e-3), ((2, 5, 6), (6,)))


def affine_maps() -> Iterator[Case]:
    def batch_norm(x: Any, w: Any, b: Any) -> Any:
        m, v = np.arange(4.0, dtype=w.dtype), np.ones(4, w.dtype)
        return f.batch_norm(x, m, v, w, b)

    yield Case(batch_norm, ((3, 4, 5, 2), (4,), (4,)), last)
    yield Case(batch_norm, ((70, 4), (4,), (4,)))


def linear_maps() -> Iterator[Case]:
    yield Case(f.linear, ((100, 300), (70, 300), (70,)))
    yield Case(f.linear, ((7, 11, 500), (9, 500), (9,)), stepped)
    yield Case(f.linear, ((6000, 3), (33, 3)))
    yield Case(f.linear, ((3, 40), (6000, 40), (6000,)))


def recurrences(gates: int) -> Iterator[Case]:
    """Each with outputs and last states in one vector; `run` of the LSTM takes two states."""
    t, n, i, h = 5, 3, 4, 2
    weights = ((gates * h, i), (gates * h, h), (gates * h,), (gates * h,))
    for reverse in (False, True):
        for used in (2, 4):  # without biases, and with

            def lstm(x: Any, h: Any, c: Any, *w: Any, reverse: bool = reverse) -> Any:
                y, *states = f.lstm(x, (h, c), *w, reverse=reverse)
                return together(y, *states)

            def gru(x: Any, h: Any, *w: Any, reverse: bool = reverse) -> Any:
                return together(*f.gru(x, h, *w, reverse=reverse))

            if gates == 4:
                yield Case(lstm, ((t, n, i), (n, h), (n, h), *weights[:used]))
            else:
                yield Case(gru, ((t, n, i), (n, h), *weights[:used]), stepped)


def together(*arrays: Any) -> Any:
    leaves = bp.tree.leaves(arrays)
    xp = bp.array_namespace(*leaves)
    return xp.concat([xp.reshape(a, (-1,)) for a in leaves])


def pools() -> Iterator[Case]:
    for order in (last, rounded, holed):
        yield Case(lambda x: f.max_pool2d(x, 2), ((2, 3, 6, 8),), order)
        yield Case(lambda x: f.max_pool2d(x, (1, 3)), ((2, 3, 5, 9),), order)
        yield Case(lambda x: f.max_pool1d(x, 4), ((2, 3, 8),), order)
        yield Case(lambda x: f.max_pool3d(x, 2), ((2, 2, 4, 2, 6),), order)


def activations(function: Callable[..., Any]) -> Iterator[Case]:
    yield Case(function, ((40, 33),))
    yield Case(function, ((3, 7, 901),), stepped)
    yield Case(function, ((2, 5, 4000),), last)
    yield Case(function, ((2, 5, 30, 20),), last)
    yield Case(function, ((40, 33),), extreme)


def extreme(x: Any) -> Any:
    """Also very small and very large numbers, infinities and NaN."""
    x = x * 6
    x.reshape(-1)[:8] = (0.0, -0.0, 1e-30, 100.0, -100.0, np.inf, -np.inf, np.nan)
    return x


def attentions() -> Iterator[Case]:
    def attend(q: Any, k: Any, v: Any, **settings: Any) -> Any:
        return f.scaled_dot_product_attention(q, k, v, **settings)

    for lead in ((2, 3), (700,)):
        for rows, columns in ((5, 5), (4, 7), (1, 1)):
            shapes = ((*lead, rows, 6), (*lead, columns, 6), (*lead, columns, 3))
            yield Case(attend, shapes)
            yield Case(bound(attend, {"is_causal": True, "scale": 2.0}), shapes, stepped)
            mask = np.random.default_rng(3).random((rows, columns)) < 0.5
            mask[0, :] = False  # a query that may look nowhere
            yield Case(bound(attend, {"attn_mask": mask}), shapes)
            yield Case(bound(attend, {"is_causal": True}), shapes, extreme)

    large = ((40, 100, 2),) * 3  # in portions
    yield Case(bound(attend, {"is_causal": True}), large)


def updates(count: int, function: Callable[..., Any]) -> Iterator[Case]:
    """Of large parameters: the parameter, its gradient and its state."""
    for shape in ((2**14,), (300, 201)):
        yield Case(function, (shape,) * (count), updated=True)


def adam(xp: Any, p: Any, g: Any, m: Any, v: Any) -> Any:
    state = {"step": xp.asarray(3.0, dtype=p.dtype), "exp_avg": m, "exp_avg_sq": v * v}
    return stepped_by(bp.optim.Adam([p], lr=0.01, weight_decay=0.1), xp, p, g, state)


def momentum(xp: Any, p: Any, g: Any, b: Any) -> Any:
    state = {"step": xp.asarray(3.0, dtype=p.dtype), "momentum_buffer": b}
    return stepped_by(bp.optim.SGD([p], lr=0.01, momentum=0.9), xp, p, g, state)


def stepped_by(optimizer: Any, xp: Any, p: Any, g: Any, state: Any) -> list[Any]:
    p, state = optimizer.advance(p, g, state, optimizer.param_groups[0])
    return [p, *state.values()]


def bound(function: Callable[..., Any], settings: dict[str, Any]) -> Callable[..., Any]:
    return lambda *arrays: function(*arrays, **settings)
