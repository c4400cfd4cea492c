"""Train and eval mode, put back to what they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def mode(model: Any, training: bool) -> Iterator[None]:
    """Have the model in a mode for the length of a `with` block; then each layer has its own mode back."""
    before = [(m, m.training) for m in model.modules()]
    if model.training != training:
        model.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was
