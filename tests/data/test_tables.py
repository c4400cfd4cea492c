"""CSV files: numbers, words and names, and what is said about the line and the column that are wrong."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpgpu.data import DataLoader, Dataset, read_csv
from bpgpu.errors import ArgumentError, DataError, MissingFileError

IRIS = "length,width,species\n5.1,3.5,setosa\n4.9,3,setosa\n6.3,2.5,virginica\n5,2,versicolor\n"


@pytest.fixture
def path(tmp_path: Path) -> Any:
    """Writes a file and gives its path."""

    def write(text: str | bytes) -> Path:
        data = text.encode() if isinstance(text, str) else text
        (tmp_path / "t.csv").write_bytes(data)
        return tmp_path / "t.csv"

    return write


@pytest.mark.parametrize("target", ["species", 2, -1])
def test_inputs_and_a_target_of_words(path: Any, target: Any) -> None:
    data = read_csv(path(IRIS), target, categorical=["species"])
    x, y = data
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(x, np.float32([[5.1, 3.5], [4.9, 3], [6.3, 2.5], [5, 2]]))
    assert y.tolist() == [0, 0, 2, 1]
    assert data.names == ("length", "width")
    assert data.classes == ("setosa", "versicolor", "virginica")


def test_a_file_without_target_and_without_names(path: Any) -> None:
    data = read_csv(path("1,2\n3,4\n"), dtype="float64")
    assert isinstance(data, Dataset)
    assert data.y is None
    (x,) = data
    assert x.dtype == np.float64
    assert x.tolist() == [[1, 2], [3, 4]]
    assert data.names == ("0", "1")


def test_targets_of_whole_numbers_are_classes_and_others_a_column(path: Any) -> None:
    _, y = read_csv(path("a,b\n1,0\n2,1\n"), "b")
    assert (y.tolist(), y.dtype) == ([0, 1], np.int64)
    _, y = read_csv(path("a,b\n1,0\n2,1.5\n"), "b")
    assert (y.tolist(), y.dtype) == ([[0], [1.5]], np.float32)


def test_columns_are_chosen_and_words_become_codes(path: Any) -> None:
    data = read_csv(path(IRIS), "width", columns=["species", 0], categorical=["species"])
    assert data.x[:, 0].tolist() == [0, 0, 2, 1]
    assert data.names == ("species", "length")
    assert data.categories == {"species": ("setosa", "versicolor", "virginica")}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_blank_lines_quotes_spaces_and_the_mark_of_utf8(path: Any, end: str) -> None:
    text = '\ufeff"a","b, c"\n1,"2"\n\n 3 ,4e0\n'.replace("\n", end)
    data = read_csv(path(text))
    assert data.names == ("a", "b, c")
    assert data.x.tolist() == [[1, 2], [3, 4]]


def test_other_delimiters_encodings_and_packing(path: Any) -> None:
    latin = read_csv(path("ä;b\n1;2\n".encode("latin-1")), delimiter=";", encoding="latin-1")
    assert latin.names == ("ä", "b")
    wide = read_csv(path("a\tb\n1\t2\n".encode("utf-16")), delimiter="\t", encoding="utf-16")
    assert wide.x.tolist() == [[1, 2]]
    assert read_csv(path(gzip.compress(b"a,b\n1,2\n", mtime=0))).x.tolist() == [[1, 2]]


@pytest.mark.parametrize("word", ["", "?", "NA", "nan", "NULL", " "])
def test_missing_numbers_are_an_error_or_replaced(path: Any, word: str) -> None:
    text = f"a,b\n1,2\n{word},4\n"
    with pytest.raises(
        DataError, match=r"line 3, column 'a': a number is missing .* pass missing="
    ):
        read_csv(path(text))
    assert read_csv(path(text), missing=-1).x.tolist() == [[1, 2], [-1, 4]]
    assert np.isnan(read_csv(path(text), missing=float("nan")).x[1, 0])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "holds no rows"),
        ("\n\n", {}, "holds no rows"),
        ("a,b\n", {}, "holds no rows, only the names of columns"),
        ("a,b\n1,2\n3\n", {}, "line 3: expected 2 fields, as line 1 has, got 1; check the delimiter"),
        ("a,b\n1,2\n3,4,5\n", {}, "line 3: expected 2 fields, as line 1 has, got 3"),
        (IRIS, {}, "line 2, column 'species': expected a number, got 'setosa'; name the column in categorical"),
        ("a,b\n1,2\n\n3,x\n", {}, "line 4, column 'b': expected a number, got 'x'"),
        ("1,2\n3,x\n", {}, "line 2, column '1': expected a number, got 'x'"),
        ('a,b\n"1\n",2\n3,x\n', {}, "line 4, column 'b': expected a number, got 'x'"),
        ("a\n1_000\n", {}, "line 2, column 'a': expected a number, got '1_000'"),
        ("a\n" + "9" * 50 + "\n", {}, "line 2, column 'a': 1e\\+50 is too large for float32; scale the column"),
        ("a\n" + "x" * 100 + "\n", {}, "got 'x{40}...'"),
        ("a,b\n1,\n", {"categorical": ["b"]}, "line 2, column 'b': a word is missing"),
        ('a,b\n1,"2\n', {}, "line 2: unexpected end of data"),
        ('a,b\n1,"2"x\n', {}, "line 2: ',' expected after '\"'"),
        ("a,b\n1," + "2" * 200_000 + "\n", {}, "line 2: field larger than field limit"),
        (b"a,b\n1,2\n\xff,3\n", {}, "line 3: is not text in utf-8 .byte 0xff: invalid start byte.; give its encoding"),
        ("a\n1\n", {"target": "a"}, "no column left for x"),
        (gzip.compress(b"a\n1\n", mtime=0)[:-5], {}, "the gzip file is damaged or cut off"),
        (gzip.compress(b"a\n" + b"1\n" * 10_000, mtime=0), {"max_bytes": 100}, "holds more than 100 bytes"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_told_with_its_place(
    path: Any, text: Any, options: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_csv(path(text), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "spezies"}, "target: there is no column named 'spezies'; the columns are 'length', 'width'"),
        ({"target": 3}, "target: there is no column 3, only 3 of them"),
        ({"target": True}, "target: expected the name or the number of a column, got True"),
        ({"columns": "width"}, r"columns: expected a list of columns, got 'width'; write \['width'\]"),
        ({"target": 0, "columns": [0]}, "columns: 0 is the target"),
        ({"delimiter": ""}, "delimiter: expected one character"),
        ({"delimiter": "ab"}, "delimiter: expected one character"),
        ({"encoding": "utf-9"}, "encoding: expected one of Python's text encodings, got 'utf-9'"),
        ({"encoding": "hex"}, "encoding: expected one of Python's text encodings, got 'hex'"),
        ({"dtype": "int32"}, "dtype: expected float32 or float64"),
        ({"missing": "0"}, "missing: expected a number"),
    ],
)  # fmt: skip
def test_arguments_that_are_wrong_are_named(path: Any, options: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        read_csv(path(IRIS), **options)


def test_two_columns_of_one_name_cannot_be_told_apart(path: Any) -> None:
    with pytest.raises(ArgumentError, match="there are several columns named 'a'"):
        read_csv(path("a,a\n1,2\n"), "a")
    assert read_csv(path("a,a\n1,2\n"), 1).x.tolist() == [[1]]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no file"):
        read_csv(tmp_path / "no.csv")


def test_what_is_read_goes_into_a_loader(path: Any) -> None:
    data = read_csv(path(IRIS), "species", categorical=["species"])
    for batch in DataLoader(data, 2):
        assert type(batch) is tuple
        assert batch[0].shape == (2, 2)
