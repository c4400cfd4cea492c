"""Derivatives of running sums and products, and of differences."""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.rule import rule


def _part(axis: int, start: int | None, stop: int | None) -> tuple[Any, ...]:
    """The index of a stretch along one axis."""
    return (*(slice(None),) * axis, slice(start, stop), ...)


@rule
def cumulative_sum(
    xp: Any,
    x: Any,
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    include_initial: bool = False,
) -> Any:
    """Entry `i` counts in all sums from `i` on: the gradient is a running sum from the end."""
    y = xp.cumulative_sum(x, axis=axis, dtype=dtype, include_initial=include_initial)
    along = 0 if axis is None else axis % x.ndim

    def pull(g: Any) -> Any:
        if include_initial:
            g = g[_part(along, 1, None)]
        return xp.flip(xp.cumulative_sum(xp.flip(g, axis=along), axis=along), axis=along)

    return y, pull


@rule
def cumulative_prod(
    xp: Any,
    x: Any,
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    include_initial: bool = False,
) -> Any:
    """No division takes place, so that any number of zeros is right.

    Entry `i` is a factor of all products from `i` on. They have in common the product of the entries before `i`;
    what is left sums to `r[i] = g[i] + x[i+1] g[i+1] + x[i+1] x[i+2] g[i+2] + ...`.
    """
    y = xp.cumulative_prod(x, axis=axis, dtype=dtype, include_initial=include_initial)
    along = 0 if axis is None else axis % x.ndim

    def pull(g: Any) -> Any:
        v = xp.astype(x, g.dtype, copy=False)
        before = xp.cumulative_prod(v, axis=along, include_initial=True)[_part(along, 0, -1)]
        if include_initial:
            g = g[_part(along, 1, None)]
        return before * _discounted(xp, v, g, along)

    return y, pull


def _discounted(xp: Any, x: Any, b: Any, axis: int) -> Any:
    """The solution of `r[i] = b[i] + x[i+1] r[i+1]`, with `r = b` at the end.

    Each turn of the loop puts the equation of `r[i+step]` into that of `r[i]`, which doubles the step: log2(n) turns.
    """
    n, step = b.shape[axis], 1
    a = x[_part(axis, 1, n)] if n > 1 else x  # a[i] is the factor of r[i+step]
    while step < n:
        head = b[_part(axis, 0, n - step)] + a * b[_part(axis, step, n)]
        b = xp.concat([head, b[_part(axis, n - step, n)]], axis=axis)
        rest = n - 2 * step
        if rest > 0:
            a = a[_part(axis, 0, rest)] * a[_part(axis, step, step + rest)]
        step *= 2
    return b


@rule
def diff(xp: Any, x: Any, /, *, axis: int = -1, n: int = 1) -> Any:
    """Entry `i` stands in two differences, once with each sign."""
    y = xp.diff(x, axis=axis, n=n)
    along = axis % x.ndim

    def pull(g: Any) -> Any:
        if g.shape[along] == 0:
            return xp.zeros_like(x)
        for _ in range(n):
            ends = -g[_part(along, 0, 1)], g[_part(along, -1, None)]
            g = xp.concat([ends[0], -xp.diff(g, axis=along), ends[1]], axis=along)
        return g

    return y, pull


def diff_between(
    xp: Any, x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None
) -> Any:
    """What is put before and after `x` may carry a gradient too."""
    parts = [v for v in (prepend, x, append) if v is not None]
    return diff(x if len(parts) == 1 else xp.concat(parts, axis=axis), axis=axis, n=n)


COMPOSED = {"diff": diff_between}
