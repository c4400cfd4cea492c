"""The page on compile: its code runs and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "compile.md"


def test_the_code_on_the_page_runs(capsys: Any) -> None:
    scope: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), scope)
    printed = capsys.readouterr().out
    assert printed.startswith("16 None\n"), printed[:200]
    assert "def replay(" in printed
