"""A network for the columns of a table: how words and numbers become inputs, and outputs become answers.

A column of numbers is shifted and scaled to mean 0 and standard deviation 1 over the rows that are trained on; one of
words becomes a column of 0 and 1 for each of its words. All of it is kept beside the weights in one file.
"""

from __future__ import annotations

import difflib
import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import bpgpu as bp
from bpgpu.data import read_csv
from bpgpu.data.kinds import Kind, column_kinds
from bpgpu.data.tables import number_in
from bpgpu.errors import ArgumentError, DataError

FORMAT = 1
MANY = 50
"""A column of more different words, in more than half of the rows, says nothing about the other rows."""
FEW = 20
"""A target of up to so many different whole numbers, and of two rows for each, is taken for classes."""
LARGEST = 1e30
"""Larger numbers do not survive a product in float32."""

Array = Any


@dataclass
class Column:
    """One input column."""

    name: str
    words: list[str] | None
    """The words, of which each becomes an input; `None` for numbers."""
    mean: float = 0.0
    scale: float = 1.0


@dataclass
class Recipe:
    """All that is needed besides the weights to answer for new rows."""

    target: str
    classes: list[str] | None
    """The names of the classes, or `None` for a number."""
    columns: list[Column]
    hidden: list[int]
    mean: float = 0.0
    scale: float = 1.0
    """Of the target, if it is a number."""

    def model(self, dropout: float = 0.0) -> Any:
        """The network: linear maps with relu between them."""
        inputs = sum(len(c.words) if c.words is not None else 1 for c in self.columns)
        widths = [inputs, *self.hidden, len(self.classes) if self.classes else 1]
        layers: list[Any] = []
        for i, o in itertools.pairwise(widths):
            layers += [bp.nn.Linear(i, o), bp.nn.ReLU(), bp.nn.Dropout(dropout)]
        return bp.nn.Sequential(*layers[:-2])

    def inputs(self, data: Any) -> tuple[Array, dict[str, list[str]]]:
        """The inputs `(N, F)` for the columns of a data set, and the words that are new, by column."""
        xp = bp.array_namespace(data.x)
        parts, strange = [], {}
        for i, column in enumerate(self.columns):
            x = data.x[:, i]
            if column.words is None:
                x = (x - column.mean) / column.scale
                _check_size(column.name, x)
                parts.append(xp.astype(xp.reshape(x, (-1, 1)), xp.float32))
                continue
            here = data.categories[column.name]
            known = {word: k for k, word in enumerate(column.words)}
            new = [word for word in here if word not in known]
            if new:
                strange[column.name] = new
            place = xp.asarray([known.get(word, -1) for word in here], dtype=xp.int64)
            codes = place[xp.astype(x, xp.int64)]
            ones = codes[:, None] == xp.arange(len(column.words))[None, :]
            parts.append(xp.astype(ones, xp.float32))
        return xp.concat(parts, axis=1), strange

    def saved(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}


def recipe_of(saved: Any, path: str) -> Recipe:
    """The recipe in a file."""
    if isinstance(saved, dict) and saved.get("format", FORMAT) != FORMAT:
        raise ArgumentError(f"'{path}' was written by another version of bpgpu; train it again")
    try:
        content = dict(saved)
        content.pop("format")
        columns = [Column(**column) for column in content.pop("columns")]
        recipe = Recipe(columns=columns, **content)
        sound = _is_sound(recipe)
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise ArgumentError(
            f"'{path}' holds no model of a table; it should be a file of 'bpgpu train'"
        )
    return recipe


def _is_sound(recipe: Any) -> bool:
    """Whether all parts are of their types; files are written by others too."""
    parts = (recipe, *recipe.columns)
    return (
        isinstance(recipe.target, str)
        and _are_words(recipe.classes)
        and all(isinstance(c.name, str) and _are_words(c.words) for c in recipe.columns)
        and all(isinstance(units, int) and units > 0 for units in recipe.hidden)
        and all(isinstance(n, float | int) and n == n for p in parts for n in (p.mean, p.scale))
    )


