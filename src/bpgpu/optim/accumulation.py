"""Gradients of a large batch from those of small ones."""

from __future__ import annotations

from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.errors import ShapeError, TreeError
from bpgpu.optim.arrays import copied, working_dtype
from bpgpu.optim.checks import Options


class GradientAccumulator:
    """Averages gradients over several small batches, for a step as of one large batch.

    With weights w (the sizes of the batches, say), the gradient is `sum(w g) / sum(w)`: that of the large batch, if
    each loss is the mean over its own. With `reduction="sum"` it is `sum(w g)`.

    *Parameters*
    `every`: how many batches make one gradient, >= 1.
    `reduction`: `"mean"` or `"sum"`.

    *Raises* `ValueError` for options out of range, `TreeError` or `ShapeError` for gradients that differ in structure
    or shape.

    *Notes* A parameter that has no gradient (`None`, or a missing key) in some of the batches counts as 0 there; if it
    has none in all of them, it has none in the result. Sums are kept in float32 at least. Nothing that was given is
    changed.

    >>> import numpy as np
    >>> total = GradientAccumulator(every=2)
    >>> total.add({"w": np.asarray([1.0, 2.0])})
    >>> total.add({"w": np.asarray([3.0, 4.0])})
    {'w': array([2., 3.])}
    """

    def __init__(self, every: int, reduction: str = "mean") -> None:
        check = Options("GradientAccumulator", {"every": every, "reduction": reduction})
        check("every", low=1)
        check.one_of("reduction", ("mean", "sum"))
        self.every = every
        self.reduction = reduction
        self.reset()

    def reset(self) -> None:
        """Forget what was added."""
        self.count = 0
        self._weight = 0.0
        self._total: Any = None

    def add(self, grads: Any, weight: float = 1.0) -> Any:
        """Add the gradients of one batch; returns the gradient of all when the last one is there, else `None`."""
        _check(self._total, grads)
        self._total = _sum(self._total, grads, weight)
        self._weight += weight
        self.count += 1
        return self.take() if self.count == self.every else None

    def take(self) -> Any:
        """The gradient of what was added so far, if anything was; the next `add` begins anew.

        For the last batches of an epoch, when they are fewer than `every`.
        """
        total, scale = self._total, 1 / self._weight if self._weight else 0.0
        self.reset()
        return total if self.reduction == "sum" else trees.map(lambda g: g * scale, total)


def _sum(total: Any, grads: Any, weight: float) -> Any:
    """`total + weight * grads`; `total` is ours and may change in place."""
    if grads is None:
        return total
    how = trees.container(grads)
    if how is None:
        xp = array_namespace(grads)
        dtype = grads.dtype if "complex" in str(grads.dtype) else working_dtype(xp, grads)
        term = grads if weight == 1 else weight * grads
        if term.dtype != dtype:
            term = xp.astype(term, dtype)
        if total is None:
            return copied(xp, term) if term is grads else term
        total += term
        return total
    if isinstance(grads, dict):
        old = total if total is not None else {}
        return {**old, **{k: _sum(old.get(k), g, weight) for k, g in grads.items()}}
    branches = list(how.values(grads))
    before = [None] * len(branches) if total is None else list(how.values(total))
    return how.rebuild(grads, [_sum(t, g, weight) for t, g in zip(before, branches, strict=True)])


def _check(total: Any, grads: Any, path: str = "") -> None:
    """Raise unless gradients fit those that were added before."""
    if total is None or grads is None:
        return
    place = f" at '{path}'" if path else ""
    how = trees.container(grads)
    if how is None:
        if not trees.is_array(total) or tuple(total.shape) != tuple(grads.shape):
            raise ShapeError(
                f"GradientAccumulator: the gradient{place} has shape {tuple(grads.shape)}, but those before had "
                f"{tuple(getattr(total, 'shape', ()))}"
            )
        return
    ours = trees.container(total)
    if ours is None or (not isinstance(grads, dict) and how.keys(grads) != ours.keys(total)):
        raise TreeError(
            f"GradientAccumulator: the gradients{place} differ in structure from those before; add gradients of the "
            "same parameters"
        )
    before = dict(zip(ours.keys(total), ours.values(total), strict=True))
    for key, g in zip(how.keys(grads), how.values(grads), strict=True):
        _check(before.get(key), g, f"{path}.{key}" if path else str(key))
