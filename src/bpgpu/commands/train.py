"""`train`: fit a network to the columns of a CSV file, score it on rows that it has not seen, and save it."""

from __future__ import annotations

import argparse
import importlib.util
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpgpu as bp
from bpgpu import plot as plotting
from bpgpu.commands import options as given
from bpgpu.commands import tabular
from bpgpu.commands.tabular import Recipe
from bpgpu.errors import DataError

LEAST = 10
"""Rows below which nothing can be held out."""
PATIENCE = 20
ENDINGS = re.compile(r"(\.(csv|tsv|tab|txt|dat|data))?(\.gz)?$", re.IGNORECASE)
"""What the names of tables end with; the files of `prices.2024.csv` and `prices.2025.csv` stay apart."""

Array = Any


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="a CSV file with the names of the columns in its first line")
    parser.add_argument("--target", required=True, metavar="NAME", help="the column to predict")
    parser.add_argument(
        "--task",
        choices=("auto", "classification", "regression"),
        default="auto",
        help=f"'auto': words, and up to {tabular.FEW} different whole numbers, are classes",
    )
    parser.add_argument(
        "--drop", nargs="+", default=[], metavar="NAME", help="columns to leave out"
    )
    parser.add_argument(
        "--words", nargs="+", default=[], metavar="NAME", help="columns of numbers that are names"
    )
    parser.add_argument(
        "--save",
        type=given.file,
        metavar="FILE",
        help="default: the name of the file, .safetensors",
    )
    parser.add_argument(
        "--plot", type=given.file, metavar="FILE", help="default: the name of the file, .png"
    )
    parser.add_argument(
        "--hidden", type=given.sizes, default=(64, 64), metavar="N,N", help="units (64,64)"
    )
    parser.add_argument("--epochs", type=given.whole(1), default=200, help="at most (200)")
    parser.add_argument("--batch-size", type=given.whole(1), default=32, help="rows a step (32)")
    parser.add_argument("--lr", type=given.real(0, 10), default=1e-3, help="learning rate (0.001)")
    parser.add_argument(
        "--dropout", type=given.real(0, 0.99, ends=True), default=0.0, help="share (0)"
    )
    parser.add_argument(
        "--test", type=given.real(0, 1), default=0.2, help="share of rows held out (0.2)"
    )
    parser.add_argument("--seed", type=given.whole(0), default=0, help="of all that is drawn (0)")
    given.text(parser)
    given.device(parser)


@dataclass
class Parts:
    """Inputs and targets to train on, to stop by, and to score on."""

    train: tuple[Array, Array]
    validation: tuple[Array, Array]
    test: tuple[Array, Array]


def run(options: argparse.Namespace) -> int:
    device = bp.device(options.device)
    save, plot = _outputs(options)
    source = tabular.Source(options.file, options.delimiter, options.encoding)
    inputs, goal, is_class = tabular.examined(
        source, options.target, options.task, options.drop, options.words
    )
    data = tabular.read(source, inputs, goal)
    recipe, parts = _prepared(data, inputs, goal, is_class, options)
    bp.seed(options.seed)
    model = recipe.model(options.dropout)
    result = bp.fit(
        model,
        parts.train,
        loss=bp.functional.cross_entropy if is_class else bp.functional.mse_loss,
        optimizer=bp.optim.AdamW(model, lr=options.lr),
        epochs=options.epochs,
        batch_size=options.batch_size,
        validation=parts.validation,
        metrics=["accuracy"] if is_class else [],
        stop=bp.train.EarlyStopping(patience=PATIENCE),
        device=device,
        seed=options.seed,
    )
    if result.stopped_by == "interrupted":
        raise KeyboardInterrupt
    answers = bp.to_numpy(bp.predict(model, parts.test[0]))
    bp.save(save, model=model, table=recipe.saved())
    print()
    print(f"rows     {_counted(parts, recipe)}")
    print(f"device   {result.device.reason}")
    print(f"stopped  {result.stopped_by} ({result.seconds:.1f} s)")
    print(f"score    {_score(answers, parts, recipe)}")
    print(f"saved    {save}; use it with: python -m bpgpu predict {save} FILE.csv")
    if plot is None:
        print('curves   not drawn: matplotlib is not installed (pip install "bpgpu[plot]")')
    else:
        result.plot(plot)
        print(f"curves   {plot}")
    return 0


