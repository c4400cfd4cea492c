"""The package as users meet it: its metadata, and the commands of the README; tests/test_snippets.py runs its code."""

from __future__ import annotations

import io
import re
import tomllib
import zipfile
from pathlib import Path

import bpgpu

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of the README."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_version_is_the_same_everywhere() -> None:
    assert bpgpu.__version__ == PROJECT["version"]


def test_types_and_license_are_shipped() -> None:
    assert Path(bpgpu.__file__).with_name("py.typed").exists()
    assert "bpgpu contributors" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_commands_of_the_readme_name_extras_and_files_that_exist() -> None:
    commands = "\n".join(blocks("sh"))
    extras = re.findall(r"\[(\w+)\]", commands)
    assert {"examples", "test", "cuda13"} <= set(extras) <= set(PROJECT["optional-dependencies"])
    for path in re.findall(r"python ([\w/]+\.py)", commands) + re.findall(
        r"\]\((\w[\w/.]+)\)", README
    ):
        assert (ROOT / path).exists(), path


def test_every_file_of_the_examples_says_how_to_run_it() -> None:
    for path in sorted((ROOT / "examples").glob("*.py")):
        assert f"python examples/{path.name}" in path.read_text(encoding="utf-8"), path
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 150, path


def test_the_plain_install_is_numpy_and_array_api_compat() -> None:
    names = [re.split(r"[^\w-]", line)[0] for line in PROJECT["dependencies"]]
    assert sorted(names) == ["array-api-compat", "numpy"]


def test_the_wheel_is_smaller_than_a_megabyte() -> None:
    root, packed = ROOT / "src" / "bpgpu", io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                wheel.write(path, path.relative_to(root))
    assert len(packed.getvalue()) < 1_000_000
