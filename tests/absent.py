"""Tests on a machine that lacks packages for them, for `ci/gpu`: what needs them is passed over, the rest runs."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PACKAGES = (
    *("array_api_strict", "scipy", "sklearn", "ndonnx", "onnx", "onnxruntime", "matplotlib"),
    *("tqdm", "safetensors", "jax", "torch"),
)
"""Packages that files of tests import as they are read."""


def is_absent(package: str) -> bool:
    return importlib.util.find_spec(package) is None


def files(folder: Path) -> list[str]:
    """Files of tests that cannot be read here, as paths from the folder."""
    absent = [p for p in PACKAGES if is_absent(p)]
    if not absent:
        return []
    pattern = re.compile(rf"^(?:import|from) (?:{'|'.join(absent)})\b", re.MULTILINE)
    local = {p.stem for p in folder.glob("*.py") if pattern.search(p.read_text(encoding="utf-8"))}
    if local:
        pattern = re.compile(
            rf"^(?:import|from) (?:{'|'.join([*absent, *sorted(local)])})\b", re.MULTILINE
        )
    return [
        str(p.relative_to(folder))
        for p in sorted(folder.rglob("test_*.py"))
        if pattern.search(p.read_text(encoding="utf-8"))
    ]


class Anything:
    """What stands for all that is in an absent package; as a decorator, it skips the test."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **options: Any) -> Any:
        if (
            len(args) == 1
            and callable(args[0])
            and getattr(args[0], "__name__", "").startswith("test_")
        ):
            return pytest.mark.skip(reason="hypothesis is not installed")(args[0])
        return self

    def __iter__(self) -> Any:
        return iter([self])

    def __or__(self, other: Any) -> Any:
        return self


def stand_in_for_hypothesis() -> None:
    """`import hypothesis` works, and the tests that use it are skipped."""
    if not is_absent("hypothesis"):
        return
    for name in (
        "hypothesis",
        "hypothesis.strategies",
        "hypothesis.extra",
        "hypothesis.extra.numpy",
    ):
        module = ModuleType(name)
        module.__path__ = []  # type: ignore[attr-defined]
        module.__getattr__ = lambda attribute: getattr(Anything(), attribute)  # type: ignore[method-assign]
        sys.modules[name] = module
