"""Averages of the weights along the way: they often generalise better than the last ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.backend import host
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ShapeError
from bpgpu.optim.arrays import Array, copied, device_of, fitted, scalar, store, working_dtype
from bpgpu.optim.checks import Options
from bpgpu.optim.parameters import Parameters, check_parameters, is_module, replaced


class EMA:
    """Exponential moving average of the weights.

    The first step copies the weights, later ones take `a <- decay a + (1 - decay) p`.

    *Parameters*
    `params`: a Module or a tree of arrays, as for an optimizer; it is not changed.
    `decay`: the weight of the old average, in [0, 1]. About the last `1 / (1 - decay)` steps count.
    `warmup`: let the decay rise as `min(decay, (1 + n) / (10 + n))` with the number n of steps before.

    *Raises* `ValueError` for a decay out of range, and what optimizers raise for parameters.

    *Notes* `step` after each step of the optimizer; evaluate `with average.applied():`, which lends the average to the
    model. Running statistics and other buffers are not averaged: the model keeps its own. Averages are kept in float32
    at least. The pure form is `state = average.init(params)`, then `state = average.update(state, params)`, whose
    `state["average"]` is `{path: array}`.

    *References* B. Polyak, A. Juditsky, Acceleration of stochastic approximation by averaging (1992); the rule is that
    of torch's `AveragedModel` with `get_ema_avg_fn`.

    >>> import numpy as np
    >>> w = [np.asarray([0.0, 8.0])]
    >>> average = EMA(w, decay=0.75)
    >>> _ = average.step(); w[0] += 4.0; average.step()
    [array([1., 9.])]
    """

    def __init__(self, params: Any, decay: float = 0.999, *, warmup: bool = False) -> None:
        self._who = type(self).__name__
        check = Options(self._who, {"decay": decay})
        check("decay", low=0, high=1)
        self.decay = decay
        self.warmup = warmup
        self._parameters = Parameters(self._who, params)
        self.state = self.init(params)

    def weight(self, xp: Any, n: Array) -> Array:
        """The weight of the new parameters, after n steps."""
        decay = self.decay + 0 * n
        if self.warmup:
            decay = xp.minimum(decay, (1 + n) / (10 + n))
        return xp.where(n == 0, 1 + 0 * n, 1 - decay)

    # ---- following the parameters

    def step(self, params: Any = None) -> Any:
        """Take the parameters as they are now into the average, and return it, as `params` does.

        *Parameters* `params`: a tree to read from, for immutable arrays; by default the Module or tree of the start.
        """
        source = self._parameters if params is None else Parameters(self._who, params)
        self._follow(source.read())
        new = self.update(self.state, source.current(), _copy=False)
        self.state["count"] = store(self.state["count"], new["count"])
        self.state["average"].update(new["average"])
        return self.params

    def _follow(self, arrays: dict[str, Array]) -> None:
        """Move the average after parameters that have moved to another library or kind of device."""
        average = self.state["average"]
        for path, p in arrays.items():
            a = average.get(path)
            if a is not None and type(a) is not type(p) and namespace_of(a) is not namespace_of(p):
                average[path] = _beside(p, a)
                if namespace_of(self.state["count"]) is not namespace_of(p):
                    self.state["count"] = _beside(p, self.state["count"])

    @property
    def params(self) -> Any:
        """The average, in the structure of the parameters; for a Module, `{path: array}`."""
        tree = self._parameters.tree
        average = dict(self.state["average"])
        return average if is_module(tree) else replaced(tree, average)

    def copy_to(self, params: Any = None) -> Any:
        """Write the average into the parameters, in place where their library can, and return them."""
        target = self._parameters if params is None else Parameters(self._who, params)
        self._fill(target, self.state["average"])
        return target.current()

    @contextmanager
    def applied(self, params: Any = None) -> Iterator[Any]:
        """Lend the average to the parameters for the length of a `with` block, which gets them as its value."""
        target = self._parameters if params is None else Parameters(self._who, params)
        before = {k: copied(array_namespace(p), p) for k, p in target.read().items()}
        self._fill(target, self.state["average"])
        try:
            yield target.current()
        finally:
            self._fill(target, before)

    def _fill(self, target: Parameters, values: dict[str, Array]) -> None:
        arrays = target.read()
        self._check(arrays, values)
        new = {path: store(p, fitted(p, values[path])) for path, p in arrays.items()}
        target.write(arrays, {path: x for path, x in new.items() if x is not arrays[path]})

    # ---- the pure form

    def init(self, params: Any) -> dict[str, Any]:
        """The state at the start, for `update`: the parameters themselves, seen 0 times."""
        arrays = Parameters(self._who, params).read()
        check_parameters(self._who, arrays, takes_complex=True)
        first = next(iter(arrays.values()))
        xp = array_namespace(first)
        count = scalar(xp, first, 0, working_dtype(xp, first))
        return {"count": count, "average": {path: _start(p) for path, p in arrays.items()}}

    def update(self, state: dict[str, Any], params: Any, *, _copy: bool = True) -> dict[str, Any]:
        """The state after taking `params` into the average. Nothing that was given is changed."""
        arrays = Parameters(self._who, params).read()
        self._check(arrays, state["average"])
        n = state["count"]
        average = {}
        for path, p in arrays.items():
            xp = array_namespace(p, state["average"][path])
            a = copied(xp, state["average"][path]) if _copy else state["average"][path]
            w = xp.astype(self.weight(xp, n), working_dtype(xp, p))
            a += w * ((p if p.dtype == a.dtype else xp.astype(p, a.dtype)) - a)
            average[path] = a
        return {"count": n + 1, "average": average}

    def _check(self, arrays: dict[str, Array], average: dict[str, Array]) -> None:
        if list(arrays) != list(average):
            raise ValueError(
                f"{self._who}: expected the parameters {list(average)}, got {list(arrays)}; pass those of the start"
            )
        for path, p in arrays.items():
            if tuple(p.shape) != tuple(average[path].shape):
                raise ShapeError(
                    f"{self._who}: '{path}' has shape {tuple(p.shape)}, but its average has "
                    f"{tuple(average[path].shape)}"
                )

    # ---- saving and loading

    def state_dict(self) -> dict[str, Any]:
        """The state, copied."""
        return {
            "count": _copied(self.state["count"]),
            "average": {k: _copied(a) for k, a in self.state["average"].items()},
        }

    def _saving(self) -> dict[str, Any]:
        """For `bpgpu.save`: the same, not copied."""
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state, or nothing of it, into the library, dtype and device that are there.

        *Raises* `ValueError` or `ShapeError` if it belongs to other parameters.
        """
        average = self.state["average"]
        missing = [k for k in average if k not in state["average"]]
        unexpected = [k for k in state["average"] if k not in average]
        if missing or unexpected:
            raise ValueError(
                f"{self._who}.load_state_dict: the state belongs to other parameters: missing {missing or 'none'}, "
                f"unexpected {unexpected or 'none'}"
            )
        given = {k: state["average"][k] for k in average}
        self._check(average, given)
        new = {k: fitted(a, given[k]) for k, a in average.items()}
        self.state["count"] = store(
            self.state["count"], fitted(self.state["count"], state["count"])
        )
        for k, a in average.items():
            average[k] = store(a, new[k])


