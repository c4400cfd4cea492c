"""Text as a sequence of numbers, one for each character."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bpgpu import tree as trees
from bpgpu.backend import rows
from bpgpu.data.files import LIMIT, Location, in_words, opened_text
from bpgpu.device import device, to_numpy
from bpgpu.errors import DataError


def read_text(path: Location, *, encoding: str = "utf-8", max_bytes: int = LIMIT) -> str:
    r"""The text of a file, plain or packed by gzip, with line ends as `\n`.

    *Raises* `DataError` for a file that is empty or not in this encoding, or unpacks to more than `max_bytes`;
    `ArgumentError` for an encoding that does not exist; `MissingFileError`, `StorageError`.
    """
    with opened_text(path, encoding, max_bytes) as source:
        text = source.read()
    if not text:
        raise DataError(f"{in_words(path)}: is empty; there is nothing to learn from")
    return text.replace("\r\n", "\n").replace("\r", "\n")


class Vocabulary:
    """The characters of a text, each with a number: its place in their order.

    *Parameters* `text`: a text, or the characters themselves.

    *Raises* `DataError` if there are none.

    >>> vocabulary = Vocabulary("hello")
    >>> len(vocabulary), vocabulary.characters
    (4, 'ehlo')
    >>> codes = vocabulary.encode("hole")
    >>> codes
    array([1, 3, 2, 0])
    >>> vocabulary.decode(codes)
    'hole'
    """

    def __init__(self, text: Iterable[str]) -> None:
        self.characters = "".join(
            sorted(set().union(*text) if not isinstance(text, str) else set(text))
        )
        if not self.characters:
            raise DataError("Vocabulary: expected a text with at least one character, got none")
        self._points = rows.code_points(self.characters)

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> Any:
        """The numbers of the characters: an int64 array of NumPy, `(len(text),)`.

        *Raises* `DataError` that names the first character that has no number.
        """
        xp = device("cpu").xp
        points = rows.code_points(text)
        codes = xp.minimum(xp.searchsorted(self._points, points), xp.asarray(len(self) - 1))
        unknown = self._points[codes] != points
        if bool(xp.any(unknown)):
            first = int(xp.argmax(unknown))
            raise DataError(
                f"Vocabulary: the character {text[first]!r} at place {first} is none of the {len(self)} known ones; "
                "build the vocabulary from all texts"
            )
        return codes

    def decode(self, codes: Any) -> str:
        """The text of numbers: an array of any library, or a list.

        *Raises* `DataError` for a number that stands for no character.
        """
        xp = device("cpu").xp
        codes = (
            to_numpy(codes) if trees.is_array(codes) else xp.asarray(list(codes), dtype=xp.int64)
        )
        codes = xp.astype(xp.reshape(codes, (-1,)), xp.int64)
        if codes.shape[0] and not 0 <= int(xp.min(codes)) <= int(xp.max(codes)) < len(self):
            raise DataError(f"Vocabulary: expected numbers in [0, {len(self)}), got others")
        return rows.text_of(self._points[codes])

    def __repr__(self) -> str:
        return f"Vocabulary({self.characters!r})"
