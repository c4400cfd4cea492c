"""What `MLPClassifier` and `MLPRegressor` share: from parameters and data to a network, and on to its last values."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from bpgpu import functional, nn, random
from bpgpu.backend import default_namespace
from bpgpu.backend.libraries import namespace_of
from bpgpu.sklearn import inputs, modules, settings, solvers, targets
from bpgpu.sklearn.descent import Descent, Sample
from bpgpu.sklearn.inputs import Place, Rows, place_of
from bpgpu.sklearn.losses import Loss
from bpgpu.sklearn.network import (
    ACTIVATIONS,
    Activation,
    Network,
    all_finite,
    differentiated,
    drawn,
)

Array = Any

_FUNCTIONS = (
    *("celu", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid"),
    *("mish", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "tanhshrink"),
)
"""Functions of `bpgpu.functional` that may be named as activations."""

ROWS, CACHED, LARGEST = 2**10, 2**17, 2**24
"""A prediction is computed in portions: on the CPU of so many rows, or as many as have `CACHED` values in the widest
layer; elsewhere of `LARGEST` values. The portions stay in the cache from layer to layer."""


class Perceptron(BaseEstimator):
    """What both estimators share."""

    _numeric_target: bool
    coefs_: list[Array]
    intercepts_: list[Array]
    t_: int

    # ---- what an estimator defines

    def _outputs(self, y: Any) -> int:
        """How many outputs the network has for a target."""
        raise NotImplementedError

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _validation(self, network: Network, sample: Sample) -> float:
        """How good the network is on what was held out."""
        raise NotImplementedError

    # ---- fitting

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit the weights to features `(n, f)` and a target.

        *Parameters* `X`: an array of any library, a data frame, or a sparse matrix. `y`: of the library of `X`, or of
        NumPy. `sample_weight`: how much each sample counts, `(n,)`; 0 leaves it out, 2 counts it twice.

        *Raises* `ValueError` for parameters out of range, by name; for NaN, infinity and shapes that do not fit.
        """
        return self._fit(X, y, sample_weight)

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, once: bool = False, classes: Any = None
    ) -> Any:
        widths = self._check()
        if once and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "coefs_") or not (self.warm_start or once)
        X, y = inputs.data(self, X, y, reset=first, numeric=self._numeric_target)
        place = self._place(X, first)
        encoded = self._target(X, y, first, once, classes)
        weight = self._weights(y, inputs.weights(sample_weight, X.shape[0]), once)
        generator = settings.generator(self)
        if first:
            dtype = str(X.dtype).rpartition(".")[2]
            self._begin(
                [self.n_features_in_, *widths, self._outputs(encoded)], place, dtype, generator
            )
        elif [c.shape[1] for c in self.coefs_[:-1]] != widths:
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes} does not fit the weights that are to be trained "
                f"further: they have {[c.shape[1] for c in self.coefs_[:-1]]}; keep it, or set warm_start=False"
            )
        network = self._network()
        if network.dropout:
            network.key = random.fold_in(
                random.key(int(generator.randint(2**31 - 1)), like=self.coefs_[0]), self.t_
            )
        if solvers.is_stochastic(self.solver):
            self._descend(network, X, encoded, weight, generator, once)
        else:
            self._minimize(network, self._sample(X, encoded, weight))
        self.coefs_, self.intercepts_ = network.params["coefs"], network.params["intercepts"]
        if not all_finite(network.params):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed: scale X with sklearn.preprocessing.StandardScaler, and y of a regression too, or lower "
                f"learning_rate_init (now {self.learning_rate_init})"
            )
        return self

    def _check(self) -> list[int]:
        """Raise `ValueError` for a parameter that is out of range; the widths of the hidden layers."""
        widths = settings.widths(self)
        settings.check(
            self,
            *("alpha", "learning_rate_init", "power_t", "max_iter", "tol", "momentum", "beta_1"),
            *("beta_2", "epsilon", "max_fun", "validation_fraction"),
            *("shuffle", "warm_start", "nesterovs_momentum", "early_stopping"),
        )
        settings.common(self)
        settings.choice(self, "learning_rate", "constant", "invscaling", "adaptive")
        if self.n_iter_no_change != np.inf and not settings.NUMBERS["max_iter"].hold(
            self.n_iter_no_change
        ):
            raise settings.wrong(
                self, "n_iter_no_change", "an integer >= 1 or infinity", self.n_iter_no_change
            )
        solvers.check(type(self).__name__, self.solver)
        self._activations(len(widths))
        if any(settings.dropout(self, len(widths))) and not solvers.is_stochastic(self.solver):
            raise ValueError(
                f"{type(self).__name__}: dropout={self.dropout} goes with stochastic solvers; solver='lbfgs' needs a "
                "loss that is the same at each evaluation. Take solver='adam', or dropout=0"
            )
        return widths

    def _place(self, X: Any, first: bool) -> Place:
        """Where is trained."""
        if not first:
            return place_of(self.coefs_[0])
        self._fitted_at = str(place_of(X))
        return place_of(X) if self.device is None else inputs.place_named(self.device)

    def _begin(self, sizes: list[int], place: Place, dtype: str, generator: Any) -> None:
        """First weights, and nothing known of the training."""
        functions = settings.per_layer(self, "activation", self.activation, len(sizes) - 2)
        functions.append(functions[-1] if functions else self.activation)
        coefs, intercepts = drawn(sizes, [f == "logistic" for f in functions], generator)
        self.coefs_ = [place.put(w, dtype) for w in coefs]
        self.intercepts_ = [place.put(b, dtype) for b in intercepts]
        self.n_iter_ = self.t_ = 0
        self.n_layers_, self.n_outputs_ = len(sizes), sizes[-1]
        self.out_activation_ = self._loss().output
        self._optimizer: Any = None
        if solvers.is_stochastic(self.solver):
            self._begin_descent()

    def _begin_descent(self) -> None:
        """Nothing known of the losses."""
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        early = self.early_stopping
        self.validation_scores_: list[float] | None = [] if early else None
        self.best_validation_score_ = -np.inf if early else None
        self.best_loss_ = None if early else np.inf

    def _activations(self, layers: int) -> list[Activation]:
        found = []
        for f in settings.per_layer(self, "activation", self.activation, layers):
            if isinstance(f, str) and f in ACTIVATIONS:
                found.append(ACTIVATIONS[f])
            elif isinstance(f, str) and f in _FUNCTIONS:
                found.append(differentiated(getattr(functional, f)))
            elif isinstance(f, str) or not callable(f) or isinstance(f, type):
                raise settings.wrong(
                    self,
                    "activation",
                    f"one of {', '.join(map(repr, [*ACTIVATIONS, *_FUNCTIONS]))}, a function of an array, or a list "
                    "with one for each hidden layer",
                    f,
                )
            elif isinstance(f, nn.Module) and f.parameters():
                raise ValueError(
                    f"{type(self).__name__}: activation: the layer {type(f).__name__} has parameters of its own, "
                    "which would not be trained here; use a Neural estimator with a bpgpu.nn.Sequential instead"
                )
            else:
                found.append(differentiated(f))
        return found

    def _network(self) -> Network:
        layers = len(self.coefs_) - 1
        return Network(
            self.coefs_,
            self.intercepts_,
            self._activations(layers),
            self._loss(),
            float(self.alpha),
            settings.dropout(self, layers),
        )

    def _sample(self, X: Any, y: Any, weight: Any) -> Sample:
        """The data where the weights are."""
        place, dtype = place_of(self.coefs_[0]), str(self.coefs_[0].dtype).rpartition(".")[2]
        y = place.put(y, "int64" if len(y.shape) == 1 else dtype)
        return Sample(
            Rows(X, place, dtype), y, None if weight is None else place.put(weight, dtype)
        )

    def _descend(
        self, network: Network, X: Any, y: Any, weight: Any, generator: Any, once: bool
    ) -> None:
        train = self._sample(X, y, weight)
        score = None
        if self.early_stopping:
            train, held_out = self._split(train, y, generator)

            def score() -> float:
                return self._validation(network, held_out)

        known = getattr(self, "validation_scores_", "none yet")
        if known == "none yet" or (known is not None) != self.early_stopping:
            self._begin_descent()
        if not once or self._optimizer is None:
            self._optimizer = solvers.optimizer_of(self, network.params)
        else:
            self._optimizer = solvers.bound(self._optimizer, self, network.params)
        Descent(self, network, self._optimizer, train, generator, score).run(once=once)

    def _split(self, sample: Sample, y: Any, generator: Any) -> tuple[Sample, Sample]:
        """What is trained on, and what is held out; of two classes, each in its proportion."""
        binary = not self._numeric_target and len(y.shape) == 2 and y.shape[1] == 1
        labels = y[:, 0] if binary else None
        train, rest = targets.split(sample.rows.count, self.validation_fraction, generator, labels)
        return sample.chosen(train), sample.chosen(rest)

    def _minimize(self, network: Network, sample: Sample) -> None:
        """L-BFGS on all rows at once."""
        ((x, y, weight),) = sample.batches(sample.rows.count)

        def objective() -> tuple[Array, Any]:
            value, penalty, grads = network.gradients(x, y, weight)
            return value + penalty, grads

        self.n_iter_, _ = solvers.lbfgs(network, objective, self)
        value, penalty, _ = network.gradients(x, y, weight)
        shared = network.loss.mean_over_outputs
        self.loss_ = float(value) / (self.n_outputs_ if shared else 1) + float(penalty)

    def to_module(self) -> nn.Sequential:
        """The fitted network as a `bpgpu.nn.Sequential` with weights of its own, for ONNX, `bpgpu.save` and the rest.

        It gives what stands before the last function (`out_activation_`): the logits of a classifier.

        >>> from bpgpu.sklearn import MLPClassifier
        >>> X = np.asarray([[0.0, 0.0], [1.0, 1.0]])
        >>> MLPClassifier((5,), random_state=0).partial_fit(X, [0, 1], classes=[0, 1]).to_module()
        Sequential(
          (0): Linear(in_features=2, out_features=5, bias=True)
          (1): ReLU()
          (2): Linear(in_features=5, out_features=1, bias=True)
        )
        """
        check_is_fitted(self)
        functions = settings.per_layer(self, "activation", self.activation, len(self.coefs_) - 1)
        return modules.written_out(self.coefs_, self.intercepts_, functions)

    # ---- predicting

    def _last_values(self, X: Any, method: str) -> Array:
        """What the last layer gives for each row, where the weights are."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)
        inputs.check_same_place(self, X, self._fitted_at, method)
        first = self.coefs_[0]
        dtype = str(first.dtype).rpartition(".")[2]
        return self._computed(
            self._network(), Rows(inputs.features(self, X), place_of(first), dtype)
        )

    def _answers(self, X: Any, method: str) -> Array:
        """What the network predicts."""
        z = self._last_values(X, method)
        return self._loss().predicted(namespace_of(z), z)

    def _computed(self, network: Network, rows: Rows) -> Array:
        """The last values for all rows, in portions."""
        widest = max(max(c.shape) for c in network.params["coefs"])
        on_cpu = rows.place.xp is default_namespace()
        step = max(ROWS, (CACHED if on_cpu else LARGEST) // widest)
        parts = [
            network.output(rows.part(slice(start, min(start + step, rows.count))))
            for start in range(0, rows.count, step)
        ]
        return parts[0] if len(parts) == 1 else namespace_of(parts[0]).concat(parts, axis=0)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coefs_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags
