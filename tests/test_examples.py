"""The examples, run as their headers say: each checks its own score. Long ones make a few steps only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
DATA = EXAMPLES.parent.parent / "shared" / "data"


def run(folder: Path, name: str, *options: str) -> str:
    """What the example prints. Its pictures are drawn into the folder."""
    pytest.importorskip("scipy")
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "name", ["backprop_by_hand", "embed_in_research", "sklearn_pipeline", "through_scipy"]
)
def test_the_example_reaches_its_score(name: str, tmp_path: Path) -> None:
    run(tmp_path, name)


def test_the_main_command_ends_with_the_device_why_it_stopped_the_accuracy_and_a_plot(
    tmp_path: Path,
) -> None:
    lines = run(tmp_path, "digits_mlp").splitlines()[-4:]
    assert [line.split()[0] for line in lines] == ["device", "stopped", "curves", "accuracy"]
    assert "unseen digits are read right" in lines[-1]
    assert (tmp_path / "digits_mlp.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "mnist").exists(), reason="the MNIST test set is not there")
def test_a_convolutional_network_learns_mnist(tmp_path: Path) -> None:
    assert "unseen digits" in run(tmp_path, "mnist_cnn", "--epochs=1", "--enough=0.9")
    assert (tmp_path / "mnist_cnn.png").read_bytes().startswith(b"\x89PNG")


def test_without_mnist_the_example_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="There is no MNIST in"):
        run(tmp_path, "mnist_cnn", str(tmp_path))


def test_an_autoencoder_draws_digits_again(tmp_path: Path) -> None:
    assert "for each pixel" in run(tmp_path, "autoencoder")
    assert (tmp_path / "autoencoder.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["char_lstm", "char_transformer"])
def test_a_writer_learns_any_text_and_ends_with_a_sample_and_its_loss(
    name: str, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("to be, or not to be: that is the question\n" * 500, encoding="utf-8")
    *_, last = run(tmp_path, name, str(text), "--steps=30", "--enough=2.5").splitlines()
    assert "nats a character" in last


@pytest.mark.slow
@pytest.mark.parametrize("name", ["char_lstm", "char_transformer"])
def test_without_a_text_the_writers_learn_that_of_the_standard_library(
    name: str, tmp_path: Path
) -> None:
    alone = tmp_path / "one" / "two" / f"{name}.py"
    alone.parent.mkdir(parents=True)
    alone.write_bytes((EXAMPLES / f"{name}.py").read_bytes())
    assert "nats a character" in run(tmp_path, str(alone)[:-3], "--steps=20", "--enough=4")
