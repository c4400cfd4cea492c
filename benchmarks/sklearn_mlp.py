#!/usr/bin/env python3
"""`bpgpu.sklearn` beside scikit-learn's perceptrons: the time of `fit`, `partial_fit` and `predict`, in turns.

    python benchmarks/sklearn_mlp.py
    python benchmarks/sklearn_mlp.py --rounds 9 --sizes iris,digits --threads 1 --write

Both get the same arguments, and find the same network, up to rounding. Each round fits both, one after the other,
and gives a ratio; the figures are medians over the rounds. `partial_fit` is one more pass over the data by an estimator
that is there, `one row` is `predict` of a single sample.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

DATA: dict[str, tuple[int, int, int]] = {
    # samples, features, classes (0: a number is to be predicted)
    "iris": (150, 4, 3),
    "cancer": (569, 30, 2),
    "digits": (1797, 64, 10),
    "diabetes": (442, 10, 0),
    "wide": (2000, 784, 10),
}
CASES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    # data, settings
    "iris": [
        ("iris", {}),
        ("iris", {"hidden_layer_sizes": (10,), "max_iter": 50}),
        ("iris", {"solver": "sgd"}),
        ("iris", {"batch_size": 16, "max_iter": 50}),
        ("iris", {"solver": "lbfgs"}),
        ("iris", {"early_stopping": True, "n_iter_no_change": 200}),
    ],
    "cancer": [("cancer", {}), ("cancer", {"solver": "sgd", "hidden_layer_sizes": (30, 30)})],
    "diabetes": [("diabetes", {}), ("diabetes", {"solver": "lbfgs"})],
    "digits": [
        ("digits", {"max_iter": 30}),
        ("digits", {"max_iter": 30, "solver": "sgd", "batch_size": 32}),
        ("digits", {"max_iter": 30, "hidden_layer_sizes": (256, 128)}),
        ("digits", {"max_iter": 30, "activation": "tanh"}),
        ("digits", {"max_iter": 30, "activation": "logistic"}),
    ],
    "wide": [
        ("wide", {"max_iter": 3, "hidden_layer_sizes": (512, 512)}),
        ("wide", {"max_iter": 3, "hidden_layer_sizes": (512, 512), "solver": "sgd"}),
        ("wide", {"max_iter": 3, "hidden_layer_sizes": (512, 512), "batch_size": 32}),
        ("wide float32", {"max_iter": 3, "hidden_layer_sizes": (512, 512)}),
    ],
}


def data(name: str) -> tuple[Any, Any]:
    import numpy as np

    name, _, dtype = name.partition(" ")
    n, features, classes = DATA[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, features))
    hidden = np.tanh(x @ rng.normal(size=(features, 16)) / features**0.5)
    scores = hidden @ rng.normal(size=(16, max(classes, 1)))
    return x.astype(dtype or "float64"), scores.argmax(axis=1) if classes else scores[:, 0]


def seconds(f: Callable[[], Any], least: float) -> float:
    """The time of a call: of as many as take `least` seconds."""
    f()
    calls, start = 0, time.perf_counter()
    while True:
        f()
        calls += 1
        spent = time.perf_counter() - start
        if spent >= least:
            return spent / calls


def measured(case: tuple[str, dict[str, Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """For each task the milliseconds of bpgpu, and the ratio to scikit-learn."""
    import sklearn.neural_network as peers

    from bpgpu import sklearn as ours

    x, y = data(case[0])
    kind = "MLPRegressor" if y.dtype.kind == "f" else "MLPClassifier"
    made = [getattr(m, kind)(random_state=0, tol=0.0, **case[1]) for m in (ours, peers)]
    times: dict[str, list[list[float]]] = {}
    for i in range(rounds):
        for who, estimator in list(enumerate(made))[:: 1 if i % 2 else -1]:
            tasks: dict[str, tuple[Callable[[], Any], float]] = {
                "fit": (lambda e=estimator: e.fit(x, y), 0.0),
                "predict": (lambda e=estimator: e.predict(x), 0.05),
                "one row": (lambda e=estimator: e.predict(x[:1]), 0.05),
            }
            if case[1].get("solver") != "lbfgs" and "early_stopping" not in case[1]:
                tasks["partial_fit"] = (lambda e=estimator: e.partial_fit(x, y), 0.05)
            for task, (f, least) in tasks.items():
                times.setdefault(task, [[], []])[who].append(seconds(f, least))
    return {
        task: (
            1e3 * statistics.median(mine),
            statistics.median(a / b for a, b in zip(mine, theirs, strict=True)),
        )
        for task, (mine, theirs) in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", default=",".join(CASES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/sklearn.md")
    asked = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(asked.threads)
    warnings.simplefilter("ignore")
    import numpy as np
    import sklearn

    tasks = ("fit", "partial_fit", "predict", "one row")
    lines = [
        "| data | settings | fit, ms | " + " | ".join(tasks) + " |",
        "|---" * (3 + len(tasks)) + "|",
    ]
    print(lines[0], lines[1], sep="\n")
    for size in asked.sizes.split(","):
        for case in CASES[size]:
            found = measured(case, asked.rounds)
            settings = ", ".join(f"{k}={v}" for k, v in case[1].items()) or "default"
            ratios = " | ".join(f"{found[t][1]:.2f}" if t in found else "" for t in tasks)
            lines.append(f"| {case[0]} | {settings} | {found['fit'][0]:.1f} | {ratios} |")
            print(lines[-1], flush=True)
    if asked.write:
        about = (
            f"`python benchmarks/sklearn_mlp.py --rounds {asked.rounds} --threads {asked.threads} --write`, "
            f"{asked.threads} thread{'s' * (asked.threads > 1)}, {platform.machine()}, Python "
            f"{platform.python_version()}, NumPy {np.__version__}, scikit-learn {sklearn.__version__}, float64 "
            "unless said otherwise. The machine was shared: trust the ratios. `fit, ms` is the time of bpgpu; the "
            "other columns are the time of bpgpu divided by that of scikit-learn, below 1 is faster."
        )
        sizes = "; ".join(f"{k}: {v[0]} x {v[1]}" for k, v in DATA.items())
        text = "\n".join(
            ["# Beside scikit-learn's perceptrons", "", about, "", *lines, "", sizes, ""]
        )
        (HERE / "results" / "sklearn.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
