"""The curves of a training, drawn with matplotlib (extra `plot`)."""

from __future__ import annotations

import functools
import importlib
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bpgpu.errors import ArgumentError, MissingFileError, MissingPackageError
from bpgpu.io import atomic

PREFIXES = ("val_", "validation_", "validation ")
"""How the names of columns begin that were measured on the validation data."""
TRAINING, VALIDATION, BROKEN = "#7f9cc0", "#d9600f", "#b3261e"
INK, FAINT = "#333333", "#e3e3e3"
ACROSS = 3
"""So many panels stand side by side."""
WIDE_RANGE = 50.0
"""A positive quantity that changes by more than this factor is drawn on a logarithmic axis."""
FEW = 40
"""Up to so many epochs, each has a dot."""


def plot(history: Mapping[str, Sequence[Any]], path: str | os.PathLike[str] | None = None) -> Any:
    """Draw the curves of a history: a panel for each quantity, training and validation together.

    *Parameters* `history`: a dict of lists with a value for each epoch, as `fit` returns it. Columns `"val_loss"`,
    `"val_accuracy"` stand with `"loss"`, `"accuracy"`; a column `"epoch"`, if there is one, numbers the epochs. `path`:
    also save the figure there, in the format that the ending says; whole, or not at all.

    *Returns* a `matplotlib.figure.Figure`. It belongs to no window and needs no display: it shows in a notebook, and
    `figure.savefig` saves it.

    *Raises* `MissingPackageError` without matplotlib; `ArgumentError` if there is nothing to draw, or for an unknown
    ending; `MissingFileError` if there is no such folder, `StorageError` if the file cannot be written.

    *Notes* The legend gives the last value. Epochs with `None` are passed over; NaN and infinity are gaps, with a red
    mark at the foot. Columns that hold no numbers (a confusion matrix) are left out. A quantity that stays positive and
    changes by more than a factor of 50 has a logarithmic axis, and says so.
    """
    figures, ticks = _matplotlib("figure"), _matplotlib("ticker")
    ending = "" if path is None else check_format("plot", path)
    columns = {name: list(values) for name, values in _checked(history).items()}
    epochs = columns.pop("epoch", None)
    panels = _panels(columns)
    if not panels:
        raise ArgumentError(
            "plot: expected a history with at least one epoch of numbers, such as {'loss': [0.7, 0.4]}, got "
            f"the columns {list(history)}; an epoch must have ended before there is a curve"
        )
    across = 2 if len(panels) == 4 else min(ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    figure = figures.Figure(figsize=(4.7 * across, 3.4 * down), dpi=120, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1, wspace=0.03, hspace=0.05)
    figure._repr_png_ = functools.partial(_drawn, figure)
    for i, (name, curves) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(down, across, i)
        _draw(axes, name, curves, epochs)
        axes.xaxis.set_major_locator(ticks.MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    if path is not None:
        atomic.write(Path(path), [_drawn(figure, ending)])
    return figure


def check_format(who: str, path: str | os.PathLike[str]) -> str:
    """The format in which a figure is saved at `path`, by its ending; an error if it could not be."""
    place = atomic.checked_path(who, path)
    known = _matplotlib("backend_bases").FigureCanvasBase.filetypes
    ending = place.suffix[1:].lower()
    if ending not in known:
        raise ArgumentError(
            f"{who}: '{path}' should end with the name of a format, such as .png, .svg or .pdf; known are "
            f"{', '.join(sorted(known))}"
        )
    if not place.parent.is_dir():
        raise MissingFileError(f"{who}: there is no folder '{place.parent}'; make it first")
    return ending


def _draw(
    axes: Any, name: str, curves: dict[str, list[float | None]], epochs: list[Any] | None
) -> None:
    """One quantity: its curves, and what is needed to read them."""
    finite = [v for values in curves.values() for v in values if v is not None and math.isfinite(v)]
    logarithmic = bool(finite) and min(finite) > 0 and max(finite) > WIDE_RANGE * min(finite)
    if logarithmic:
        axes.set_yscale("log")
    broken: set[float] = set()
    reached: list[float] = []
    for label, values in curves.items():
        known = [
            (at, v)
            for at, v in zip(_places(epochs, len(values)), values, strict=True)
            if v is not None
        ]
        x = [at for at, _ in known]
        shown = [v if math.isfinite(v) else math.nan for _, v in known]
        broken |= {at for at, v in known if not math.isfinite(v)}
        reached += x
        validated = label == "validation"
        axes.plot(
            x,
            shown,
            label=f"{label} {known[-1][1]:.4g}",
            color=VALIDATION if validated else TRAINING,
            linewidth=1.8,
            marker="o" if len(x) <= FEW or _has_lonely(shown) else None,
            markersize=5 if len(x) == 1 else 3,
            zorder=3 if validated else 2,
        )
    if broken:
        foot = axes.get_xaxis_transform()  # epochs to the right, 0 to 1 upwards
        label = f"NaN or infinity ({len(broken)})"
        marks: dict[str, Any] = {"color": BROKEN, "marker": "x", "linestyle": "none"}
        axes.plot(
            sorted(broken), [0.03] * len(broken), transform=foot, label=label, **marks, zorder=4
        )
    if not finite:
        axes.set_yticks([])
        axes.set_ylim(0, 1)
    first, last = min(reached), max(reached)
    axes.set_xlim(first - 0.5, last + max(0.5, 0.02 * (last - first)))
    _style(axes, f"{name} (logarithmic)" if logarithmic else name)


def _style(axes: Any, title: str) -> None:
    """Quiet axes, so that the curves are what one sees."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel("epoch", color=INK, fontsize=9)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8, length=0, which="both")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#aaaaaa")
    axes.margins(y=0.12)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)


# ---- numbers


def _checked(history: Any) -> Mapping[str, Sequence[Any]]:
    if isinstance(history, Mapping) and all(
        hasattr(v, "__iter__") and not isinstance(v, (str, bytes)) for v in history.values()
    ):
        return history
    raise ArgumentError(
        "plot: expected a dict of lists with a value for each epoch, such as result.history, got "
        f"{history!r:.60}"
    )


def _panels(columns: dict[str, list[Any]]) -> dict[str, dict[str, list[float | None]]]:
    """The columns that can be drawn, by quantity, and within by where they were measured."""
    panels: dict[str, dict[str, list[float | None]]] = {}
    for name, values in columns.items():
        prefix = next((p for p in PREFIXES if name.startswith(p) and name != p), "")
        numbers = _numbers(values)
        if numbers is not None:
            panel = panels.setdefault(name.removeprefix(prefix).replace("_", " "), {})
            panel["validation" if prefix else "training"] = numbers
    return panels


def _numbers(values: list[Any]) -> list[float | None] | None:
    """The values as floats, `None` where there are none; or `None` if this is no column of numbers."""
    if not any(v is not None for v in values):
        return None
    try:
        return [None if v is None else float(v) for v in values]
    except (TypeError, ValueError):
        return None


def _places(epochs: list[Any] | None, count: int) -> list[float]:
    if epochs is None:
        return [float(i) for i in range(1, count + 1)]
    known = [float(e) for e in epochs[:count]]
    after = known[-1] if known else 0.0
    return known + [after + i for i in range(1, count - len(known) + 1)]


def _has_lonely(values: list[float]) -> bool:
    """True if a value has no neighbour, so that no line would show it."""
    padded = [math.nan, *values, math.nan]
    return any(
        not math.isnan(v) and math.isnan(before) and math.isnan(after)
        for before, v, after in zip(padded, values, padded[2:], strict=False)
    )


# ---- matplotlib


def _matplotlib(part: str) -> Any:
    try:
        return importlib.import_module(f"matplotlib.{part}")
    except ImportError as error:
        raise MissingPackageError(
            f'plot needs the package matplotlib: pip install "bpgpu[plot]" ({error})'
        ) from error


def _drawn(figure: Any, ending: str = "png") -> bytes:
    """The figure as a file; without pyplot, which a notebook would need else."""
    file = io.BytesIO()
    figure.savefig(file, format=ending)
    return file.getvalue()
