"""What the columns of a CSV file hold: numbers or words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from bpgpu.data import tables
from bpgpu.data.files import LIMIT, Location, in_words, opened_text
from bpgpu.errors import DataError


class Kind(NamedTuple):
    """What was seen of a column."""

    name: str
    is_words: bool
    different: int
    """How many different values, of words or numbers; counted up to `MANY`."""
    is_whole: bool
    """Whether all are whole numbers."""
    is_long: bool
    """Whether some are whole numbers of so many digits that float64 does not tell neighbours apart."""
    example: str
    """The first word, or else number."""


MANY = 10_000


class _Seen:
    def __init__(self) -> None:
        self.numbers = 0
        self.words = 0
        self.is_whole = True
        self.is_long = False
        self.first: dict[bool, tuple[int, str]] = {}
        """The first word and the first number, with their lines."""
        self.values: set[str] = set()

    def add(self, line: int, field: str) -> None:
        value = tables.number_in(field)
        is_number = value is not None
        self.is_whole = self.is_whole and value is not None and value.is_integer()
        if value is not None and abs(value) > 2**53 and field.lstrip("+-").isdecimal():
            self.is_long = True
        self.first.setdefault(is_number, (line, field))
        if is_number:
            self.numbers += 1
        else:
            self.words += 1
        if len(self.values) < MANY:
            self.values.add(field)


def column_kinds(
    path: Location,
    *,
    words: Sequence[str] = (),
    only: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    delimiter: str = ",",
    encoding: str = "utf-8",
) -> tuple[list[Kind], int]:
    """The columns of a file with names in its first line, and how many rows it has.

    *Parameters* `words`: columns that hold words, though some of them may look like numbers. `only`: look at these
    columns alone, as far as they are there; of the others just the names are given, as of those to `skip`.
    `delimiter`, `encoding`: as `read_csv` has them.

    *Raises* `DataError` that names line and column for a field that is empty, says NA or is infinite, and for columns
    that hold numbers in some lines and words in others; for a file without rows.
    """
    file = in_words(path)
    with opened_text(path, encoding, LIMIT) as text:
        records = tables.records(text, delimiter, file)
        table = tables.Table(file, records, True)
        seen = {
            i: _Seen()
            for i, name in enumerate(table.names)
            if name not in skip and (only is None or name in only)
        }
        count = 0
        for line, record in table.rows():
            count += 1
            for i, column in seen.items():
                field = record[i].strip()
                if field.lower() in tables.MISSING:
                    raise DataError(
                        f"{table.at(line, i)}: a value is missing ({field!r}); fill it in, or leave out the row "
                        "or the column"
                    )
                if math.isinf(tables.number_in(field) or 0.0) and table.names[i] not in words:
                    raise DataError(
                        f"{table.at(line, i)}: {field[:40]!r} is infinite, and nothing can be learnt from it; leave "
                        "the row or the column out"
                    )
                column.add(line, field)
    if not count:
        raise DataError(f"{file}: holds no rows, only the names of columns")
    return [_kind(table, i, seen.get(i, _Seen()), words) for i in range(table.width)], count


def _kind(table: Any, i: int, column: _Seen, words: Sequence[str]) -> Kind:
    name = table.names[i]
    if column.numbers and column.words and name not in words:
        (number_line, number), (line, word) = column.first[True], column.first[False]
        raise DataError(
            f"{table.at(line, i)}: {word[:40]!r} is no number, but line {number_line} has {number[:40]!r} there; put "
            "one of them right, or say that the column holds words (--words)"
        )
    is_words = bool(column.words) or name in words
    _, example = column.first.get(False) or column.first.get(True) or (0, "")
    return Kind(name, is_words, len(column.values), column.is_whole, column.is_long, example)
