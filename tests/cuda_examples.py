"""Examples for kernels on CUDA beside those of `kernel_examples`: what the kernels for NumPy leave to the own code."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import bpgpu as bp
import kernel_examples
from bpgpu.autodiff.array import raw
from bpgpu.functional.dropout import activation_dropout
from kernel_examples import Case, bound, extreme, holed, last, plain, stepped, together

f = bp.functional


def of(kernel: str) -> Iterable[Case]:
    return (*own.get(kernel, tuple)(), *shared.get(kernel, tuple)())


def elementwise(function: Callable[..., Any]) -> Iterator[Case]:
    yield Case(function, ((1,),))
    yield Case(function, ((3, 5, 7),))
    yield Case(function, ((2, 8, 3, 4),), last)
    yield Case(function, ((300, 11),), extreme)
    yield Case(function, ((),))
    yield Case(offset(function), ((65,),))


def offset(function: Callable[..., Any]) -> Callable[..., Any]:
    """Of all numbers but the first, which stand where no 16 bytes can be loaded at once."""
    return lambda x, *others: function(x[1:], *others)


def rows(function: Callable[..., Any]) -> Iterator[Case]:
    along = bound(function, {"dim": -1})
    for shape in ((1,), (7,), (3, 1), (40, 33), (2, 3, 64), (2, 4100)):
        yield Case(along, (shape,))
    yield Case(along, ((8, 40),), infinite)
    yield Case(along, ((8, 40),), extreme)
    yield Case(lambda x: along(bp.array_namespace(x).reshape(x[1:], (4, 16))), ((65,),))


def infinite(x: Any) -> Any:
    """One row of minus infinity, and one with some."""
    x[0, :] = -np.inf
    x[1, ::2] = -np.inf
    return x


def norms() -> Iterator[Case]:
    def batch_norm(x: Any, *parameters: Any) -> Any:
        w, b = (*parameters, None, None)[:2]
        return f.batch_norm(x, None, None, w, b, training=True)

    for order in (plain, last):
        yield Case(batch_norm, ((3, 4, 5, 2), (4,), (4,)), order)
        yield Case(batch_norm, ((9, 33, 8, 8), (33,), (33,)), order)
        yield Case(batch_norm, ((600, 3, 4), (3,)), order)
        yield Case(batch_norm, ((40, 3, 12, 16), (3,)), order)  # in several chunks
    yield Case(batch_norm, ((5000, 1),))
    yield Case(batch_norm, ((2, 70, 1), (70,), (70,)))
    yield Case(lambda x: batch_norm(x + 10), ((64, 6, 9),))
    yield Case(lambda x, w, b: f.layer_norm(x, (64,), w, b), ((7, 64), (64,), (64,)))
    yield Case(lambda x, w, b: f.layer_norm(x, (2050,), w, b), ((3, 2050), (2050,), (2050,)))
    yield Case(lambda x: f.layer_norm(x, (13,)), ((13,),))
    yield Case(lambda x, b: f.layer_norm(x, (8,), None, b), ((6, 8), (8,)))
    yield Case(lambda x, w: f.rms_norm(x, (32,), w), ((2, 5, 32), (32,)))
    yield Case(lambda x, w: f.group_norm(x, 2, w, w), ((3, 4, 6), (4,)))
    yield Case(lambda x: f.instance_norm(x), ((3, 4, 6, 5),))


def affine_maps() -> Iterator[Case]:
    mean, variance = constant(np.arange(4.0)), constant(np.ones(4))

    def batch_norm(x: Any, w: Any, b: Any) -> Any:
        xp = bp.array_namespace(w)
        statistics = (xp.astype(y(w), w.dtype) for y in (mean, variance))
        return f.batch_norm(x, *statistics, w, b)

    yield Case(batch_norm, ((3, 4, 5, 2), (4,), (4,)), last)
    yield Case(batch_norm, ((3, 4, 5, 3), (4,), (4,)))
    yield Case(batch_norm, ((70, 4), (4,), (4,)))


def tables() -> Iterator[Case]:
    """Of indices that are few or many, all alike, absent, and more than one chunk of them."""
    rng = np.random.default_rng(0)
    for count, shape, width in (
        (5, (7,), 3),
        (40, (3, 4), 8),
        (3, (1100,), 5),
        (600, (1030,), 4),
        (2, (2, 300), 130),
        (9, (1,), 1),
    ):
        index = rng.integers(0, count, shape)
        yield Case(embedding(index, {}), ((count, width),))
        yield Case(embedding(index.astype("int32"), {"padding_idx": 1}), ((count, width),))
    yield Case(embedding(np.zeros(1600, int), {"scale_grad_by_freq": True}), ((4, 12),))


def embedding(index: Any, settings: dict[str, Any]) -> Callable[..., Any]:
    given = constant(index)
    return lambda w: f.embedding(given(w), w, **settings)


def constant(values: Any) -> Callable[[Any], Any]:
    """An array of the library of another: made once, for a step that is captured may copy nothing."""
    known: dict[Any, Any] = {}

    def like(x: Any) -> Any:
        x = raw(x)
        if type(x) not in known:
            known[type(x)] = bp.array_namespace(x).asarray(values)
        return known[type(x)]

    return like


def maxima() -> Iterator[Case]:
    for order in (plain, last, tied, holed):
        yield Case(bound(f.max_pool2d, {"kernel_size": 3, "stride": 2}), ((2, 3, 9, 8),), order)
        overlapping = {"kernel_size": 3, "stride": 1, "padding": 1}
        yield Case(bound(f.max_pool2d, overlapping), ((2, 3, 5, 6),), order)
        yield Case(bound(f.max_pool1d, {"kernel_size": 2, "dilation": 3}), ((2, 3, 11),), order)
        ceil = {"kernel_size": 2, "stride": 2, "ceil_mode": True}
        yield Case(bound(f.max_pool3d, ceil), ((1, 2, 3, 4, 5),), order)
    yield Case(bound(f.max_pool1d, {"kernel_size": 3, "padding": 1}), ((2, 6),), infinite)


def tied(x: Any) -> Any:
    return np.round(x)


def means() -> Iterator[Case]:
    for order in (plain, last):
        yield Case(bound(f.avg_pool2d, {"kernel_size": 2}), ((2, 3, 6, 7),), order)
        overlapping = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}
        for more in ({}, {"count_include_pad": False}, {"divisor_override": 5}):
            yield Case(bound(f.avg_pool2d, {**overlapping, **more}), ((2, 3, 6, 8),), order)
        yield Case(bound(f.avg_pool1d, {"kernel_size": 4, "stride": 3}), ((2, 3, 11),), order)
        yield Case(bound(f.avg_pool3d, {"kernel_size": (1, 2, 3)}), ((2, 3, 2, 5, 6),), order)
    yield Case(bound(f.avg_pool1d, {"kernel_size": 2}), ((3, 8),))


def masked(gates: int) -> Iterator[Case]:
    """Sequences of different length, forwards and backwards."""
    t, n, i, h = 5, 3, 4, 6
    given = constant(np.arange(t)[:, None] < np.asarray([5, 2, 3]))
    weights = ((gates * h, i), (gates * h, h), (gates * h,), (gates * h,))
    for reverse in (False, True):

        def run(x: Any, *others: Any, reverse: bool = reverse) -> Any:
            settings = {"mask": given(x), "reverse": reverse}
            if gates == 4:
                return together(*bp.tree.leaves(f.lstm(x, others[:2], *others[2:], **settings)))
            return together(*f.gru(x, *others, **settings))

        states = ((n, h),) * (2 if gates == 4 else 1)
        yield Case(run, ((t, n, i), *states, *weights))


def entropies() -> Iterator[Case]:
    """Of few and many classes, along rows and not, with labels to leave out, weights, smoothing."""
    rng = np.random.default_rng(0)
    for shape in ((7, 10), (5, 64), (3, 1030), (1, 1), (600, 3), (2, 5, 3, 4), (4, 8, 70), (9,)):
        classes = shape[min(len(shape) - 1, 1)]
        labels = rng.integers(0, classes, shape[:1] + shape[2:] if len(shape) > 1 else ())
        yield Case(entropy(labels, {}), (shape,))
        for reduction in ("mean", "sum", "none"):
            settings = {"label_smoothing": 0.1, "reduction": reduction, "ignore_index": 0}
            yield Case(entropy(labels.astype("int32"), settings, weighted=True), (shape,))
    yield Case(entropy(np.full(4, -100), {}), ((4, 3),))
    yield Case(entropy(rng.integers(0, 6, (2, 3, 4)), {}), ((2, 6, 3, 4),), last)
    yield Case(entropy(rng.integers(0, 40, 8), {"reduction": "none"}), ((8, 40),), infinite)
    yield Case(entropy(rng.integers(0, 4, 8), {}), ((8, 4),), stepped)


def entropy(labels: Any, settings: dict[str, Any], *, weighted: bool = False) -> Callable[..., Any]:
    given = constant(labels)

    def loss(x: Any) -> Any:
        weight = None
        if weighted:
            xp = bp.array_namespace(raw(x))
            classes = x.shape[min(x.ndim - 1, 1)]
            weight = xp.astype(xp.arange(classes) % 3, x.dtype) * 0.5
        return f.cross_entropy(x, given(x), weight, **settings)

    return loss


def dropped_by(function: Callable[[float], Any]) -> Iterator[Case]:
    for p in (0.5, 0.001, 0.9):  # of 16 bits and of 32
        for shape in ((1,), (3, 5, 7), (64,), (8, 33, 16), ()):
            yield Case(function(p), (shape,))
        yield Case(function(p), ((300, 11),), extreme)
    yield Case(offset(function(0.25)), ((65,),))


def dropout(p: float) -> Callable[..., Any]:
    key = constant(bp.random.key(3))
    return lambda x: f.dropout(x, p, key=key(x))


def dropout_after(name: str) -> Callable[[float], Callable[..., Any]]:
    key = constant(bp.random.key(3))
    return lambda p: lambda x: activation_dropout(name, x, p, key(x))


own: dict[str, Callable[[], Iterable[Case]]] = {
    "cross_entropy": entropies,
    "dropped": lambda: dropped_by(dropout),
    "relu": lambda: elementwise(f.relu),
    "relu_dropped": lambda: dropped_by(dropout_after("relu")),
    "gelu_dropped": lambda: dropped_by(dropout_after("gelu")),
    "gelu_tanh_dropped": lambda: dropped_by(dropout_after("gelu_tanh")),
    "gelu": lambda: elementwise(f.gelu),
    "gelu_tanh": lambda: elementwise(bound(f.gelu, {"approximate": "tanh"})),
    "softmax": lambda: rows(f.softmax),
    "softmax_gradient": lambda: rows(f.softmax),
    "log_softmax": lambda: rows(f.log_softmax),
    "log_softmax_gradient": lambda: rows(f.log_softmax),
    "take_rows": tables,
    "add_rows": tables,
    "standardize": norms,
    "affine": affine_maps,
    "maxima": maxima,
    "max_gradient": maxima,
    "window_means": means,
    "lstm": lambda: masked(4),
    "gru": lambda: masked(3),
}
shared: dict[str, Callable[[], Iterable[Case]]] = {
    name: functools.partial(kernel_examples.of, name)
    for name in ("standardize", "maxima", "max_gradient", "lstm", "gru")
}
NAMES = sorted({*own, *shared})
