#!/usr/bin/env python3
"""The held-out scores of `bpgpu.sklearn` and of scikit-learn's perceptrons at the same settings, over several seeds.

    python benchmarks/sklearn_accuracy.py
    python benchmarks/sklearn_accuracy.py --seeds 10 --write

The data sets come with scikit-learn. Each seed splits the data (a quarter is held out), draws the weights and orders
the batches for both. Classifiers are scored by their accuracy, regressors by the coefficient of determination. With
scikit-learn's settings both find the same network, up to rounding, which grows where a loss has kinks.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

DATA = ("iris", "wine", "breast_cancer", "digits", "diabetes")
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.01},
    "lbfgs": {"solver": "lbfgs", "alpha": 0.1},
    "tanh, two layers": {"activation": "tanh", "hidden_layer_sizes": (50, 50)},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.2},
}


def scores(name: str, settings: dict[str, Any], seed: int) -> tuple[float, float]:
    """The score of bpgpu's estimator, and of scikit-learn's."""
    import sklearn.neural_network as peers
    from sklearn import datasets
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    from bpgpu import sklearn as ours

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    labels = y.dtype.kind != "f"
    x, x_test, y, y_test = train_test_split(
        x, y, test_size=0.25, random_state=seed, stratify=y if labels else None
    )
    scaler = StandardScaler().fit(x)
    x, x_test = scaler.transform(x), scaler.transform(x_test)
    if not labels:
        mean, std = y.mean(), y.std()
        y, y_test = (y - mean) / std, (y_test - mean) / std
    kind = "MLPClassifier" if labels else "MLPRegressor"
    mine, theirs = (
        getattr(m, kind)(random_state=seed, **settings).fit(x, y).score(x_test, y_test)
        for m in (ours, peers)
    )
    return mine, theirs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--write", action="store_true", help="write benchmarks/results/sklearn_accuracy.md"
    )
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    import numpy as np
    import sklearn

    lines = [
        "| data | settings | bpgpu | scikit-learn | seeds better, equal, worse |",
        "|---|---|---|---|---|",
    ]
    print(*lines, sep="\n")
    for name in DATA:
        for title, settings in SETTINGS.items():
            found = [scores(name, settings, seed) for seed in range(asked.seeds)]
            mine, theirs = (statistics.mean(column) for column in zip(*found, strict=True))
            better = sum(a > b + 1e-6 for a, b in found)
            worse = sum(a < b - 1e-6 for a, b in found)
            lines.append(
                f"| {name} | {title} | {mine:.4f} | {theirs:.4f} | "
                f"{better}, {len(found) - better - worse}, {worse} |"
            )
            print(lines[-1], flush=True)
    if asked.write:
        about = (
            f"`python benchmarks/sklearn_accuracy.py --seeds {asked.seeds} --write`, {platform.machine()}, NumPy "
            f"{np.__version__}, scikit-learn {sklearn.__version__}. Means of the held-out scores over {asked.seeds} "
            "seeds, each with a split of its own; features, and the target of diabetes, are standardized."
        )
        text = "\n".join(["# The scores of scikit-learn's perceptrons", "", about, "", *lines, ""])
        (HERE / "results" / "sklearn_accuracy.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
