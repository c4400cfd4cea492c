"""Backpropagation by hand: one hidden layer with ReLU, its four steps, and each formula beside its line.

    pip install "bpgpu[examples]"
    python examples/backprop_by_hand.py

Nothing is differentiated for us here. The network reads handwritten digits (1,797 real images of 8 x 8 pixels, from
scikit-learn); every derivative is written out. First they are compared with the gradient that bpgpu finds by itself,
then the network is trained by them, on CUDA if CuPy finds a device, else on the CPU. Ends with the share of unseen
digits that are read right, and fails if it is below 95 % or if the two gradients differ.

Letters: N images of D = 64 pixels, H hidden units, C = 10 classes; x is (N, D), y is (N, C) with a 1 at the true class.
"""

from __future__ import annotations

import sys
from typing import Any

import bpgpu as bp

HIDDEN, EPOCHS, BATCH, RATE = 64, 40, 32, 0.2
ENOUGH, TOLERANCE = 0.95, 1e-12

Parameters = dict[str, Any]


def forward(p: Parameters, x: Any, y: Any) -> tuple[Any, dict[str, Any]]:
    """Steps 1 and 2: the loss, and what the way back will need."""
    xp = bp.array_namespace(p["W1"])
    # Step 1, forward: from the input to the output, layer by layer
    a = x @ p["W1"] + p["b1"]  # a = x W1 + b1        (N, H)
    h = xp.where(a > 0, a, 0 * a)  # h = relu(a)      (N, H)
    z = h @ p["W2"] + p["b2"]  # z = h W2 + b2        (N, C)
    # Step 2, loss: softmax makes probabilities of the scores z, cross-entropy compares them with y
    e = xp.exp(z - xp.max(z, axis=1, keepdims=True))  # less the largest, so that exp stays finite
    q = e / xp.sum(e, axis=1, keepdims=True)  # q_c = exp(z_c) / sum_k exp(z_k)
    loss = -xp.mean(xp.sum(y * xp.log(q), axis=1))  # L = -1/N sum_n log q_(n, true class)
    return loss, {"x": x, "y": y, "a": a, "h": h, "q": q}


def backward(p: Parameters, kept: dict[str, Any]) -> Parameters:
    """Step 3: the chain rule, from the loss back to each parameter. `d_a` stands for dL/da."""
    xp = bp.array_namespace(p["W1"])
    x, y, a, h, q = (kept[name] for name in "xyahq")
    # the output: softmax and cross-entropy together have a derivative that is simpler than either
    d_z = (q - y) / x.shape[0]  # dL/dz = (q - y) / N              (N, C)
    d_w2 = h.T @ d_z  # dL/dW2 = h^T dL/dz                         (H, C)
    d_b2 = xp.sum(d_z, axis=0)  # dL/db2 = sum_n dL/dz_n           (C,)
    # the hidden layer: what reaches h, and of that what relu lets through
    d_h = d_z @ p["W2"].T  # dL/dh = dL/dz W2^T                    (N, H)
    d_a = xp.where(a > 0, d_h, 0 * d_h)  # dL/da = dL/dh where a > 0, else 0; relu'(0) = 0
    d_w1 = x.T @ d_a  # dL/dW1 = x^T dL/da                         (D, H)
    d_b1 = xp.sum(d_a, axis=0)  # dL/db1 = sum_n dL/da_n           (H,)
    return {"W1": d_w1, "b1": d_b1, "W2": d_w2, "b2": d_b2}


def update(p: Parameters, gradient: Parameters) -> Parameters:
    """Step 4: every parameter goes a little way down its slope."""
    return {name: p[name] - RATE * gradient[name] for name in p}  # w <- w - rate dL/dw


def difference(p: Parameters, x: Any, y: Any) -> float:
    """The largest difference between the derivatives above and those that the library finds."""
    _, kept = forward(p, x, y)
    by_hand = bp.to_numpy(backward(p, kept))
    found = bp.to_numpy(bp.grad(lambda p: forward(p, x, y)[0])(p))
    return max(float(abs(by_hand[name] - found[name]).max()) for name in p)


def main() -> str | None:
    dev = bp.device("auto")
    print(dev.reason)
    train, test = bp.data.digits().split(test=0.2, seed=0, stratify=True)

    def arrays(part: Any) -> tuple[Any, Any, Any]:
        """Pixels, the labels, and the labels as rows with a 1 at the true class."""
        one_hot = part.y[:, None] == range(10)
        return dev.asarray(part.x, "float64"), part.y, dev.asarray(one_hot, "float64")

    (x, _, y), (x_test, labels, _) = arrays(train), arrays(test)
    d, c = x.shape[1], y.shape[1]
    key = bp.random.key(0)

    def draw(i: int, shape: tuple[int, ...]) -> Any:
        """Small random weights: each unit starts out different from the others."""
        scale = (
            2 / shape[0]
        ) ** 0.5  # He et al. (2015): keeps the size of the activations under relu
        normal = bp.random.normal(bp.random.fold_in(key, i), shape)
        return dev.asarray(scale * normal, "float64")

    p = {"W1": draw(1, (d, HIDDEN)), "W2": draw(2, (HIDDEN, c))}
    p |= {"b1": 0 * p["W1"][0, :], "b2": 0 * p["W2"][0, :]}

    gap = difference(p, x, y)
    print(f"by hand and by the library: gradients differ by at most {gap:.1e}")
    if not gap < TOLERANCE:
        return f"failed: expected less than {TOLERANCE:.0e}"

    for epoch in range(1, EPOCHS + 1):
        for xb, yb in bp.data.DataLoader((x, y), BATCH, shuffle=True, seed=epoch):
            loss, kept = forward(p, xb, yb)  # steps 1 and 2
            gradient = backward(p, kept)  # step 3
            p = update(p, gradient)  # step 4
        if epoch % 10 == 0:
            print(f"epoch {epoch}: loss of the last batch {float(loss):.4f}")

    answers = bp.to_numpy(forward(p, x_test, 0 * x_test[:, :1])[1]["q"]).argmax(axis=1)
    score = float((answers == labels).mean())
    print(f"{score:.1%} of {len(labels)} unseen digits are read right")
    return None if score >= ENOUGH else f"failed: expected at least {ENOUGH:.0%}"


if __name__ == "__main__":
    sys.exit(main())
