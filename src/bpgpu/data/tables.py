"""CSV files: rows of numbers and words, read field by field, so that an error can name the line and the column."""

from __future__ import annotations

import csv
import itertools
import math
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from bpgpu.backend import rows
from bpgpu.backend.host import dtype_of
from bpgpu.data.dataset import Dataset
from bpgpu.data.files import LIMIT, Location, in_words, opened_text
from bpgpu.device import device
from bpgpu.errors import ArgumentError, DataError

Column = str | int

MISSING = frozenset(("", "?", "-", "na", "n/a", "#n/a", "nan", "null", "none"))
"""What stands for a number that is not there, in small letters."""

LONGEST = 1 << 24
"""Characters in a line, and in a field."""


def read_csv(
    path: Location,
    target: Column | None = None,
    *,
    columns: Sequence[Column] | None = None,
    categorical: Sequence[Column] = (),
    missing: float | None = None,
    header: bool | None = None,
    delimiter: str = ",",
    dtype: Any = "float32",
    encoding: str = "utf-8",
    max_bytes: int = LIMIT,
) -> Dataset:
    """The numbers of a CSV file, plain or packed by gzip, as `(x, y)`, or `(x,)` without a target.

    *Returns* a `Dataset`: `x` has shape (rows, columns) and the dtype; `y` has shape (rows,) and is int64 if all of the
    target are whole numbers or words, which makes them class indices; else it has shape (rows, 1) and the dtype, as a
    model with one output gives it.

    *Parameters*

    - `target`: the column to predict, by its name or its number, counted from 0 or from -1 at the end.
    - `columns`: the columns of `x` in this order; by default all others in theirs.
    - `categorical`: columns that hold words, the target perhaps among them. Each word becomes its place in the sorted
      words of the column, which `Dataset.categories` and `Dataset.classes` hold.
    - `missing`: a number to put where one is missing: an empty field, `?`, `-`, or NA, N/A, NaN, null, none in any
      letters. By default that is an error.
    - `header`: whether the first line holds names; by default it does if none of its fields is a number.
    - `delimiter`: one character. `encoding`: of the text. `dtype`: float32 or float64. `max_bytes`: what a packed
      file may unpack to.

    *Raises* `DataError` that names line and column for what is no number, is missing, or too large for the dtype, and
    for lines of different length; `ArgumentError` for a column that does not exist; `MissingFileError`, `StorageError`.

    ```
    x, y = read_csv("iris.csv", target="species", categorical=["species"])
    ```
    """
    real = _checked_dtype(dtype)
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '\r\n"':  # type: ignore[redundant-expr]
        raise ArgumentError(f"delimiter: expected one character, got {delimiter!r}")
    if missing is not None and (isinstance(missing, bool) or not isinstance(missing, (int, float))):
        raise ArgumentError(f"missing: expected a number to put in place, or None, got {missing!r}")
    with opened_text(path, encoding, max_bytes) as text:
        lines = records(text, delimiter, in_words(path))
        table = Table(in_words(path), lines, header)
        wanted = _Wanted(table.names, target, columns, categorical)
        columns_read = table.read(wanted, missing)
    xs = [columns_read[i] for i in wanted.inputs]
    x = _as_array(table, wanted.inputs, [c.numbers for c in xs], real)
    named = {table.names[i]: columns_read[i].words for i in wanted.inputs if i in wanted.words}
    names = [table.names[i] for i in wanted.inputs]
    if wanted.target is None:
        return Dataset((x,), names=names, categories=named)
    y = columns_read[wanted.target]
    xp = device("cpu").xp
    if y.is_whole:
        ys = rows.from_doubles([y.numbers], xp.int64)[:, 0]
    else:
        ys = _as_array(table, [wanted.target], [y.numbers], real)
    return Dataset((x, ys), names=names, classes=y.words, categories=named)


def _checked_dtype(dtype: Any) -> Any:
    real = dtype_of(dtype)
    if real is None or real.name not in ("float32", "float64"):
        raise ArgumentError(f"dtype: expected float32 or float64, got {dtype!r}")
    return real


