"""Squeeze an image of a digit through 8 numbers, and draw it again from them: an autoencoder.

    pip install "bpgpu[examples]"
    python examples/autoencoder.py

Runs on CUDA if CuPy finds a device, else on the CPU: a few seconds. The data are 1,797 real images of 8 x 8 pixels that
come with scikit-learn. Draws unseen digits above what became of them into autoencoder.png, ends with the squared error
for each pixel, from 0 to 1, and fails if that is above 0.012 (the mean image alone: 0.073; the best linear map through
8 numbers, the first 8 principal components: 0.025).
"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

import bpgpu as bp

CODE = 8
SHOWN = 12
ENOUGH = 0.012


def draw(images: Any, again: Any, path: str) -> None:
    """A row of images, (N, 64), above a row of their reconstructions."""
    figure = Figure(figsize=(0.8 * len(images), 2.2), layout="constrained")
    grid = figure.subplots(2, len(images))
    for row, (title, pixels) in enumerate(
        (("unseen digits", images), (f"from {CODE} numbers", again))
    ):
        for axes, image in zip(grid[row], pixels, strict=True):
            axes.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        grid[row][0].set_title(title, loc="left", fontsize=10)
    figure.savefig(path, dpi=120)


def main() -> None:
    train, test = bp.data.digits().split(test=0.2, seed=0, stratify=True)  # x (N, 64) in [0, 1]

    bp.seed(0)
    encoder = bp.nn.Sequential(
        bp.nn.Linear(64, 256),  # (N, 64) -> (N, 256)
        bp.nn.GELU(),
        bp.nn.Linear(256, CODE),  # -> (N, 8): all that the decoder gets to know
    )
    decoder = bp.nn.Sequential(
        bp.nn.Linear(CODE, 256),  # (N, 8) -> (N, 256)
        bp.nn.GELU(),
        bp.nn.Linear(256, 64),  # -> (N, 64)
        bp.nn.Sigmoid(),  # pixels between 0 and 1
    )
    model = bp.nn.Sequential(encoder, decoder)
    result = bp.fit(
        model,
        (train.x, train.x),  # the target is the image itself
        loss=bp.functional.mse_loss,
        optimizer=bp.optim.Adam(model, lr=2e-3),
        epochs=60,
        batch_size=32,
        validation=(test.x, test.x),
    )

    again = bp.to_numpy(bp.predict(model, test.x))  # (N, 64)
    error = float(((again - test.x) ** 2).mean())
    draw(test.x[:SHOWN, :], again[:SHOWN, :], "autoencoder.png")
    print()
    print(f"device   {result.device.reason}")
    print(f"stopped  {result.stopped_by} ({result.seconds:.1f} s)")
    print("images   autoencoder.png")
    print(f"error    {error:.4f} for each pixel of {len(test.x)} unseen digits")
    assert error <= ENOUGH, f"expected at most {ENOUGH}"


if __name__ == "__main__":
    main()
