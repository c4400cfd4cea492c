"""Distances between vectors as layers."""

from __future__ import annotations

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.functional.arguments import Array
from bpgpu.nn.module import Module


class CosineSimilarity(Module):
    """The cosine of the angle between vectors: `x1 . x2 / (max(|x1|, eps) max(|x2|, eps))`.

    *Shape* `(*, D, *)` both, with `D` at axis `dim`, or shapes that broadcast; the result lacks this
    axis.

    *Parameters* `dim`: the axis along which the vectors lie (1). `eps`: the smallest length (1e-8).

    >>> import numpy as np
    >>> CosineSimilarity()(np.asarray([[3.0, 4.0]]), np.asarray([[0.0, 2.0]]))
    array([0.8])
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Array, x2: Array) -> Array:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The distance between vectors: the p-norm of `x1 - x2 + eps`.

    *Shape* `(N, D)` or `(D,)` both; the result is `(N,)` or `()`, with `keepdim` `(N, 1)` or `(1,)`.

    *Parameters* `p`: the order of the norm (2.0). `eps`: keeps the distance from 0, where the norm
    has no derivative (1e-6). `keepdim` (False).

    >>> import numpy as np
    >>> PairwiseDistance(eps=0.0)(np.asarray([[3.0, 4.0]]), np.asarray([[0.0, 0.0]]))
    array([5.])
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Array, x2: Array) -> Array:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
