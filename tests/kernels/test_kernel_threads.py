"""Convolution shared out among threads, for geometries drawn at random."""

from __future__ import annotations

import multiprocessing
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest

from bpgpu.backend.windows import window_counts
from bpgpu.functional.conv import Geometry, convolve, correlate, spread
from bpgpu.kernels import switched_off

pytest.importorskip("numba", reason="numba is not installed")

from bpgpu.kernels.cpu.fast import conv, threads, winograd


def drawn(rng: Any) -> tuple[Any, Any, Geometry]:
    """An input, a weight and how it moves, in one to three dimensions."""
    while True:
        n = int(rng.integers(1, 4))
        sizes, kernel = tuple(rng.integers(1, 9, n)), tuple(rng.integers(1, 4, n))
        stride, dilation = tuple(rng.integers(1, 4, n)), tuple(rng.integers(1, 3, n))
        pads = tuple((int(a), int(b)) for a, b in rng.integers(0, 4, (n, 2)))
        around = tuple(s + a + b for s, (a, b) in zip(sizes, pads, strict=True))
        counts = window_counts(around, kernel, stride, dilation)
        if min(counts) > 0:
            break
    channels, results = int(rng.integers(1, 20)), int(rng.integers(1, 60))
    x = rng.normal(size=(int(rng.integers(1, 7)), channels, *sizes))
    w = rng.normal(size=(results, channels, *kernel))
    return x, w, Geometry(sizes, kernel, stride, pads, dilation, 1, counts)


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_any_geometry_and_any_number_of_threads(workers: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(threads, "WORKERS", workers)
    monkeypatch.setattr(conv, "FEW", 1)
    rng = np.random.default_rng(workers)
    for _ in range(60):
        x, w, geometry = drawn(rng)
        b = rng.normal(size=len(w))
        with switched_off():
            y = convolve(x, w, b, geometry)
            g = rng.normal(size=y.shape)
            expected = y, spread(g, w, geometry), correlate(x, g, geometry)
        found = (
            conv.convolve(x, w, b, geometry),
            conv.spread(g, w, geometry),
            conv.correlate(x, g, geometry),
        )
        for a, e in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-10, atol=1e-10, err_msg=str(geometry))


@pytest.mark.parametrize("workers", [1, 3])
def test_squares_of_any_image(workers: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(threads, "WORKERS", workers)
    monkeypatch.setattr(winograd, "FEW", 1)
    rng = np.random.default_rng(workers)
    for _ in range(60):
        n, c, o, *sizes = (int(k) for k in rng.integers(1, (5, 40, 60, 20, 20)))
        pads = tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (2, 2)))
        sizes = [s + 2 for s in sizes]
        counts = tuple(s + sum(pad) - 2 for s, pad in zip(sizes, pads, strict=True))
        geometry = Geometry(tuple(sizes), (3, 3), (1, 1), pads, (1, 1), 1, counts)
        x, w, b = (rng.normal(size=s) for s in ((n, c, *sizes), (o, c, 3, 3), o))
        with switched_off():
            y = convolve(x, w, b, geometry)
            g = rng.normal(size=y.shape)
            expected = y, spread(g, w, geometry), correlate(x, g, geometry)
        found = (
            winograd.convolve(x, w, b, geometry),
            winograd.spread(g, w, geometry),
            winograd.correlate(x, g, geometry),
        )
        for a, e in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-10, atol=1e-10, err_msg=str(geometry))


def _in_the_child(out: Any) -> None:
    x = np.ones((64, 16, 8, 8), np.float32)
    w = np.ones((16, 16, 3, 3), np.float32)
    out.put(float(xp.sum(conv.convolve(x, w, None, geometry_of(x, w)))))


def geometry_of(x: Any, w: Any) -> Geometry:
    counts = tuple(s - k + 1 for s, k in zip(x.shape[2:], w.shape[2:], strict=True))
    ones = (1,) * len(counts)
    return Geometry(x.shape[2:], w.shape[2:], ones, ((0, 0),) * len(counts), ones, 1, counts)


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX's, where it is imported
def test_a_forked_process_starts_threads_of_its_own(monkeypatch: Any) -> None:
    monkeypatch.setattr(threads, "WORKERS", 3)
    monkeypatch.setattr(conv, "FEW", 1)
    threads.share(lambda: None, [(), (), ()])
    fork = multiprocessing.get_context("fork")
    out = fork.SimpleQueue()
    child = fork.Process(target=_in_the_child, args=(out,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert out.get() == 64 * 16 * 36 * 144
