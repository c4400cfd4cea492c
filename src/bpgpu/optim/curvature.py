"""What L-BFGS remembers: steps, and how the gradient changed along them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import DtypeError, ShapeError
from bpgpu.optim.arrays import Array, fitted


class Pair(NamedTuple):
    """A step s, the change y of the gradient along it, and 1 / (y.s)."""

    s: Array
    y: Array
    weight: float


class Memory:
    """The last pairs, and the last point; it gives the direction of the next step."""

    def __init__(self) -> None:
        self.evaluations = 0
        self.iterations = 0
        self.pairs: list[Pair] = []
        self.scale = 1.0
        self.d: Array | None = None  # the last direction
        self.step = 0.0  # and how far it was followed
        self.gradient: Array | None = None  # where it began
        self.value = math.nan

    def direction(self, g: Array, size: int) -> Array:
        """`-H g`, after taking the last step into account; `H` is never formed."""
        self.iterations += 1
        if self.d is not None and self.gradient is not None:
            self._learn(self.step * self.d, g - self.gradient, size)
        d = -g
        followed = []
        for s, y, weight in reversed(self.pairs):
            a = weight * float(s @ d)
            d = d - a * y
            followed.append(a)
        d = self.scale * d
        for (s, y, weight), a in zip(self.pairs, reversed(followed), strict=True):
            d = d + (a - weight * float(y @ d)) * s
        self.d = d
        return d

    def _learn(self, s: Array, y: Array, size: int) -> None:
        curvature = float(y @ s)
        if curvature > 1e-10:
            self.pairs = [*self.pairs, Pair(s, y, 1 / curvature)][-size:]
            self.scale = curvature / float(y @ y)

    def fit(self, x: Array) -> None:
        """Follow the parameters `x` to where they are now."""
        if self.d is None or self.gradient is None:
            return
        if self.d.shape != x.shape:
            raise ShapeError(
                f"LBFGS.step: the parameters have {x.shape[0]} entries, but the memory was made for {self.d.shape[0]}; "
                "after changing a model's shapes, make a new optimizer"
            )
        if namespace_of(self.d) is namespace_of(x) and self.d.dtype == x.dtype:
            return
        self.d, self.gradient = fitted(x, self.d), fitted(x, self.gradient)
        self.pairs = [Pair(fitted(x, s), fitted(x, y), w) for s, y, w in self.pairs]

    def saved(self) -> dict[str, Any]:
        """Under torch's names."""
        return {
            "func_evals": self.evaluations,
            "n_iter": self.iterations,
            "d": self.d,
            "t": self.step,
            "old_dirs": [y for _, y, _ in self.pairs],
            "old_stps": [s for s, _, _ in self.pairs],
            "ro": [w for _, _, w in self.pairs],
            "H_diag": self.scale,
            "prev_flat_grad": self.gradient,
            "prev_loss": self.value,
        }

    @classmethod
    def loaded(cls, saved: dict[str, Any], x: Array) -> Memory:
        """A memory from what `saved` returned, or torch, for the parameters `x`."""
        memory = cls()
        missing = [k for k in memory.saved() if k not in saved]
        if missing and set(saved) != {
            "func_evals",
            "n_iter",
        }:  # all that torch keeps before its first step
            raise ValueError(f"LBFGS.load_state_dict: the state lacks {missing}")
        memory.evaluations, memory.iterations = int(saved["func_evals"]), int(saved["n_iter"])
        if saved.get("d") is None:
            return memory

        def vector(v: Any) -> Array:
            if not hasattr(v, "dtype"):
                raise DtypeError(
                    f"LBFGS.load_state_dict: expected a vector, got {type(v).__name__}"
                )
            if tuple(v.shape) != tuple(x.shape):
                raise ShapeError(
                    f"LBFGS.load_state_dict: a vector has shape {tuple(v.shape)}, expected {tuple(x.shape)}"
                )
            return fitted(x, v)

        memory.d, memory.gradient = vector(saved["d"]), vector(saved["prev_flat_grad"])
        memory.step, memory.value = float(saved["t"]), float(saved["prev_loss"])
        memory.scale = float(saved["H_diag"])
        memory.pairs = [
            Pair(vector(s), vector(y), float(w))
            for s, y, w in zip(saved["old_stps"], saved["old_dirs"], saved["ro"], strict=True)
        ]
        return memory
