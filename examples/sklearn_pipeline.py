"""Estimators in scikit-learn's pipelines, on the CPU or a GPU by the same lines.

    pip install "bpgpu[examples]"
    python examples/sklearn_pipeline.py

Tells three kinds of wine apart by what a laboratory has measured: 178 wines, 13 numbers each. First with scikit-learn's
perceptron, for comparison; then with the one of bpgpu, which finds the same network; then with a network of one's own,
whose width and dropout are searched for. The features are on CUDA if CuPy finds a device, and stay there. Ends with the
accuracy on wines that were held out, and fails if it is below 95 %.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier as Peer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bpgpu as bp
from bpgpu.sklearn import MLPClassifier, NeuralClassifier

ENOUGH = 0.95


def network(n_features: int, n_outputs: int, width: int = 16, dropout: float = 0.0) -> Any:
    return bp.nn.Sequential(
        bp.nn.Linear(n_features, width),
        bp.nn.GELU(),
        bp.nn.Dropout(dropout),
        bp.nn.Linear(width, n_outputs),
    )


def main() -> None:
    wine = load_wine()
    features, names = wine.data, wine.target_names[wine.target]  # (178, 13), (178,) of text
    features, held_out, y, y_test = train_test_split(
        features, names, test_size=0.3, random_state=0, stratify=names
    )

    settings: dict[str, Any] = {"random_state": 0, "tol": 1e-3, "max_iter": 1000}
    peer = make_pipeline(StandardScaler(), Peer(**settings)).fit(features, y)
    ours = make_pipeline(StandardScaler(), MLPClassifier(**settings)).fit(features, y)
    assert np.allclose(peer[-1].coefs_[0], ours[-1].coefs_[0])
    print(
        f"perceptron: scikit-learn {peer.score(held_out, y_test):.3f}, here {ours.score(held_out, y_test):.3f}"
    )

    device = bp.device("auto")
    x, x_test = (
        device.asarray(StandardScaler().fit(features).transform(part))
        for part in (features, held_out)
    )
    clf = NeuralClassifier(network, learning_rate=0.02, epochs=60, random_state=0).fit(x, y)
    print(f"on {device} ({device.reason}): {clf.score(x_test, y_test):.3f}")
    assert type(clf.predict_proba(x_test)) is type(x_test)  # where the features are

    grid = {
        "neuralclassifier__module__width": [4, 32],
        "neuralclassifier__module__dropout": [0.0, 0.5],
    }
    search = GridSearchCV(make_pipeline(StandardScaler(), clf), grid, cv=3)
    accuracy = search.fit(features, y).score(held_out, y_test)
    print("best:", {k.rpartition("__")[2]: v for k, v in search.best_params_.items()})
    print(f"accuracy {accuracy:.3f} on wines that were held out")
    assert accuracy >= ENOUGH, f"expected at least {ENOUGH}"


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
