"""Options that several commands have, and the checks of their values."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Parser = argparse.ArgumentParser


def device(parser: Parser) -> None:
    parser.add_argument(
        "--device",
        default="auto",
        help="'auto' (CUDA if it works, else the CPU; the default), 'cpu', 'cuda' or 'cuda:1'",
    )


def text(parser: Parser) -> None:
    """How a CSV file is to be read."""
    parser.add_argument(
        "--delimiter",
        type=_delimiter,
        default=",",
        metavar="CHAR",
        help="between two fields (a comma); 'tab' for tabs",
    )
    parser.add_argument(
        "--encoding", default="utf-8", metavar="NAME", help="of the file (utf-8), such as latin-1"
    )


def file(text: str) -> str:
    """The name of a file to write."""
    if not text:
        raise argparse.ArgumentTypeError("expected the name of a file, got ''")
    return text


def _delimiter(text: str) -> str:
    found = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(found) != 1 or found in '\r\n"':
        raise argparse.ArgumentTypeError(f"expected one character, or 'tab', got {text!r}")
    return found


def whole(least: int) -> Callable[[str], int]:
    """A whole number that is large enough."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least}, got {text!r}")
        return value

    return number


def real(low: float, high: float, *, ends: bool = False) -> Callable[[str], float]:
    """A number between two others, which may be reached if `ends`."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not (low <= value <= high if ends else low < value < high):
            between = f"from {low:g} to {high:g}" if ends else f"between {low:g} and {high:g}"
            raise argparse.ArgumentTypeError(f"expected a number {between}, got {text!r}")
        return value

    return number


def sizes(text: str) -> tuple[int, ...]:
    """Numbers of units with commas between them; none for a linear model."""
    words = [word for word in text.replace(" ", "").split(",") if word]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise argparse.ArgumentTypeError(
            f"expected numbers of units such as 64,64, or '' for none, got {text!r}"
        )
    return tuple(int(word) for word in words)


def table(rows: list[tuple[Any, ...]], head: tuple[str, ...]) -> str:
    """Rows of text in columns; the first to the left, the others to the right."""
    lines = [head, *[tuple(str(cell) for cell in row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    shown = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([shown[0], "-" * max(map(len, shown)), *shown[1:]])
