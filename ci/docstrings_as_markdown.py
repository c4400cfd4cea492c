"""For the API reference: doctests and literal blocks of docstrings as code blocks of Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^( *)>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)
"""From a prompt to the next empty line."""
LITERAL = re.compile(r"::\n\n((?:(?: {4}.*)?\n)+)")
"""An indented block after two colons."""


def as_markdown(text: str) -> str:
    """The text with fences around its code."""
    text = LITERAL.sub(lambda m: f":\n\n```python\n{_dedented(m[1])}\n```\n\n", text + "\n")
    return DOCTEST.sub(lambda m: f"{m[1]}```pycon\n{m[0]}\n{m[1]}```", text)


def _dedented(block: str) -> str:
    return "\n".join(line[4:] for line in block.strip("\n").splitlines())


class DocstringsAsMarkdown(griffe.Extension):
    """Rewrites each docstring as it is read from the source."""

    def on_instance(self, *, obj: Any, **kwargs: Any) -> None:
        if not obj.is_alias and obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
