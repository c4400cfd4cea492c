"""Read MNIST: a small convolutional network, trained on 9,000 handwritten digits and tested on 1,000.

    pip install "bpgpu[examples]"
    python examples/mnist_cnn.py [folder with the two files of the MNIST test set]

Runs on CUDA if CuPy finds a device, else on the CPU, there in about a minute on two cores. The folder can also be told
by the variable MNIST; it holds t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, plain or with .gz. Draws loss and
accuracy into mnist_cnn.png, ends with the share of unseen digits that are read right, and fails if it is below 98 %.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import bpgpu as bp

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
BATCH, RATE = 64, 4e-3
ENOUGH = 0.98


def mnist(folder: Path) -> tuple[Any, Any]:
    """The images, (10000, 1, 28, 28) in [0, 1], and the digits, (10000,)."""
    found = [
        next((p for p in (folder / name, folder / f"{name}.gz") if p.exists()), None)
        for name in FILES
    ]
    if None in found:
        sys.exit(
            f"There is no MNIST in {folder}. Put {FILES[0]}.gz and {FILES[1]}.gz of the MNIST test set into a folder, "
            f"then: python {sys.argv[0]} FOLDER"
        )
    images, labels = (bp.data.read_idx(path) for path in found if path)
    return (images[:, None, :, :] / 255).astype("float32"), labels.astype("int64")


def network() -> Any:
    return bp.nn.Sequential(
        bp.nn.Conv2d(1, 32, 3, padding=1),  # (N, 1, 28, 28) -> (N, 32, 28, 28)
        bp.nn.ReLU(),
        bp.nn.MaxPool2d(2),  # -> (N, 32, 14, 14)
        bp.nn.Conv2d(32, 64, 3, padding=1),  # -> (N, 64, 14, 14)
        bp.nn.ReLU(),
        bp.nn.MaxPool2d(2),  # -> (N, 64, 7, 7)
        bp.nn.Flatten(),  # -> (N, 3136)
        bp.nn.Dropout(0.5),
        bp.nn.Linear(64 * 7 * 7, 10),  # -> (N, 10): how much each image looks like each digit
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a convolutional network on MNIST.")
    parser.add_argument("folder", nargs="?", type=Path, default=os.environ.get("MNIST", BESIDE))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--enough", type=float, default=ENOUGH, help="the accuracy to assert")
    options = parser.parse_args()

    train, test = bp.data.split(mnist(Path(options.folder)), test=1000, seed=0)

    bp.seed(0)
    model = network()
    optimizer = bp.optim.AdamW(model, lr=RATE)
    steps = options.epochs * -(-len(train[0]) // BATCH)
    result = bp.fit(
        model,
        train,
        loss=bp.nn.CrossEntropyLoss(label_smoothing=0.1),
        optimizer=optimizer,
        schedule=(bp.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps), "step"),
        epochs=options.epochs,
        batch_size=BATCH,
        validation=test,  # to watch only: nothing is chosen by it
        metrics=["accuracy"],
    )
    result.plot("mnist_cnn.png")

    score = bp.evaluate(model, test, metrics=["accuracy"])["accuracy"]
    print()
    print(f"device    {result.device.reason}")
    print(f"stopped   {result.stopped_by} ({result.seconds:.1f} s)")
    print("curves    mnist_cnn.png")
    print(f"accuracy  {score:.1%} of {len(test[1])} unseen digits are read right")
    assert score >= options.enough, f"expected at least {options.enough:.0%}"


if __name__ == "__main__":
    main()