def _are_words(x: Any) -> bool:
    return x is None or (isinstance(x, list) and all(isinstance(word, str) for word in x))


# ---- reading


class Source(NamedTuple):
    """A CSV file, and how it is read."""

    path: str
    delimiter: str = ","
    encoding: str = "utf-8"

    def kinds(
        self, words: list[str], only: list[str] | None = None, skip: Sequence[str] = ()
    ) -> tuple[list[Kind], int]:
        """What its columns hold, and how many rows it has."""
        how = {"delimiter": self.delimiter, "encoding": self.encoding}
        return column_kinds(self.path, words=words, only=only, skip=skip, **how)


def examined(
    source: Source, target: str, task: str, drop: list[str], words: list[str]
) -> tuple[list[Kind], Kind, bool]:
    """The columns that are inputs, the target, and whether it is a class; all of it checked."""
    if target in drop:
        raise ArgumentError(f"--drop: '{target}' is the target")
    kinds, rows = source.kinds(words, skip=drop)
    names = [kind.name for kind in kinds]
    check_column("--target", target, names)
    for name in drop:
        check_column("--drop", name, list(dict.fromkeys(names)))
    for name in words:
        check_column("--words", name, names)
    goal = kinds[names.index(target)]
    inputs = [kind for kind in kinds if kind.name not in (target, *drop)]
    if not inputs:
        raise ArgumentError(f"there is no column left to predict '{target}' from")
    for kind in inputs:
        check_column("the table", kind.name, names)
        if kind.is_words and kind.different > max(MANY, rows // 2):
            raise DataError(
                f"column '{kind.name}' has {kind.different} different words in {rows} rows, which say nothing about "
                f"other rows; leave it out with --drop '{kind.name}'{_nearly_a_number(kind.example)}"
            )
    return inputs, goal, _is_class(goal, task, rows)


def _nearly_a_number(text: str) -> str:
    """What else can be done about words such as 1,5 or 30%."""
    if (
        any(mark in text for mark in ",%$€ ")
        and number_in("".join(text.split()).strip("%$€").replace(",", ".", 1)) is not None
    ):
        return f", or write its numbers as 1234.5 instead of '{text[:40]}'"
    return ""


def check_column(what: str, name: str, names: list[str]) -> None:
    """Raise unless there is exactly one column of this name."""
    if names.count(name) == 1:
        return
    if name in names:
        raise ArgumentError(
            f"{what}: several columns are named '{name}'; rename them, or leave them out"
        )
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    folded = {other.casefold(): other for other in names}
    near = difflib.get_close_matches(name.casefold(), folded, 1)
    meant = f" Did you mean '{folded[near[0]]}'?" if near else ""
    if all(number_in(other) is not None for other in names):
        meant = " The first line of the file should name the columns."
    for mark, option in ((";", "';'"), ("\t", "tab"), ("|", "'|'")):
        if len(names) == 1 and mark in names[0]:
            meant = f" If fields end with {option}, say --delimiter {option}."
    raise ArgumentError(f"{what}: there is no column '{name}'; the columns are {shown}.{meant}")


def _is_class(goal: Kind, task: str, rows: int) -> bool:
    if task == "regression" and goal.is_words:
        raise ArgumentError(
            f"--task regression: the target '{goal.name}' holds words; leave --task out, or choose a column of numbers"
        )
    if task == "classification" and not (goal.is_words or goal.is_whole):
        raise ArgumentError(
            f"--task classification: the target '{goal.name}' holds numbers that are not whole; leave --task out, or "
            f"say --words '{goal.name}'"
        )
    if goal.different == 1:
        raise DataError(
            f"the target '{goal.name}' is the same in all rows; there is nothing to learn"
        )
    if goal.is_long and not goal.is_words:
        raise DataError(
            f"the target '{goal.name}' holds whole numbers of more than 15 digits, such as {goal.example[:40]}, which "
            f"are not told apart; say --words '{goal.name}' if they are names, or else write fewer digits"
        )
    few = goal.is_whole and goal.different <= min(FEW, rows // 2)
    is_class = task == "classification" or (task == "auto" and (goal.is_words or few))
    if is_class and goal.different > max(2, rows // 2):
        raise DataError(
            f"the target '{goal.name}' has {goal.different} classes in {rows} rows, too few of each to learn from; "
            "choose another column, or one of numbers with --task regression"
        )
    return is_class


def read(source: Source, inputs: list[Kind], goal: Kind | None) -> Any:
    """The columns as a data set, words as numbers."""
    every = [*inputs, *([] if goal is None else [goal])]
    data = read_csv(
        source.path,
        None if goal is None else goal.name,
        columns=[kind.name for kind in inputs],
        categorical=[kind.name for kind in every if kind.is_words],
        header=True,
        delimiter=source.delimiter,
        encoding=source.encoding,
        dtype="float64",  # seconds since 1970 differ by less than float32 can tell
    )
    for i, kind in enumerate(inputs):
        _check_size(kind.name, data.x[:, i])
    if goal is not None:
        _check_size(goal.name, data.y)
    return data


def classes_of(data: Any, goal: Kind) -> tuple[Array, list[str]]:
    """The target as numbers of classes, and their names."""
    if goal.is_words:
        return data.y, list(data.classes)
    xp = bp.array_namespace(data.y)
    found = xp.unique_inverse(data.y)
    return found.inverse_indices, [str(int(value)) for value in found.values]


def columns_of(train: Array, data: Any, inputs: list[Kind]) -> list[Column]:
    """How each column becomes inputs, from the rows that are trained on."""
    columns = []
    for i, kind in enumerate(inputs):
        if kind.is_words:
            columns.append(Column(kind.name, list(data.categories[kind.name])))
        else:
            mean, scale = spread(train[:, i])
            columns.append(Column(kind.name, None, mean, scale))
    return columns


def spread(x: Array) -> tuple[float, float]:
    """Mean and standard deviation. The latter is infinite for numbers that are all the same: whatever the column holds
    in other rows then counts as the mean, for nothing was learnt of it."""
    xp = bp.array_namespace(x)
    if float(xp.min(x)) == float(xp.max(x)):
        return float(x[0]), math.inf
    return float(xp.mean(x)), float(xp.std(x)) or 1.0


def _check_size(name: str, x: Array) -> None:
    xp = bp.array_namespace(x)
    if float(xp.max(xp.abs(xp.astype(x, xp.float64)))) > LARGEST:
        raise DataError(
            f"column '{name}' has numbers that are too large, beyond {LARGEST:g}; scale the column"
        )


def checked_output(option: str, path: str) -> None:
    """Raise if a file could not be written there, before any work is done."""
    place = Path(path)
    folder = place.parent
    try:
        place.exists()
    except OSError as error:
        raise ArgumentError(f"{option}: '{path}': {error.strerror or error}") from None
    if place.is_dir():
        raise ArgumentError(f"{option}: '{path}' is a folder; give the name of a file")
    if place.exists() and not place.is_file():
        raise ArgumentError(f"{option}: '{path}' is a device or a pipe; give the name of a file")
    if not folder.is_dir():
        raise ArgumentError(f"{option}: there is no folder '{folder}'; make it first")
    if not os.access(place if place.exists() else folder, os.W_OK):
        raise ArgumentError(f"{option}: '{path}' may not be written; choose another folder")


def check_apart(files: dict[str, str | None]) -> None:
    """Raise if two of these, by what they are, would be the same file."""
    places: dict[str, str] = {}
    for what, path in files.items():
        if path is None:
            continue
        place = os.path.normcase(os.path.realpath(path))
        if place in places:
            raise ArgumentError(
                f"{what}: '{path}' is {places[place]} too, and would be written over; give another name"
            )
        places[place] = what
