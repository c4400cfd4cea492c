"""`check`: look a model over before training, on one batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bpgpu import functional, nn, optim
from bpgpu import tree as trees
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.dtypes import is_floating, kind
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.transform import value_and_grad
from bpgpu.backend.libraries import library_of, namespace_of
from bpgpu.device import device, to_device, to_numpy
from bpgpu.errors import ArgumentError
from bpgpu.overview import Summary, summary

SATURATING = {nn.Tanh: (-1.0, 1.0), nn.Sigmoid: (0.0, 1.0), nn.Softsign: (-1.0, 1.0)}
"""Activations with flat ends, and the values there."""
RECTIFYING = (nn.ReLU, nn.ReLU6)
_NEAR = 0.01
"""How near to an end a value counts as saturated, of the distance of the ends."""

Array = Any


@dataclass
class Report:
    """What `check` found; `str` is the report, `problems` what should be looked at."""

    summary: Summary
    places: list[str] = field(default_factory=list)
    """Library, device and dtype of the weights and of the batch."""
    gradient_error: float | None = None
    """The largest relative difference between a gradient and a difference quotient, in float64; `None` if there is no
    parameter that trains."""
    losses: tuple[float, float] | None = None
    """The loss on the batch before and after it was trained on alone."""
    dead: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Rectified units that are zero for the whole batch, and all units, by layer."""
    saturated: dict[str, float] = field(default_factory=dict)
    """The share of values at the flat ends of an activation, by layer."""
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True if nothing needs to be looked at."""
        return not self.problems

    def __str__(self) -> str:
        lines = [str(self.summary), "", *(f"arrays:      {place}" for place in self.places)]
        if self.gradient_error is not None:
            lines.append(f"gradient:    largest relative error {self.gradient_error:.1e} (float64)")
        if self.losses is not None:
            first, last = self.losses
            lines.append(f"one batch:   loss {first:.4g} -> {last:.4g}")
        for path, (count, total) in self.dead.items():
            lines.append(f"dead units:  '{path}' {count} of {total}")
        for path, share in self.saturated.items():
            lines.append(f"saturated:   '{path}' {share:.1%}")
        lines.append("")
        lines += [f"look at:     {problem}" for problem in self.problems] or ["nothing to look at"]
        return "\n".join(lines)


def check(
    model: nn.Module,
    batch: Any,
    loss: Callable[[Any, Any], Any] | None = None,
    *,
    steps: int = 100,
    lr: float = 1e-2,
) -> Report:
    """Look a model over before training, on one batch: shapes, arrays, gradient, learning, units.

    *Parameters*

    - `model`: a Module. It is not changed: all is done on copies.
    - `batch`: `(x, y)`, inputs and targets; or `x` alone, then nothing is learned.
    - `loss`: `loss(prediction, y)`; without one, cross entropy for integer targets, else the mean squared error.
    - `steps`, `lr`: how long, and with which rate of Adam, the batch is trained on alone.

    *Returns* a `Report`: `print` it; `ok` and `problems` say whether something needs to be looked at. That is: arrays
    on different devices; outputs or gradients that are not finite; parameters without a gradient, or none that train; a
    gradient that differs from difference quotients by more than 1e-4; a target of another shape than the output; a
    batch whose loss does not fall by half; layers where more than half of the units are dead, or more than half of the
    values saturated.

    *Raises* what the model raises on this batch, with the path of the layer.

    *Notes* The gradient is checked in eval mode, in float64, along one random direction for each parameter array; a
    kink (`relu` at 0) between the two points of a quotient shows as an error of its size.

    >>> import numpy as np, bpgpu as bp
    >>> model = bp.nn.Sequential(bp.nn.Linear(3, 8), bp.nn.Tanh(), bp.nn.Linear(8, 2))
    >>> x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    >>> check(model, (x, (x[:, 0] > 0).astype("int64"))).ok
    True
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"check: expected a bpgpu.nn.Module as model, got {model!r:.60}")
    pair = isinstance(batch, (tuple, list)) and len(batch) == 2 and all(map(trees.is_array, batch))
    x, y = batch if pair else (batch, None)
    if not trees.is_array(x):
        raise ArgumentError(
            f"check: expected batch as (x, y) or x with arrays, got {type(x).__name__}"
        )
    for name, a in (("x", x), ("y", y)):
        if a is not None and 0 in a.shape[:1]:
            raise ArgumentError(f"check: the batch has no rows: {name} has shape {tuple(a.shape)}")
    report = Report(summary(model, x))
    _look_at_arrays(report, model, x, y)
    out = _look_at_units(report, model, x)
    objective = _objective(loss, y)
    if y is not None and objective is functional.mse_loss and out.shape != y.shape:
        report.problems.append(
            f"the output has shape {tuple(out.shape)} and the target {tuple(y.shape)}: the mean squared error pairs "
            "each with every other along axes that one of them lacks; give both the same shape"
        )
    if model.trainable():
        _check_gradient(report, model, x, y, objective)
    else:
        report.problems.append("the model has no parameters that train")
    if y is not None:
        _overfit(report, model, x, y, objective, steps, lr)
    return report


def _objective(loss: Any, y: Any) -> Callable[[Any, Any], Any]:
    if y is None:
        return lambda out, _: sum(_mean_square(a) for a in trees.leaves(out))
    if loss is not None:
        return loss  # type: ignore[no-any-return]
    return functional.mse_loss if is_floating(y) else functional.cross_entropy


def _mean_square(a: Any) -> Any:
    return array_namespace(a).mean(a * a)


