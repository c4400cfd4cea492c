"""Bad input, told before the first step and with nothing changed."""

from __future__ import annotations

import functools
import operator
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.transform import value_and_grad
from bpgpu.backend.libraries import namespace_of
from bpgpu.data import DataLoader
from bpgpu.data.columns import is_columns
from bpgpu.errors import ArgumentError, DataError, ShapeError
from bpgpu.optim.optimizer import Optimizer
from bpgpu.train import metrics as known_metrics
from bpgpu.train.modes import mode
from bpgpu.train.step import predicted


def checked_model(model: Any, trains: bool = True) -> None:
    """Raise unless this is a Module, with something to train."""
    if isinstance(model, type) or not callable(getattr(model, "named_trainable", None)):
        name = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise ArgumentError(
            f"model: expected a bpgpu.nn.Module, got {name}; for parameters in a tree of arrays, write the loop: "
            "bpgpu.value_and_grad(loss)(params, x, y), then optimizer.step(grads)"
        )
    if trains and not model.trainable():
        raise ArgumentError(
            "model: it has no parameters that train, so there is nothing to fit; model.unfreeze() undoes freeze"
        )


def checked_optimizer(optimizer: Any, model: Any) -> None:
    """Raise unless the optimizer trains the parameters of this model."""
    if not isinstance(optimizer, Optimizer):
        name = optimizer.__name__ if isinstance(optimizer, type) else f"{optimizer!r:.60}"
        raise ArgumentError(
            f"optimizer: expected an optimizer made for the model, got {name}; write "
            "optimizer=bpgpu.optim.AdamW(model, lr=1e-3)"
        )
    theirs = [path for group in optimizer.param_groups for path in group["param_names"]]
    mine = {id(p) for p in model.parameters().values()}
    shared = any(id(p) in mine for group in optimizer.param_groups for p in group["params"])
    if optimizer.params is model or (shared and set(theirs) <= set(model.parameters())):
        return
    raise ArgumentError(
        f"optimizer: it was made for other parameters than those of the model ({', '.join(theirs[:3])} ...); make it "
        "from the model, optimizer=bpgpu.optim.AdamW(model). To train a part of it, model.freeze(...) the rest"
    )


class _Rehearsed(Exception):  # noqa: N818 - no error
    """Ends a rehearsal, so that nothing of it stays."""


def rehearse(
    model: Any,
    objective: Any,
    batch: Any,
    metrics: Any,
    *,
    what: str = "data",
    data: Any = None,
    training: bool = True,
) -> tuple[int, ...] | None:
    """Run a batch forward, as a step does, and see that the loss is a number; returns the shape of the prediction.

    On the way the labels of all of `data` are compared with it.

    It runs on a twin that is thrown away: weights, buffers, random keys and attributes stay as they are.
    """
    shape: list[tuple[int, ...] | None] = [None]

    def run(twin: Any) -> Any:
        weight = None if objective.weigh is None else objective.weigh(batch)
        prediction = None
        if objective.objective is not None:
            value = objective.value(twin, batch)
        else:
            prediction = predicted(twin, batch[0])
            if trees.is_array(prediction):
                shape[0] = tuple(prediction.shape)
            check_labels(objective.loss, data, shape[0], what)
            value = objective.of(prediction, batch[1], weight)
        _check_value(value, "loss" if objective.objective is None else "objective")
        for metric in metrics:
            metric.update(metric.init(prediction, batch[1]), prediction, batch[1], weight)
        raise _Rehearsed

    try:
        with mode(model, training):
            value_and_grad(run)(model)
    except _Rehearsed:
        pass
    except Exception as error:
        error.add_note(
            f"fit: a batch of {what} was tried before the first step; nothing was changed"
        )
        raise
    return shape[0]


def _check_value(value: Any, name: str) -> None:
    if not trees.is_array(value):
        raise ArgumentError(
            f"{name}: expected a function that returns one number, an array of shape (), got {type(value).__name__}"
        )
    if tuple(value.shape) != ():
        hint = "pass reduction='mean', or take the mean" if name == "loss" else "take the mean"
        raise ShapeError(
            f"{name}: expected one number, an array of shape (), got shape {tuple(value.shape)}; {hint}"
        )


CLASS_LOSSES = ("cross_entropy", "nll_loss", "CrossEntropyLoss", "NLLLoss")


def check_labels(loss: Any, data: Any, shape: tuple[int, ...] | None, what: str) -> None:
    """Raise if a class index of a whole data set is out of range, for losses that take class indices."""
    ignored = getattr(loss, "ignore_index", -100)
    while isinstance(loss, functools.partial):
        ignored, loss = loss.keywords.get("ignore_index", ignored), loss.func
    name = getattr(loss, "__name__", type(loss).__name__)
    data = data.data if isinstance(data, DataLoader) else data
    if name not in CLASS_LOSSES or shape is None or len(shape) < 2:
        return
    if not isinstance(data, tuple) or not is_columns(data) or len(data) < 2:
        return
    y = data[1]
    if not trees.is_array(y) or "int" not in str(y.dtype) or 0 in y.shape:
        return
    xp = namespace_of(y)
    wrong = xp.reshape(((y < 0) | (y >= shape[1])) & (y != ignored), (-1,))
    if bool(xp.any(wrong)):
        at = int(xp.argmax(xp.astype(wrong, xp.int32)))
        label = int(xp.reshape(y, (-1,))[at])
        raise DataError(
            f"{what}: y holds the class {label} (entry {at}), but the model has {shape[1]} outputs, for the classes 0 "
            f"to {shape[1] - 1}; number the classes from 0, or give the model more outputs"
        )


def number(name: str, value: Any, least: int = 1) -> int:
    """An integer, of Python or another library, or an error that names the argument."""
    try:
        found = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = least - 1
    if found < least:
        raise ArgumentError(f"{name}: expected an integer of at least {least}, got {value!r}")
    return found


def chosen(metrics: Any) -> list[Any]:
    """The metrics of `fit` and `evaluate`: names, metrics, functions.

    *Raises* `ArgumentError` for a name that does not exist, and for two columns of one name.
    """
    several = isinstance(metrics, (list, tuple))
    given = metrics if several else [] if metrics is None else [metrics]
    found = [known_metrics.get(metric) for metric in given]
    names = ["loss", *(metric.name for metric in found)]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(
                f"metrics: there would be two columns {name!r} in the history; leave one out, or name it anew: "
                "bpgpu.train.metrics.MSE(name='error')"
            )
    return found
