"""Read handwritten digits: a network of two layers, trained until it gets no better.

    pip install "bpgpu[examples]"
    python examples/digits_mlp.py

Runs on CUDA if CuPy finds a device, else on the CPU: the same lines, a few seconds. The data are 1,797 real images of
8 x 8 pixels that come with scikit-learn. Draws loss and accuracy into digits_mlp.png, ends with the share of unseen
digits that are read right, and fails if it is below 97 %.
"""

from __future__ import annotations

import bpgpu as bp

ENOUGH = 0.97


def main() -> None:
    rest, test = bp.data.digits().split(test=0.2, seed=0, stratify=True)  # x (N, 64), y (N,)
    train, validation = rest.split(test=0.1, seed=1, stratify=True)  # the test digits stay unseen

    bp.seed(0)
    model = bp.nn.Sequential(
        bp.nn.Linear(64, 512),  # (N, 64) -> (N, 512)
        bp.nn.ReLU(),
        bp.nn.Dropout(0.5),
        bp.nn.Linear(512, 10),  # (N, 512) -> (N, 10): how much each image looks like each digit
    )
    result = bp.fit(
        model,
        train,
        loss=bp.nn.CrossEntropyLoss(label_smoothing=0.1),
        optimizer=bp.optim.AdamW(model, lr=4e-3),
        epochs=40,
        batch_size=128,
        validation=validation,
        metrics=["accuracy"],
        stop=bp.train.EarlyStopping(patience=10),  # puts the best weights back
    )
    result.plot("digits_mlp.png")

    score = bp.evaluate(model, test, metrics=["accuracy"])["accuracy"]
    print()
    print(f"device    {result.device.reason}")
    print(f"stopped   {result.stopped_by} ({result.seconds:.1f} s)")
    print("curves    digits_mlp.png")
    print(f"accuracy  {score:.1%} of {len(test.y)} unseen digits are read right")
    assert score >= ENOUGH, f"expected at least {ENOUGH:.0%}"


if __name__ == "__main__":
    main()
