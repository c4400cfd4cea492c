"""Checks of options: what was expected, what came. They run at construction and whenever an option is set."""

from __future__ import annotations

from typing import Any

from bpgpu.errors import ShapeError

TORCH_ONLY = {
    "foreach": "it chooses among torch's kernels",
    "fused": "it chooses among torch's kernels",
    "capturable": "steps can always be recorded here",
    "differentiable": "differentiate through opt.update(grads, state, params), which is always possible",
}
"""Options of torch's optimizers that have no meaning here, and why."""


def refuse_torch_only(who: str, options: dict[str, Any]) -> None:
    """Raise for an option that could only be accepted and ignored."""
    for name, why in TORCH_ONLY.items():
        if name in options:
            raise TypeError(f"{who}: the option {name!r} does not exist here: {why}. Leave it out")


def check_condition(who: str, only_if: Any) -> None:
    """Raise unless the condition of a step is one answer, in an array."""
    if only_if is None:
        return
    remedy = "pass what GradScaler.unscale returns, or xp.all(...)"
    if not hasattr(only_if, "dtype") or not str(only_if.dtype).endswith("bool"):
        came = getattr(only_if, "dtype", type(only_if).__name__)
        raise TypeError(f"{who}: only_if must be a 0-d array of bool, got {came}; {remedy}")
    if (shape := tuple(only_if.shape)) != ():
        raise ShapeError(f"{who}: only_if must be a 0-d array of bool, got shape {shape}; {remedy}")


def as_python(value: Any) -> Any:
    """An option with NumPy's scalars as Python's numbers, which take the dtype of the arrays they meet."""
    if isinstance(value, tuple):
        return tuple(as_python(v) for v in value)
    if hasattr(value, "dtype") and not hasattr(value, "__setitem__"):
        return value.item()
    return value


class Options:
    """The options of one group, checked one by one: `check("lr", low=0)`."""

    def __init__(self, who: str, options: dict[str, Any]) -> None:
        self.who, self.options = who, options

    def __call__(
        self,
        name: str,
        *,
        low: float | None = None,
        high: float | None = None,
        below: float | None = None,
    ) -> None:
        """Raise unless the option is a number in [low, high], or in [low, below).

        A 0-d array passes unread: to compare it would make the program wait for the device.
        """
        self.number(name, self.options[name], low=low, high=high, below=below)

    def number(
        self,
        name: str,
        value: Any,
        *,
        low: float | None = None,
        high: float | None = None,
        below: float | None = None,
    ) -> None:
        if hasattr(value, "dtype"):
            if tuple(value.shape) != ():
                raise ShapeError(
                    f"{self.who}: {name} as an array must be 0-d, got shape {tuple(value.shape)}"
                )
            return
        if not isinstance(value, (int, float)):
            raise TypeError(
                f"{self.who}: {name} must be a number, got {type(value).__name__} {value!r}"
            )
        fits = (
            (low is None or value >= low)
            and (high is None or value <= high)
            and (below is None or value < below)
            and value == value
        )
        if not fits:
            raise ValueError(
                f"{self.who}: expected {name} {_range(low, high, below)}, got {value!r}"
            )

    def pair(self, name: str, *, low: float, below: float) -> None:
        """Raise unless the option is two numbers in [low, below)."""
        value = self.options[name]
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise ValueError(f"{self.who}: expected {name} to be two numbers, got {value!r}")
        for i, v in enumerate(value):
            self.number(f"{name}[{i}]", v, low=low, below=below)

    def switch(self, *names: str) -> None:
        """Raise unless the options are True or False."""
        for name in names:
            value = self.options[name]
            if not isinstance(value, (bool, int)):
                raise TypeError(f"{self.who}: {name} must be True or False, got {value!r}")

    def need(self, holds: bool, message: str) -> None:
        """Raise `message` unless a condition holds that joins several options."""
        if not holds:
            raise ValueError(f"{self.who}: {message}")

    def one_of(self, name: str, allowed: tuple[Any, ...]) -> None:
        value = self.options[name]
        if value not in allowed:
            raise ValueError(f"{self.who}: {name} must be one of {list(allowed)}, got {value!r}")


def _range(low: float | None, high: float | None, below: float | None) -> str:
    if low is None and high is None and below is None:
        return "to be a number"
    if high is None and below is None:
        return f">= {low}"
    if low is None:
        return f"<= {high}" if below is None else f"< {below}"
    return f"in [{low}, {high}]" if below is None else f"in [{low}, {below})"
