"""A loss that runs through SciPy: three species of iris, found without their labels by a mixture of Gaussians.

    pip install "bpgpu[examples]"
    python examples/through_scipy.py

The likelihood of a mixture is a sum of exponentials, for which SciPy has a stable function, `scipy.special.logsumexp`.
It is written to the Array API, so a gradient passes through it as it stands; docs/through_scipy.md lists what else
does. The data are 150 real flowers of 4 measurements (from scikit-learn). Ends with the share of flowers that are put
with their species, and fails if it is below 95 %, or if scikit-learn's own EM algorithm finds a better likelihood.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["SCIPY_ARRAY_API"] = "1"  # SciPy reads it once, when it is imported

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.optimize import linear_sum_assignment
from scipy.special import log_softmax, logsumexp
from sklearn.mixture import GaussianMixture

import bpgpu as bp

SPECIES = 3
ENOUGH, WORSE = 0.95, 1e-4

Parameters = dict[str, Any]


def log_densities(p: Parameters, x: Any) -> Any:
    """`log(weight_k N(x_n; mean_k, covariance_k))` for each flower and species: (N, K).

    With `R^T R` for the inverse covariance, `log N = log |det R| - |R (x - mean)|^2 / 2 - D/2 log(2 pi)`.
    """
    xp = bp.array_namespace(p["mean"])
    apart = xp.expand_dims(x, axis=1) - p["mean"]  # (N, K, D)
    root = p["root"]  # (K, D, D): R is an upper triangle
    scaled = xp.sum(
        xp.expand_dims(apart, axis=2) * xp.triu(root), axis=-1
    )  # R (x - mean): (N, K, D)
    log_det = xp.sum(xp.log(xp.abs(xp.linalg.diagonal(root))), axis=-1)  # (K,)
    normal = log_det - xp.sum(scaled**2, axis=-1) / 2 - x.shape[1] / 2 * np.log(2 * np.pi)
    return log_softmax(p["logit"], axis=0) + normal


def loss(p: Parameters, x: Any) -> Any:
    """Minus the mean log-likelihood of a flower."""
    xp = bp.array_namespace(p["mean"])
    return -xp.mean(logsumexp(log_densities(p, x), axis=1))


def start(x: np.ndarray) -> dict[str, np.ndarray]:
    """The clusters of k-means, each with its own mean and covariance."""
    _, cluster = kmeans2(x, SPECIES, minit="++", seed=0)
    members = [x[cluster == k] for k in range(SPECIES)]
    inverse = [np.linalg.inv(np.cov(rows.T)) for rows in members]
    return {
        "logit": np.log([len(rows) / len(x) for rows in members]),
        "mean": np.stack([rows.mean(axis=0) for rows in members]),
        "root": np.stack([np.linalg.cholesky(m).T for m in inverse]),
    }


def agreement(found: np.ndarray, species: np.ndarray) -> float:
    """The share of flowers that are put with their species, whatever the groups are numbered."""
    table = np.zeros((SPECIES, SPECIES))
    np.add.at(table, (found, species), 1)
    return float(table[linear_sum_assignment(-table)].sum() / len(species))


def main() -> str | None:
    dev = bp.device("auto")
    print(dev.reason)
    flowers, species = bp.data.iris()
    flowers = flowers.astype("float64")
    x = dev.asarray(flowers)
    p = {name: dev.asarray(value) for name, value in start(flowers).items()}

    bp.check_grads(lambda p: loss(p, x), (p,))
    print("the gradient through SciPy agrees with difference quotients")

    gradient = bp.value_and_grad(loss)
    optimizer = bp.optim.LBFGS(p, max_iter=500, max_eval=1000, line_search_fn="strong_wolfe")
    print(f"log-likelihood of a flower at the start: {-float(loss(p, x)):.4f}")
    p = optimizer.step(lambda: gradient(optimizer.params, x))
    mine = -float(loss(p, x))

    em = GaussianMixture(SPECIES, n_init=10, tol=1e-6, max_iter=1000, random_state=0).fit(flowers)
    theirs = float(em.score(flowers))
    print(f"after L-BFGS: {mine:.4f}; scikit-learn's EM finds {theirs:.4f}")
    groups = bp.to_numpy(log_densities(p, x)).argmax(axis=1)
    score = agreement(groups, np.asarray(species))
    print(f"{score:.1%} of {len(species)} flowers are put with their species")
    if mine < theirs - WORSE:
        return f"failed: the likelihood is worse than scikit-learn's by more than {WORSE}"
    return None if score >= ENOUGH else f"failed: expected at least {ENOUGH:.0%}"


if __name__ == "__main__":
    sys.exit(main())
