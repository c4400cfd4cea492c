"""Functions of indices: rows of a table, and vectors with a single one."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import rule
from bpgpu.autodiff.rules.indexing import scatter_add
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of
from bpgpu.backend.look import is_known
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional import arguments
from bpgpu.functional.arguments import Array
from bpgpu.functional.select import choose, keep
from bpgpu.kernels import compute


@rule
def _embedding(
    xp: Any, w: Any, /, index: Any, padding_idx: int | None, by_frequency: bool, scales: Any
) -> Any:
    """`(V, D), (N,) -> (N, D)`: what is read in the value is added up in the gradient.

    `scales` of the rows read, `(N, 1)`, count as part of the table: the gradient is that with
    respect to scaled rows.
    """
    shape = w.shape
    if type(w) is Traced:
        y = _embedding(w, index, padding_idx, by_frequency, scales)
    else:
        y = compute("take_rows", _take_rows, xp, w, index)
        y = y if scales is None else y * scales

    def pull(g: Any) -> Any:
        if by_frequency:
            g = g / _column(_frequencies(index, shape[0], raw(g)))
        return compute("add_rows", _add_rows, xp, g, index, shape[0], padding_idx)

    return y, pull


def _take_rows(xp: Any, w: Any, index: Any) -> Any:
    return xp.take(w, index, axis=0)


def _add_rows(xp: Any, g: Any, index: Any, count: int, padding_idx: int | None) -> Any:
    """`(N, D), (N,) -> (V, D)`: each row added at its index, but for those of the padding."""
    if padding_idx is not None:
        g = keep(g, _column(index != padding_idx))
    return scatter_add(g, (count, g.shape[1]), (index, ...))


def _column(x: Any) -> Any:
    return namespace_of(x).expand_dims(x, axis=-1)


def _frequencies(index: Any, count: int, like: Any) -> Any:
    """How often each index occurs, in the place of each."""
    xp = namespace_of(like)
    ones = xp.ones(index.shape, dtype=like.dtype, device=backend_of(xp).device_of(like))
    return xp.take(scatter_add(ones, (count,), index), index, axis=0)


def embedding(
    input: Array,
    weight: Array,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Array:
    """The rows of a table at given indices: `weight[input]`.

    The gradient of a row is the sum of those of its occurrences.

    *Shape* input `(*)`, integers; weight `(V, D)`; the result is `(*, D)`.

    *Parameters* `padding_idx`: the row that gets no gradient; counted from the end if negative.
    `max_norm`: rows that are read are first scaled down to this norm, of order `norm_type`.
    `scale_grad_by_freq`: each gradient is divided by how often its index occurs in the input.
    `sparse`: not offered, since the array standard has no sparse arrays.

    *Raises* `ValueError` for an index outside of `[0, V)`, a `padding_idx` outside of `[-V, V)`, or
    `sparse=True`; `DtypeError` unless the input is of integers and the weight floating;
    `ShapeError` unless the weight has two axes.

    *Notes* Where looking at the indices would wait for a GPU or break a compiled step, a wrong
    index gives a row of NaN instead of an error. With `max_norm`, torch overwrites rows of
    `weight`; here the array that is given stays. The result is the same, and so is the gradient:
    that with respect to the rows as they were scaled. `renormed` gives the table that torch would
    leave behind.

    >>> import numpy as np
    >>> embedding(np.asarray([2, 0, 2]), np.asarray([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]))
    array([[4., 5.],
           [0., 1.],
           [4., 5.]])
    """
    arguments.integers("embedding", input=input)
    arguments.floating("embedding", weight=weight)
    if weight.ndim != 2:
        raise ShapeError(f"embedding: expected weight (V, D), got shape {tuple(weight.shape)}")
    if sparse:
        raise ArgumentError(
            "embedding: expected sparse=False: the Array API has no sparse arrays, and so no sparse gradients"
        )
    count, width = weight.shape
    if padding_idx is not None:
        if not -count <= padding_idx < count:
            raise ArgumentError(
                f"embedding: expected padding_idx in [{-count}, {count}), got {padding_idx}"
            )
        padding_idx %= count
    index, right = _readable("embedding", input, count)
    scales = None
    if max_norm is not None:
        plain = raw(weight)
        scales = _scales(namespace_of(plain).take(plain, index, axis=0), max_norm, norm_type)
    rows = _embedding(weight, index, padding_idx, scale_grad_by_freq, scales)
    if right is not None:
        rows = choose(rows, math.nan, _column(right))
    rows = array_namespace(rows).reshape(rows, (*input.shape, width))
    return _like(input, rows)


def _like(input: Array, y: Array) -> Array:
    """Inside a trace, what is made of its constants is one of them."""
    return Traced(y) if type(input) is Traced and type(y) is not Traced else y


def _readable(function: str, input: Array, count: int) -> tuple[Any, Any]:
    """The indices in one row, of a dtype that all libraries index with; and, unless all are sure to be
    in range, where they are."""
    index = raw(input)
    xp = namespace_of(index)
    if index.dtype not in (xp.int32, xp.int64):
        index = xp.astype(index, xp.int32)
    seen = arguments.in_range(function, "input", index, count)
    index = xp.reshape(index, (-1,)) if index.ndim != 1 else index
    if seen:
        return index, None
    right = (index >= 0) & (index < count)
    return xp.where(right, index, 0), right


def renormed(weight: Array, input: Array, max_norm: float, norm_type: float = 2.0) -> Array:
    """The table with the rows that `input` names scaled down to `max_norm`: what `embedding` of
    torch makes of it.

    A plain array without a gradient; `weight` itself is not changed.

    >>> import numpy as np
    >>> renormed(np.asarray([[3.0, 4.0], [6.0, 8.0]]), np.asarray([0]), 1.0).round(6)
    array([[0.6, 0.8],
           [6. , 8. ]])
    """
    weight = raw(weight)
    xp = namespace_of(weight)
    index, _ = _readable("renormed", input, weight.shape[0])
    ones = xp.ones(index.shape, dtype=weight.dtype, device=backend_of(xp).device_of(weight))
    read = scatter_add(ones, (weight.shape[0],), index) > 0
    return xp.where(_column(read), weight * _scales(weight, max_norm, norm_type), weight)


def _scales(rows: Any, max_norm: float, norm_type: float) -> Any:
    """`(N, D) -> (N, 1)`: what brings each row down to the norm."""
    xp = namespace_of(rows)
    norms = xp.linalg.vector_norm(rows, axis=-1, keepdims=True, ord=norm_type)
    return xp.where(norms > max_norm, max_norm / (norms + 1e-7), 1)


def one_hot(tensor: Array, num_classes: int = -1) -> Array:
    """A row of zeros with a one at each index.

    *Shape* `(*)` -> `(*, num_classes)`, of the dtype of the input.

    *Parameters* `num_classes`: one more than the largest index, if it is not given. Its value is
    then read, which waits for a device and cannot be compiled.

    *Raises* `ValueError` for an index outside of `[0, num_classes)`, or if the number of classes is
    neither given nor to be found; `DtypeError` unless the input is of integers.

    *Notes* Where looking at the indices would wait for a GPU or break a compiled step, a wrong
    index gives a row of zeros instead of an error.

    >>> import numpy as np
    >>> one_hot(np.asarray([2, 0]))
    array([[0, 0, 1],
           [1, 0, 0]])
    """
    arguments.integers("one_hot", tensor=tensor)
    index = raw(tensor)
    xp = namespace_of(index)
    if num_classes == -1:
        if 0 in index.shape:
            raise ArgumentError(
                "one_hot: expected num_classes for an input without an element, of which the number of classes "
                "cannot "
                "be found"
            )
        if not is_known(index):
            raise ArgumentError(
                "one_hot: expected num_classes in a compiled function, where the largest index cannot be looked at"
            )
        num_classes = max(int(backend_of(xp).to_numpy(index).max()) + 1, 1)
    elif num_classes < 1:
        raise ArgumentError(
            f"one_hot: expected num_classes of at least 1, or -1 to find it, got {num_classes}"
        )
    arguments.in_range("one_hot", "tensor", index, num_classes)
    classes = xp.arange(num_classes, dtype=index.dtype, device=backend_of(xp).device_of(index))
    return _like(tensor, xp.astype(_column(index) == classes, index.dtype))
