"""The schedules give torch's learning rates and momenta, alone, chained and in sequence, and go on after a restart."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import bpgpu.optim as ours
from bpgpu.optim import lr_scheduler as schedules
from optim.against_torch import settings

theirs = torch.optim.lr_scheduler
STEPS = 100


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Torch warns when schedules are stepped without their optimizer, and where it deprecates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def pair(name: str = "SGD", **options: Any) -> tuple[Any, Any]:
    """An optimizer of ours and one of torch's, with two groups."""
    rates = [0.5, 0.02]
    mine = [{"params": [np.zeros(2)], "lr": lr} for lr in rates]
    other = [{"params": [torch.zeros(2, requires_grad=True)], "lr": lr} for lr in rates]
    return getattr(ours, name)(mine, **options), getattr(torch.optim, name)(other, **options)


def options_of(optimizer: Any) -> list[float]:
    found = []
    for h in optimizer.param_groups:
        found.append(float(h["lr"]))
        found.append(float(h["momentum"] if "momentum" in h else h["betas"][0]))
    return found


def compare(
    make: Callable[[Any, Any], Any], steps: int = STEPS, name: str = "SGD", **options: Any
) -> None:
    """`make(module, optimizer)` makes the same schedule in both libraries."""
    mine, other = pair(name, **options)
    a, b = make(schedules, mine), make(theirs, other)
    for step in range(steps):
        np.testing.assert_allclose(
            options_of(mine), options_of(other), rtol=1e-13, atol=1e-300, err_msg=str(step)
        )
        assert a.get_last_lr() == [h["lr"] for h in mine.param_groups]
        a.step()
        b.step()


CASES: list[tuple[str, dict[str, Any]]] = [
    ("LambdaLR", {"lr_lambda": lambda t: 0.95**t}),
    ("LambdaLR", {"lr_lambda": [lambda t: 0.95**t, lambda t: 1 / (1 + t)]}),
    ("MultiplicativeLR", {"lr_lambda": lambda t: 1 - 0.5 / (t + 1)}),
    ("MultiplicativeLR", {"lr_lambda": [lambda t: 0.9, lambda t: 0.99]}),
    ("StepLR", {"step_size": 7}),
    ("StepLR", {"step_size": 1, "gamma": 0.9}),
    ("MultiStepLR", {"milestones": [3, 10, 10, 60], "gamma": 0.5}),
    ("MultiStepLR", {"milestones": (60, 3)}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.7, "total_iters": 20}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.5, "total_iters": 30}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 150}),
    ("ExponentialLR", {"gamma": 0.97}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 70, "power": 2.5}),
    ("CosineAnnealingLR", {"T_max": 100}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.001}),
    ("CosineAnnealingWarmRestarts", {"T_0": 10}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.001}),
    *[
        ("CyclicLR", {"base_lr": 0.01, "max_lr": [0.2, 0.5], **o})
        for o in settings(
            step_size_up=[8],
            step_size_down=[None, 3],
            mode=["triangular", "triangular2", "exp_range"],
            gamma=[0.98],
            cycle_momentum=[True, False],
        )
    ],
    (
        "CyclicLR",
        {"base_lr": [0.01, 0.1], "max_lr": 0.5, "step_size_up": 5, "scale_fn": lambda c: 1 / c},
    ),
    (
        "CyclicLR",
        {
            "base_lr": 0.1,
            "max_lr": 0.5,
            "step_size_up": 5,
            "scale_fn": lambda t: 0.9**t,
            "scale_mode": "iterations",
        },
    ),
    (
        "CyclicLR",
        {
            "base_lr": 0.1,
            "max_lr": 0.5,
            "step_size_up": 5,
            "base_momentum": [0.5, 0.6],
            "max_momentum": 0.99,
        },
    ),
    *[
        ("OneCycleLR", {"max_lr": [0.5, 0.1], "total_steps": 101, **o})
        for o in settings(
            anneal_strategy=["cos", "linear"],
            three_phase=[False, True],
            cycle_momentum=[True, False],
            pct_start=[0.3, 0.45],
        )
    ],
    (
        "OneCycleLR",
        {
            "max_lr": 0.5,
            "epochs": 10,
            "steps_per_epoch": 11,
            "div_factor": 10.0,
            "final_div_factor": 100.0,
        },
    ),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_a_hundred_rates_and_momenta_are_those_of_torch(
    name: str, options: dict[str, Any], optimizer: str
) -> None:
    extra = {"momentum": 0.9} if optimizer == "SGD" else {}
    compare(lambda m, o: getattr(m, name)(o, **options), name=optimizer, **extra)


