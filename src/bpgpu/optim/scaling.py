"""Loss scaling: small gradients are lifted into the range of a format that is narrow."""

from __future__ import annotations

import functools
import operator
from typing import Any, NoReturn

from bpgpu import tree as trees
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.backend import default_namespace, host
from bpgpu.backend.libraries import namespace_of
from bpgpu.kernels import LISTED, find
from bpgpu.optim.arrays import Array, device_of, fitted, scalar, store, working_dtype
from bpgpu.optim.checks import Options
from bpgpu.optim.clip import _arrays

_LARGEST = 2.0**126
"""No scale is larger, and none smaller than 1 / this: scale and 1 / scale are then numbers of full precision."""

State = dict[str, Array]


class GradScaler:
    """Dynamic loss scaling, for `bpgpu.precision("fp16")`, in which numbers below 6e-8 become 0.

    The loss is multiplied by a scale before its gradient is taken, and the gradient divided by it after that. A scale
    that is too large shows as an infinity or NaN in the gradient: then the step is left out, and the scale halved.
    After many steps without, it is doubled::

        finite    = all entries of all gradients are finite
        scale    <- backoff_factor scale            if not finite
        scale    <- growth_factor scale             if finite, growth_interval times in a row
        the count of steps in a row starts anew in both cases

    *Parameters*
    `init_scale`: the scale at the start, in [2**-126, 2**126], which it never leaves. Powers of two change no digit of
    the gradients. `growth_factor`: > 1. `backoff_factor`: in (0, 1). `growth_interval`: >= 1.

    *Raises* `ValueError` for options out of range.

    *Notes* No value is looked at: a step that is left out is one whose results `where` discards. So it can be compiled
    and captured, and waits for no device. NumPy warns of the infinities of such a step in a loop of one's own, unless
    it is told `np.errstate(over="ignore", invalid="ignore")`. The state is `{"scale", "growth_tracker"}`, two 0-d
    arrays; the methods take another one as `state`, and then change nothing: that is the pure form, for `jax.jit`.
    `bpgpu.fit` uses a scaler by itself with `precision="fp16"`.

    With growth and backoff by powers of two the scales are torch's bit for bit; torch rounds other factors once less.

    *References* P. Micikevicius et al., Mixed precision training (2018), section 3.2; names and rule are those of
    `torch.amp.GradScaler`.

    >>> import numpy as np, bpgpu as bp
    >>> model, x, y = bp.nn.Linear(2, 1), np.ones((4, 2), np.float32), np.zeros((4, 1), np.float32)
    >>> optimizer, scaler = bp.optim.SGD(model, lr=0.1), bp.optim.GradScaler()
    >>> def scaled_loss(model):
    ...     return scaler.scale(bp.functional.mse_loss(model(x), y))
    >>> with bp.precision("fp16"):
    ...     grads = bp.grad(scaled_loss)(model)
    >>> grads, finite = scaler.unscale(grads)
    >>> _ = optimizer.step(grads, only_if=finite)
    >>> scaler.update(finite)["scale"]
    array(65536., dtype=float32)
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        check = Options(
            "GradScaler",
            {
                "init_scale": init_scale,
                "growth_factor": growth_factor,
                "backoff_factor": backoff_factor,
                "growth_interval": growth_interval,
            },
        )
        check("init_scale", low=1 / _LARGEST, high=_LARGEST)
        check("growth_factor", low=1)
        check("backoff_factor", low=0, below=1)
        check("growth_interval", low=1)
        check.need(
            growth_factor > 1 and backoff_factor > 0,
            f"growth_factor must be above 1 and backoff_factor above 0, got {growth_factor!r} and {backoff_factor!r}",
        )
        self.growth_factor, self.backoff_factor = growth_factor, backoff_factor
        self.growth_interval = growth_interval
        xp = default_namespace()
        one = xp.ones((), dtype=xp.float32)
        self.state: State = {
            "scale": scalar(xp, one, float(init_scale)),
            "growth_tracker": scalar(xp, one, 0.0),
        }

    def init(self, like: Array) -> State:
        """The state of now, as new arrays where `like` is: for the pure form."""
        like = raw(like)
        one = namespace_of(like).ones((), dtype=namespace_of(like).float32, device=device_of(like))
        return {k: fitted(one, v) for k, v in self.state.items()}

    def scale(self, loss: Array, state: State | None = None) -> Array:
        """`scale loss`, of which the gradient is to be taken."""
        if state is None:
            state = self._beside(raw(loss))
        return loss * state["scale"]

    def unscale(self, grads: Any, state: State | None = None) -> tuple[Any, Array]:
        """`grads / scale`, and whether all of it is finite: a 0-d array, for `optimizer.step(grads, only_if=finite)`.

        Bounds belong after this: `bpgpu.optim.clip_grad_norm(grads, 1.0)`.
        """
        arrays = _arrays("GradScaler.unscale", grads)
        if not arrays:
            raise ValueError(
                "GradScaler.unscale: there is no array among the gradients; pass what bpgpu.grad returns"
            )
        xp = array_namespace(*arrays)
        state = self._beside(raw(arrays[0])) if state is None else state
        operands = (arrays, state["scale"])
        run = find("unscaled_many", xp, *operands) if xp.__name__ in LISTED else None
        if run is not None:
            made, finite = run(*operands)
            ready = iter(made)
            return trees.map(lambda g: next(ready), grads), finite
        inverse = 1 / state["scale"]

        def unscaled(g: Array) -> Array:
            g = g if kind(g.dtype) == "complex" else xp.astype(g, working_dtype(xp, g), copy=False)
            return g * inverse

        grads = trees.map(unscaled, grads)
        parts = [xp.all(xp.isfinite(g)) for _, g in trees.items(grads)]
        return grads, functools.reduce(operator.and_, parts)

    def update(self, finite: Array, state: State | None = None) -> State:
        """The state after a step, of which `unscale` has told whether it was finite."""
        own = state is None
        state = self._beside(raw(finite)) if state is None else state
        xp = array_namespace(state["scale"], finite)
        scale, count = state["scale"], state["growth_tracker"] + 1
        due = count >= self.growth_interval
        one = xp.ones_like(scale)
        factor = xp.where(due, self.growth_factor * one, one)
        factor = xp.where(finite, factor, self.backoff_factor * one)
        new = {
            "scale": xp.clip(scale * factor, 1 / _LARGEST, _LARGEST),
            "growth_tracker": xp.where(finite & ~due, count, 0 * one),
        }
        if own:
            self.state = new = {k: store(self.state[k], v) for k, v in new.items()}
        return new

    def get_scale(self) -> float:
        """The scale as a number. This reads the value, so it waits for the device."""
        return float(self.state["scale"])

    def _beside(self, like: Array) -> State:
        """The state, where `like` is: there it stays."""
        scale = self.state["scale"]
        xp = namespace_of(like)
        is_there = (
            namespace_of(scale).__name__ == xp.__name__
        )  # a recording bears the name of its library
        if not is_there or device_of(scale) != device_of(like):
            one = xp.ones((), dtype=xp.float32, device=device_of(like))
            self.state = {k: fitted(one, host.to_numpy(v)) for k, v in self.state.items()}
        return self.state

    # ---- habits

    def step(self, *args: Any, **options: Any) -> NoReturn:
        """Not needed: raises with the form to use here."""
        raise TypeError(
            "GradScaler.step: gradients are values here, so the optimizer makes the step: grads, finite = "
            "scaler.unscale(grads), then optimizer.step(grads, only_if=finite) and scaler.update(finite)"
        )

    unscale_ = step

    # ---- saving and loading

    def state_dict(self) -> State:
        """The state, copied."""
        return {k: fitted(v, v) for k, v in self.state.items()}

    def load_state_dict(self, state: Any) -> None:
        """Take over a saved state, or nothing of it; one of torch's scaler too.

        *Raises* `ValueError` for a dict without `"scale"` and `"growth_tracker"`.
        """
        given = (
            {k.removeprefix("_"): v for k, v in state.items()} if isinstance(state, dict) else {}
        )
        if not {"scale", "growth_tracker"} <= given.keys():
            raise ValueError(
                "GradScaler.load_state_dict: expected a dict with 'scale' and 'growth_tracker', as state_dict() "
                f"returns it, got {sorted(given) if given else type(state).__name__}"
            )
        new = {k: fitted(old, given[k]) for k, old in self.state.items()}
        self.state = {k: store(old, new[k]) for k, old in self.state.items()}
