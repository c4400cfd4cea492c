"""Who may import whom: the rules of the layout, read from the source, and what `import bpgpu` pulls in."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import bpgpu

ROOT = Path(bpgpu.__file__).parent
FILES = sorted(p.relative_to(ROOT) for p in ROOT.rglob("*.py"))

LIBRARIES = {"numpy", "cupy", "cupyx", "torch", "jax", "numba"}
"""Array libraries: everything else in bpgpu speaks the Array API standard."""

MAY_NAME_LIBRARIES = {"backend", "kernels", "device", "sklearn"}
"""The parts that know which library they run on; users of the last hand it NumPy arrays."""

GROUND = {"errors", "tree", "backend", "config", "device", "memory"}
ENGINE = GROUND | {"kernels", "autodiff"}
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "tree": {"errors"},
    "backend": {"errors", "tree"},
    "config": {"errors", "tree", "backend"},
    "memory": {"errors", "tree", "backend"},
    "device": {"errors", "tree", "backend", "config"},
    "mixed": {"errors", "tree", "backend"},
    "kernels": GROUND,
    "autodiff": GROUND | {"kernels"},
    "random": ENGINE,
    "functional": ENGINE | {"random"},
    "optim": ENGINE | {"random"},
    "replay": ENGINE | {"random", "optim"},
    "data": ENGINE | {"random"},
    "io": ENGINE | {"random"},
    "plot": ENGINE | {"random", "io"},
    "nn": ENGINE | {"random", "functional"},
    "train": ENGINE
    | {"random", "functional", "nn", "optim", "replay", "data", "io", "plot", "mixed"},
}
"""What each part may import, from the ground up. Parts that are not listed (`__init__`, `sklearn`, `overview`) stand on
top: they may import all, and nothing that is listed may import them."""

HEAVY = (
    "array_api_compat",
    "cupy",
    "cupyx",
    "jax",
    "matplotlib",
    "numba",
    "onnx",
    "scipy",
    "sklearn",
    "torch",
)
"""What `import bpgpu` leaves to those who need it."""


class Import(NamedTuple):
    line: int
    module: str


def imports(source: str) -> Iterator[Import]:
    """All modules that a file imports, at its top or inside functions, but for `if TYPE_CHECKING:`."""
    stack: list[ast.AST] = [ast.parse(source)]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield Import(node.lineno, "bpgpu.<relative>")
        elif isinstance(node, ast.ImportFrom) and node.module == "bpgpu":
            yield from (Import(node.lineno, f"bpgpu.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield Import(node.lineno, str(node.module))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            stack.extend(node.orelse)
        else:
            stack.extend(ast.iter_child_nodes(node))


def part_of(file: Path) -> str:
    """The part of bpgpu that a file belongs to: its folder, or its own name."""
    return file.parts[0].removesuffix(".py")


def offences(file: Path, source: str) -> list[str]:
    """The imports of a file that break the rules, in words."""
    part, found = part_of(file), []
    for line, module in imports(source):
        top, _, rest = module.partition(".")
        if top in LIBRARIES and part not in MAY_NAME_LIBRARIES:
            found.append(
                f"{file}:{line} imports {module}: only {', '.join(sorted(MAY_NAME_LIBRARIES))} may name a library; "
                "write it to the standard, with xp = array_namespace(x)"
            )
        target = rest.partition(".")[0]
        if top == "bpgpu" and part in BELOW and target not in BELOW[part] | {part}:
            found.append(
                f"{file}:{line} imports {module}: {part} may import {', '.join(sorted(BELOW[part])) or 'nothing'}"
            )
    return found


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_imports_only_what_stands_below_it(file: Path) -> None:
    assert not offences(file, (ROOT / file).read_text(encoding="utf-8"))


def test_the_layers_have_no_circle() -> None:
    for part, below in BELOW.items():
        for other in below:
            assert part not in BELOW[other], f"{part} and {other} may import each other"
            assert BELOW[other] <= below, f"{part} may import {other}, but not all that {other} may"


@pytest.mark.parametrize(
    ("file", "source", "offence"),
    [
        ("nn/linear.py", "import numpy as np", "nn/linear.py:1 imports numpy: only backend, device, kernels, sklearn"),
        ("nn/linear.py", "def f():\n    from torch.nn import Linear", "nn/linear.py:2 imports torch.nn"),
        ("autodiff/tape.py", "import bpgpu.functional", "autodiff may import backend, config, device, errors"),
        ("autodiff/tape.py", "from bpgpu import nn", "imports bpgpu.nn"),
        ("optim/adam.py", "from bpgpu.nn import Module", "imports bpgpu.nn: optim may import"),
        ("errors.py", "from bpgpu.tree import map", "errors may import nothing"),
        ("nn/linear.py", "from bpgpu.sklearn import Classifier", "imports bpgpu.sklearn: nn may import"),
        ("nn/linear.py", "from . import init", "imports bpgpu.<relative>"),
    ],
)  # fmt: skip
def test_an_import_against_the_rules_is_found(file: str, source: str, offence: str) -> None:
    (found,) = offences(Path(file), source)
    assert offence in found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("backend/numpy.py", "import numpy as np"),
        ("kernels/cpu/norm.py", "import numba"),
        ("sklearn.py", "import numpy\nimport bpgpu.train"),
        (
            "nn/linear.py",
            "from bpgpu.functional import linear\nfrom bpgpu.nn import init\nimport math",
        ),
        ("nn/linear.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy"),
    ],
)
def test_an_import_within_the_rules_is_let_through(file: str, source: str) -> None:
    assert not offences(Path(file), source)


def test_import_bpgpu_leaves_heavy_libraries_alone() -> None:
    script = f"import sys, bpgpu; print(*[m for m in {HEAVY} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