def records(text: Any, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the number of its first line."""

    def lines() -> Iterator[str]:
        while line := text.readline(LONGEST + 1):
            if len(line) > LONGEST:
                raise DataError(
                    f"{name}: line {reader.line_num + 1}: longer than {LONGEST} characters; is this a CSV file?"
                )
            yield line

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = "; is a quote never closed?" if "unexpected end" in str(error) else ""
            raise DataError(f"{name}: line {line}: {error}{hint}") from None
        if record:
            yield line, record


class _ColumnRead:
    """What was read of one column."""

    def __init__(self) -> None:
        self.numbers = array("d")
        self.is_whole = True
        self.words: list[str] = []
        self.seen: dict[str, int] = {}

    def sort_words(self) -> None:
        """Number the words by their order instead of by their first appearance."""
        self.words = sorted(self.seen)
        place = {word: i for i, word in enumerate(self.words)}
        new = [float(place[word]) for word in self.seen]
        self.numbers = array("d", (new[int(i)] for i in self.numbers))


class _Wanted:
    """Which columns are read, by their numbers."""

    def __init__(
        self,
        names: list[str],
        target: Column | None,
        columns: Sequence[Column] | None,
        categorical: Sequence[Column],
    ) -> None:
        for argument, given in (("columns", columns), ("categorical", categorical)):
            if isinstance(given, str):
                raise ArgumentError(
                    f"{argument}: expected a list of columns, got {given!r}; write [{given!r}]"
                )
        self.target = None if target is None else _find("target", target, names)
        if columns is None:
            self.inputs = [i for i in range(len(names)) if i != self.target]
        else:
            self.inputs = [_find("columns", c, names) for c in columns]
        self.words = {_find("categorical", c, names) for c in categorical}
        if not self.inputs:
            raise DataError("read_csv: there is no column left for x; the target is the only one")
        if self.target in self.inputs:
            raise ArgumentError(f"columns: {target!r} is the target; it cannot be an input as well")

    def all(self) -> list[int]:
        """Each once, in the order of the file."""
        return sorted({*self.inputs, *([] if self.target is None else [self.target])})


def _find(argument: str, column: Any, names: list[str]) -> int:
    if isinstance(column, str):
        found = [i for i, name in enumerate(names) if name == column]
        if len(found) == 1:
            return found[0]
        problem = "there are several columns" if found else "there is no column"
        raise ArgumentError(
            f"{argument}: {problem} named {column!r}; the columns are {_shown(names)}"
        )
    if isinstance(column, bool) or not isinstance(column, int):
        raise ArgumentError(
            f"{argument}: expected the name or the number of a column, got {column!r}"
        )
    if not -len(names) <= column < len(names):
        raise ArgumentError(f"{argument}: there is no column {column}, only {len(names)} of them")
    return column % len(names)


def _shown(names: list[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")


class Table:
    """The rows of a file, of one length, and the names of the columns."""

    def __init__(
        self, path: str, records: Iterator[tuple[int, list[str]]], header: bool | None
    ) -> None:
        self.path, self.records = path, records
        first = next(records, None)
        if first is None:
            raise DataError(f"{path}: holds no rows")
        self.first: tuple[int, list[str]] | None = first
        self.width = len(first[1])
        self.start = first[0]
        if self._is_header(first[1]) if header is None else header:
            self.names, self.first = [field.strip() for field in first[1]], None
        else:
            self.names = [str(i) for i in range(self.width)]
        self.lines = array("q")

    def _is_header(self, fields: list[str]) -> bool:
        return all(
            number_in(field) is None and field.strip().lower() not in MISSING for field in fields
        )

    def read(self, wanted: _Wanted, missing: float | None) -> dict[int, _ColumnRead]:
        """The columns that are wanted."""
        found = {i: _ColumnRead() for i in wanted.all()}
        plan = [(i, column, i in wanted.words) for i, column in found.items()]
        for line, record in self.rows():
            self.lines.append(line)
            for i, column, holds_words in plan:
                if holds_words:
                    column.numbers.append(self._code(line, i, record[i].strip(), column))
                else:
                    column.numbers.append(self._value(line, i, record[i], column, missing))
        if not self.lines:
            raise DataError(f"{self.path}: holds no rows, only the names of columns")
        for _, column, holds_words in plan:
            if holds_words:
                column.sort_words()
        return found

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """The lines with their numbers, all of one length."""
        start = [] if self.first is None else [self.first]
        for line, record in itertools.chain(start, self.records):
            if len(record) != self.width:
                raise DataError(
                    f"{self.path}: line {line}: expected {self.width} field{'s' * (self.width != 1)}, as line "
                    f"{self.start} has, got {len(record)}; check the delimiter and quotes"
                )
            yield line, record

    def _code(self, line: int, i: int, word: str, column: _ColumnRead) -> float:
        if word.lower() in MISSING:
            raise DataError(
                f"{self.at(line, i)}: a word is missing ({word!r}); fill it in, or leave the row out"
            )
        return column.seen.setdefault(word, len(column.seen))

    def _value(
        self, line: int, i: int, field: str, column: _ColumnRead, missing: float | None
    ) -> float:
        value = number_in(field)
        if value is None or math.isnan(value):
            text = field.strip()
            if text.lower() not in MISSING:
                shown = text if len(text) <= 40 else text[:40] + "..."
                raise DataError(
                    f"{self.at(line, i)}: expected a number, got {shown!r}; name the column in categorical=[...] if it "
                    "holds words"
                )
            if missing is None:
                raise DataError(
                    f"{self.at(line, i)}: a number is missing ({text!r}); fill it in, leave the row out, or pass "
                    "missing= with a number to put there"
                )
            value = float(missing)
        column.is_whole = column.is_whole and value.is_integer() and abs(value) < 1 << 53
        return value

    def at(self, line: int, i: int) -> str:
        """A place as errors show it."""
        return f"{self.path}: line {line}, column {self.names[i][:40]!r}"


def number_in(field: str) -> float | None:
    """The number that a field is, or `None`. Python's own `1_000` is none."""
    try:
        return None if "_" in field else float(field)
    except ValueError:
        return None


def _as_array(table: Table, numbers: list[int], columns: list[Any], dtype: Any) -> Any:
    """Columns as one array, or an error for the first number that the dtype cannot hold."""
    x = rows.from_doubles(columns, dtype)
    xp = device("cpu").xp
    for i, column in zip(numbers, range(x.shape[1]), strict=True):
        infinite = xp.nonzero(xp.isinf(x[:, column]))[0]
        for row in infinite.tolist():
            value = columns[column][row]
            if not math.isinf(value):
                raise DataError(
                    f"{table.at(table.lines[row], i)}: {value} is too large for float32; scale the "
                    "column, or read it with dtype='float64'"
                )
    return x
