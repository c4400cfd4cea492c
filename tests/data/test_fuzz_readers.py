"""The script that damages files finds what it looks for, and finds nothing in the readers."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "ci" / "fuzz_readers"

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's"),
    pytest.mark.skipif(not SCRIPT.exists(), reason="a source archive has no ci folder"),
]


def run(*arguments: str, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def script() -> Any:
    loader = SourceFileLoader("fuzz_readers", str(SCRIPT))
    spec = importlib.util.spec_from_loader("fuzz_readers", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_readers"] = module
    loader.exec_module(module)
    return module


def test_damaged_files_raise_only_errors_of_the_library() -> None:
    done = run("--files", "300", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "300 files, 0 broke a rule" in done.stdout


SINNER = """
import importlib.util
import sys
from importlib.machinery import SourceFileLoader

loader = SourceFileLoader("fuzz", {script!r})
fuzz = importlib.util.module_from_spec(importlib.util.spec_from_loader("fuzz", loader))
loader.exec_module(fuzz)


def read(path):
    if path.read_bytes() != b"whole":
        {sin}


fuzz.SECONDS = 0.2
fuzz.damaged = lambda rng, form: b"damaged"
fuzz.FORMATS = {{"idx": lambda: fuzz.Format([b"whole"], read, [b""])}}
sys.exit(fuzz.main())
"""


@pytest.mark.parametrize(
    ("sin", "outcome"),
    [
        ("raise KeyError", "2 BROKEN KeyError"),
        ("bytearray(1 << 30)", "2 BROKEN MemoryError"),
        ("while True: pass", "2 BROKEN Hang"),
        ("import os; os.abort()", "1 BROKEN process"),
    ],
)
def test_a_reader_that_breaks_a_rule_is_found(tmp_path: Path, sin: str, outcome: str) -> None:
    (tmp_path / "fuzz").write_text(SINNER.format(script=str(SCRIPT), sin=sin))
    done = run("--files", "2", "--keep", str(tmp_path / "kept"), script=tmp_path / "fuzz")
    assert done.returncode == 1
    assert outcome in done.stdout, done.stdout + done.stderr


def test_file_i_of_a_seed_is_always_the_same(script: Any) -> None:
    form = script.csv()
    files = [script.damaged(random.Random(f"0 csv {i}"), form) for i in range(50)]
    assert files == [script.damaged(random.Random(f"0 csv {i}"), form) for i in range(50)]
    assert len(set(files)) > 40
