"""The curves of a training: what is drawn, and what is told where nothing can be."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpgpu.errors import ArgumentError, MissingFileError, MissingPackageError
from bpgpu.plot import plot

matplotlib = pytest.importorskip("matplotlib")

HISTORY = {"loss": [2.0, 1.5, 1.2], "accuracy": [0.3, 0.5, 0.6]}
VALIDATED = {**HISTORY, "val_loss": [1.9, 1.6, 1.4], "val_accuracy": [0.4, 0.45, 0.5]}


def titles(figure: Any) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def labels(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def points(axes: Any, i: int = 0) -> list[list[float]]:
    return [list(map(float, line)) for line in axes.lines[i].get_data()]


@pytest.mark.parametrize("prefix", ["val_", "validation_", "validation "])
def test_each_quantity_has_a_panel_with_training_and_validation(prefix: str) -> None:
    figure = plot({name.replace("val_", prefix): values for name, values in VALIDATED.items()})
    assert titles(figure) == ["loss", "accuracy"]
    assert labels(figure.axes[0]) == ["training 1.2", "validation 1.4"]
    assert points(figure.axes[0], 1) == [[1, 2, 3], [1.9, 1.6, 1.4]]


def test_a_quantity_without_validation_has_one_curve() -> None:
    assert labels(plot(HISTORY).axes[1]) == ["training 0.6"]


def test_the_figure_needs_no_display_and_no_pyplot(tmp_path: Path) -> None:
    figure = plot(VALIDATED, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert isinstance(figure, matplotlib.figure.Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")  # what a notebook shows


def test_one_epoch_is_a_dot_in_the_middle() -> None:
    (axes,) = plot({"loss": [0.5], "val_loss": [0.6]}).axes
    assert axes.get_xlim() == (0.5, 1.5)
    assert all(line.get_marker() == "o" for line in axes.lines)


def test_many_epochs_have_lines_without_dots() -> None:
    (axes,) = plot({"loss": [1 + 1 / i for i in range(1, 200)]}).axes
    assert axes.lines[0].get_marker() == "None"


def test_nan_and_infinity_are_gaps_that_are_marked() -> None:
    (axes,) = plot({"loss": [3.0, math.nan, 1.0, math.inf, -math.inf]}).axes
    assert [math.isnan(y) for y in points(axes)[1]] == [False, True, False, True, True]
    assert labels(axes) == ["training -inf", "NaN or infinity (3)"]
    assert points(axes, 1)[0] == [2, 4, 5]


def test_a_lonely_value_among_many_is_a_dot() -> None:
    (axes,) = plot({"loss": [math.nan, 1.0, math.nan] + [2.0] * 100}).axes
    assert axes.lines[0].get_marker() == "o"


def test_a_column_of_nan_only_has_its_panel() -> None:
    figure = plot({"loss": [math.nan] * 3, "accuracy": [0.1, 0.2, 0.3]})
    assert titles(figure) == ["loss", "accuracy"]
    assert labels(figure.axes[0]) == ["training nan", "NaN or infinity (3)"]
    figure._repr_png_()


def test_missing_values_are_passed_over() -> None:
    (axes,) = plot({"loss": [3.0, 2.0, 1.0], "val_loss": [None, 2.5, None]}).axes
    assert points(axes, 1) == [[2], [2.5]]


def test_a_column_that_began_or_ended_early_is_drawn_as_far_as_it_goes() -> None:
    (axes,) = plot({"loss": [3.0, 2.0, 1.0], "val_loss": [2.5, 2.0]}).axes
    assert points(axes, 1) == [[1, 2], [2.5, 2.0]]


def test_the_epochs_may_be_numbered() -> None:
    figure = plot({"epoch": [10, 20, 30], "loss": [3.0, 2.0, 1.0]})
    assert titles(figure) == ["loss"]
    assert points(figure.axes[0])[0] == [10, 20, 30]


def test_a_wide_range_has_a_logarithmic_axis_and_says_so() -> None:
    figure = plot({"loss": [10.0, 1.0, 0.1], "score": [-1.0, 10.0, 100.0]})
    assert titles(figure) == ["loss (logarithmic)", "score"]
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]


def test_what_is_no_number_is_left_out() -> None:
    figure = plot({**HISTORY, "confusion_matrix": [np.eye(2)] * 3, "note": ["a", "b", "c"]})
    assert titles(figure) == ["loss", "accuracy"]


def test_arrays_of_one_number_are_numbers() -> None:
    (axes,) = plot({"loss": [np.asarray(0.5), np.float32(0.25)]}).axes
    assert points(axes)[1] == [0.5, 0.25]


def test_many_panels_stand_in_rows_of_three() -> None:
    figure = plot({f"metric{i}": [1.0, 2.0] for i in range(7)})
    assert figure.axes[0].get_gridspec().get_geometry() == (3, 3)


@pytest.mark.parametrize(
    "history", [{}, {"loss": []}, {"loss": [None]}, {"epoch": [1]}, {"note": ["a"]}]
)
def test_a_history_without_numbers_is_told(history: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="expected a history with at least one epoch of number"):
        plot(history)


@pytest.mark.parametrize("history", [None, [1.0, 2.0], {"loss": 1.0}, {"loss": "low"}])
def test_what_is_no_history_is_told(history: Any) -> None:
    with pytest.raises(ArgumentError, match=r"expected a dict of lists .* such as result.history"):
        plot(history)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"there is no folder '.*missing'; make it first"):
        plot(HISTORY, tmp_path / "missing" / "curves.png")


def test_a_missing_matplotlib_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingPackageError, match=r'pip install "bpgpu\[plot\]"'):
        plot(HISTORY)