def test_swalr_is_that_of_torch() -> None:
    for options in settings(
        swa_lr=[0.05, [0.05, 0.1]], anneal_epochs=[0, 1, 10], anneal_strategy=["cos", "linear"]
    ):
        mine, other = pair()
        a = schedules.SWALR(mine, **options)
        b = torch.optim.swa_utils.SWALR(other, **options)
        for _ in range(20):
            np.testing.assert_allclose(options_of(mine), options_of(other), rtol=1e-12)
            a.step()
            b.step()


CHAINS: list[Callable[[Any, Any], Any]] = [
    lambda m, o: m.ChainedScheduler([m.ConstantLR(o, 0.1, 10), m.ExponentialLR(o, 0.9)]),
    lambda m, o: m.ChainedScheduler(
        [m.LinearLR(o, 0.2, total_iters=4), m.StepLR(o, 3, 0.5), m.CosineAnnealingLR(o, 50)], o
    ),
    lambda m, o: m.ChainedScheduler(
        [
            m.MultiStepLR(o, [5, 50]),
            m.PolynomialLR(o, 80, 2.0),
            m.MultiplicativeLR(o, lambda t: 0.99),
        ]
    ),
    lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, total_iters=5), m.CosineAnnealingLR(o, 40)], [5]
    ),
    lambda m, o: m.SequentialLR(
        o, [m.ConstantLR(o, 0.1, 20), m.ExponentialLR(o, 0.9), m.StepLR(o, 4, 0.5)], [20, 40]
    ),
    lambda m, o: m.SequentialLR(o, [m.ExponentialLR(o, 0.9)], []),
    lambda m, o: m.SequentialLR(o, [m.ConstantLR(o, 0.1, 20), m.ExponentialLR(o, 0.9)], [0]),
    lambda m, o: m.SequentialLR(
        o,
        [
            m.SequentialLR(o, [m.LinearLR(o, 0.5, total_iters=3), m.ExponentialLR(o, 0.9)], [3]),
            m.StepLR(o, 10),
        ],
        [30],
    ),
    lambda m, o: m.SequentialLR(
        o,
        [
            m.CosineAnnealingWarmRestarts(o, 5),
            m.PolynomialLR(o, 60),
            m.LambdaLR(o, lambda t: 0.5**t),
        ],
        [13, 70],
    ),
]


@pytest.mark.parametrize("make", CHAINS)
def test_chains_and_sequences_are_those_of_torch(make: Callable[[Any, Any], Any]) -> None:
    compare(make)


def test_a_chain_or_a_sequence_begins_anew_inside_a_sequence() -> None:
    optimizer, _ = pair()
    m = schedules
    chain = m.ChainedScheduler([m.ConstantLR(optimizer, 0.5, 2), m.ExponentialLR(optimizer, 0.1)])
    inner = m.SequentialLR(
        optimizer, [m.ConstantLR(optimizer, 0.5, 9), m.StepLR(optimizer, 1)], [1]
    )
    outer = m.SequentialLR(optimizer, [m.LinearLR(optimizer), chain, inner], [2, 5])
    rates = []
    for _ in range(9):
        rates.append(optimizer.param_groups[0]["lr"])
        outer.step()
    np.testing.assert_allclose(rates[2:], [0.25, 0.025, 0.005, 0.25, 0.5, 0.05, 0.005])


