"""What a trained model says: its answers, and how good they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpgpu import tree as trees
from bpgpu.backend.libraries import namespace_of
from bpgpu.device import Device
from bpgpu.errors import ArgumentError
from bpgpu.train.batches import Batches, batches_of, rows_of
from bpgpu.train.checks import checked_model, chosen, number
from bpgpu.train.meters import Meters
from bpgpu.train.modes import mode
from bpgpu.train.place import choose
from bpgpu.train.step import Objective, check_batch, predicted


def predict(model: Any, x: Any, *, batch_size: int = 256, device: Any = None) -> Any:
    """The model's answers for all rows of `x`, computed in batches, in eval mode.

    *Parameters* `x`: an array, a tuple of arrays for a model of several inputs, or an iterable of batches of inputs.
    `batch_size`: rows at a time, which bounds the memory. `device`: as for `fit`; by default where the model is, and
    arrays of NumPy are brought there.

    *Returns* an array (or the tree that the model returns) on the device of the model. The mode of each layer is put
    back; nothing of the model changes.

    >>> import numpy as np, bpgpu as bp
    >>> predict(bp.nn.ReLU(), np.asarray([-1.0, 3.0, 9.0]), batch_size=2)
    array([0., 3., 9.])
    """
    checked_model(model, trains=False)
    batches = _batches(model, x, "x", batch_size, device)
    with mode(model, False):
        answers = [predicted(model, batch) for batch in batches]
    if len(answers) == 1:
        return answers[0]
    return trees.map(lambda *xs: namespace_of(xs[0]).concat(xs, axis=0), *answers)


def evaluate(
    model: Any,
    data: Any,
    *,
    loss: Any = None,
    objective: Any = None,
    metrics: Any = (),
    batch_size: int = 256,
    device: Any = None,
) -> dict[str, Any]:
    """The mean loss and the metrics over a data set, computed in batches, in eval mode.

    *Parameters* as those of `fit`; by default on the device where the model is.

    *Returns* a dict with `"loss"`, if a loss or an objective was given, and a value for each metric.

    >>> import numpy as np, bpgpu as bp
    >>> x = np.asarray([[1.0], [2.0]])
    >>> evaluate(bp.nn.Identity(), (x, x + 1), loss=bp.functional.mse_loss, metrics=["mae"])
    {'loss': 1.0, 'mae': 1.0}
    """
    checked_model(model, trains=False)
    found = chosen(metrics)
    if loss is None and objective is None and not found:
        raise ArgumentError("evaluate: nothing is measured; pass loss=, objective= or metrics=")
    batches = _batches(model, data, "data", batch_size, device)
    if objective is None:
        check_batch(batches.first(), "data")
    measured = measure(model, batches, Objective(loss, objective, None), Meters(found))
    if loss is None and objective is None:
        del measured["loss"]
    return measured


def _batches(model: Any, data: Any, what: str, batch_size: int, device: Any) -> Batches:
    number("batch_size", batch_size)
    place = choose(model, device, data)
    if device is not None and isinstance(place, Device):
        model.to(place)
    return batches_of(data, what, model, place, batch_size=batch_size, finite=False)


def measure(
    model: Any,
    batches: Batches,
    what: Objective,
    meters: Meters,
    each_piece: Callable[[Any, Callable[[Any], None]], None] | None = None,
) -> dict[str, Any]:
    """The values of the meters over all batches, in eval mode; batches are cut by `each_piece`."""

    def use(batch: Any) -> None:
        if what.objective is not None:
            meters.loss.add(what.value(model, batch), rows_of(batch))
            return
        prediction = predicted(model, batch[0])
        if what.loss is not None:
            meters.loss.add(what.loss(prediction, batch[1]), rows_of(batch))
        if meters.metrics:
            meters.update(prediction, batch[1])

    meters.reset()
    with mode(model, False):
        for batch in batches:
            if each_piece is None:
                use(batch)
            else:
                each_piece(batch, use)
    return meters.compute()
