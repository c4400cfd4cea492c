"""Losses of classification as layers: one class of many, or yes and no. Those with a margin are in
`margin.py`."""

from __future__ import annotations

from typing import Any

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.errors import ArgumentError
from bpgpu.functional.arguments import Array
from bpgpu.nn.loss import Loss, WeightedLoss


class CrossEntropyLoss(WeightedLoss):
    """Minus the logarithm of the probability that the softmax of the input gives to the target's
    class: `-log(exp(x_t) / sum_c exp(x_c))`.

    *Shape* input `(C,)`, `(N, C)` or `(N, C, *)`, any numbers; target `()`, `(N,)` or `(N, *)`, class
    indices in `[0, C)`, or of the shape of the input, probabilities.

    *Attributes* `weight`: a buffer, if given.

    *Parameters* `weight`: a factor for each class, `(C,)`; the mean is then divided by the sum of the
    factors. `ignore_index`: targets that count nothing (-100). `reduction`: `"none"`, `"mean"` (the
    default) or `"sum"`. `label_smoothing`: so much of the target is spread evenly over all classes,
    in [0, 1] (0.0).

    *Raises* `ValueError` for settings out of range; in the call, `ShapeError` for shapes that do not
    belong together, `ValueError` for a class that does not exist.

    *References* C. Szegedy et al. (2016), "Rethinking the inception architecture for computer
    vision", section 7, for the smoothing.

    >>> import numpy as np
    >>> round(float(CrossEntropyLoss()(np.asarray([[0.0, np.log(3.0)]]), np.asarray([0]))), 6)
    1.386294
    """

    def __init__(
        self,
        weight: Array | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, reduction)
        if not 0 <= label_smoothing <= 1:
            raise ArgumentError(
                f"CrossEntropyLoss: expected label_smoothing in [0, 1], got {label_smoothing}"
            )
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Array, target: Array) -> Array:
        settings = (self.weight, self.ignore_index, self.reduction, self.label_smoothing)
        return F.cross_entropy(input, target, *settings)


class NLLLoss(WeightedLoss):
    """Minus the log probability of the target's class, where the model gives log probabilities
    (`LogSoftmax`): `-x_t`.

    *Shape*, *Attributes*, *Parameters*, *Raises* as for `CrossEntropyLoss`, with class indices only.
    """

    def __init__(
        self,
        weight: Array | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Array, target: Array) -> Array:
        settings = (self.weight, self.ignore_index, self.reduction)
        return F.nll_loss(input, target, *settings)


class BCELoss(WeightedLoss):
    """Binary cross-entropy of probabilities: terms `-(t log(x) + (1 - t) log(1 - x))`.

    *Shape* input and target `(*)`, both in [0, 1].

    *Attributes* `weight`: a buffer, if given.

    *Parameters* `weight`: a factor for each term, of a shape that broadcasts. `reduction`: `"none"`,
    `"mean"` (the default) or `"sum"`.

    *Notes* Logarithms are cut off at -100. `BCEWithLogitsLoss` takes the sigmoid too, without loss
    of digits.
    """

    def forward(self, input: Array, target: Array) -> Array:
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of the sigmoid of the input: terms `-(p t log(s(x)) + (1 - t) log(1 -
    s(x)))`, `s(x) = 1 / (1 + exp(-x))`.

    *Shape* input and target `(*)`; targets in [0, 1].

    *Attributes* `weight`, `pos_weight`: buffers, if given.

    *Parameters* `weight`: a factor for each term, of a shape that broadcasts. `reduction`: `"none"`,
    `"mean"` (the default) or `"sum"`. `pos_weight`: the factor `p` of positive targets, to weigh
    recall against precision; of a shape that broadcasts.
    """

    weight: Array | None
    pos_weight: Array | None

    def __init__(
        self,
        weight: Array | None = None,
        reduction: str = "mean",
        pos_weight: Array | None = None,
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Array, target: Array) -> Array:
        settings = (self.weight, self.reduction, self.pos_weight)
        return F.binary_cross_entropy_with_logits(input, target, *settings)


class SoftMarginLoss(Loss):
    """The logistic loss, for targets -1 and 1: terms `log(1 + exp(-t x))`.

    *Shape* input and target `(*)`.

    *Parameters* `reduction`: `"none"`, `"mean"` (the default) or `"sum"`.
    """

    def forward(self, input: Array, target: Array) -> Array:
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(WeightedLoss):
    """For each example, the mean over classes of its binary cross-entropies: any number of classes
    may be right.

    *Shape* input and target `(N, C)` or `(C,)`; the result is `()`, or `(N,)` for `"none"`.

    *Attributes* `weight`: a buffer, if given.

    *Parameters* `weight`: a factor for each class, `(C,)`. `reduction`: `"none"`, `"mean"` (the
    default) or `"sum"`, over examples.
    """

    def forward(self, input: Array, target: Array) -> Array:
        return F.multilabel_soft_margin_loss(input, target, self.weight, self.reduction)


class CTCLoss(Loss):
    """Connectionist temporal classification: minus the log probability of a label sequence, summed over
    all ways to stretch it over time with blanks between.

    *Shape* log_probs `(T, N, C)` or `(T, C)`, log probabilities (`LogSoftmax`); targets `(N, S)`, or all
    in one row, `(sum of target_lengths,)`; input_lengths, target_lengths `(N,)` or `()`, or tuples.

    *Parameters* `blank`: the class of the blank (0). `reduction`: `"none"`, `"mean"` (the default: each
    loss divided by its target's length first) or `"sum"`. `zero_infinity`: losses of targets that are
    too long for their input, and their gradients, count 0 (False).

    *Raises* `ValueError` for another reduction; in the call, as `functional.ctc_loss`.

    *References* A. Graves et al. (2006), "Connectionist temporal classification: labelling unsegmented
    sequence data with recurrent neural networks".
    """

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(
        self, log_probs: Array, targets: Array, input_lengths: Any, target_lengths: Any
    ) -> Array:
        settings = (self.blank, self.reduction, self.zero_infinity)
        return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, *settings)