def _look_at_arrays(report: Report, model: nn.Module, x: Array, y: Array) -> None:
    groups = {"weights": list(model.state_dict().values()), "input": [x]}
    if y is not None:
        groups["target"] = [y]
    homes = {}
    for name, arrays in groups.items():
        kinds = sorted({f"{library_of(a)} {a.dtype} on {_place(a)}" for a in arrays})
        homes[name] = {(library_of(a), _place(a)) for a in arrays}
        report.places.append(f"{name}: {', '.join(kinds)}")
    if len(set().union(*homes.values())) > 1:
        report.problems.append("weights and batch are not all on one device and of one library")


def _place(a: Array) -> str:
    return str(getattr(a, "device", "cpu"))


def _look_at_units(report: Report, model: nn.Module, x: Array) -> Any:
    """Run a copy and look at what the activations return; what the model returns."""
    twin = copy.deepcopy(model).eval()
    first: dict[str, str] = {}

    def watched(path: str, layer: nn.Module) -> Callable[..., Any]:
        forward = layer.forward

        def run(*args: Any, **kwargs: Any) -> Any:
            out = forward(*args, **kwargs)
            for a in trees.leaves(out):
                values = to_numpy(raw(a))
                if kind(values.dtype) == "real" and not _all_finite(values):
                    first.setdefault("layer", path)
                if values.size:
                    _look_at(report, path, layer, values)
            return out

        return run

    for path, layer in twin.named_modules():
        layer.__dict__["forward"] = watched(path, layer)
    out = twin(x)
    if first:
        report.problems.append(f"the output of '{first['layer']}' has NaN or infinite values")
    report.problems += [
        f"'{path}': {count} of {total} units are zero for the whole batch"
        for path, (count, total) in report.dead.items()
        if 2 * count > total
    ]
    report.problems += [
        f"'{path}': {share:.0%} of the values are saturated"
        for path, share in report.saturated.items()
        if share > 0.5
    ]
    return out


def _all_finite(values: Array) -> bool:
    xp = namespace_of(values)
    return bool(xp.all(xp.isfinite(values)))


def _look_at(report: Report, path: str, layer: nn.Module, values: Array) -> None:
    xp = namespace_of(values)
    if isinstance(layer, RECTIFYING) and values.ndim > 1:
        zero = xp.all(values == 0, axis=0)
        report.dead[path] = (int(xp.sum(zero)), int(zero.size))
    for cls, (low, high) in SATURATING.items():
        if isinstance(layer, cls):
            near = _NEAR * (high - low)
            flat = (values < low + near) | (values > high - near)
            report.saturated[path] = float(xp.mean(xp.astype(flat, xp.float64)))


def _check_gradient(report: Report, model: nn.Module, x: Array, y: Array, objective: Any) -> None:
    """Compare the gradient with central differences along a random direction, for each array."""
    twin = to_cpu(model).to(dtype="float64").eval()
    x, y = _double(x), _double(y)

    def value(m: Any) -> Any:
        return objective(m(x), y)

    _, gradient = value_and_grad(value)(twin)
    xp, largest, worst = device("cpu").xp, 0.0, ""
    for n, (path, g) in enumerate(gradient.items()):
        if g is None:
            report.problems.append(f"'{path}' gets no gradient: the output does not depend on it")
            continue
        if not _all_finite(g):
            report.problems.append(f"the gradient of '{path}' is not finite")
            continue
        weight = twin.get_parameter(path)
        direction = xp.reshape(
            xp.sin(xp.arange(weight.size, dtype=xp.float64) * 12.9898 + n), weight.shape
        )
        step = 1e-5 * (1 + float(xp.max(xp.abs(weight)))) if weight.size else 1.0
        kept = xp.asarray(weight, copy=True)
        ends = []
        for sign in (1, -1):
            weight[...] = kept + sign * step * direction
            ends.append(float(value(twin)))
        weight[...] = kept
        quotient, exact = (ends[0] - ends[1]) / (2 * step), float(xp.sum(g * direction))
        scale = max(abs(exact), abs(quotient), 1e-3 * float(xp.sum(xp.abs(g))), 1e-5)
        error = abs(exact - quotient) / scale
        if error >= largest:
            largest, worst = error, path
    report.gradient_error = largest
    if largest > 1e-4:
        report.problems.append(
            f"the gradient of '{worst}' differs from a difference quotient by {largest:.1e}: "
            "a derivative is wrong, or there is a kink"
        )


def to_cpu(model: nn.Module) -> nn.Module:
    """A copy of a model on the CPU, with memory of its own."""
    return copy.deepcopy(model).to(device("cpu"))


def _double(x: Any) -> Any:
    if x is None:
        return None
    host = to_device(x, "cpu")
    return (
        namespace_of(host).astype(host, namespace_of(host).float64) if is_floating(host) else host
    )


def _overfit(
    report: Report, model: nn.Module, x: Array, y: Array, objective: Any, steps: int, lr: float
) -> None:
    """Train a copy on this batch alone: a model that cannot learn one batch learns nothing."""
    twin = copy.deepcopy(model).train()
    if not twin.trainable():
        return
    optimizer = optim.Adam(twin, lr=lr)
    step = value_and_grad(lambda m: objective(m(x), y))

    def now() -> float:
        return float(to_numpy(objective(copy.deepcopy(twin).eval()(x), y)))

    first = now()
    for _ in range(steps):
        _, gradient = step(twin)
        optimizer.step(gradient)
    last = now()
    report.losses = (first, last)
    if not last < 0.5 * first:
        report.problems.append(
            f"the loss on one batch went from {first:.4g} to {last:.4g} in {steps} steps: it should fall by half "
            "at least; look at the loss, the targets and lr"
        )