@pytest.mark.parametrize(
    "options",
    [
        *settings(
            mode=["min", "max"],
            threshold_mode=["rel", "abs"],
            threshold=[1e-4, 0.1],
            patience=[0, 3],
            cooldown=[0, 2],
        ),
        {"factor": 0.5, "min_lr": [0.1, 0.001]},
        {"factor": 0.5, "min_lr": 0.01, "eps": 0.05},
    ],
    ids=str,
)
def test_the_plateau_is_that_of_torch(options: dict[str, Any]) -> None:
    mine, other = pair()
    a, b = schedules.ReduceLROnPlateau(mine, **options), theirs.ReduceLROnPlateau(other, **options)
    rng = np.random.default_rng(0)
    for step in range(STEPS):
        metric = math.sin(step / 10) + 0.1 * rng.normal() - 0.01 * step
        a.step(np.asarray(metric))
        b.step(metric)
        assert options_of(mine)[0] == options_of(other)[0]
        assert a.get_last_lr() == b.get_last_lr()
        assert (a.best, a.num_bad_epochs) == (b.best, b.num_bad_epochs)


def test_a_metric_that_is_nan_is_no_improvement() -> None:
    mine, other = pair()
    a, b = (
        schedules.ReduceLROnPlateau(mine, patience=2),
        theirs.ReduceLROnPlateau(other, patience=2),
    )
    for metric in (1.0, math.nan, math.nan, math.nan, 0.5, math.inf):
        a.step(metric)
        b.step(metric)
        assert mine.param_groups[0]["lr"] == other.param_groups[0]["lr"]


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_saved_schedule_goes_on(name: str, options: dict[str, Any]) -> None:
    whole, _ = pair(momentum=0.9)
    schedule = getattr(schedules, name)(whole, **options)
    for _ in range(23):
        schedule.step()
    first, second = whole.state_dict(), schedule.state_dict()

    fresh, _ = pair(momentum=0.9)
    resumed = getattr(schedules, name)(fresh, **options)
    fresh.load_state_dict(first)
    resumed.load_state_dict(second)
    for _ in range(30):
        assert options_of(fresh) == options_of(whole)
        assert resumed.get_last_lr() == schedule.get_last_lr()
        schedule.step()
        resumed.step()


@pytest.mark.parametrize("make", CHAINS)
def test_saved_chains_and_sequences_go_on(make: Callable[[Any, Any], Any]) -> None:
    whole, _ = pair()
    schedule = make(schedules, whole)
    for _ in range(17):
        schedule.step()
    fresh, _ = pair()
    resumed = make(schedules, fresh)
    resumed.load_state_dict(schedule.state_dict())
    fresh.load_state_dict(whole.state_dict())
    for _ in range(60):
        assert options_of(fresh) == options_of(whole)
        schedule.step()
        resumed.step()


