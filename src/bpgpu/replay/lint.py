"""Would a CUDA graph hold this step? Asked on the CPU, with arrays that refuse what none can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpgpu.autodiff.namespace import Namespace, _namespaces
from bpgpu.backend import lint
from bpgpu.replay.places import belongs_to_user, state_of
from bpgpu.replay.record import _Swap
from bpgpu.replay.trial import Snapshot

_namespaces[lint.CheckedArray] = Namespace(lint.namespace)


def capture_lint(step: Callable[..., Any], *args: Any, warm_up: int = 2, **options: Any) -> None:
    """Raise unless `step(*args, **options)`, on CUDA, could be captured as one graph.

    The step runs as it is `warm_up` times, which count, as `bpgpu.compile` lets it before it captures: an optimizer
    makes its state then. After that it runs once with arrays that refuse what a graph cannot hold, and all that this
    run changes is undone. Everything that the step can reach is looked at, as by `bpgpu.compile`; arrays are NumPy's.

    *Raises* `CaptureError` at the line that

    - waits for a value: `float(x)`, `int(x)`, `bool(x)`, `if x > 0`, `x.item()`, `bpgpu.to_numpy(x)`, text of an array;
    - copies from the host: `xp.asarray` of numbers or of NumPy's arrays, an index with a list;
    - has a result whose shape depends on values: masks as an index, `nonzero`, `unique`;
    - joins more than 8 arrays by a function of CuPy. (`xp.stack` and `xp.concat` of bpgpu's namespace may.)

    >>> import numpy as np
    >>> w = np.ones(3)
    >>> capture_lint(lambda w, x: w * x, w, np.ones(3))
    >>> capture_lint(lambda w, x: w * x if x[0] > 0 else w, w, np.ones(3))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    bpgpu.errors.CaptureError: bool(x), or `if` on an array: the host waits for the value of an array. A CUDA graph ...
    """
    if hasattr(type(step), "_bpgpu_compiled"):
        step = step.step  # type: ignore[attr-defined]
    for _ in range(warm_up):
        step(*args, **options)
    belongs_to_user(step)
    state = state_of(step, args, options, set(), [])
    swap, before = _Swap(state, _StandIns(state.arrays)), Snapshot(state)  # type: ignore[arg-type]
    try:
        given, named = swap.enter()
        step(*given, **named)
    finally:
        swap.leave()
        before.restore()


class _StandIns:
    """Checked arrays for plain ones."""

    def __init__(self, arrays: list[Any]) -> None:
        self.handles = [lint.CheckedArray(lint.array_of(x)) for x in arrays]
        self._known = {id(x): made for x, made in zip(arrays, self.handles, strict=True)}

    def handle(self, number: float) -> Any:
        """A learning rate: a number in the memory of the device."""
        self.handles.append(lint.CheckedArray(lint.array_of(number)))
        return self.handles[-1]

    def known(self, array: Any) -> Any:
        return self._known.get(id(array))
