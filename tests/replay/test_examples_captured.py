"""The training step of every example can be captured as a CUDA graph, and is: on a simulated CuPy."""

from __future__ import annotations

import importlib.util
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import cupy_on_numpy as fake
from bpgpu.testing import capture_lint
from bpgpu.train.run import Run

EXAMPLES = Path(__file__).parents[2] / "examples"
STEPS = 9
TRAINING = ("autoencoder", "char_lstm", "char_transformer", "digits_mlp", "mnist_cnn")
OTHERS = ("backprop_by_hand", "embed_in_research", "sklearn_pipeline", "through_scipy")


class Enough(Exception):  # noqa: N818 - not an error
    """Ends a training that has gone on long enough."""


def load(name: str) -> Any:
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What ran the steps of a training that ends after a few of them."""
    ran: list[Any] = []
    step = Run._step

    def counted(run: Run, batch: Any) -> bool:
        if run.step == STEPS:
            ran.append(run)
            raise Enough
        return step(run, batch)

    monkeypatch.setattr(Run, "_step", counted)
    for _ in fake.installed(monkeypatch):
        yield ran


def digits_of_nothing(folder: Path) -> list[str]:
    """Files in the form of MNIST's, with noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1300, 28, 28), dtype=np.uint8).tobytes()
    labels = rng.integers(0, 10, 1300, dtype=np.uint8).tobytes()
    head = struct.pack(">HBBIII", 0, 8, 3, 1300, 28, 28), struct.pack(">HBBI", 0, 8, 1, 1300)
    (folder / "t10k-images-idx3-ubyte").write_bytes(head[0] + images)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(head[1] + labels)
    return [str(folder), "--epochs=30"]


def some_text(folder: Path) -> list[str]:
    text = "".join(f"{i} and {i * i} and so on. " for i in range(4000))
    (folder / "text").write_text(text)
    return [str(folder / "text")]


ARGUMENTS: dict[str, Callable[[Path], list[str]]] = {
    "mnist_cnn": digits_of_nothing,
    "char_lstm": some_text,
    "char_transformer": some_text,
}


@pytest.mark.parametrize("name", TRAINING)
def test_the_step_of_the_example_is_captured(
    name: str, steps: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *ARGUMENTS.get(name, lambda folder: [])(tmp_path)])
    example = load(name)
    with pytest.raises(Enough):
        example.main()
    (run,) = steps
    assert str(bp.device()) == "cuda:0"
    # a schedule that changes the momentum at each step leaves the update out
    step = run._gradient if name == "mnist_cnn" else run._whole
    assert step.reason is None, step.reason
    assert step.replays >= STEPS - 6


def test_no_example_is_left_out() -> None:
    assert {p.stem for p in EXAMPLES.glob("*.py")} == {*TRAINING, *OTHERS}


def test_the_gradient_by_hand_passes() -> None:
    example = load("backprop_by_hand")
    rng = np.random.default_rng(0)
    p = {
        "W1": rng.normal(size=(4, 5)),
        "b1": rng.normal(size=5),
        "W2": rng.normal(size=(5, 3)),
        "b2": rng.normal(size=3),
    }
    x, y = rng.normal(size=(6, 4)), np.eye(3)[rng.integers(0, 3, 6)]

    def step(p: Any, x: Any, y: Any) -> Any:
        _, kept = example.forward(p, x, y)
        return example.update(p, example.backward(p, kept))

    capture_lint(step, p, x, y)
    capture_lint(bp.grad(lambda p, x, y: example.forward(p, x, y)[0]), p, x, y)


def test_the_gradient_through_an_integration_passes() -> None:
    example = load("embed_in_research")
    p = {name: np.asarray(value) for name, value in example.START.items()}
    angle = np.asarray(example.ANGLES, np.float64)
    measured = example.simulate(p, angle)
    capture_lint(bp.value_and_grad(example.misfit), p, angle, measured)


def test_the_gradient_through_scipy_passes() -> None:
    example = load("through_scipy")
    flowers = bp.data.iris()[0].astype("float64")
    p = {name: np.asarray(value) for name, value in example.start(flowers).items()}
    capture_lint(bp.value_and_grad(example.loss), p, flowers)
