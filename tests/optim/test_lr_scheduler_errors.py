"""Bad options of schedules are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bpgpu.optim as ours
from bpgpu.optim import lr_scheduler as schedules


def optimizer_with_two_groups() -> Any:
    return ours.SGD([{"params": [np.zeros(2)], "lr": lr} for lr in (0.5, 0.02)])


BAD: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (
        lambda o: schedules.StepLR("sgd", 3),
        TypeError,
        "expected an optimizer of bpgpu.optim, got str",
    ),
    (lambda o: schedules.StepLR(o, 0), ValueError, "StepLR: expected step_size >= 1, got 0"),
    (lambda o: schedules.ConstantLR(o, 1.5), ValueError, r"factor in \[0, 1\], got 1.5"),
    (lambda o: schedules.LinearLR(o, 0.0), ValueError, r"start_factor in \(0, 1\], got 0.0"),
    (lambda o: schedules.LinearLR(o, 0.5, 2.0), ValueError, r"end_factor in \[0, 1\], got 2.0"),
    (
        lambda o: schedules.LambdaLR(o, [lambda t: 1.0]),
        ValueError,
        "one for each of 2 groups, got 1",
    ),
    (
        lambda o: schedules.MultiplicativeLR(o, 0.5),
        TypeError,
        "lr_lambda must be a function of the epoch, got float",
    ),
    (lambda o: schedules.CosineAnnealingLR(o, 0), ValueError, "T_max must not be 0"),
    (
        lambda o: schedules.CosineAnnealingWarmRestarts(o, 0),
        ValueError,
        "T_0 as a positive integer, got 0",
    ),
    (
        lambda o: schedules.CosineAnnealingWarmRestarts(o, 5, 0),
        ValueError,
        "T_mult as an integer >= 1, got 0",
    ),
    (
        lambda o: schedules.CosineAnnealingWarmRestarts(o, 5).step(-1),
        ValueError,
        "expected an epoch >= 0, got -1",
    ),
    (
        lambda o: schedules.CyclicLR(o, 0.1, 0.5, mode="square"),
        ValueError,
        "mode must be 'triangular'",
    ),
    (
        lambda o: schedules.CyclicLR(o, [0.1], 0.5),
        ValueError,
        "expected one base_lr, or one for each of 2 groups, got 1",
    ),
    (
        lambda o: schedules.CyclicLR(ours.Adagrad([np.zeros(2)]), 0.1, 0.5),
        ValueError,
        "Adagrad has none; pass cycle_momentum=False",
    ),
    (
        lambda o: schedules.OneCycleLR(o, 0.5),
        ValueError,
        "expected total_steps, or both epochs and steps_per_epoch",
    ),
    (
        lambda o: schedules.OneCycleLR(o, 0.5, epochs=3),
        ValueError,
        "or both epochs and steps_per_epoch",
    ),
    (
        lambda o: schedules.OneCycleLR(o, 0.5, -3),
        ValueError,
        "total_steps as a positive integer, got -3",
    ),
    (
        lambda o: schedules.OneCycleLR(o, 0.5, 10, pct_start=2.0),
        ValueError,
        r"pct_start as a float in \[0, 1\], got 2.0",
    ),
    (
        lambda o: schedules.OneCycleLR(o, 0.5, 10, anneal_strategy="exp"),
        ValueError,
        "anneal_strategy must be 'cos' or",
    ),
    (
        lambda o: schedules.ReduceLROnPlateau(o, factor=1.0),
        ValueError,
        "expected factor < 1, got 1.0",
    ),
    (
        lambda o: schedules.ReduceLROnPlateau(o, mode="down"),
        ValueError,
        "mode must be 'min' or 'max', got 'down'",
    ),
    (
        lambda o: schedules.ReduceLROnPlateau(o, min_lr=[0.1]),
        ValueError,
        "one for each of 2 groups, got 1",
    ),
    (lambda o: schedules.SequentialLR(o, [], []), ValueError, "at least one schedule"),
    (lambda o: schedules.ChainedScheduler([]), ValueError, "at least one schedule"),
    (
        lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 1)], [3]),
        ValueError,
        "one milestone less than schedules, got 1 for 1",
    ),
    (
        lambda o: schedules.SequentialLR(o, [schedules.StepLR(optimizer_with_two_groups(), 1)], []),
        ValueError,
        "belongs to another optimizer",
    ),
    (
        lambda o: schedules.ChainedScheduler([schedules.ReduceLROnPlateau(o)]),
        ValueError,
        "whose step needs a metric",
    ),
    (
        lambda o: schedules.ChainedScheduler([3], o),
        TypeError,
        "schedule 0 is a int, which has no optimizer",
    ),
    (
        lambda o: schedules.WarmupLR(o, 5, 5, decay="cosine"),
        ValueError,
        "needs total_steps > warmup_steps = 5, got 5",
    ),
    (lambda o: schedules.WarmupLR(o, 5, decay="log"), ValueError, "decay must be one of"),
    (lambda o: schedules.SWALR(o, 0.1, -1), ValueError, "anneal_epochs as an integer >= 0, got -1"),
    (
        lambda o: schedules.StepLR(o, 3, last_epoch=4),
        KeyError,
        "no 'initial_lr'; load the optimizer's state first",
    ),
    (
        lambda o: schedules.StepLR(o, 3).load_state_dict({"gamma": 1}),
        ValueError,
        "belongs to another schedule",
    ),
]


@pytest.mark.parametrize(("make", "error", "text"), BAD, ids=[b[2][:40] for b in BAD])
def test_bad_options_are_named(
    make: Callable[[Any], Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        make(optimizer_with_two_groups())


def test_a_cycle_ends_where_it_was_told_to() -> None:
    optimizer = optimizer_with_two_groups()
    schedule = schedules.OneCycleLR(optimizer, 0.5, 3, cycle_momentum=False)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match="this is step 5, but the schedule was made for 3"):
        schedule.step()
