"""Metrics with JAX as it is set up by default: without integers and numbers of 64 bits."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import warnings

import jax
import numpy as np

from bpgpu.train import metrics as m

rng = np.random.default_rng(0)
scores, classes = rng.normal(size=(30, 4)).astype("f4"), rng.integers(0, 4, 30).astype("i4")
binary, yes = rng.normal(size=30).astype("f4"), rng.integers(0, 2, 30).astype("i4")
warnings.simplefilter("error")
for metric in (m.Accuracy(), m.TopK(2), m.F1(), m.ConfusionMatrix(), m.AUC(), m.AUC(bins=9), m.Perplexity(), m.R2()):
    pairs = [(binary, yes.astype("f4"))] if metric.name == "r2" else [(scores, classes), (binary, yes)]
    for p, t in pairs[: 1 if metric.name in ("top2", "perplexity") else None]:
        expected = metric.compute(metric.update(metric.init(p, t), p, t))
        p, t = jax.numpy.asarray(p), jax.numpy.asarray(t)
        found = jax.jit(metric.compute)(jax.jit(metric.update)(metric.init(p, t), p, t))
        np.testing.assert_allclose(found, expected, rtol=1e-4, err_msg=metric.name)
        assert found.dtype == "float32"
"""


def test_nothing_asks_for_64_bits() -> None:
    pytest.importorskip("jax")
    environment = {
        **os.environ,
        "JAX_ENABLE_X64": "0",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
