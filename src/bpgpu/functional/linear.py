"""Linear maps of the last axis, and of two inputs at once."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import joint, rule
from bpgpu.errors import ShapeError
from bpgpu.functional import arguments
from bpgpu.functional.arguments import Array
from bpgpu.kernels import MIDDLE, MULTIPLIED, find, multiplication


@rule(arrays=3)
def _linear(xp: Any, x: Any, w: Any, b: Any) -> Any:
    """`(..., I), (O, I), (O,) -> (..., O)`. All axes but the last are one to the matrix product."""
    lead, rows = x.shape[:-1], math.prod(x.shape[:-1])
    asked = xp.__name__ in MULTIPLIED or rows * w.shape[0] * w.shape[1] in MIDDLE
    if asked and (run := find("linear", xp, x, w, b)) is not None:
        y, fast_pull = run(x, w, b)
        return y, joint(fast_pull)
    flat = x if x.ndim == 2 else xp.reshape(x, (rows, x.shape[-1]))  # (N, I)
    times = multiplication(xp)
    y = times(flat, w.T)
    if b is not None:
        y += b

    def flatten(g: Any) -> Any:
        return g if g.ndim == 2 else xp.reshape(g, (rows, g.shape[-1]))  # (N, O)

    def pull_x(g: Any) -> Any:
        gx = times(flatten(g), w)
        return gx if g.ndim == 2 else xp.reshape(gx, (*lead, gx.shape[-1]))

    def pull_w(g: Any) -> Any:
        return times(flatten(g).T, flat)

    def pull_b(g: Any) -> Any:
        return xp.sum(flatten(g), axis=0 if b.ndim else None)

    return y if x.ndim == 2 else xp.reshape(y, (*lead, y.shape[-1])), pull_x, pull_w, pull_b


def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """`x W^T + b` along the last axis.

    `dL/dx = g W`, `dL/dW = g^T x`, `dL/db` = the sum of `g` over all rows.

    *Shape* input `(*, I)`, weight `(O, I)`, bias `(O,)`; the result is `(*, O)`. With a weight
    `(I,)` and a bias `()`, the result is `(*)`.

    *Raises* `ShapeError` if the shapes do not belong together; `DtypeError` unless all are floating
    and of one dtype.

    >>> import numpy as np
    >>> linear(np.asarray([[1.0, 2.0]]), np.asarray([[1.0, 1.0], [0.0, 3.0]]), np.asarray([0.5, 0.0]))
    array([[3.5, 6. ]])
    """
    arguments.floating("linear", input=input, weight=weight, bias=bias)
    arguments.same_dtype("linear", input=input, bias=bias, weight=weight)
    _check_linear(input, weight, bias)
    if weight.ndim == 2:
        return _linear(input, weight, bias)
    y = multiplication(array_namespace(input, weight))(input, weight)
    return y if bias is None else y + bias


def _check_linear(input: Array, weight: Array, bias: Array | None) -> None:
    shape, sizes = input.shape, weight.shape
    if len(sizes) not in (1, 2):
        raise ShapeError(f"linear: expected weight (out, in) or (in,), got {tuple(sizes)}")
    if not shape or shape[-1] != sizes[-1]:
        raise ShapeError(
            f"linear: expected input (..., {sizes[-1]}), got {tuple(shape)}: the weight has shape "
            f"{tuple(sizes)}, (out, in)"
        )
    if bias is not None and bias.shape not in (sizes[:-1], ()):
        raise ShapeError(
            f"linear: expected bias {tuple(sizes[:-1])}, got {tuple(bias.shape)}: the weight has "
            f"shape {tuple(sizes)}, (out, in)"
        )


def bilinear(input1: Array, input2: Array, weight: Array, bias: Array | None = None) -> Array:
    """`y_k = sum_ij x1_i W_kij x2_j + b_k`, linear in each input.

    *Shape* input1 `(*, I)`, input2 `(*, J)`, weight `(O, I, J)`, bias `(O,)`; the result is `(*,
    O)`.

    *Raises* `ShapeError` if the shapes do not belong together; `DtypeError` unless all are floating
    and of one dtype.

    >>> import numpy as np
    >>> bilinear(np.asarray([1.0, 2.0]), np.asarray([3.0]), np.asarray([[[1.0], [0.5]]]))
    array([6.])
    """
    arguments.floating("bilinear", input1=input1, input2=input2, weight=weight, bias=bias)
    arguments.same_dtype("bilinear", input1=input1, input2=input2, bias=bias, weight=weight)
    _check_bilinear(input1, input2, weight, bias)
    xp = array_namespace(input1, input2, weight)
    lead, n = input1.shape[:-1], math.prod(input1.shape[:-1])
    o, i, j = weight.shape
    matrix = xp.reshape(xp.permute_dims(weight, (1, 0, 2)), (i, o * j))
    times = multiplication(xp)
    left = xp.reshape(times(xp.reshape(input1, (n, i)), matrix), (n, o, j))
    y = times(left, xp.reshape(input2, (n, j, 1)))  # (N, O, 1)
    y = xp.reshape(y, (*lead, o))
    return y if bias is None else y + bias


def _check_bilinear(input1: Array, input2: Array, weight: Array, bias: Array | None) -> None:
    sizes = tuple(weight.shape)
    if len(sizes) != 3:
        raise ShapeError(f"bilinear: expected weight (out, in1, in2), got {sizes}")
    for name, x, n in (("input1", input1, sizes[1]), ("input2", input2, sizes[2])):
        if x.ndim == 0 or x.shape[-1] != n:
            raise ShapeError(
                f"bilinear: expected {name} (..., {n}), got {tuple(x.shape)}: the weight has shape "
                f"{sizes}, (out, in1, in2)"
            )
    if input1.shape[:-1] != input2.shape[:-1]:
        raise ShapeError(
            "bilinear: expected inputs that are equal in all axes but the last, got "
            f"{tuple(input1.shape)} and {tuple(input2.shape)}"
        )
    if bias is not None and bias.shape != sizes[:1]:
        raise ShapeError(f"bilinear: expected bias {sizes[:1]}, got {tuple(bias.shape)}")
