"""Read handwritten digits: a two-layer network, written out in the Array API and trained by its gradient.

    pip install "bpgpu[examples]"
    python examples/gradient_demo.py

Runs on CUDA if CuPy finds a device, else on the CPU with NumPy: the same lines, a few seconds. The data are 1,797 real
images of 8 x 8 pixels that come with scikit-learn. Ends with the share of unseen digits that are read right, and fails
if it is below 95 %.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import bpgpu as bp

HIDDEN, CLASSES = 64, 10
EPOCHS, BATCH, RATE, MOMENTUM = 30, 32, 0.1, 0.9
ENOUGH = 0.95


def scores(params: dict[str, Any], x: Any) -> Any:
    """How much each image looks like each digit: `tanh(x W1 + b1) W2 + b2`."""
    xp = bp.array_namespace(params["w1"])
    hidden = xp.tanh(x @ params["w1"] + params["b1"])  # (N, 64) -> (N, HIDDEN)
    return hidden @ params["w2"] + params["b2"]  # (N, CLASSES)


def loss(params: dict[str, Any], x: Any, y: Any) -> Any:
    """The mean cross-entropy of the scores; `y` holds a 1 at each true class."""
    xp = bp.array_namespace(params["w1"])
    z = scores(params, x)
    z = z - xp.max(z, axis=1, keepdims=True)  # so that exp cannot overflow
    log_sum = xp.log(xp.sum(xp.exp(z), axis=1))
    return xp.mean(log_sum - xp.sum(z * y, axis=1))


def accuracy(params: dict[str, Any], x: Any, labels: np.ndarray) -> float:
    """The share of images whose highest score is at the true digit."""
    return float(np.mean(np.argmax(bp.to_numpy(scores(params, x)), axis=1) == labels))


def main() -> str | None:
    dev = bp.device("auto")
    print(dev.reason)
    draw = np.random.default_rng(0)

    images, labels = load_digits(return_X_y=True)
    order = draw.permutation(len(images))
    images, labels = images[order] / 16, labels[order]
    count = 1437
    x = dev.asarray(images, dtype="float32")
    y = dev.asarray(np.eye(CLASSES)[labels], dtype="float32")

    params = {
        "w1": dev.asarray(draw.normal(0, 1 / 8, (64, HIDDEN)), dtype="float32"),
        "b1": dev.asarray(np.zeros(HIDDEN), dtype="float32"),
        "w2": dev.asarray(draw.normal(0, 1 / 8, (HIDDEN, CLASSES)), dtype="float32"),
        "b2": dev.asarray(np.zeros(CLASSES), dtype="float32"),
    }
    bp.check_grads(lambda p: loss(p, x[:8, :], y[:8, :]), (params,))
    print("the gradient agrees with difference quotients")

    step = bp.value_and_grad(loss)
    velocity = dict.fromkeys(params, 0.0)
    for epoch in range(EPOCHS):
        shuffled = draw.permutation(count)
        for start in range(0, count, BATCH):
            batch = dev.asarray(shuffled[start : start + BATCH])
            value, grads = step(params, x[batch], y[batch])
            for name, gradient in grads.items():
                velocity[name] = MOMENTUM * velocity[name] - RATE * gradient
                params[name] = params[name] + velocity[name]
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:2}: loss of the last batch {float(value):.4f}")

    score = accuracy(params, x[count:, :], labels[count:])
    print(f"{score:.1%} of {len(labels) - count} unseen digits are read right")
    return None if score >= ENOUGH else f"failed: expected at least {ENOUGH:.0%}"


if __name__ == "__main__":
    sys.exit(main())
