"""The sources of our kernels, as the compiler gets them."""

from __future__ import annotations

from importlib.resources import files

WITH_FORMS = frozenset({"gelu.cu", "random.cu"})
"""Those that compute activations."""


def code_of(file: str) -> str:
    """A source, with what all of them use in front of it."""
    source = files(__package__) / "source"
    names = ("common.cuh", "forms.cuh", file) if file in WITH_FORMS else ("common.cuh", file)
    return "\n".join((source / name).read_text("utf-8") for name in names)
