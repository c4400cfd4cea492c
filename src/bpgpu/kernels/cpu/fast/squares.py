"""Small squares of an image, transformed along both axes for Winograd's convolution.

A transform takes the rows of a square to sums and differences of them, `s -> T s`, and then its
columns, `T s T^t`: a vector of channels at a time, in registers (see `tile`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic

from bpgpu.kernels.cpu.fast.tile import Code, word


def _square(transform: Callable[..., list[Any]], size: int, made: int) -> Callable[..., None]:
    """From a square of `size` by `size` places, neighbours `row` and `column` apart, to one of
    `made` by `made`, `down` and `right` apart. Beyond `height` and `width` it reads zeros, and
    beyond `room_down` and `room_right` nothing is written; `left` channels are left."""

    def square(
        typing: Any,
        a: Any,
        at: Any,
        row: Any,
        column: Any,
        height: Any,
        width: Any,
        b: Any,
        to: Any,
        down: Any,
        right: Any,
        room_down: Any,
        room_right: Any,
        left: Any,
    ) -> Any:
        n = types.int64
        return types.void(a, n, n, n, n, n, b, n, n, n, n, n, n), generate

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _, at, row, column, height, width, _, to, down, right, *rooms, left = given
        a, b = (
            context.make_array(signature.args[i])(context, builder, given[i]).data for i in (0, 6)
        )
        code = Code(builder, context.get_data_type(signature.args[0].dtype), 1)
        channels = code.columns(left)

        def masks(limits: Any, count: int) -> list[list[Any]]:
            rows = [code.within(i, limits[0], channels) for i in range(count)]
            return [[code.within(j, limits[1], r)[0] for j in range(count)] for r in rows]

        def place(i: int, j: int, origin: Any, steps: Any) -> Any:
            lower = builder.add(origin, builder.mul(word(i), steps[0]))
            return builder.add(lower, builder.mul(word(j), steps[1]))

        def turned(lines: list[list[Any]]) -> list[list[Any]]:
            return [list(line) for line in zip(*lines, strict=True)]

        inside = masks((height, width), size)
        square = [
            [code.load(a, place(i, j, at, (row, column)), inside[i][j]) for j in range(size)]
            for i in range(size)
        ]
        rows = turned([transform(builder, *line) for line in turned(square)])
        result = [transform(builder, *line) for line in rows]
        wanted = masks(rooms, made)
        for i in range(made):
            for j in range(made):
                code.store(result[i][j], b, place(i, j, to, (down, right)), wanted[i][j])
        return context.get_dummy_value()

    found: Callable[..., None] = intrinsic(square)
    return found


def _of_input(at: Any, a: Any, b: Any, c: Any, d: Any) -> list[Any]:
    return [at.fsub(a, c), at.fadd(b, c), at.fsub(c, b), at.fsub(b, d)]


def _of_sums(at: Any, a: Any, b: Any, c: Any, d: Any) -> list[Any]:
    return [at.fadd(at.fadd(a, b), c), at.fsub(at.fsub(b, c), d)]


def _of_gradient(at: Any, a: Any, b: Any) -> list[Any]:
    return [a, at.fadd(a, b), at.fsub(a, b), at.fneg(b)]


square_of_input = _square(_of_input, 4, 4)
square_of_sums = _square(_of_sums, 4, 2)
square_of_gradient = _square(_of_gradient, 2, 4)
