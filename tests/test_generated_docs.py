"""The pages that scripts write from the code are up to date, and leave nothing out."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import inspect
from pathlib import Path
from typing import Any

import array_api_strict as strict
import pytest

import bpgpu as bp

CI = Path(__file__).resolve().parent.parent / "ci"


def script(name: str) -> Any:
    """A script of ci/, as a module."""
    path = CI / name
    if not path.exists():
        pytest.skip(f"ci/{name} is not in this copy")
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def table() -> Any:
    return script("function_table")


def test_the_table_of_functions_is_up_to_date(table):
    assert table.TARGET.read_text() == table.table(), "run ci/function_table"


def public_modules() -> list[str]:
    """The modules that users reach from `import bpgpu as bp`, and those that are imported by name."""
    found = {f"bpgpu.{n}" for n in bp.__all__ if inspect.ismodule(getattr(bp, n))} - {"bpgpu.io"}
    more = ("io.onnx", "io.torch", "nn.init", "optim.lr_scheduler", "sklearn", "testing", "plot")
    return sorted({"bpgpu", *found, *(f"bpgpu.{n}" for n in more)})


@pytest.mark.parametrize("name", public_modules())
def test_every_public_name_has_an_entry_in_the_reference(name):
    pages = CI.parent / "docs" / "reference"
    if not pages.exists():
        pytest.skip("the pages are not in this copy")
    listed = [p.name for p in pages.glob("*.md") if f"\n::: {name}\n" in p.read_text() + "\n"]
    assert len(listed) == 1
    if name == "bpgpu.sklearn":
        pytest.importorskip("sklearn")
    module = importlib.import_module(name)
    for one in getattr(module, "__all__", ()):
        found = getattr(module, one)
        assert inspect.ismodule(found) or not callable(found) or (found.__doc__ or "").strip(), one


def test_the_gallery_shows_every_example():
    gallery = script("gallery")
    assert gallery.TARGET.read_text(encoding="utf-8") == gallery.page(), "run ci/gallery"
    assert all((gallery.PICTURES / f"{name}.png").exists() for name in gallery.DRAWING)


def test_the_page_on_scipy_is_up_to_date():
    pytest.importorskip("scipy", minversion="1.17")
    pytest.importorskip("sklearn", minversion="1.8")
    page = script("through_scipy")
    assert page.TARGET.read_text() == page.page(), "run ci/through_scipy"


def test_no_function_of_the_standard_is_left_out(table):
    """array-api-strict has what is in the standard, and nothing else."""
    own = {
        "get_array_api_strict_flags",
        "set_array_api_strict_flags",
        "reset_array_api_strict_flags",
    }
    own |= {"ArrayAPIStrictFlags", "Device", "eig", "eigvals"}
    public = {name for name in strict.__all__ if callable(getattr(strict, name))} - own
    public -= {name for name in public if isinstance(getattr(strict, name), strict._dtypes.DType)}
    listed = {path for names in table.STANDARD.values() for path in names.split()}
    assert public - listed == set()
    for extension in ("linalg", "fft"):
        names = set(getattr(strict, extension).__all__) - own
        assert {f"{extension}.{name}" for name in names} - listed == set()


def test_every_function_of_the_standard_is_spoken_of(table):
    for chapter, names in table.STANDARD.items():
        for path in names.split():
            entry = table.describe(path, table.DEFAULTS.get(chapter, ""))
            assert entry.gradient in ("yes", "zero", "none", "raises"), path
            assert entry.notes, path


def test_every_function_of_the_standard_is_in_the_traced_namespace(table, xp):
    spaces: list[Any] = []

    def f(x: Any) -> Any:
        spaces.append(bp.array_namespace(x))
        return x

    bp.grad(f)(xp.asarray(1.0))
    for names in table.STANDARD.values():
        for path in names.split():
            extension, _, name = path.rpartition(".")
            space = getattr(spaces[0], extension) if extension else spaces[0]
            assert callable(getattr(space, name)), path
