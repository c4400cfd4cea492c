"""Whether data are fit to train on."""

from __future__ import annotations

import math
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.dtypes import kind
from bpgpu.backend.libraries import namespace_of
from bpgpu.data.columns import named
from bpgpu.errors import NonFiniteError

BLOCK = 1 << 22
"""Entries that are looked at at once, so that the check takes little memory."""


def check_finite(data: Any, what: str = "data") -> None:
    """Raise `NonFiniteError` if a floating array of the tree holds a NaN or an infinity.

    The message names the array and its first row that does. Reading the answer waits for the device once for each
    array.

    >>> import numpy as np
    >>> check_finite((np.asarray([[1.0], [np.nan]]), np.asarray([0, 1])))
    Traceback (most recent call last):
    bpgpu.errors.NonFiniteError: data: x holds NaN or infinity in 1 of 2 rows, the first is row 1; clean the data, or \
leave these rows out
    """
    for path, x in trees.items(data):
        if kind(x.dtype) == "other" or 0 in x.shape:
            continue
        xp = namespace_of(x)
        if len(x.shape) == 0:
            x = xp.reshape(x, (1,))
        count = int(x.shape[0])
        step = max(1, BLOCK * count // max(1, math.prod(x.shape)))
        ends = [(i, min(i + step, count)) for i in range(0, count, step)]
        bad = xp.concat([_rows_with(xp, x[start:stop, ...]) for start, stop in ends])
        if bool(xp.any(bad)):
            first = int(xp.argmax(xp.astype(bad, xp.int32)))
            found = int(xp.count_nonzero(bad))
            raise NonFiniteError(
                f"{what}: {named(path)} holds NaN or infinity in {found} of {count} rows, the first is row {first}; "
                "clean the data, or leave these rows out"
            )


def _rows_with(xp: Any, x: Any) -> Any:
    """For each row, whether one of its entries is not finite."""
    wrong = ~xp.isfinite(x)
    axes = tuple(range(1, len(x.shape)))
    return xp.any(wrong, axis=axes) if axes else wrong
