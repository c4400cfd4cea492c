"""Every Python snippet of the README and of the documentation runs as it is printed.

The snippets of a page run one after another in one namespace, in an empty folder, with warnings as errors. What cannot
run here, such as a file of the reader's own, has `<!-- skip -->` in the line before it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SNIPPET = re.compile(r"^(<!-- skip -->\n)?```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def snippets(page: Path) -> list[tuple[int, str]]:
    """The snippets of a page that run, each with the line where it begins."""
    text = page.read_text(encoding="utf-8")
    found = SNIPPET.finditer(text)
    return [(text[: m.start(2)].count("\n"), m[2]) for m in found if not m[1]]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if snippets(p)], ids=lambda p: str(p.relative_to(ROOT))
)
def test_the_snippets_of_the_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("matplotlib", "safetensors", "scipy", "sklearn"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # as conftest.py did; a snippet may set it again
    names: dict[str, object] = {"__name__": "snippet"}
    for line, code in snippets(page):
        exec(compile("\n" * line + code, str(page), "exec"), names)  # errors name the line


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    docs = ROOT / "docs"
    assert {p.relative_to(docs).as_posix() for p in docs.rglob("*.md")} == listed


def test_links_between_pages_lead_somewhere() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