@pytest.mark.parametrize(
    ("name", "options"),
    CASES,
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_last_epoch_goes_on_as_in_torch(name: str, options: dict[str, Any]) -> None:
    mine, other = pair(momentum=0.9)
    a, b = getattr(schedules, name)(mine, **options), getattr(theirs, name)(other, **options)
    for _ in range(9):
        a.step()
        b.step()
    a = getattr(schedules, name)(mine, **options, last_epoch=a.last_epoch)
    b = getattr(theirs, name)(other, **options, last_epoch=b.last_epoch)
    for _ in range(20):
        np.testing.assert_allclose(options_of(mine), options_of(other), rtol=1e-12)
        a.step()
        b.step()


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_jump_to_an_epoch_is_that_of_torch(name: str, options: dict[str, Any]) -> None:
    mine, other = pair(momentum=0.9)
    a, b = getattr(schedules, name)(mine, **options), getattr(theirs, name)(other, **options)
    for epoch in (5, 2, 50, 51):
        if name == "MultiplicativeLR" and epoch < 5:
            continue
        a.step(epoch)
        b.step(epoch)
        np.testing.assert_allclose(options_of(mine), options_of(other), rtol=1e-12)


def test_restarts_take_fractions_of_epochs() -> None:
    mine, other = pair()
    a = schedules.CosineAnnealingWarmRestarts(mine, 3, 2)
    b = theirs.CosineAnnealingWarmRestarts(other, 3, 2)
    for epoch in np.arange(0, 30, 0.25).tolist():
        a.step(epoch)
        b.step(epoch)
        np.testing.assert_allclose(options_of(mine)[0], options_of(other)[0], rtol=1e-12)


def test_a_rate_set_by_hand_is_kept_by_what_follows() -> None:
    mine, other = pair()
    a, b = schedules.ExponentialLR(mine, 0.5), theirs.ExponentialLR(other, 0.5)
    for h in (*mine.param_groups, *other.param_groups):
        h["lr"] = 8.0
    a.step()
    b.step()
    assert mine.lr == 4
    assert options_of(mine)[0] == options_of(other)[0]


def test_a_rate_that_is_an_array_is_written_in_place(xp: Any) -> None:
    lr = xp.asarray(0.5, dtype=xp.float64)
    optimizer = ours.SGD([xp.asarray([1.0])], lr=lr)
    schedule = schedules.StepLR(optimizer, 1, 0.5)
    schedule.step()
    assert optimizer.param_groups[0]["lr"] is lr
    assert float(lr) == 0.25
    assert float(schedule.base_lrs[0]) == 0.5
    plateau = schedules.ReduceLROnPlateau(optimizer, patience=0)
    plateau.step(1.0)
    plateau.step(1.0)
    assert float(lr) == 0.025


@pytest.mark.parametrize("decay", ["constant", "linear", "cosine", "inverse_sqrt"])
def test_warm_up_follows_its_formula(decay: Any) -> None:
    optimizer, _ = pair()
    schedule = schedules.WarmupLR(optimizer, 4, 12, decay=decay, start_factor=0.2, end_factor=0.1)
    rates = []
    for _ in range(16):
        rates.append(optimizer.param_groups[0]["lr"] / 0.5)
        schedule.step()
    np.testing.assert_allclose(rates[:5], [0.2, 0.4, 0.6, 0.8, 1.0])
    t = np.arange(4, 16)
    u = np.minimum((t - 4) / 8, 1)
    wanted = {
        "constant": np.ones(12),
        "linear": 0.1 + 0.9 * (1 - u),
        "cosine": 0.1 + 0.9 * (1 + np.cos(np.pi * u)) / 2,
        "inverse_sqrt": np.sqrt(4 / t),
    }
    np.testing.assert_allclose(rates[4:], wanted[decay])


def test_a_cycle_without_a_rise_has_no_gap() -> None:
    optimizer, _ = pair()
    schedule = schedules.OneCycleLR(
        optimizer, 0.5, total_steps=10, pct_start=0.1, cycle_momentum=False
    )
    assert optimizer.param_groups[0]["lr"] == 0.5
    schedule.step()
    assert optimizer.param_groups[0]["lr"] < 0.5


def test_a_schedule_of_ones_own_defines_get_lr() -> None:
    class Halving(schedules.LRScheduler):
        def get_lr(self) -> list[Any]:
            return [base / 2**self.last_epoch for base in self.base_lrs]

    optimizer, _ = pair()
    schedule = Halving(optimizer)
    schedule.step()
    schedule.step()
    assert optimizer.lr == [0.125, 0.005]


@pytest.mark.parametrize(
    "name",
    sorted({name for name, _ in CASES} | {"ReduceLROnPlateau", "SequentialLR", "ChainedScheduler"}),
)
def test_signatures_are_torchs(name: str) -> None:
    mine = inspect.signature(getattr(schedules, name)).parameters.values()
    other = inspect.signature(getattr(theirs, name)).parameters.values()
    assert [(p.name, p.kind, p.default) for p in mine] == [
        (p.name, p.kind, p.default) for p in other
    ]


def test_a_schedule_that_ended_at_zero_can_be_loaded() -> None:
    """The last learning rate is a rounding error below 0."""
    params = [np.zeros(2)]
    opt = ours.SGD(params, lr=0.2)
    schedule = schedules.LinearLR(opt, start_factor=1.0, end_factor=0.0, total_iters=10)
    for _ in range(17):
        schedule.step()
    rate = opt.param_groups[0]["lr"]
    assert -1e-12 < rate <= 0
    again = ours.SGD(params, lr=0.2)
    again.load_state_dict(opt.state_dict())
    assert again.param_groups[0]["lr"] == rate
    state = opt.state_dict()
    state["param_groups"][0]["lr"] = -0.1
    with pytest.raises(ValueError, match=r"expected lr >= 0, got -0\.1"):
        again.load_state_dict(state)
