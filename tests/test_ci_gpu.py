"""`ci/gpu` where there is no GPU, and its parts."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bpgpu as bp
import cupy_on_numpy

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "ci" / "gpu"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="ci/ is not part of a source package")


def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    (folder / "cupy.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'cupy'\", name='cupy')"
    )
    return subprocess.run(
        [sys.executable, str(SCRIPT), *args],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_gpu_it_says_so_and_exits_with_3(tmp_path: Path) -> None:
    before = sorted(ROOT.glob("benchmarks/results/gpu/*"))
    done = run(tmp_path)
    assert done.returncode == 3
    assert done.stdout.startswith("ci/gpu: no GPU to run on: CuPy is not installed. Remedy: ")
    assert sorted(ROOT.glob("benchmarks/results/gpu/*")) == before


def test_its_parts_are_listed_and_others_refused(tmp_path: Path) -> None:
    listed = run(tmp_path, "--list")
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    assert names == ["checklist", "check", "tests", "parity", "training"]
    wrong = run(tmp_path, "speed")
    assert wrong.returncode == 2
    assert wrong.stdout.startswith("ci/gpu: there is no part speed; there are checklist, check")


@pytest.mark.parametrize("script", ["benchmarks/gpu_checklist.py", "benchmarks/training/cuda.py"])
def test_its_scripts_end_without_a_gpu_with_the_reason(script: str, tmp_path: Path) -> None:
    (tmp_path / "cupy.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'cupy'\", name='cupy')"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    done = subprocess.run(
        [sys.executable, str(ROOT / script)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "CuPy is not installed" in done.stdout


def test_a_machine_without_all_packages_passes_over_what_needs_them() -> None:
    import absent

    assert absent.files(ROOT / "tests") == [] or any(map(absent.is_absent, absent.PACKAGES))
    assert not absent.is_absent("numpy")
    assert absent.is_absent("a_package_that_is_not_there")


# ---- the scripts themselves, on a simulated CuPy


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("section", ["versions", "captured", "graphs", "memory", "repeated"])
def test_the_checklist_runs(section: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checklist = load(ROOT / "benchmarks" / "gpu_checklist.py")
    for clock in ("device_us", "host_us"):
        monkeypatch.setattr(checklist, clock, lambda f, calls=0: [f(), 1.0][1])
    for _ in cupy_on_numpy.installed(monkeypatch):
        found = getattr(checklist, section)()
    if section == "captured":
        assert {k for k, v in found.items() if v != "ok"} == {
            *("CuPy's stack of 9", "asarray of a list", "float()", "a mask"),
        }
    if section == "memory":
        assert found["what others hold is intact"] is True
        assert found["results agree"] is True
    if section == "repeated":
        assert set(found.values()) == {True}


def test_the_workloads_of_a_gpu_are_trained_by_each_rival(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks are the same in all libraries: the losses of the first steps agree. Here on the CPU, and small."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(sys, "path", [*sys.path])
    cuda = load(ROOT / "benchmarks" / "training" / "cuda.py")
    from workloads import weights

    for w in cuda.workloads().values():
        theirs = w.build(torch.nn, torch.nn.functional)
        ours = w.build(bp.nn, bp.functional)
        numbers = weights(theirs.state_dict())
        assert {k: v.shape for k, v in ours.state_dict().items()} == {
            k: v.shape for k, v in numbers.items()
        }
        x, y = w.data()
        x, y = x[:1], y[: len(y) // len(x)]
        ours.load_state_dict(numbers)
        theirs.load_state_dict({k: torch.tensor(v) for k, v in numbers.items()})
        ours.eval()
        theirs.eval()
        with torch.no_grad():
            expected = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        found = bp.functional.cross_entropy(ours(x), y)
        assert abs(float(found) - float(expected)) <= 2e-3 * abs(float(expected)), w.title


def test_the_table_of_a_race_states_precision_ratios_and_aims() -> None:
    cuda = load(ROOT / "benchmarks" / "training" / "cuda.py")
    row = cuda.Row("mlp", "tf32", "bpgpu", 0.05, 0.12, 0.8)
    assert cuda.line(row, True) == "| mlp | tf32 | bpgpu | 0.050 | 0.12 | 0.80 | 5.0 | 0.15, 0.90 |"
    assert cuda.line(row, False) == "| mlp | tf32 | bpgpu | 0.050 | 0.12 | 0.80 |  | 0.15, 0.90 |"
    assert set(cuda.GOALS) == {(w, p) for w, ps in cuda.PRECISIONS.items() for p in ps}
