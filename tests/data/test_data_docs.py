"""The page on data and metrics runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_the_examples_of_the_page_run() -> None:
    pytest.importorskip("sklearn")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 7
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    train, data, state = names["train"], names["data"], names["state"]
    assert train.x.shape[1] == 13  # type: ignore[attr-defined]
    assert data.classes == ("setosa", "virginica")  # type: ignore[attr-defined]
    assert set(state) == {"right", "weight"}  # type: ignore[call-overload]