def _outputs(options: argparse.Namespace) -> tuple[str, str | None]:
    """Where the model and the plot go, both checked; no plot without matplotlib, unless one was asked for."""
    stem = ENDINGS.sub("", Path(options.file).name) or "table"
    save = options.save or f"{stem}.safetensors"
    plot = options.plot
    if plot is None and importlib.util.find_spec("matplotlib") is not None:
        plot = f"{stem}.png"
    tabular.checked_output("--save", save)
    if plot is not None:
        tabular.checked_output("--plot", plot)
        plotting.check_format("--plot", plot)
    tabular.check_apart({"the table": options.file, "--save": save, "--plot": plot})
    return save, plot


def _prepared(
    data: Any, inputs: Any, goal: Any, is_class: bool, options: argparse.Namespace
) -> tuple[Recipe, Parts]:
    xp = bp.array_namespace(data.x)
    y, classes = tabular.classes_of(data, goal) if is_class else (xp.reshape(data.y, (-1,)), None)
    y = y if is_class else xp.astype(y, data.x.dtype)
    if len(y) < LEAST:
        raise DataError(f"{options.file!r} has {len(y)} rows; {LEAST} are needed at least")
    layers = y if is_class and _smallest(xp, y) > 1 else None
    rows = xp.arange(len(y))
    try:
        rest, test = bp.data.split((rows, y), options.test, seed=options.seed, stratify=layers)
    except DataError as error:
        raise DataError(f"--test {options.test:g}: {error}") from None
    layers = rest[1] if layers is not None and _smallest(xp, rest[1]) > 1 else None
    train, validation = bp.data.split(rest, 0.15, seed=options.seed + 1, stratify=layers)
    recipe = Recipe(
        goal.name,
        classes,
        tabular.columns_of(data.x[train[0]], data, inputs),
        list(options.hidden),
    )
    if not is_class:
        recipe.mean, scale = tabular.spread(y[train[0]])
        recipe.scale = scale if math.isfinite(scale) else 1.0
        y = xp.astype(xp.reshape((y - recipe.mean) / recipe.scale, (-1, 1)), xp.float32)
    x, _ = recipe.inputs(data)
    return recipe, Parts(*((x[part[0]], y[part[0]]) for part in (train, validation, test)))


def _smallest(xp: Any, y: Array) -> int:
    """How many rows the rarest class has."""
    return int(xp.min(xp.unique_counts(y).counts))


def _counted(parts: Parts, recipe: Recipe) -> str:
    train, validation, test = (len(part[1]) for part in (parts.train, parts.validation, parts.test))
    kind = f"{len(recipe.classes)} classes" if recipe.classes else "a number"
    return (
        f"{train} to train on, {validation} to stop by, {test} to score on; "
        f"{len(recipe.columns)} column{'s' * (len(recipe.columns) != 1)}, '{recipe.target}' is {kind}"
    )


def _score(answers: Array, parts: Parts, recipe: Recipe) -> str:
    """How good the answers for the rows held out are, and what guessing would reach."""
    xp = bp.array_namespace(answers)
    y = parts.test[1]
    if recipe.classes:
        right = float(xp.mean(xp.astype(xp.argmax(answers, axis=1) == y, xp.float64)))
        counts = xp.unique_counts(parts.train[1])
        usual = counts.values[xp.argmax(counts.counts)]
        guess = float(xp.mean(xp.astype(y == usual, xp.float64)))
        return f"{right:.1%} of {len(y)} unseen rows are right (always '{recipe.classes[int(usual)]}': {guess:.1%})"
    error = xp.astype(answers - y, xp.float64) * recipe.scale
    y = xp.astype(y, xp.float64) * recipe.scale
    spread = float(xp.mean((y - xp.mean(y)) ** 2))
    explained = 1 - float(xp.mean(error**2)) / spread if spread else math.nan
    usual = float(xp.mean(xp.abs(y)))
    return (
        f"mean error {float(xp.mean(xp.abs(error))):.4g} over {len(y)} unseen rows (always the mean: {usual:.4g}), "
        f"R2 {explained:.3f}"
    )
