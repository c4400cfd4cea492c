"""The data sets of scikit-learn, and parts to train on and to test on."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.data import Dataset, Vocabulary, read_text, split
from bpgpu.errors import ArgumentError, DataError, MissingPackageError

N = 50
X, Y = np.arange(100.0).reshape(N, 2), np.arange(N) % 3


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("digits", (1797, 64), 10),
        ("iris", (150, 4), 3),
        ("wine", (178, 13), 3),
        ("breast_cancer", (569, 30), 2),
        ("diabetes", (442, 10), 0),
    ],
)
def test_the_data_sets_of_scikit_learn_are_ready_to_train_on(
    name: str, shape: tuple[int, int], classes: int
) -> None:
    pytest.importorskip("sklearn")
    data = getattr(bp.data, name)()
    x, y = data
    assert (x.shape, x.dtype, len(data.names)) == (shape, np.float32, shape[1])
    assert len(data.classes) == classes
    if classes:
        assert (y.shape, y.dtype, set(y.tolist())) == (shape[:1], np.int64, set(range(classes)))
    else:
        assert (y.shape, y.dtype) == ((shape[0], 1), np.float32)
    if name == "digits":
        assert (x.min(), x.max()) == (0, 1)


def test_without_scikit_learn_it_is_told_how_to_install_it(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingPackageError, match=r'pip install "bpgpu\[examples\]"'):
        bp.data.digits()


@pytest.mark.parametrize("stratify", [None, Y])
def test_the_parts_hold_every_row_once_and_follow_from_the_seed(xp: Any, stratify: Any) -> None:
    data = {"x": xp.asarray(X), "y": xp.asarray(Y)}
    train, test = split(data, 0.3, seed=4, stratify=stratify)
    assert (train["x"].shape, test["y"].shape) == ((35, 2), (15,))
    rows = np.concat([bp.to_numpy(part["x"])[:, 0] for part in (train, test)])
    assert sorted(rows) == sorted(X[:, 0])
    here = split({"x": X, "y": Y}, 0.3, seed=4, stratify=stratify)[1]
    np.testing.assert_array_equal(bp.to_numpy(test["x"]), here["x"])
    other = split({"x": X, "y": Y}, 0.3, seed=5, stratify=stratify)[1]
    assert not np.array_equal(here["x"], other["x"])


@pytest.mark.parametrize("test", [0.1, 0.3, 0.5, 7])
def test_stratified_parts_have_the_classes_in_proportion(test: float) -> None:
    y = np.repeat([0, 1, 7], [30, 15, 5])
    part = split(y, test, stratify=y)[1]
    share = len(part) / 50
    for c, n in ((0, 30), (1, 15), (7, 5)):
        assert abs(np.sum(part == c) - n * share) < 1


def test_a_data_set_is_split_with_its_names_and_scaled_by_the_part_to_train_on() -> None:
    x = np.float32([[1, 5], [2, 5], [3, 5], [9, 5]])
    data = Dataset((x, np.asarray([0, 1, 0, 1])), names=["a", "b"], classes=["n", "y"])
    train, test = data.split(0.25, standardize=True, stratify=False)
    assert (train.names, test.classes) == (("a", "b"), ("n", "y"))
    np.testing.assert_allclose(train.x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(train.x.std(axis=0), [1, 0], atol=1e-6)
    assert test.x.dtype == np.float32
    assert len(test.y) == 1
    assert pickle.loads(pickle.dumps(data)).names == data.names
    assert repr(data) == "Dataset(x (4, 2) float32, y (4,) int64)"


@pytest.mark.parametrize("test", [0, -1, 1.0, True, "0.2", float("nan")])
def test_a_test_part_that_is_no_share_is_refused(test: Any) -> None:
    with pytest.raises(ArgumentError, match="split: expected test as a share"):
        split(X, test)


@pytest.mark.parametrize(
    ("test", "text"),
    [(50, "50 would be to test on and 0 to train on"), (0.001, "of 50 rows, 0")],
)
def test_a_part_without_rows_is_refused(test: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        split(X, test)


def test_stratify_needs_classes() -> None:
    with pytest.raises(ArgumentError, match="stratify needs a target"):
        Dataset((X,)).split(stratify=True)
    with pytest.raises(DataError, match=r"stratify as an array of 50 classes, got \(3,\)"):
        split(X, stratify=Y[:3])


def test_text_is_read_and_numbered(tmp_path: Any) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffhé\r\nllo 😀\n".encode())
    text = read_text(tmp_path / "a.txt")
    assert text == "hé\nllo 😀\n"
    vocabulary = Vocabulary(text)
    codes = vocabulary.encode(text)
    assert (codes.dtype, codes.shape) == (np.int64, (9,))
    assert vocabulary.decode(codes) == text
    assert vocabulary.decode(codes.tolist()) == text
    assert (vocabulary.encode("").shape, vocabulary.decode([])) == ((0,), "")
    with pytest.raises(DataError, match="the character 'X' at place 1 is none of the 7 known ones"):
        vocabulary.encode("hX")
    with pytest.raises(DataError, match=r"expected numbers in \[0, 7\)"):
        vocabulary.decode([7])
    with pytest.raises(DataError, match="at least one character"):
        Vocabulary("")


def test_text_that_is_empty_or_in_another_encoding(tmp_path: Any) -> None:
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(DataError, match="is empty; there is nothing to learn from"):
        read_text(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes(b"a\nb\xe4\n")
    with pytest.raises(DataError, match=r"line 2: is not text in utf-8 .byte 0xe4"):
        read_text(tmp_path / "a.txt")
    assert read_text(tmp_path / "a.txt", encoding="latin-1") == "a\nbä\n"
