"""Einstein's summation convention, as products of matrices."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.numpy_functions.table import Table
from bpgpu.errors import NotDifferentiableError

FUNCTIONS = table = Table()


@table(arrays=())
def einsum(xp: Any, subscripts: Any, *operands: Any, optimize: Any = False) -> Any:
    """`einsum("ij,jk->ik", a, b)`: two operands at a time from the left, each pair as one product of matrices.

    Letters, `...`, repeated letters (a diagonal) and the implicit form are understood; `optimize` changes nothing.
    """
    if not isinstance(subscripts, str):
        raise NotDifferentiableError(
            "numpy.einsum of a traced array takes its subscripts as a string: einsum('ij,jk->ik', a, b)"
        )
    arrays = [xp.asarray(x) for x in operands]
    inputs, output = parsed(subscripts, [x.ndim for x in arrays])
    terms = [diagonals(xp, x, labels) for x, labels in zip(arrays, inputs, strict=True)]
    x, labels = terms[0]
    for i, (y, other) in enumerate(terms[1:], 2):
        later = set(output).union(*[labels for _, labels in terms[i:]])
        x, labels = contracted(xp, x, labels, y, other, later)
    x, labels = summed(xp, x, labels, set(output))
    return xp.permute_dims(x, tuple(labels.index(s) for s in output))


def parsed(subscripts: str, ndims: list[int]) -> tuple[list[list[str]], list[str]]:
    """The labels of each axis of each operand, and of the result; an ellipsis becomes labels of its own.

    >>> parsed("i...,...j", [2, 3])
    ([['i', '1'], ['0', '1', 'j']], ['0', '1', 'i', 'j'])
    """
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(ndims):
        raise ValueError(
            f"einsum: '{subscripts}' names {len(parts)} operands, {len(ndims)} were given"
        )
    extra = [n - len(p.replace("...", "")) for p, n in zip(parts, ndims, strict=True)]
    for part, n, more in zip(parts, ndims, extra, strict=True):
        if more < 0 or (more > 0 and "..." not in part):
            raise ValueError(f"einsum: '{part}' does not fit an operand of {n} axes")
    widest = max([m for p, m in zip(parts, extra, strict=True) if "..." in p], default=0)
    dots = [str(i) for i in range(widest)]

    def labels(part: str, more: int) -> list[str]:
        before, has_dots, after = part.partition("...")
        return [*before, *(dots[widest - more :] if has_dots else []), *after]

    inputs = [labels(p, m) for p, m in zip(parts, extra, strict=True)]
    if arrow:
        return inputs, labels(right, widest)
    letters = [s for part in inputs for s in part if s not in dots]
    return inputs, [*dots, *sorted(s for s in set(letters) if letters.count(s) == 1)]


def diagonals(xp: Any, x: Any, labels: list[str]) -> tuple[Any, list[str]]:
    """Axes with equal labels made one."""
    for s in labels:
        while labels.count(s) > 1:
            i = labels.index(s)
            j = labels.index(s, i + 1)
            rest = [k for k in range(x.ndim) if k not in (i, j)]
            x = xp.linalg.diagonal(xp.permute_dims(x, (*rest, i, j)))
            labels = [*(labels[k] for k in rest), s]
    return x, labels


def summed(xp: Any, x: Any, labels: list[str], kept: set[str]) -> tuple[Any, list[str]]:
    """Sum over the axes that nobody asks for."""
    gone = tuple(i for i, s in enumerate(labels) if s not in kept)
    return (xp.sum(x, axis=gone) if gone else x), [s for s in labels if s in kept]


def contracted(
    xp: Any, x: Any, xs: list[str], y: Any, ys: list[str], later: set[str]
) -> tuple[Any, list[str]]:
    """The product of two operands, summed over the labels that both have and nobody needs later."""
    x, xs = summed(xp, x, xs, later | set(ys))
    y, ys = summed(xp, y, ys, later | set(xs))
    both = [s for s in xs if s in ys]
    batch = [s for s in both if s in later]
    inner = [s for s in both if s not in later]
    rows = [s for s in xs if s not in both]
    columns = [s for s in ys if s not in both]
    sizes: dict[str, int] = {}
    for s, n in [*zip(xs, x.shape, strict=True), *zip(ys, y.shape, strict=True)]:
        if sizes.setdefault(s, n) != n and 1 not in (sizes[s], n):
            raise ValueError(f"einsum: the axis '{s}' has the sizes {sizes[s]} and {n}")
        sizes[s] = max(sizes[s], n) if n != 0 else 0

    def arranged(z: Any, labels: list[str], *groups: list[str]) -> Any:
        order = [s for group in groups for s in group]
        z = xp.permute_dims(z, tuple(labels.index(s) for s in order))
        z = xp.broadcast_to(z, tuple(sizes[s] for s in order))
        return xp.reshape(z, tuple(math.prod(sizes[s] for s in group) for group in groups))

    product = arranged(x, xs, batch, rows, inner) @ arranged(y, ys, batch, inner, columns)
    labels = [*batch, *rows, *columns]
    return xp.reshape(product, tuple(sizes[s] for s in labels)), labels
