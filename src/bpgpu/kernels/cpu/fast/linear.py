"""The linear map of middle-sized inputs, in pieces.

NumPy shares larger products out among threads, which afterwards look out for the next one for a
while, each on a core of its own. That is right for a network of such products. After the one small
product at the end of a convolutional network it would take half of their cores from the
convolutions. Pieces of up to `PIECE` products of numbers are computed by the calling thread, and of
these sizes in the same time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bpgpu.kernels.cpu.conv import NUMPY
from bpgpu.kernels.registry import MIDDLE, kernel

PIECE = MIDDLE[0] - 1


def _accepts(x: Any, w: Any, b: Any) -> bool:
    return (
        type(x) is np.ndarray
        and x.dtype.char in "fd"
        and all(a is None or a.dtype == x.dtype for a in (w, b))
        and x.size * w.shape[0] in MIDDLE
    )


@kernel("linear", NUMPY, _accepts)
def linear(x: Any, w: Any, b: Any) -> Any:
    """`x w^T + b`, and the pull of all three."""
    flat = x.reshape(-1, x.shape[-1])
    y = _times(flat, w.T)
    if b is not None:
        y += b

    def pull(g: Any, wanted: tuple[bool, ...]) -> Any:
        g = g.reshape(len(flat), -1)
        return (
            _times(g, w).reshape(x.shape) if wanted[0] else None,
            _times(g.T, flat) if wanted[1] else None,
            g.sum(0 if b.ndim else None) if wanted[2] else None,
        )

    return y.reshape(*x.shape[:-1], -1), pull


def _times(a: Any, b: Any) -> Any:
    """A product in pieces along the longest of its three axes."""
    (m, k), n = a.shape, b.shape[1]
    longest = max(m, k, n)
    step = max(1, PIECE * longest // (m * k * n))
    pieces = [slice(i, i + step) for i in range(0, longest, step)]
    if k == longest:
        y = a[:, pieces[0]] @ b[pieces[0]]
        for at in pieces[1:]:
            y += a[:, at] @ b[at]
        return y
    y = np.empty((m, n), a.dtype)
    for at in pieces:
        if m == longest:
            np.matmul(a[at], b, out=y[at])
        else:
            np.matmul(a, b[:, at], out=y[:, at])
    return y
