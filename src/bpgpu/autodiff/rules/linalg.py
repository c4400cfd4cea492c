"""Derivatives of linear algebra."""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.rule import rule, unbroadcast


@rule(arrays=2)
def matmul(xp: Any, x: Any, y: Any) -> Any:
    """Last two axes are matrices, the axes before them broadcast; an operand of one axis is a vector."""
    out = x @ y
    nx, ny = x.ndim, y.ndim
    if nx == 2 and ny == 2:
        return out, lambda g: g @ y.T, lambda g: x.T @ g
    shape_x, shape_y = x.shape, y.shape

    def pull_x(g: Any) -> Any:
        if nx == 1 and ny == 1:
            return g * y
        if ny == 1:
            return unbroadcast(xp, xp.expand_dims(g, axis=-1) * y, shape_x)
        if nx == 1:
            return unbroadcast(xp, xp.squeeze(y @ xp.expand_dims(g, axis=-1), axis=-1), shape_x)
        return unbroadcast(xp, g @ xp.matrix_transpose(y), shape_x)

    def pull_y(g: Any) -> Any:
        if nx == 1 and ny == 1:
            return g * x
        if ny == 1:
            return unbroadcast(xp, xp.squeeze(xp.matrix_transpose(x) @ xp.expand_dims(g, axis=-1), axis=-1), shape_y)
        if nx == 1:
            return unbroadcast(xp, xp.expand_dims(x, axis=-1) * xp.expand_dims(g, axis=-2), shape_y)
        return unbroadcast(xp, xp.matrix_transpose(x) @ g, shape_y)

    return out, pull_x, pull_y


@rule
def matrix_transpose(xp: Any, x: Any) -> Any:
    return xp.matrix_transpose(x), lambda g: xp.matrix_transpose(g)
