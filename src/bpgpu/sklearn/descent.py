"""Training batch by batch, epoch after epoch, until nothing improves: scikit-learn's rules, step for step."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from bpgpu.backend import rows
from bpgpu.backend.libraries import library_of
from bpgpu.replay import compile
from bpgpu.sklearn.inputs import Rows
from bpgpu.sklearn.network import Network, all_finite, copied
from bpgpu.sklearn.solvers import Schedule

Array = Any


class Sample(NamedTuple):
    """What is trained on, at one place."""

    rows: Rows
    y: Array
    weight: Array

    def batches(self, size: int, order: Any = None) -> Iterator[tuple[Array, Array, Array]]:
        """All samples in portions, in an order of NumPy's integers or as they are."""
        n = self.rows.count
        at: Any = None if order is None else rows.indices_like(order, self.y)
        for start in range(0, n, size):
            part = slice(start, min(start + size, n))
            if order is None:
                x, y = self.rows.part(part), self.y[part, ...]
                weight = None if self.weight is None else self.weight[part]
            else:
                index = at[part]
                x = (
                    self.rows.part(order[part])
                    if self.rows.sparse
                    else rows.take(self.rows.X, index)
                )
                y = rows.take(self.y, index)
                weight = None if self.weight is None else rows.take(self.weight, index)
            yield x, y, weight

    def chosen(self, index: Any) -> Sample:
        """The samples at positions of NumPy's integers."""
        at = rows.indices_like(index, self.y)
        weight = None if self.weight is None else rows.take(self.weight, at)
        X = self.rows.X[index] if self.rows.sparse else rows.take(self.rows.X, at)
        return Sample(Rows(X, self.rows.place, self.rows.dtype), rows.take(self.y, at), weight)


class Descent:
    """One call of `fit` or `partial_fit` with a stochastic solver; what it finds it writes to the estimator.

    *Parameters* `score`: how good the network is on what was held out, with `early_stopping`.
    """

    def __init__(
        self,
        estimator: Any,
        network: Network,
        optimizer: Any,
        sample: Sample,
        random_state: Any,
        score: Callable[[], float] | None,
    ) -> None:
        self.estimator, self.network, self.optimizer = estimator, network, optimizer
        self.sample, self.random_state, self.score = sample, random_state, score
        self.schedule = Schedule(estimator, optimizer)
        self.rows = sample.rows.count
        wish = estimator.batch_size
        self.batch = min(200, self.rows) if wish == "auto" else int(min(wish, self.rows))
        if wish != "auto" and wish > self.rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
                f": batch_size={wish}, {self.rows} samples",
                stacklevel=5,
            )
        loss = network.loss
        outputs = int(network.params["intercepts"][-1].shape[0])
        self._share = 1 / outputs if loss.mean_over_outputs else 1.0
        self._step: Any = self._made_step()
        self._order = np.arange(self.rows)
        self._best: Any = None if score is None else copied(network.params)

    def run(self, *, once: bool = False) -> None:
        """All epochs, or as many as are needed; or a single one."""
        est = self.estimator
        est.n_iter_ = 0
        repeats = not once and not self.network.dropout
        if repeats and library_of(self.sample.y) == "cupy":  # a step becomes one launch
            self._step = compile(self._step)
        try:
            while est.n_iter_ < (1 if once else est.max_iter):
                est.loss_ = self._epoch()
                est.n_iter_ += 1
                est.loss_curve_.append(est.loss_)
                est.t_ += self.rows
                self._say(f"Iteration {est.n_iter_}, loss = {est.loss_:.8f}")
                self._judge()
                self.schedule.after_epoch(est.t_)
                if not math.isfinite(est.loss_) and not all_finite(self.network.params):
                    break
                if self._ends():
                    break
            else:
                if not once:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({est.max_iter}) reached and the optimization "
                        "hasn't converged yet: raise max_iter, or learning_rate_init",
                        ConvergenceWarning,
                        stacklevel=5,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=5)
        if self._best is not None:
            self.network.params = self._best

    def _epoch(self) -> float:
        """Each sample once; the mean loss."""
        total: Any = 0.0
        order = None
        if self.estimator.shuffle:
            turn = np.arange(self.rows)
            self.random_state.shuffle(turn)
            self._order = order = self._order[turn]
        for x, y, weight in self.sample.batches(self.batch, order):
            total = total + self._step(x, y, weight) * x.shape[0]
        return float(total) / self.rows

    def _made_step(self) -> Callable[..., Array]:
        """A step of the optimizer on a batch, which returns the loss before it."""
        network, optimizer, share = self.network, self.optimizer, self._share

        def step(x: Array, y: Array, weight: Array) -> Array:
            value, penalty, grads = network.gradients(x, y, weight)
            network.params = optimizer.step(grads)
            return value * share + penalty

        return step

    def _judge(self) -> None:
        """Count the epochs in which nothing has improved, and keep the best weights."""
        est = self.estimator
        if self.score is None:
            stuck = est.loss_ > est.best_loss_ - est.tol
            est.best_loss_ = min(est.best_loss_, est.loss_)
        else:
            found = self.score()
            est.validation_scores_.append(found)
            self._say(f"Validation score: {found:f}")
            stuck = found < est.best_validation_score_ + est.tol
            if found > est.best_validation_score_:
                est.best_validation_score_ = found
                self._best = copied(self.network.params)
        est._no_improvement_count = est._no_improvement_count + 1 if stuck else 0

    def _ends(self) -> bool:
        est = self.estimator
        if est._no_improvement_count <= est.n_iter_no_change:
            return False
        what = "Training loss" if self.score is None else "Validation score"
        why = (
            f"{what} did not improve more than tol={est.tol:f} for {est.n_iter_no_change} consecutive "
            "epochs."
        )
        end = self.schedule.stuck()
        self._say(f"{why} {end or f'Setting learning rate to {self.optimizer.lr:f}'}")
        if end is None:
            est._no_improvement_count = 0
        return end is not None

    def _say(self, text: str) -> None:
        if self.estimator.verbose:
            sys.stdout.write(text + "\n")
