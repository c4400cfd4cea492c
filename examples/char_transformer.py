"""Write like Shakespeare: a small Transformer that guesses the next character of a text.

    pip install "bpgpu[examples]"
    python examples/char_transformer.py [text file] [--steps N]

Runs on CUDA if CuPy finds a device, else on the CPU, there in about 90 seconds on two cores; --steps 5000 writes
better. Without a text it takes tiny Shakespeare beside the checkout, else the source of Python's own modules. Ends with
a sample and the loss in nats for each character of text that it has not seen, and fails if that is above 2.0
(guessing by how often each character of Shakespeare occurs: 3.3).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import bpgpu as bp

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "tinyshakespeare" / "input.txt"
WIDTH, HEADS, LAYERS = 128, 4, 2
LENGTH, BATCH, RATE = 64, 32, 4e-3
ENOUGH = 2.0


def text_of(path: Path | None) -> str:
    """The text to learn: a file, or else the source of modules of Python's standard library."""
    if path is not None or BESIDE.exists():
        return bp.data.read_text(path or BESIDE)
    folder = Path(argparse.__file__).parent
    words = "\n".join(p.read_text("utf-8", "ignore") for p in sorted(folder.glob("*.py")))
    return "".join(c for c in words[:1_100_000] if c.isascii())


class Writer(bp.nn.Module):
    """A vector for each character and place; layers in which each place looks back at those before it; scores."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embed = bp.nn.Embedding(characters, WIDTH)
        self.place = bp.nn.Embedding(LENGTH, WIDTH)
        layer = bp.nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = bp.nn.TransformerEncoder(
            layer, LAYERS, norm=bp.nn.LayerNorm(WIDTH), enable_nested_tensor=False
        )
        self.score = bp.nn.Linear(WIDTH, characters)
        later = bp.nn.Transformer.generate_square_subsequent_mask(LENGTH)  # -inf above the diagonal
        self.register_buffer("later", later, persistent=False)

    def forward(self, codes: Any) -> Any:
        length = codes.shape[1]
        x = self.embed(codes) + self.place.weight[:length, :]  # (N, T) -> (N, T, WIDTH)
        x = self.layers(x, mask=self.later[:length, :length], is_causal=True)  # (N, T, WIDTH)
        return self.score(x).mT  # (N, C, T), as cross_entropy takes classes


def windows(codes: Any) -> tuple[Any, Any]:
    """Pieces of the text (N, LENGTH), and the same one character later."""
    count = (len(codes) - 1) // LENGTH
    end = count * LENGTH
    return codes[:end].reshape(count, LENGTH), codes[1 : end + 1].reshape(count, LENGTH)


def sample(model: Any, vocabulary: Any, start: str, length: int, device: Any) -> str:
    """A text that goes on from `start`, each character drawn by its probability."""
    written = start
    draws = bp.to_numpy(bp.random.uniform(bp.random.key(0), (length,)))
    model.eval()
    for u in draws:
        codes = device.asarray(vocabulary.encode(written[-LENGTH:])[None, :])  # (1, T)
        scores = model(codes)[0, :, -1]  # (C,): those of the next character
        chances = bp.to_numpy(bp.functional.softmax(scores / 0.7, dim=0)).cumsum()
        chosen = (chances < u * chances[-1]).sum()  # the first character whose share ends at u
        written += vocabulary.decode([int(chosen)])
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a Transformer to write text.")
    parser.add_argument("text", nargs="?", type=Path, help="a file to learn from")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--enough", type=float, default=ENOUGH, help="the loss to assert")
    options = parser.parse_args()

    text = text_of(options.text)
    vocabulary = bp.data.Vocabulary(text)
    codes = vocabulary.encode(text)
    cut = len(codes) * 9 // 10
    train, test = windows(codes[:cut]), windows(codes[cut:])
    print(f"{len(text):,} characters, {len(vocabulary)} different ones")

    bp.seed(0)
    model = Writer(len(vocabulary))
    optimizer = bp.optim.AdamW(model, lr=RATE)
    cool = bp.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps, eta_min=RATE / 20)
    result = bp.fit(
        model,
        train,
        loss=bp.functional.cross_entropy,
        optimizer=optimizer,
        schedule=(cool, "step"),
        batch_size=BATCH,
        stop=bp.train.MaxSteps(options.steps),
        clip_grad_norm=1.0,
    )
    loss = bp.evaluate(model, test, loss=bp.functional.cross_entropy)["loss"]

    print()
    print(sample(model, vocabulary, "\n", 400, result.device).strip())
    print()
    print(f"device   {result.device.reason}")
    print(f"stopped  {result.stopped_by} ({result.seconds:.0f} s)")
    print(f"loss     {loss:.3f} nats a character of {test[0].size:,} unseen ones")
    assert loss <= options.enough, f"expected at most {options.enough}"


if __name__ == "__main__":
    main()
