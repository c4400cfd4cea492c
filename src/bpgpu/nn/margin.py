"""Losses with a margin as layers: right answers are to be better than wrong ones, by so much."""

from __future__ import annotations

from collections.abc import Callable

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional.arguments import Array
from bpgpu.nn.distance import PairwiseDistance
from bpgpu.nn.loss import Loss, WeightedLoss


class HingeEmbeddingLoss(Loss):
    """For distances `x`: terms `x` where the target is 1 (alike), `max(0, margin - x)` where it is -1.

    *Shape* input and target `(*)`; the result is `()`, or `(*)` for `"none"`.

    *Parameters* `margin`: how far apart what is not alike should be (1.0). `reduction`: `"none"`,
    `"mean"` (the default) or `"sum"`.

    *Raises* `ValueError` for another reduction; in the call, `ShapeError` for shapes that do not
    belong together.

    >>> import numpy as np
    >>> float(HingeEmbeddingLoss()(np.asarray([0.5, 0.25]), np.asarray([1.0, -1.0])))
    0.625
    """

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input: Array, target: Array) -> Array:
        return F.hinge_embedding_loss(input, target, self.margin, self.reduction)


class MarginRankingLoss(Loss):
    """The first input is to be larger where the target is 1, the second where it is -1: terms `max(0,
    -t (x1 - x2) + margin)`.

    *Shape* all `(*)`; the result is `()`, or `(*)` for `"none"`.

    *Parameters* `margin`: by how much (0.0). `reduction`: `"none"`, `"mean"` (the default) or `"sum"`.

    *Raises* as `HingeEmbeddingLoss`.
    """

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Array, input2: Array, target: Array) -> Array:
        return F.margin_ranking_loss(input1, input2, target, self.margin, self.reduction)


class CosineEmbeddingLoss(Loss):
    """For the cosine `c` of two vectors: `1 - c` where the target is 1 (alike), `max(0, c - margin)`
    where it is -1.

    *Shape* inputs `(N, D)` and target `(N,)`, or `(D,)` and `()`.

    *Parameters* `margin`: the cosine up to which nothing is lost, -1 to 1 (0.0). `reduction`:
    `"none"`, `"mean"` (the default) or `"sum"`.

    *Raises* as `HingeEmbeddingLoss`.
    """

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Array, input2: Array, target: Array) -> Array:
        return F.cosine_embedding_loss(input1, input2, target, self.margin, self.reduction)


class MultiMarginLoss(WeightedLoss):
    """The right class is to be larger than each other one: `sum over i != t of max(0, margin - x_t +
    x_i)^p / C`.

    *Shape* input `(N, C)` and target `(N,)`, or `(C,)` and `()`, class indices.

    *Attributes* `weight`: a buffer, if given.

    *Parameters* `p`: 1 (the default) or 2. `margin` (1.0). `weight`: a factor for each class, `(C,)`,
    that of the right one counts. `reduction`: `"none"`, `"mean"` (the default) or `"sum"`.

    *Raises* `ArgumentError` for another `p`, `ShapeError` for weights of several axes; in the call,
    `ShapeError` for shapes that do not belong together, `ValueError` for a class that does not exist.
    """

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Array | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, reduction)
        if p not in (1, 2):
            raise ArgumentError(f"MultiMarginLoss: expected p as 1 or 2, got {p}")
        if weight is not None and weight.ndim != 1:
            raise ShapeError(
                f"MultiMarginLoss: expected weight (C,), got shape {tuple(weight.shape)}"
            )
        self.p = p
        self.margin = margin

    def forward(self, input: Array, target: Array) -> Array:
        settings = (self.p, self.margin, self.weight, self.reduction)
        return F.multi_margin_loss(input, target, *settings)


class MultiLabelMarginLoss(Loss):
    """Each right class is to be larger than each wrong one by 1: `sum over right j, wrong i of max(0,
    1 - x_j + x_i) / C`.

    *Shape* input `(N, C)` or `(C,)`; target the same: the right classes, then -1; what follows counts
    nothing.

    *Parameters* `reduction`: `"none"`, `"mean"` (the default) or `"sum"`.

    *Raises* as `MultiMarginLoss`.
    """

    def forward(self, input: Array, target: Array) -> Array:
        return F.multilabel_margin_loss(input, target, self.reduction)


class TripletMarginLoss(Loss):
    """The anchor is to be nearer to the positive than to the negative: `max(0, d(a, p) - d(a, n) +
    margin)`, with `d` the p-norm of the difference.

    *Shape* all `(N, D)` or `(D,)`; the result is `()`, or `(N,)` for `"none"`.

    *Parameters* `margin`: by how much, above 0 (1.0). `p`: the order of the norm (2.0). `eps`: added to
    differences (1e-6). `swap`: take the distance from the positive to the negative where it is the
    smaller (False). `reduction`: `"none"`, `"mean"` (the default) or `"sum"`.

    *Raises* `ArgumentError` unless the margin is above 0; otherwise as `HingeEmbeddingLoss`.

    *References* V. Balntas et al. (2016), "Learning local feature descriptors with triplets and
    shallow convolutional neural networks".
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        _check_margin("TripletMarginLoss", margin)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: Array, positive: Array, negative: Array) -> Array:
        settings = (self.margin, self.p, self.eps, self.swap, self.reduction)
        return F.triplet_margin_loss(anchor, positive, negative, *settings)


class TripletMarginWithDistanceLoss(Loss):
    """`TripletMarginLoss` with a distance of one's own.

    *Shape* all `(N, *)`, as the distance takes them.

    *Attributes* `distance_function`: if it is a Module, its parameters are part of the model.

    *Parameters* `distance_function`: takes two arrays, and gives `(N,)`; `PairwiseDistance` without
    one. `margin` (1.0), `swap` (False), `reduction` ("mean") as for `TripletMarginLoss`. All by name.

    *Raises* as `TripletMarginLoss`.
    """

    def __init__(
        self,
        *,
        distance_function: Callable[[Array, Array], Array] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        _check_margin("TripletMarginWithDistanceLoss", margin)
        self.distance_function = distance_function or PairwiseDistance()
        self.margin = margin
        self.swap = swap

    def forward(self, anchor: Array, positive: Array, negative: Array) -> Array:
        return F.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )


def _check_margin(loss: str, margin: float) -> None:
    if not margin > 0:
        raise ArgumentError(f"{loss}: expected margin above 0, got {margin}")
