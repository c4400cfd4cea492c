"""Write like Shakespeare: a recurrent network that guesses the next character of a text.

    pip install "bpgpu[examples]"
    python examples/char_lstm.py [text file] [--steps N]

Runs on CUDA if CuPy finds a device, else on the CPU, there in about a minute on two cores; --steps 5000 writes
better. Without a text it takes tiny Shakespeare beside the checkout, else the source of Python's own modules. Ends with
a sample and the loss in nats for each character of text that it has not seen, and fails if that is above 1.85
(guessing by how often each character of Shakespeare occurs: 3.3).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import bpgpu as bp

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "tinyshakespeare" / "input.txt"
WIDTH, LENGTH, BATCH, RATE = 192, 64, 32, 4e-3
ENOUGH = 1.85


def text_of(path: Path | None) -> str:
    """The text to learn: a file, or else the source of modules of Python's standard library."""
    if path is not None or BESIDE.exists():
        return bp.data.read_text(path or BESIDE)
    folder = Path(argparse.__file__).parent
    words = "\n".join(p.read_text("utf-8", "ignore") for p in sorted(folder.glob("*.py")))
    return "".join(c for c in words[:1_100_000] if c.isascii())


class Writer(bp.nn.Module):
    """Each character becomes a vector, an LSTM reads them in order, a linear layer scores the next one."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embed = bp.nn.Embedding(characters, WIDTH)
        self.lstm = bp.nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.score = bp.nn.Linear(WIDTH, characters)

    def read(self, codes: Any, state: Any = None) -> tuple[Any, Any]:
        """Scores of the character after each one, and what the LSTM remembers."""
        hidden, state = self.lstm(self.embed(codes), state)  # (N, T) -> (N, T, WIDTH)
        return self.score(hidden), state  # (N, T, C)

    def forward(self, codes: Any) -> Any:
        scores, _ = self.read(codes)
        return scores.mT  # (N, C, T), as cross_entropy takes classes


def windows(codes: Any) -> tuple[Any, Any]:
    """Pieces of the text (N, LENGTH), and the same one character later."""
    count = (len(codes) - 1) // LENGTH
    end = count * LENGTH
    return codes[:end].reshape(count, LENGTH), codes[1 : end + 1].reshape(count, LENGTH)


def sample(model: Any, vocabulary: Any, start: str, length: int, device: Any) -> str:
    """A text that goes on from `start`, each character drawn by its probability."""
    written, state, codes = start, None, vocabulary.encode(start)
    draws = bp.to_numpy(bp.random.uniform(bp.random.key(0), (length,)))
    model.eval()
    for u in draws:
        scores, state = model.read(device.asarray(codes[None, :]), state)
        chances = bp.to_numpy(bp.functional.softmax(scores[0, -1, :] / 0.7, dim=0)).cumsum()
        codes = (chances < u * chances[-1]).sum()[None]  # the first character whose share ends at u
        written += vocabulary.decode(codes)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description="Train an LSTM to write text.")
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
