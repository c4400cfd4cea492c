"""The parameters of estimators, checked when `fit` is called, as scikit-learn wants it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state


class Bounds(NamedTuple):
    """Numbers that a parameter may be."""

    low: float
    high: float = math.inf
    above: bool = False
    """`low` itself is not allowed."""
    below: bool = False
    """`high` itself is not allowed."""
    whole: bool = False

    def hold(self, value: Any) -> bool:
        number = isinstance(value, Integral if self.whole else Real)
        if not number or isinstance(value, (bool, np.bool_)):
            return False
        x = float(value)
        over = x > self.low if self.above else x >= self.low
        return over and (x < self.high if self.below else x <= self.high)

    def __str__(self) -> str:
        what = "an integer" if self.whole else "a number"
        low = f"{'>' if self.above else '>='} {self.low:g}"
        high = f" and {'<' if self.below else '<='} {self.high:g}"
        return f"{what} {low}{'' if self.high == math.inf else high}"


NUMBERS = {
    "alpha": Bounds(0, below=True),
    "learning_rate_init": Bounds(0, above=True, below=True),
    "power_t": Bounds(0, below=True),
    "max_iter": Bounds(1, whole=True),
    "tol": Bounds(0, below=True),
    "momentum": Bounds(0, 1),
    "validation_fraction": Bounds(0, 1, below=True),
    "beta_1": Bounds(0, 1, below=True),
    "beta_2": Bounds(0, 1, below=True),
    "epsilon": Bounds(0, above=True, below=True),
    "max_fun": Bounds(1, whole=True),
    "learning_rate": Bounds(0, above=True, below=True),
    "epochs": Bounds(1, whole=True),
    "patience": Bounds(1, whole=True),
}
SWITCHES = ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping")


def check(estimator: Any, *names: str) -> None:
    """Raise `ValueError` for a number or a switch that is out of range, with its name and what it may be."""
    for name in names:
        value = getattr(estimator, name)
        if name in SWITCHES:
            if not isinstance(value, (bool, np.bool_)):
                raise wrong(estimator, name, "True or False", value)
        elif not NUMBERS[name].hold(value):
            raise wrong(estimator, name, str(NUMBERS[name]), value)


def choice(estimator: Any, name: str, *allowed: str) -> None:
    value = getattr(estimator, name)
    if not (isinstance(value, str) and value in allowed):
        raise wrong(estimator, name, f"one of {', '.join(map(repr, allowed))}", value)


def wrong(estimator: Any, name: str, expected: str, value: Any) -> ValueError:
    """The error for a parameter that is not what it may be."""
    shown = " ".join(f"{value!r:.100}".split())
    return ValueError(
        f"The {name!r} parameter of {type(estimator).__name__} must be {expected}, got {shown}"
    )


def common(estimator: Any) -> None:
    """What all estimators have and `check` has no row for."""
    shown = estimator.verbose
    if not isinstance(shown, (bool, np.bool_)) and not Bounds(0, whole=True).hold(shown):
        raise wrong(estimator, "verbose", "True, False or an integer >= 0", shown)
    if estimator.early_stopping and not estimator.validation_fraction > 0:
        raise wrong(
            estimator,
            "validation_fraction",
            "a number > 0 and < 1 with early_stopping=True",
            estimator.validation_fraction,
        )
    batch_size(estimator)


def generator(estimator: Any) -> Any:
    """The random numbers of a fit, a `numpy.random.RandomState`."""
    try:
        return check_random_state(estimator.random_state)
    except ValueError as error:
        raise wrong(
            estimator,
            "random_state",
            "an integer from 0 to 2^32 - 1, a numpy.random.RandomState or None",
            estimator.random_state,
        ) from error


def batch_size(estimator: Any) -> None:
    if estimator.batch_size != "auto" and not Bounds(1, whole=True).hold(estimator.batch_size):
        raise wrong(estimator, "batch_size", "'auto' or an integer >= 1", estimator.batch_size)


def widths(estimator: Any) -> list[int]:
    """`hidden_layer_sizes` as a list."""
    given = estimator.hidden_layer_sizes
    found = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    if not all(Bounds(1, whole=True).hold(n) for n in found):
        raise ValueError(
            f"hidden_layer_sizes must be > 0, got {given!r:.100}: the {type(estimator).__name__} expects a width for "
            "each hidden layer, as in hidden_layer_sizes=(100, 50)"
        )
    return [int(n) for n in found]


def per_layer(estimator: Any, name: str, value: Any, layers: int) -> list[Any]:
    """A value for each hidden layer: the same for all, or a list of them."""
    if not isinstance(value, (list, tuple)):
        return [value] * layers
    if len(value) != layers:
        raise ValueError(
            f"{type(estimator).__name__}: {name} has {len(value)} entries, and hidden_layer_sizes asks for {layers} "
            "hidden layers; give one for each, or one for all"
        )
    return list(value)


def dropout(estimator: Any, layers: int) -> list[float]:
    found = per_layer(estimator, "dropout", estimator.dropout, layers)
    for p in found:
        if not Bounds(0, 1, below=True).hold(p):
            raise wrong(estimator, "dropout", "a probability >= 0 and < 1, or a list of them", p)
    return [float(p) for p in found]
