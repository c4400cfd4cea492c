"""`fit`: forward, loss, backward, update, again and again, until a rule says that it is enough."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Any, Literal

from bpgpu import random
from bpgpu.backend.precision import FORMATS, current, overflow_expected
from bpgpu.device import Device
from bpgpu.errors import ArgumentError
from bpgpu.mixed import precision as rounding
from bpgpu.optim import EMA, LBFGS, GradientAccumulator, GradScaler
from bpgpu.train.batches import batches_of
from bpgpu.train.callbacks import checked
from bpgpu.train.checkpoint import resolve
from bpgpu.train.checkpoint import resume as go_on
from bpgpu.train.checks import checked_model, checked_optimizer, chosen, number, rehearse
from bpgpu.train.meters import Meters
from bpgpu.train.micro import few_rows
from bpgpu.train.nonfinite import Watch
from bpgpu.train.place import choose, fields_of, moves, put_back
from bpgpu.train.progress import progress_of
from bpgpu.train.result import Result
from bpgpu.train.run import Run, looks_at_steps
from bpgpu.train.step import Objective, check_batch
from bpgpu.train.stop import AnyOf, MaxEpochs, StopRule
from bpgpu.train.weights import weigher, with_weights
from bpgpu.train.whole import Bounds


def fit(
    model: Any,
    data: Any,
    *,
    loss: Any = None,
    objective: Any = None,
    optimizer: Any,
    epochs: int | None = None,
    batch_size: int = 32,
    validation: Any = None,
    stop: Any = (),
    metrics: Any = (),
    callbacks: Iterable[Any] = (),
    progress: Any = "auto",
    device: Any = "auto",
    seed: int | None = 0,
    schedule: Any = None,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    accumulate: int = 1,
    micro_batch: int | Literal["auto"] | None = None,
    precision: str | None = None,
    scaler: GradScaler | None = None,
    ema: Any = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    shuffle: bool = True,
    checkpoint: Any = None,
    resume: Any = False,
    compile: Any = "auto",
    check_finite: Any = "loss",
) -> Result:
    """Train a model.

    It does what this loop does, with care for the rest::

        for epoch in range(epochs):
            for x, y in loader:
                value, grads = bpgpu.value_and_grad(lambda m: loss(m(x), y))(model)
                optimizer.step(grads)

    *Parameters*

    - `model`: a `bpgpu.nn.Module`. It is trained in place.
    - `data`: arrays with one row for each example, `(x, y)`, where `x` may be a tuple of inputs; a `DataLoader`; or any
      iterable of batches (a generator lasts for one epoch).
    - `loss`: a function or layer of prediction and target that returns one number. `objective`: instead of it, a
      function of the model and the parts of a batch, `objective(model, *batch)`.
    - `optimizer`: made for this model, `bpgpu.optim.AdamW(model)`. L-BFGS takes its several evaluations on each batch.
    - `epochs`: how often to go through the data. `stop`: a rule of `bpgpu.train` or several, of which the first ends
      the training; rules combine with `|` and `&`. One of both is needed.
    - `batch_size`: examples in a batch, for arrays. `shuffle`, `seed`: their order; `None` draws a seed from
      `bpgpu.seed`'s keys. The order is the same on every device.
    - `validation`: data like `data`, measured in eval mode after each epoch, under names with `val_`.
    - `metrics`: names, or objects of `bpgpu.train.metrics`, measured on the predictions of training, as the weights
      change.
    - `callbacks`: objects with hooks of `bpgpu.train.Callback`.
    - `progress`: `"auto"`: one live line on a terminal or notebook (with tqdm), else a line for each epoch. `False`:
      nothing.
    - `device`: `"auto"`: where the model is, if that is a GPU or a library other than NumPy, else the device that
      `bpgpu.device` finds. A name: model and data are moved there. `None`: nothing is moved. The model stays there.
    - `schedule`: of the learning rate, stepped after each epoch; `(schedule, "step")` after each step.
    - `clip_grad_norm`, `clip_grad_value`: bounds for the norm of all gradients, and for each entry.
    - `accumulate`: average the gradients of so many batches for each step.
    - `micro_batch`: rows that are computed at a time; the step is still that of the whole batch, to rounding. `"auto"`:
      the whole batch, and pieces of half the size whenever the memory is not enough: nothing of the failed attempt is
      left, and later batches are taken like that at once. As with `accumulate`, the loss must be a mean over the rows,
      and batch norm sees the statistics of each piece; dropout draws a mask for each piece.
    - `precision`: `"fp32"`, `"tf32"`, `"bf16"` or `"fp16"`: how matrix products round, see `bpgpu.precision`; `None`:
      as it is set. `scaler`: scales the loss; with `"fp16"`, by default a `bpgpu.optim.GradScaler()`. A step whose
      gradient overflows is then left out; it counts as a step. Validation runs in the same precision.
    - `ema`: the decay of an average of the weights, such as 0.999, or a `bpgpu.optim.EMA`; it is what is validated.
    - `sample_weight`: how much each example counts, `(N,)`. `class_weight`: by class, a dict or one for each class. The
      loss of a batch is `sum(w l) / sum(w)`, the metrics are weighted too; validation is not.
    - `checkpoint`: a path, or a `bpgpu.train.Checkpoint`. `resume`: `True` goes on from that file if it is there, a
      path from that one. Pass the other arguments as they were.
    - `compile`: `True`: loss and gradients are recorded and replayed (`bpgpu.compile`), bit for bit the same; on CUDA
      the whole step is captured as one graph. What cannot be replayed runs as it is. `"auto"`: so for models of NumPy's
      and CuPy's arrays with `loss=`. `False`: not.
    - `check_finite`: `"loss"`: NaN or infinity in the data, and in the loss where looking is free, else at the end of
      an epoch; `"steps"`: in the loss and the gradients of each step, also on a GPU; `False`: nowhere. With a scaler,
      gradients that are not finite are its business, until no scale is small enough: that is told at the end of an
      epoch.

    *Returns* a `Result`: `history`, `stopped_by`, `device`, `plot()`, `to_csv(path)`.

    *Raises* what is wrong with an argument before the first step, with nothing changed; `NonFiniteError` with the
    step and the layer where a loss is no number.

    *Notes* The model is set to train mode, unless it is in it already: then layers that were set to eval mode stay so.
    Afterwards each layer has its own mode back. Ctrl-C ends after the step that is under way and returns the result
    so far. The loss of an epoch is the mean over its batches, each weighted by its examples.

    >>> import numpy as np, bpgpu as bp
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    >>> model = bp.nn.Linear(1, 1)
    >>> opt = bp.optim.Adam(model, lr=0.1)
    >>> result = bp.fit(
    ...     model, (x, 3 * x + 1), loss=bp.functional.mse_loss, optimizer=opt, epochs=100, progress=False
    ... )
    >>> result.stopped_by
    'reached 100 epochs'
    >>> model.weight.round(2)
    array([[3.]], dtype=float32)
    """
    checked_model(model)
    checked_optimizer(optimizer, model)
    _one_of(loss, objective, metrics, sample_weight, class_weight)
    batch_size = number("batch_size", batch_size)
    accumulate = number("accumulate", accumulate)
    if micro_batch not in (None, "auto"):
        micro_batch = number("micro_batch", micro_batch)
    rule = _rule(epochs, stop)
    schedule, per_step = _schedule(schedule, optimizer)
    for name, bound in (("clip_grad_norm", clip_grad_norm), ("clip_grad_value", clip_grad_value)):
        if bound is not None and not (isinstance(bound, (int, float)) and bound > 0):  # type: ignore[redundant-expr]
            raise ArgumentError(f"{name}: expected a number above 0, got {bound!r}")
    if isinstance(optimizer, LBFGS) and (accumulate > 1 or clip_grad_norm or clip_grad_value):
        raise ArgumentError(
            "accumulate, clip_grad_norm, clip_grad_value: L-BFGS takes the gradients of a batch as they are; leave "
            "them out, or take a larger batch_size"
        )
    if isinstance(optimizer, LBFGS) and micro_batch is not None:
        raise ArgumentError("micro_batch: L-BFGS evaluates each batch as a whole; leave it out")
    name = current() if precision is None else precision
    if name not in tuple(FORMATS):
        raise ArgumentError(
            f"precision: expected one of {', '.join(map(repr, FORMATS))}, or None for what bpgpu.precision() says, got "
            f"{precision!r}"
        )
    scaler = _scaler(scaler, name, optimizer)
    if check_finite not in ("loss", "steps", True, False):
        raise ArgumentError(
            f"check_finite: expected 'loss', 'steps' or False, got {check_finite!r}"
        )
    found = chosen(metrics)
    callbacks = checked(callbacks)
    saver, source = resolve(checkpoint, resume)
    average = _average(ema, model)

    place = choose(model, device)
    weighted_data = data if sample_weight is None else with_weights(data, sample_weight)
    weighted = sample_weight is not None or class_weight is not None
    finite = bool(check_finite)
    before, keys = fields_of(model, loss), random.get_state()
    try:
        if isinstance(place, Device) and moves(model, place):
            model.to(place)
            if hasattr(loss, "named_buffers"):
                loss.to(place)
        options: dict[str, Any] = {"wish": device, "batch_size": batch_size, "finite": finite}
        batches = batches_of(
            weighted_data, "data", model, place, shuffle=shuffle, seed=seed, **options
        )
        held_out = None
        if validation is not None:
            held_out = batches_of(validation, "validation", model, place, **options)
            if held_out.only_once:
                raise ArgumentError(
                    "validation: a generator lasts for one epoch; pass arrays, a list of batches or a DataLoader"
                )
        plain = Objective(loss, objective, None)
        batch = batches.first()
        if objective is None:
            check_batch(batch[:2] if sample_weight is not None else batch, "data")
        if micro_batch is not None:
            batch = few_rows(batch, micro_batch)
        shape = rehearse(model, plain, batch, found, data=data)
        what = plain
        if weighted:
            weigh = weigher(batch, class_weight, sample_weight is not None, shape)
            what = Objective(loss, objective, weigh)
            rehearse(model, what, batch, found)
        if held_out is not None:
            if objective is None:
                check_batch(held_out.first(), "validation")
            first = held_out.first()
            rehearse(
                model,
                plain,
                first if micro_batch is None else few_rows(first, micro_batch),
                found,
                what="validation",
                data=validation,
                training=False,
            )
        run = Run(model, optimizer, batches, what, found, rule, scaler)
        run.validation = held_out
        run.validation_meters = None if held_out is None else Meters(found, "val_")
        run.schedule, run.schedule_per_step = schedule, per_step
        run.bounds = Bounds(clip_grad_norm, clip_grad_value)
        run.accumulator = GradientAccumulator(accumulate) if accumulate > 1 else None
        run.ema = average
        at_steps = check_finite in ("steps", True)
        if _compiles(compile, place, optimizer, objective):
            apart = accumulate > 1 or at_steps or (per_step and _cycles(schedule))
            apart = apart or micro_batch is not None
            if _captures_all(place, optimizer) and not apart:
                run.compile_whole(with_grads=bool(callbacks) or looks_at_steps(rule))
            else:
                run.compile()
        if micro_batch is not None:
            run.take_in_pieces(micro_batch)
        run.watch = Watch(model, finite, at_steps)
        shown = progress_of(progress, place, epochs, batches.count)
        run.callbacks = [*shown, *callbacks, *([] if saver is None else [saver])]
        rule.begin(run)
        if source is not None:
            go_on(run, source)
    except BaseException:
        put_back(before)
        random.set_state(keys)
        raise
    start = time.perf_counter()
    with rounding(name), contextlib.nullcontext() if scaler is None else overflow_expected():
        run.train()
    seconds = time.perf_counter() - start
    why = run.stopped_by or ""
    micro = None if run.micro is None else run.micro.size
    return Result(model, run.history, why, run.epoch, run.step, seconds, place, run.ema, micro)


# ---- arguments


def _one_of(loss: Any, objective: Any, metrics: Any, sample_weight: Any, class_weight: Any) -> None:
    if (loss is None) == (objective is None):
        raise ArgumentError(
            "loss: pass either loss=, a function of prediction and target such as bpgpu.functional.cross_entropy, or "
            "objective=, a function of the model and the parts of a batch"
        )
    given = loss if objective is None else objective
    if not callable(given):
        raise ArgumentError(
            f"{'loss' if objective is None else 'objective'}: expected a function, got {given!r:.60}"
        )
    if isinstance(given, type):
        raise ArgumentError(
            f"loss: expected a loss, got the class {given.__name__}; write {given.__name__}()"
        )
    if objective is None:
        return
    for name, value in (
        ("metrics", metrics),
        ("sample_weight", sample_weight),
        ("class_weight", class_weight),
    ):
        if value is not None and not (name == "metrics" and not value):
            raise ArgumentError(
                f"{name}: with objective= there is no prediction and target to apply it to; pass loss= instead, or "
                "write it into the objective"
            )


def _rule(epochs: int | None, stop: Any) -> StopRule:
    rules = list(stop) if isinstance(stop, (list, tuple)) else [] if stop is None else [stop]
    for rule in rules:
        if not isinstance(rule, StopRule):
            name = f"the class {rule.__name__}" if isinstance(rule, type) else repr(rule)
            raise ArgumentError(
                f"stop: expected rules such as bpgpu.train.EarlyStopping(patience=3), got {name}"
            )
    if epochs is not None:
        rules.append(MaxEpochs(number("epochs", epochs)))
    if not rules:
        raise ArgumentError(
            "epochs: nothing says when to end; pass epochs=20, or a rule, stop=bpgpu.train.EarlyStopping(patience=3)"
        )
    return AnyOf(*rules)


def _compiles(wish: Any, place: Any, optimizer: Any, objective: Any) -> bool:
    if wish not in ("auto", True, False):
        raise ArgumentError(f"compile: expected 'auto', True or False, got {wish!r}")
    if wish == "auto":
        known = isinstance(place, Device)
        return known and objective is None and not isinstance(optimizer, LBFGS)
    return bool(wish)


def _captures_all(place: Any, optimizer: Any) -> bool:
    """Whether a step, with all that belongs to it, can be a CUDA graph."""
    on_cuda = isinstance(place, Device) and place.type == "cuda"
    return on_cuda and not isinstance(optimizer, LBFGS)


def _cycles(schedule: Any) -> bool:
    """Whether a schedule changes the momentum, too: in a graph that is a constant, unlike a learning rate."""
    inner = getattr(schedule, "_schedulers", ())
    return bool(getattr(schedule, "cycle_momentum", False)) or any(map(_cycles, inner))


def _scaler(given: Any, precision: str, optimizer: Any) -> GradScaler | None:
    """The scaler of the loss, if there is to be one."""
    if not isinstance(given, (GradScaler, type(None))):
        raise ArgumentError(f"scaler: expected a bpgpu.optim.GradScaler or None, got {given!r:.60}")
    scaler = GradScaler() if given is None and precision == "fp16" else given
    if scaler is not None and isinstance(optimizer, LBFGS):
        raise ArgumentError(
            "precision, scaler: L-BFGS compares losses and gradients with each other, which scaling would disturb; "
            "take precision='bf16' without a scaler, or another optimizer"
        )
    return scaler


def _average(ema: Any, model: Any) -> Any:
    if ema is None or (
        isinstance(ema, EMA) and list(ema.state["average"]) == list(model.parameters())
    ):
        return ema
    if isinstance(ema, (int, float)) and not isinstance(ema, bool) and 0 <= ema <= 1:
        return EMA(model, ema)
    raise ArgumentError(
        "ema: expected the decay of an average of the weights, in [0, 1], or a bpgpu.optim.EMA of this model, got "
        f"{ema!r}"
    )


def _schedule(schedule: Any, optimizer: Any) -> tuple[Any, bool]:
    per_step = False
    if isinstance(schedule, (tuple, list)):
        if len(schedule) != 2 or schedule[1] not in ("step", "epoch"):
            raise ArgumentError(
                f"schedule: expected a schedule, or (schedule, 'step') or (schedule, 'epoch'), got {schedule!r}"
            )
        schedule, every = schedule
        per_step = every == "step"
    if schedule is None:
        return None, False
    if isinstance(schedule, type) or not callable(getattr(schedule, "step", None)):
        raise ArgumentError(
            f"schedule: expected a schedule of bpgpu.optim.lr_scheduler, got {schedule!r}"
        )
    if getattr(schedule, "optimizer", optimizer) is not optimizer:
        raise ArgumentError("schedule: it was made for another optimizer than optimizer=")
    return schedule, per_step
