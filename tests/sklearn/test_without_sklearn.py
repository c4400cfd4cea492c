"""What happens where scikit-learn is not installed, and that nothing imports it unasked."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import sys
sys.modules["sklearn"] = None
import bpgpu as bp
try:
    bp.sklearn
except ImportError as error:
    print(type(error).__name__, error)
"""


def run(script: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_error_names_the_extra() -> None:
    said = run(SCRIPT)
    assert said.startswith("MissingPackageError")
    assert 'bpgpu.sklearn needs the package scikit-learn: pip install "bpgpu[sklearn]"' in said


def test_training_by_fit_leaves_scikit_learn_alone() -> None:
    script = (
        "import sys, numpy as np, bpgpu as bp; m = bp.nn.Linear(1, 1); x = np.ones((4, 1), np.float32); "
        "bp.fit(m, (x, x), loss=bp.functional.mse_loss, optimizer=bp.optim.Adam(m), epochs=1, progress=False); "
        "print('sklearn' in sys.modules)"
    )
    assert run(script).strip() == "False"
