"""`predict`: answers of a model that `train` saved, for the rows of a CSV file."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from typing import Any

import bpgpu as bp
from bpgpu.commands import options as given
from bpgpu.commands import tabular
from bpgpu.commands.tabular import Recipe, Source
from bpgpu.data.kinds import Kind
from bpgpu.errors import DataError
from bpgpu.io import atomic


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="the file that 'train' saved")
    parser.add_argument("file", help="a CSV file with the same columns; the target may be missing")
    parser.add_argument(
        "--out", type=given.file, metavar="FILE", help="a CSV file for the answers (default: shown)"
    )
    given.text(parser)
    given.device(parser)


def run(options: argparse.Namespace) -> int:
    device = bp.device(options.device)
    if options.out is not None:
        tabular.checked_output("--out", options.out)
        tabular.check_apart(
            {"the model": options.model, "the table": options.file, "--out": options.out}
        )
    content = bp.load(options.model)
    recipe = tabular.recipe_of(content.get("table"), options.model)
    model = recipe.model()
    bp.load(options.model, model=model)
    source = tabular.Source(options.file, options.delimiter, options.encoding)
    data = tabular.read(source, _inputs(source, recipe), None)
    x, strange = recipe.inputs(data)
    for name, words in strange.items():
        shown = ", ".join(f"'{word}'" for word in words[:5]) + (" ..." if len(words) > 5 else "")
        print(
            f"bpgpu predict: column '{name}' has words that training has not seen, counted as none of those it has: "
            f"{shown}",
            file=sys.stderr,
        )
    answers = bp.to_numpy(bp.predict(model, x, device=device))
    text = _written(answers, recipe)
    if options.out is None:
        _show(text)
    else:
        atomic.write(atomic.checked_path("predict", options.out), [text.encode()])
        print(f"{len(answers)} answers in {options.out}")
    return 0


def _show(text: str) -> None:
    """On a console in its letters, into a file or a pipe in UTF-8, as all files are."""
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None or sys.stdout.isatty():
        print(text, end="")
    else:
        sys.stdout.flush()
        stream.write(text.encode())


def _inputs(source: Source, recipe: Recipe) -> list[Kind]:
    """The columns that the model reads, each of its kind."""
    words = [column.name for column in recipe.columns if column.words is not None]
    kinds, _ = source.kinds(words, [column.name for column in recipe.columns])
    found = {kind.name: kind for kind in kinds}
    for column in recipe.columns:
        tabular.check_column("the model", column.name, [kind.name for kind in kinds])
        if column.words is None and found[column.name].is_words:
            raise DataError(
                f"column '{column.name}' held numbers when the model was trained, and holds words in '{source.path}'"
            )
    return [found[column.name] for column in recipe.columns]


def _written(answers: Any, recipe: Recipe) -> str:
    """The answers as CSV: the class and the probability of each, or the number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if not recipe.classes:
        writer.writerow([recipe.target])
        writer.writerows([f"{recipe.mean + recipe.scale * float(a):.7g}"] for a in answers[:, 0])
        return text.getvalue()
    writer.writerow([recipe.target, *(f"P({name})" for name in recipe.classes)])
    xp = bp.array_namespace(answers)
    chances = bp.functional.softmax(answers, dim=-1)
    for row, best in zip(chances, xp.argmax(answers, axis=1), strict=True):
        writer.writerow([recipe.classes[int(best)], *(f"{float(p):.4f}" for p in row)])
    return text.getvalue()
