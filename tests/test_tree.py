"""Trees: every container, paths, structure that is kept, and trees that do not match."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict, namedtuple
from typing import Any

import numpy as np
import pytest

from bpgpu import tree
from bpgpu.errors import TreeError

Point = namedtuple("Point", "x y")


@dataclasses.dataclass(frozen=True)
class Layer:
    w: Any
    size: int = 3
    note: str = "dense"


A, B, C = np.ones(1), np.ones(2), np.ones(3)


def test_map_keeps_the_structure_and_what_is_no_leaf():
    new = tree.map(lambda x: x.shape[0], {"a": [A, (B, None)], "p": Point(C, "s"), "l": Layer(A)})
    assert new == {"a": [1, (2, None)], "p": Point(3, "s"), "l": Layer(1)}


def test_subclasses_of_dict_stay_what_they_are():
    d = tree.map(lambda x: 0, defaultdict(list, a=A))
    assert type(d) is defaultdict
    assert d["new"] == []
    assert list(tree.map(lambda x: 0, OrderedDict(b=A, a=B))) == ["b", "a"]


def test_keys_of_any_kind_are_told_apart():
    assert tree.map(lambda x: len(x), {1: A, "1": B}) == {1: 1, "1": 2}
    both = tree.map(lambda x, y: len(x) + len(y), {1: A, "1": B}, {"1": C, 1: C})
    assert both == {1: 4, "1": 5}


def test_items_have_dotted_paths():
    found = {p: len(x) for p, x in tree.items({"a": [A, {"b": B}], "l": Layer(C)})}
    assert found == {"a.0": 1, "a.1.b": 2, "l.w": 3}
    assert [p for p, _ in tree.items(A)] == [""]


def test_flatten_and_rebuild():
    leaves, rebuild = tree.flatten((A, [B]))
    assert rebuild([len(x) for x in leaves]) == (1, [2])
    with pytest.raises(TreeError, match="expected 2 leaves, got 1"):
        rebuild([1])


def test_an_empty_tree_has_no_leaves():
    assert tree.leaves({}) == tree.leaves(()) == tree.leaves(None) == []


def test_numpy_scalars_are_leaves_and_their_classes_are_not_trees():
    assert tree.leaves([np.float32(1), 2.0, "x"]) == [np.float32(1)]


@pytest.mark.parametrize(
    ("one", "other", "text"),
    [
        ({"a": A}, {"b": A}, r"expected the branches \['a'\], got \['b'\]"),
        ([A, B], [A], r"expected the branches \[0, 1\], got \[0\]"),
        ([A], (A,), "expected a list|got a tuple|trees differ"),
        ({"a": A}, A, "got a ndarray"),
    ],
)
def test_trees_that_differ_are_told(one, other, text):
    if isinstance(other, tuple):
        tree.map(lambda x, y: x, one, other)  # sequences may stand for each other
        return
    with pytest.raises(TreeError, match=text):
        tree.map(lambda x, y: x, one, other)


def test_a_module_or_a_class_is_no_array_whatever_names_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tree, "_kinds", {})  # as if nothing had been asked about before
    assert hasattr(np, "shape")
    assert hasattr(np, "dtype")
    assert not tree.is_array(np)
    assert not tree.is_array(np.ndarray)
    assert tree.is_array(np.ones(2))