class SWA(EMA):
    """Equal average of the weights: all steps count the same.

    For step n = 0, 1, ...: `a <- a + (p - a) / (n + 1)`.

    *Parameters* `params`: see `EMA`.

    *Notes* Begin when training has settled, with a constant or cyclic learning rate (`lr_scheduler.SWALR`); then let
    the layers with running statistics see the data again.

    *References* P. Izmailov et al., Averaging weights leads to wider optima and better generalization (2018),
    algorithm 1.

    >>> import numpy as np
    >>> w = [np.asarray([0.0, 8.0])]
    >>> average = SWA(w)
    >>> _ = average.step(); w[0] += 4.0; average.step()
    [array([ 2., 10.])]
    """

    def __init__(self, params: Any) -> None:
        super().__init__(params, 0.0)

    def weight(self, xp: Any, n: Array) -> Array:
        return 1 / (n + 1)


def _start(p: Array) -> Array:
    xp = array_namespace(p)
    if kind(p.dtype) == "complex" or working_dtype(xp, p) == p.dtype:
        return copied(xp, p)
    return xp.astype(p, working_dtype(xp, p))


def _beside(p: Array, x: Array) -> Array:
    """`x`, in its own dtype, where `p` is."""
    return namespace_of(p).asarray(host.to_numpy(x), device=device_of(p))


def _copied(x: Array) -> Array:
    return namespace_of(x).asarray(x, copy=True)
